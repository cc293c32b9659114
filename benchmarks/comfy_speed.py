"""Overhead of the ComfyUI nodes over the library, measured in a process with ComfyUI's modules.

Run: SIREN_COMFYUI_PYTHON=FOLDER/bin/python python benchmarks/comfy_speed.py [--rounds 7]
with the interpreter that tests/support/install_comfyui.py prints. Rounds are interleaved and the
minimum of each is printed, as other work on the machine only adds time. The exit code is 1 if a
goal is missed: Coat Image takes at most 1.3 times the library call on a 1024 x 1024 image, every
model is loaded once no matter how often nodes run, and no model stays in memory after training.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "SIREN_COMFYUI_PYTHON"
INSIDE = "SIREN_COMFYUI_INSIDE"
COATER = "samples (bundled)"
GOAL = 1.3
TRAININGS = 3


def relaunch(arguments: list[str]) -> int:
    """Run this file with ComfyUI's interpreter and source tree."""
    named = os.environ.get(VARIABLE)
    if not named:
        sys.exit(f"{VARIABLE} is not set; tests/support/install_comfyui.py makes an interpreter")
    tree = Path(named).parent.parent / "comfyui"
    paths = [str(ROOT / "tests" / "comfy_nodes" / "stub"), str(tree), str(ROOT)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), INSIDE: "1"}
    environment["HF_HUB_OFFLINE"] = "1"
    return subprocess.call([named, __file__, *arguments], env=environment)


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def resident() -> float:
    """Resident memory of this process in MB; NaN if the system doesn't report it."""
    gc.collect()
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def host(base: Path) -> dict[str, Any]:
    """ComfyUI's modules with folders below ``base``, and the nodes of the pack by name."""
    # ComfyUI reads the command line when its modules are imported, so it gets one of its own.
    own, sys.argv = sys.argv, [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import folder_paths

    sys.argv = own
    for name in ("input", "output", "models"):
        (base / name).mkdir()
    folder_paths.models_dir = str(base / "models")
    folder_paths.set_input_directory(str(base / "input"))
    folder_paths.set_output_directory(str(base / "output"))

    nodes: dict[str, Any] = {}

    def pack() -> None:
        import comfy_nodes

        extension = asyncio.run(comfy_nodes.comfy_entrypoint())
        nodes.update({node.__name__: node for node in asyncio.run(extension.get_node_list())})

    print(f"loading the pack into ComfyUI: {seconds(pack):.3f} s")
    return nodes


def coating(nodes: dict[str, Any], rounds: int) -> bool:
    """Compare Coat Image with the library call on one image."""
    import torch

    from siren_ext.coating.apply import coat_images

    coater = nodes["LoadCoater"].execute(COATER).args[0]
    picture = torch.rand(1, 1024, 1024, 3, generator=torch.Generator().manual_seed(0))
    core = picture.movedim(-1, 1).contiguous()
    best = {"core": float("inf"), "node": float("inf")}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, call in (
                ("core", lambda: coat_images(core, coater)),
                ("node", lambda: nodes["CoatImage"].execute(coater, picture, 1.0)),
            ):
                best[name] = min(best[name], seconds(call))
    ratio = best["node"] / best["core"]
    print(
        f"Coat Image, 1024 x 1024: core {best['core']:.3f} s, node {best['node']:.3f} s, "
        f"ratio {ratio:.2f} (goal {GOAL})"
    )
    return ratio <= GOAL


def loading(nodes: dict[str, Any]) -> bool:
    """Check that nodes that run again with other settings don't load their files again."""
    import torch

    from comfy_nodes import generate, protect

    def draw(seed: int) -> float:
        inputs = {"steps": 1, "guidance": 1.0, "lora": "none", "lora_strength": 1.0}
        with torch.inference_mode():
            return seconds(
                lambda: nodes["PocketSampler"].execute("an icon", 1, seed=seed, **inputs)
            )

    protect._coater.cache_clear()
    coater = [seconds(lambda: nodes["LoadCoater"].execute(COATER)) for _ in range(3)]
    pictures = [draw(seed) for seed in range(3)]
    loads = protect._coater.cache_info().misses, generate._suspect.cache_info().misses
    for name, times, count in zip(
        ("Load Coater", "Pocket Sampler, 1 step"), (coater, pictures), loads, strict=True
    ):
        shown = ", ".join(f"{value:.4f}" for value in times)
        print(f"{name}, run 3 times: {shown} s, {count} file loaded")
    generate._suspect.cache_clear()
    return loads == (1, 1)


def training(nodes: dict[str, Any], base: Path) -> bool:
    """Check that Train Coater frees its model."""
    import torch

    from siren_ext.samples.folder import sample_folder

    (base / "input" / "pictures").mkdir()
    for path in sorted(sample_folder().glob("*.png"))[:4]:
        shutil.copy(path, base / "input" / "pictures")
    memory = [resident()]
    for turn in range(TRAININGS):
        with torch.inference_mode():
            nodes["TrainCoater"].execute(
                folder="pictures",
                class_word="icon",
                save_as=f"turn {turn}",
                steps=2,
                batch_size=2,
                resolution=128,
                seed=0,
                rehearse=False,
            )
        memory.append(resident())
    held = sum(type(thing).__name__ == "UNet2DConditionModel" for thing in gc.get_objects())
    shown = ", ".join(f"{value:.0f}" for value in memory)
    print(f"resident before and after each of {TRAININGS} trainings: {shown} MB")
    print(f"diffusion models in memory afterwards: {held} (goal 0)")
    return held == 0


def main() -> int:
    """Run the measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if not os.environ.get(INSIDE):
        return relaunch(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        nodes = host(base)
        kept = [coating(nodes, rounds), loading(nodes), training(nodes, base)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
