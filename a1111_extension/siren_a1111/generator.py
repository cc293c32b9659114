"""Generates images inside the web UI, with and without the LoRAs under test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from siren_a1111 import webui
from siren_ext.adapters.files import adapter_hash
from siren_ext.data.images import Picture, write_picture
from siren_ext.errors import AdapterError, Cancelled, ModelError
from siren_ext.panels.generation import ImageRequest, Loras, ModelFiles
from siren_ext.progress import Progress
from siren_ext.suspects.remote import SMALLEST_CHANGE
from siren_ext.text import printable

SAMPLER, SCHEDULER = "DPM++ 2M", "Automatic"


class WebuiGenerator:
    """The web UI as an :class:`~siren_ext.panels.lora.ImageGenerator`."""

    def checkpoints(self) -> list[str]:
        """List the checkpoints.

        Returns
        -------
        list[str]
            Their titles, the selected one first.
        """
        from modules import sd_models

        chosen = webui.chosen_checkpoint()
        infos = sorted(sd_models.checkpoints_list.values(), key=lambda info: info is not chosen)
        return [info.title for info in infos]

    def loras(self) -> list[str]:
        """List the LoRA files. The folder is read again on each call.

        Returns
        -------
        list[str]
            Their names, sorted; empty if the web UI's LoRA module is disabled.
        """
        networks = webui.lora_list()
        if networks is None:
            return []
        networks.list_available_networks()
        return sorted(networks.available_networks, key=str.casefold)

    def files(self, checkpoint: str, loras: Loras) -> ModelFiles:
        """Find the files of a model.

        Parameters
        ----------
        checkpoint : str
            Title of the checkpoint, "" for the selected one.
        loras : Loras
            Names and weights.

        Returns
        -------
        ModelFiles
            Where they are.

        Raises
        ------
        ModelError
            The checkpoint is missing.
        AdapterError
            A LoRA is missing.
        """
        found = [(_lora_file(name), weight) for name, weight in loras]
        for (name, _), (file, _) in zip(loras, found, strict=True):
            if file is None or not file.is_file():
                raise AdapterError(
                    f"The web UI has no file for the LoRA {name!r}. Refresh the lists and choose "
                    "one."
                )
        known = tuple((file, weight) for file, weight in found if file is not None)
        return ModelFiles(Path(_checkpoint(checkpoint).filename), known)

    def generate(self, request: ImageRequest, out: Path, progress: Progress) -> dict[str, Any]:
        """Write the requested images into ``out`` as PNG files.

        Each image is generated in a batch of its own, with prompt i (in turn) and seed + i, so that
        both sets of a test are made in the same way.

        A web UI silently leaves out a LoRA that it can't use. The first image is therefore also
        generated without each of the LoRAs, and must differ.

        Parameters
        ----------
        request : ImageRequest
            What to generate.
        out : Path
            Folder for the files; created if missing.
        progress : Progress
            Counts the images.

        Returns
        -------
        dict[str, Any]
            How the images were made, for the report.

        Raises
        ------
        ModelError
            The checkpoint is missing, or the web UI failed or returned no usable image.
        AdapterError
            A LoRA's name can't be written into a prompt, or a LoRA has no effect.
        Cancelled
            The user pressed Stop, or the web UI's own Interrupt or Skip.
        """
        tags = [_tag(name, weight) for name, weight in request.loras]
        checkpoint = _checkpoint(request.checkpoint)
        progress.stage(f"Generating ({request.role})", request.count)
        out.mkdir(parents=True, exist_ok=True)
        for index in range(request.count):
            prompt = request.prompts[index % len(request.prompts)]
            pixels = _draw(request, checkpoint, prompt + "".join(tags), index)
            for place in range(len(tags)) if index == 0 else ():
                others = prompt + "".join(tags[:place] + tags[place + 1 :])
                if _alike(pixels, _draw(request, checkpoint, others, 0)):
                    raise _without_effect(request.loras[place][0], checkpoint)
            write_picture(Picture(pixels), out / f"{index:05d}.png")
            progress.advance()
        return {
            "model": checkpoint.title,
            "model_hash": checkpoint.sha256,
            "loras": [_lora_facts(name, weight) for name, weight in request.loras],
            "prompts": list(request.prompts),
            "negative": request.negative,
            "seed": request.seed,
            "count": request.count,
            "steps": request.steps,
            "guidance": request.guidance,
            "size": request.size,
            "scheduler": SAMPLER,
        }


def _checkpoint(title: str) -> Any:
    """The checkpoint of that title, or the selected one for "".

    A missing checkpoint is an error here; the web UI would silently use another one.
    """
    found = webui.checkpoint_named(title) if title else webui.chosen_checkpoint()
    if found is None:
        raise ModelError(
            f"The web UI has no checkpoint {str(title)[:200]!r}. Refresh the lists and choose one."
        )
    return found


def _alike(first: Any, second: Any) -> bool:
    """Whether two images are the same, but for what a GPU changes from one call to the next."""
    if first.shape != second.shape:
        return False
    return float(np.abs(first.astype(float) - second).mean()) <= 255 * SMALLEST_CHANGE


def _without_effect(name: str, checkpoint: Any) -> AdapterError:
    return AdapterError(
        f"{printable(name)}: the web UI makes the same image with it and without it. It was made "
        f"for a different type of model than {checkpoint.title}, or could not be read; see the "
        "web UI's console. Choose the checkpoint that it was made for."
    )


def _draw(request: ImageRequest, checkpoint: Any, prompt: str, index: int) -> Any:
    """Pixels of one image, queued with the web UI's other jobs.

    The lock is taken here and not on Forge's main thread, because a job that holds it waits for
    that thread.
    """
    from modules.call_queue import queue_lock

    with queue_lock, webui.job("siren") as state:
        try:
            done = _on_main_thread(lambda: _process(request, checkpoint, prompt, index))
        except Exception as error:  # a model or the device can raise anything
            raise ModelError(
                f"The web UI could not generate: {str(error)[:300] or type(error).__name__}. "
                "See its console."
            ) from error
        halted = webui.halted(state)
    if halted:  # a skipped or interrupted image is unfinished; SD.Next also interrupts at an error
        raise Cancelled(
            "Generation was interrupted in the web UI. If nobody did that, see its console."
        )
    if done is None or not done.images:
        raise ModelError("The web UI returned no image; see its console.")
    pixels = np.asarray(done.images[done.index_of_first_image].convert("RGB"))
    if pixels.min() == pixels.max():
        raise ModelError(
            "The web UI returned an image of a single colour. This happens if a checkpoint fails "
            "in half precision. Start the web UI with --no-half (Forge: --all-in-fp32)."
        )
    return pixels


def _process(request: ImageRequest, checkpoint: Any, prompt: str, index: int) -> Any:
    """One image as made by the web UI's txt2img, without scripts of other extensions."""
    from modules import processing, shared

    other = checkpoint is not webui.chosen_checkpoint()
    work = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model,
        prompt=prompt,
        negative_prompt=request.negative,
        seed=request.seed + index,
        sampler_name=SAMPLER,
        batch_size=1,
        n_iter=1,
        steps=request.steps,
        cfg_scale=request.guidance,
        width=request.size,
        height=request.size,
        do_not_save_samples=True,
        do_not_save_grid=True,
        override_settings={"sd_model_checkpoint": checkpoint.title} if other else {},
        # restoring would reload the other checkpoint for every image
        override_settings_restore_afterwards=False,
    )
    with closing(webui.prepare(work, SCHEDULER)):
        return processing.process_images(work)


def _on_main_thread(work: Callable[[], Any]) -> Any:
    """Run on Forge's main thread, where it must generate; in other web UIs just call ``work``."""
    try:
        from modules_forge import main_thread
    except ImportError:
        return work()

    def caught() -> tuple[Any, Exception | None]:
        try:
            return work(), None
        except Exception as error:  # Forge would print it and return None
            return None, error

    result, error = main_thread.run_and_wait_result(caught)
    if error is not None:
        raise error
    return result


def _tag(name: str, weight: float) -> str:
    if set(name) & set("<>:"):
        raise AdapterError(
            f"The LoRA's name {name!r} contains < > or : and can't be used in a prompt. Rename its "
            "file."
        )
    return f" <lora:{name}:{weight:g}>"


def _lora_file(name: str) -> Path | None:
    networks = webui.lora_list()
    entry = networks.available_networks.get(name) if networks is not None else None
    return Path(entry.filename) if entry is not None else None


def _lora_facts(name: str, weight: float) -> dict[str, Any]:
    file = _lora_file(name)
    known = file is not None and file.is_file() and file.suffix.lower() == ".safetensors"
    return {"name": name, "weight": weight, "hash": adapter_hash(file) if known and file else ""}
