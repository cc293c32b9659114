"""How much a step of coater training keeps for the backward pass, counted without computing.

    python benchmarks/training_memory.py [--preset default] [--batch-size 16] [--resolution 512]

Counts bytes on torch's meta device, where tensors have shapes but no numbers: Stable Diffusion 1.5
in bfloat16 as the surrogate and the coater of the preset in float32. One step of the trainer runs
(rehearsal included, after warm-up); every storage that autograd keeps is counted once, weights
are not. Add the weights (printed too) and what the libraries take to get the memory that a graphics
card needs. With ``--device cuda`` real steps run on a GPU, and the peak that torch measures is
printed.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from siren_ext.coater.config import CoaterConfig
from siren_ext.diffusion import checkpoint_settings
from siren_ext.training.config import TrainConfig
from siren_ext.training.recipes import fitted_to
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.trainer import CoaterTrainer

GB = 1e9


class Noise:
    """An image set of random pictures."""

    hash = "none"

    def __init__(self, count: int) -> None:
        self.count = count

    def tensors(self, size: int) -> Iterator[Tensor]:
        """Pictures of 3 x size x size."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.count):
            yield torch.rand(1, 3, size, size, generator=generator)


def pipeline_of_shape(resolution: int, device: torch.device, dtype: torch.dtype) -> Any:
    """Stable Diffusion 1.5 with random weights, as far as training uses it."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = checkpoint_settings.SD1
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(sizes["unet"] | {"sample_size": resolution // 8})
        vae = AutoencoderKL.from_config(sizes["vae"])
        text = CLIPTextModel(CLIPTextConfig(**sizes["text_encoder"]))
    for network in (unet, vae, text):
        network.to(dtype)

    def tokens(prompts: list[str], **_: Any) -> Any:
        return SimpleNamespace(input_ids=torch.zeros(len(prompts), 77, dtype=torch.int64))

    tokens.model_max_length = 77  # type: ignore[attr-defined]
    scheduler = DDPMScheduler.from_config(sizes["scheduler"])
    return SimpleNamespace(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=tokens,
        scheduler=scheduler,
        vae_scale_factor=8,
    )


class Kept:
    """Bytes that autograd keeps now and kept at most, weights left out."""

    def __init__(self, weights: set[int]) -> None:
        self.weights, self.now, self.most = weights, 0, 0
        self._users: Counter[int] = Counter()

    def pack(self, tensor: Tensor) -> _Held:
        """Count a tensor that the backward pass will want."""
        return _Held(self, tensor)

    def take(self, storage: Any) -> None:
        """One more user of a storage."""
        key = storage._cdata
        if key in self.weights:
            return
        self._users[key] += 1
        if self._users[key] == 1:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)

    def drop(self, storage: Any) -> None:
        """One user fewer."""
        key = storage._cdata
        if key in self.weights:
            return
        self._users[key] -= 1
        if not self._users[key]:
            self.now -= storage.nbytes()


class _Held:
    """A tensor that autograd keeps; freed when the graph lets go of it."""

    def __init__(self, kept: Kept, tensor: Tensor) -> None:
        self.kept, self.tensor, self.storage = kept, tensor, tensor.untyped_storage()
        kept.take(self.storage)

    def __del__(self) -> None:
        self.kept.drop(self.storage)


@contextmanager
def readable_numbers() -> Iterator[None]:
    """Let a number of the meta device read as one half, and a list as 0, 1, 2, ..."""
    answers: dict[str, Any] = {
        "__float__": lambda tensor: 0.5,
        "__int__": lambda tensor: 1,
        "__bool__": lambda tensor: True,
        "item": lambda tensor: 0.5,
        "tolist": lambda tensor: list(range(tensor.numel())),
    }
    originals = {name: getattr(Tensor, name) for name in answers}

    def reader(name: str) -> Any:
        def read(tensor: Tensor) -> Any:
            kind = answers if tensor.is_meta else originals
            return kind[name](tensor)

        return read

    for name in answers:
        setattr(Tensor, name, reader(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Tensor, name, original)


def trainer_for(
    args: argparse.Namespace, device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> CoaterTrainer:
    """A run that is past its warm-up and begins a rehearsal at its next step."""
    changes = {"batch_size": args.batch_size} if args.batch_size else {}
    # how often the twins learn makes no difference to memory
    changes |= {"rehearse_first": 1, "rehearse_images": 2}
    config = TrainConfig.preset(args.preset, steps=400, **changes)
    pipeline = pipeline_of_shape(args.resolution, device, dtype)
    surrogate = DiffusionSurrogate(pipeline, "a photo of a dog")
    shape, _ = fitted_to(args.resolution, CoaterConfig.preset(args.coater))[:2]
    run = CoaterTrainer(
        Noise(max(4, config.batch_size)),
        surrogate,
        config,
        coater=shape,
        start=None,
        device=str(device),
    )
    run._begun = True
    run.state.step = config.warmup
    if args.together:
        run.state.together = args.together
    return run


def move_twins(run: CoaterTrainer) -> None:
    """Put the twins on the meta device, where peft does not create adapters."""
    rehearsal = run.state.rehearsal
    if rehearsal is None:
        return
    # generation keeps nothing for the backward pass, and samplers need numbers
    blank = torch.zeros(2, 3, run.state.surrogate.resolution, run.state.surrogate.resolution)
    rehearsal.mimicries = lambda *_, **__: (blank.to("meta"), blank.to("meta"))  # type: ignore[method-assign]
    for twin in rehearsal.twins:
        weights = twin.weights
        for layer in weights.layers:
            layer.lora_A[twin.name].to("meta")
            layer.lora_B[twin.name].to("meta")
        weights.live = [
            part[twin.name].weight
            for layer in weights.layers
            for part in (layer.lora_A, layer.lora_B)
        ]
        weights.vector = torch.nn.Parameter(weights.vector.to("meta"))
        twin.optimiser.param_groups[0]["params"] = [weights.vector]


def size_of(*networks: torch.nn.Module) -> float:
    """Weights in GB."""
    weights = (p for network in networks for p in network.parameters())
    return sum(p.numel() * p.element_size() for p in weights) / GB


def count(args: argparse.Namespace) -> None:
    """Print what one step keeps at most."""
    run = trainer_for(args, torch.device("meta"))
    move_twins(run)
    pipeline = run.state.surrogate.pipeline  # type: ignore[attr-defined]
    pair = (run.state.coater.generator, run.state.coater.extractor)
    networks = (pipeline.unet, pipeline.vae, pipeline.text_encoder, *pair)
    weights = {p.untyped_storage()._cdata for n in networks for p in n.parameters()}
    kept = Kept(weights)
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda held: held.tensor)
    with hooks, readable_numbers():
        run.advance()
    config = run.config
    print(f"preset {args.preset}, batch size {config.batch_size}, {args.resolution} px")
    print(f"kept for the backward pass, at most   {kept.most / GB:6.2f} GB")
    print(f"weights of the diffusion model        {size_of(*networks[:3]):6.2f} GB")
    print(f"weights of the coater                 {size_of(*pair):6.2f} GB")


def measure(args: argparse.Namespace) -> None:
    """Print time and peak memory of real steps on a device."""
    device = torch.device(args.device)
    run = trainer_for(args, device)
    torch.cuda.reset_peak_memory_stats(device)
    for number in range(args.steps):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        run.advance()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) / GB
        print(f"step {number}: {time.perf_counter() - start:.2f} s, peak {peak:.2f} GB", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="default", help="of training")
    parser.add_argument("--coater", default="default", help="preset of the coater's shape")
    parser.add_argument("--batch-size", type=int, default=0, help="0: the preset's")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--device", default="none", help="none counts; cuda runs real steps")
    parser.add_argument("--together", type=int, default=0, help="images in a part; 0: by memory")
    parser.add_argument("--steps", type=int, default=3, help="real steps with --device cuda")
    args = parser.parse_args()
    count(args) if args.device == "none" else measure(args)


if __name__ == "__main__":
    main()
