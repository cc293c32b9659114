"""Generating inside the web UI, with the LoRAs under test and without them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.adapters import adapter_hash
from siren_ext.errors import AdapterError, Cancelled, ModelError
from siren_ext.images import Picture, write_picture
from siren_ext.listing import printable
from siren_ext.panels.lora import Order
from siren_ext.progress import Progress

SAMPLER = "DPM++ 2M"


class WebuiHost:
    """The checkpoints and LoRAs of AUTOMATIC1111 or Forge."""

    def checkpoints(self) -> list[str]:
        """Titles of the checkpoints, the chosen one first."""
        from modules import sd_models, shared

        titles = [info.title for info in sd_models.checkpoints_list.values()]
        chosen = getattr(shared.opts, "sd_model_checkpoint", None)
        return sorted(titles, key=lambda title: title != chosen)

    def loras(self) -> list[str]:
        """Names of the LoRA files, read anew."""
        networks = _networks()
        if networks is None:
            return []
        networks.list_available_networks()
        return sorted(networks.available_networks, key=str.casefold)

    def generate(self, order: Order, out: Path, progress: Progress) -> dict[str, Any]:
        """Write the order's images into ``out``; gives how they were made.

        Image i is made with prompt i (in turn) and seed + i, alone in its batch, so that both pools
        of a test are made alike. Stops between two images, on the panel's Stop and on the web UI's
        own Interrupt.

        Raises:
            ModelError: the web UI gave no image.
            AdapterError: a LoRA's name can't be written into a prompt.
        """
        from modules import shared

        tags = "".join(_tag(name, weight) for name, weight in order.loras)
        progress.stage(f"Generating ({order.role})", order.count)
        out.mkdir(parents=True, exist_ok=True)
        shared.state.begin(job="siren")
        try:
            for index in range(order.count):
                prompt = order.prompts[index % len(order.prompts)]
                image = _on_main_thread(lambda p=prompt, i=index: _draw(order, p + tags, i))
                if image is None or shared.state.interrupted:
                    raise Cancelled("Interrupted in the web UI.")
                picture = Picture(np.asarray(image.convert("RGB")))
                write_picture(picture, out / f"{index:05d}.png")
                progress.advance()
        finally:
            shared.state.end()
        return {
            "model": order.checkpoint,
            "loras": [_lora_facts(name, weight) for name, weight in order.loras],
            "prompts": list(order.prompts),
            "negative": order.negative,
            "seed": order.seed,
            "count": order.count,
            "steps": order.steps,
            "guidance": order.guidance,
            "size": order.size,
            "scheduler": SAMPLER,
        }


def _draw(order: Order, prompt: str, index: int) -> Any:
    """One image as the web UI's own txt2img makes it, without scripts of other extensions."""
    from modules import processing, shared
    from modules.call_queue import queue_lock

    with queue_lock:
        override = {}
        if order.checkpoint and order.checkpoint != shared.opts.sd_model_checkpoint:
            override["sd_model_checkpoint"] = order.checkpoint
        work = processing.StableDiffusionProcessingTxt2Img(
            sd_model=shared.sd_model,
            prompt=prompt,
            negative_prompt=order.negative,
            seed=order.seed + index,
            sampler_name=SAMPLER,
            batch_size=1,
            n_iter=1,
            steps=order.steps,
            cfg_scale=order.guidance,
            width=order.size,
            height=order.size,
            do_not_save_samples=True,
            do_not_save_grid=True,
            override_settings=override,
            # restoring would load the other checkpoint again for every single image
            override_settings_restore_afterwards=False,
        )
        with closing(work):
            done = processing.process_images(work)
    if shared.state.interrupted:
        return None
    if not done.images:
        raise ModelError("The web UI gave no image; its console says why.")
    return done.images[done.index_of_first_image]


def _on_main_thread(work: Callable[[], Any]) -> Any:
    """Forge generates on its main thread alone; elsewhere this is a plain call."""
    try:
        from modules_forge import main_thread
    except ImportError:
        return work()
    return main_thread.run_and_wait_result(work)


def _networks() -> Any:
    """The web UI's built-in LoRA module, None where it is switched off."""
    try:
        import networks
    except ImportError:
        return None
    return networks


def _tag(name: str, weight: float) -> str:
    if set(name) & set("<>:"):
        raise AdapterError(
            f"The LoRA's name {printable(name)!r} holds one of < > : and can't stand in a prompt; "
            "rename its file."
        )
    return f" <lora:{name}:{weight:g}>"


def _lora_facts(name: str, weight: float) -> dict[str, Any]:
    networks = _networks()
    entry = networks.available_networks.get(name) if networks is not None else None
    file = Path(entry.filename) if entry is not None else None
    known = file is not None and file.is_file() and file.suffix == ".safetensors"
    return {"name": name, "weight": weight, "hash": adapter_hash(file) if known and file else ""}
