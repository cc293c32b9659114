"""What differs between AUTOMATIC1111, Forge, Forge Neo and SD.Next.

The rest of the extension calls the web UI through these functions, or by names that all four have.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# AUTOMATIC1111, Forge and Forge Neo have the list of LoRAs in an extension whose folder is on the
# path; SD.Next has it in its own modules
LORA_MODULES = ("networks", "modules.lora.lora_load")
HALTS = ("interrupted", "skipped", "stopping_generation")
# What the web UI's settings may enable and would disturb a coating. Set as attributes, because not
# every web UI has them as arguments.
OFF = {"restore_faces": False, "tiling": False, "detailer_enabled": False}
_LOG = logging.getLogger(__name__)


def lora_list() -> Any:
    """The module with the web UI's list of LoRAs.

    Returns
    -------
    Any
        A module with ``list_available_networks()`` and ``available_networks``; None if the web UI
        has none, because its built-in extension is disabled.
    """
    for name in LORA_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module, "available_networks") and hasattr(module, "list_available_networks"):
            return module
    _LOG.warning(
        "The web UI's list of LoRAs was not found (looked for %s). Enable its built-in Lora "
        "extension.",
        " and ".join(LORA_MODULES),
    )
    return None


def chosen_checkpoint() -> Any:
    """The checkpoint selected in the web UI.

    Returns
    -------
    Any
        The web UI's entry, found under any of its option's spellings; None if there is none.
    """
    from modules import sd_models, shared

    # SD.Next corrected the name
    find = getattr(sd_models, "get_closet_checkpoint_match", None)
    find = find or sd_models.get_closest_checkpoint_match
    return find(shared.opts.sd_model_checkpoint or "")


def checkpoint_named(title: str) -> Any:
    """The checkpoint of a title.

    Parameters
    ----------
    title : str
        As listed.

    Returns
    -------
    Any
        The web UI's entry; None if there is none.
    """
    from modules import sd_models

    aliases = getattr(sd_models, "checkpoint_aliases", None)
    if aliases is None:  # SD.Next
        aliases = importlib.import_module("modules.sd_checkpoint").checkpoint_aliases
    return aliases.get(title) or sd_models.checkpoints_list.get(title)


@contextmanager
def job(name: str) -> Iterator[Any]:
    """Tell the web UI that a job runs, so that it shows progress and can interrupt it.

    Parameters
    ----------
    name : str
        The job's name. SD.Next calls this argument ``title``, the others ``job``.

    Yields
    ------
    Any
        The web UI's state.
    """
    from modules import shared

    shared.state.begin(name)
    try:
        yield shared.state
    finally:
        shared.state.end()
        bar = getattr(shared, "total_tqdm", None)  # SD.Next has none
        if bar is not None:
            bar.clear()


def halted(state: Any) -> bool:
    """Whether somebody pressed Interrupt or Skip.

    Parameters
    ----------
    state : Any
        The web UI's state.

    Returns
    -------
    bool
        True if the image of this job is unfinished.
    """
    return any(getattr(state, name, False) for name in HALTS)


def prepare(work: Any, scheduler: str) -> Any:
    """Set what is not an argument in every web UI.

    Parameters
    ----------
    work : Any
        The web UI's ``StableDiffusionProcessingTxt2Img``.
    scheduler : str
        Its scheduler; a web UI without schedulers takes no notice.

    Returns
    -------
    Any
        The same object.
    """
    for name, value in {**OFF, "scheduler": scheduler}.items():
        setattr(work, name, value)
    return work
