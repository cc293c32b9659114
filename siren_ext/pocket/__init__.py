"""The small diffusion model that comes with the package, and the scripts that trained it."""
