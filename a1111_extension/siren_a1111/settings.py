"""The extension's settings, and what they mean for the panels."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any

from siren_ext.panels.host import CoaterLibrary, PanelHost, UploadLimits

SECTION = ("siren", "Siren")


def add_settings() -> None:
    """Add a section to the web UI's settings page."""
    import gradio as gr
    from modules import shared

    options = {
        "siren_coater_folder": (
            "",
            "Folder of your coater files (leave empty for models/siren)",
            None,
        ),
        "siren_output_folder": (
            "",
            "Folder for coated images (leave empty for outputs/siren)",
            None,
        ),
        "siren_alpha": (
            1e-6,
            "Accepted risk of a false alarm",
            {"component": gr.Number, "component_args": {"precision": 12}},
        ),
        "siren_max_files": (
            2000,
            "Maximum number of images per request",
            {"component": gr.Slider, "component_args": {"minimum": 1, "maximum": 10000, "step": 1}},
        ),
        "siren_api_mb": (
            50,
            "Maximum size of a request to /siren/v1 in megabytes",
            {"component": gr.Slider, "component_args": {"minimum": 1, "maximum": 500, "step": 1}},
        ),
    }
    for key, (default, label, look) in options.items():
        info = shared.OptionInfo(default, label, section=SECTION, **(look or {}))
        shared.opts.add_option(key, info)


def option(key: str, default: Any) -> Any:
    """Read a setting.

    Parameters
    ----------
    key : str
        Name of the setting.
    default : Any
        Value if it is missing or empty.

    Returns
    -------
    Any
        Its value.
    """
    from modules import shared

    value = getattr(shared.opts, key, None)
    return default if value in (None, "") else value


def flag(name: str) -> Any:
    """Read a command-line flag.

    Parameters
    ----------
    name : str
        Name of the flag.

    Returns
    -------
    Any
        Its value; None if this web UI has no such flag.
    """
    from modules import shared

    return getattr(shared.cmd_opts, name, None)


def coater_folder() -> Path:
    """Folder of the owner's coaters; created if missing.

    Returns
    -------
    Path
        From the command line, the settings, or ``models/siren``.
    """
    from modules import paths

    given = flag("siren_coater_dir") or option("siren_coater_folder", "")
    folder = Path(given) if given else Path(paths.models_path) / "siren"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folders_allowed() -> bool:
    """Whether users may name folders on this machine.

    Returns
    -------
    bool
        False if others can reach the page, unless ``--siren-allow-folders`` is set.
    """
    if flag("siren_allow_folders"):
        return True
    names = (flag("server_name"), os.environ.get("GRADIO_SERVER_NAME"))
    if not all(is_loopback(name) for name in names if name):
        return False
    return not any(flag(name) for name in ("listen", "share", "ngrok", "hide_ui_dir_config"))


def is_loopback(name: str) -> bool:
    """Whether a server with this name can be reached from its own machine only.

    Parameters
    ----------
    name : str
        Host name or address, as in ``--server-name``.

    Returns
    -------
    bool
        True for ``localhost`` and addresses such as 127.0.0.1 and ::1.
    """
    plain = name.strip().strip("[]").lower()
    try:
        return plain == "localhost" or ipaddress.ip_address(plain).is_loopback
    except ValueError:
        return False


def api_accounts() -> list[str]:
    """The accounts that the web UI's own API accepts.

    Returns
    -------
    list[str]
        ``user:password`` each, from ``--api-auth`` (SD.Next: ``--auth`` and ``--auth-file``);
        empty if the API needs no account.

    Raises
    ------
    OSError
        The file of accounts can't be read.
    """
    # AUTOMATIC1111 and Forge have --gradio-auth for the page; their API does not use it
    texts = [flag("api_auth"), flag("auth")]
    if flag("auth_file"):
        lines = Path(flag("auth_file")).read_text(encoding="utf-8").splitlines()
        texts.append(",".join(lines))
    given = [entry for text in texts if text for entry in str(text).replace('"', "").split(",")]
    return [entry.strip() for entry in given if entry.strip()]


def make_host() -> PanelHost:
    """The panels' host with this web UI's limits and folders.

    Returns
    -------
    PanelHost
        Limits, coaters, output folder and preselected risk.
    """
    from modules import paths

    limits = UploadLimits(files=int(option("siren_max_files", 2000)), folders=folders_allowed())
    outputs = option("siren_output_folder", "") or Path(paths.data_path) / "outputs" / "siren"
    alpha = float(option("siren_alpha", 1e-6))
    return PanelHost(
        limits=limits, coaters=CoaterLibrary(coater_folder()), outputs=Path(outputs), alpha=alpha
    )
