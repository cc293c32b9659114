"""The small diffusion model that comes with the package, and how it was trained."""
