"""Settings of the extension, and the host that they lend to the panels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from siren_ext.panels.host import PanelHost, CoaterLibrary, UploadLimits

SECTION = ("siren", "Siren")


def add_settings() -> None:
    """Add the section to the web UI's settings page."""
    import gradio as gr
    from modules import shared

    options = {
        "siren_coater_folder": ("", "Folder with your coater files (empty: models/siren)", None),
        "siren_output_folder": ("", "Folder for coated folders (empty: outputs/siren)", None),
        "siren_alpha": (
            1e-6,
            "Accepted risk of a false alarm",
            {"component": gr.Number, "component_args": {"precision": 12}},
        ),
        "siren_max_files": (
            2000,
            "Images per request at most",
            {"component": gr.Slider, "component_args": {"minimum": 1, "maximum": 10000, "step": 1}},
        ),
        "siren_api_mb": (
            200,
            "Megabytes of one request to /siren/v1 at most",
            {"component": gr.Slider, "component_args": {"minimum": 1, "maximum": 2000, "step": 1}},
        ),
    }
    for key, (default, label, look) in options.items():
        info = shared.OptionInfo(default, label, section=SECTION, **(look or {}))
        shared.opts.add_option(key, info)


def option(key: str, default: Any) -> Any:
    """A setting, or ``default`` where it is absent or empty."""
    from modules import shared

    value = getattr(shared.opts, key, None)
    return default if value in (None, "") else value


def flag(name: str) -> Any:
    """A command-line flag, None where the web UI does not know it."""
    from modules import shared

    return getattr(shared.cmd_opts, name, None)


def coater_folder() -> Path:
    """Where the owner's coaters lie; created when absent."""
    from modules import paths

    given = flag("siren_coater_dir") or option("siren_coater_folder", "")
    folder = Path(given) if given else Path(paths.models_path) / "siren"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folders_allowed() -> bool:
    """Whether folders may be named: not where others than the owner reach the page."""
    if flag("siren_allow_folders"):
        return True
    public = ("listen", "share", "ngrok", "hide_ui_dir_config", "server_name")
    return not any(flag(name) for name in public)


def make_host() -> PanelHost:
    """What the web UI lends its panels."""
    from modules import paths

    limits = UploadLimits(files=int(option("siren_max_files", 2000)), folders=folders_allowed())
    outputs = option("siren_output_folder", "") or Path(paths.data_path) / "outputs" / "siren"
    alpha = float(option("siren_alpha", 1e-6))
    return PanelHost(limits=limits, coaters=CoaterLibrary(coater_folder()), outputs=Path(outputs), alpha=alpha)
