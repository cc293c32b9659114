"""Yu et al.: an encoder writes the same 32 bits into every image, a decoder reads them.

Yu, Skripniuk, Abdelnabi and Fritz (2021), "Artificial fingerprinting for generative models: rooting
deepfake attribution in training data", ICCV (arXiv 2007.08457). Networks and loss are theirs. The
pair is trained here on whatever images are given, at 32, 64 or 128 pixels; larger images get the
enlarged change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.baselines.base import Floats, Protected, all_captions, image_batch
from siren_ext.baselines.bits import BITS, RULES, balanced_string, bits_p_value
from siren_ext.data.images import quantise, square_view
from siren_ext.errors import ConfigError, ModelError
from siren_ext.files import atomic
from siren_ext.progress import NULL, Progress

LARGEST = 4096
"""Largest side of images in pixels."""


class Encoder(nn.Module):
    """Writes bits into images.

    Parameters
    ----------
    size : int
        Side H of the images in pixels; a multiple of 16.
    bits : int
        k, length of the string.
    """

    def __init__(self, size: int, bits: int = BITS) -> None:
        super().__init__()
        _check_size(size)
        self.size = size
        self.secret = nn.Linear(bits, 16 * 16 * 3)
        widths = (6, 32, 32, 64, 128, 256)
        self.down = nn.ModuleList(
            nn.Conv2d(first, second, 3, 1 if step == 0 else 2, 1)
            for step, (first, second) in enumerate(pairwise(widths))
        )
        ups = ((256, 128, 256), (128, 64, 128), (64, 32, 64), (32, 32, 70))
        self.up = nn.ModuleList(nn.Conv2d(first, second, 2) for first, second, _ in ups)
        self.joined = nn.ModuleList(nn.Conv2d(both, out, 3, 1, 1) for _, out, both in ups)
        self.last = nn.Conv2d(32, 32, 3, 1, 1)
        self.out = nn.Conv2d(32, 3, 1)

    def forward(self, images: Tensor, bits: Tensor) -> Tensor:
        """Fingerprinted images, B x 3 x H x H in (0,1), from images in [0,1] and B x k bits."""
        secret = F.relu(self.secret(bits)).reshape(-1, 3, 16, 16)
        x = torch.cat([F.interpolate(secret, scale_factor=self.size // 16), images], 1)
        first, skips = x, []
        for layer in self.down:
            x = F.relu(layer(x))
            skips.append(x)
        skips = [torch.cat([skips[0], first], 1), *skips[1:4]]
        for up, joined, skip in zip(self.up, self.joined, reversed(skips), strict=True):
            x = F.relu(up(F.pad(F.interpolate(x, scale_factor=2), (0, 1, 0, 1))))
            x = F.relu(joined(torch.cat([x, skip], 1)))
        return torch.sigmoid(self.out(F.relu(self.last(x))))


class Decoder(nn.Sequential):
    """Reads logits of bits out of B x 3 x H x H images in [0,1]; a bit is 1 above 0."""

    def __init__(self, size: int, bits: int = BITS) -> None:
        _check_size(size)
        shape = ((3, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 2), (64, 128, 2))
        layers: list[nn.Module] = []
        for first, second, stride in (*shape, (128, 128, 2)):
            layers += [nn.Conv2d(first, second, 3, stride, 1), nn.ReLU()]
        flat = 128 * (size // 32) ** 2
        super().__init__(
            *layers, nn.Flatten(), nn.Linear(flat, 512), nn.ReLU(), nn.Linear(512, bits)
        )


@dataclasses.dataclass(frozen=True)
class YuTraining:
    """Settings of the training.

    Attributes
    ----------
    size : int
        Side in pixels; a multiple of 32.
    steps, batch : int
        Length, and images per step.
    rate : float
        Learning rate of Adam.
    free, ramp : int
        Steps without the loss of the image, and steps in which its weight rises to 10.
    seed : int
        Of weights, batches and bits.
    """

    size: int = 128
    steps: int = 40_000
    batch: int = 64
    rate: float = 1e-4
    free: int = 1000
    ramp: int = 3000
    seed: int = 0

    def weight(self, step: int) -> float:
        """Weight of the squared error at a step: 10 clip((step - free) / ramp, 0, 1)."""
        return 10 * min(1.0, max(0.0, (step - self.free) / max(1, self.ramp)))


@dataclasses.dataclass(frozen=True, eq=False)
class Yu:
    """A trained pair and the string of one owner.

    Attributes
    ----------
    encoder, decoder : Encoder, Decoder
        The pair.
    seed : int
        Of the string.
    """

    encoder: Encoder
    decoder: Decoder
    seed: int = 0
    name: str = dataclasses.field(default="Yu et al.", init=False)
    rules: tuple[str, ...] = dataclasses.field(default=RULES, init=False)

    @property
    def string(self) -> np.ndarray:
        """The owner's bits."""
        return balanced_string(self.seed, BITS)

    @torch.no_grad()
    def protect(self, images: Tensor, captions: Sequence[str] = ()) -> Protected:
        """Write the string into every image; see :class:`~siren_ext.baselines.base.Baseline`."""
        image_batch(images, self.encoder.size)
        texts = all_captions(captions, len(images))
        view = square_view(images, self.encoder.size)
        bits = torch.from_numpy(self.string).to(images).expand(len(images), -1)
        change = self.encoder(view, bits) - view
        change = F.interpolate(change, images.shape[2:], mode="bilinear", align_corners=False)
        return Protected(quantise((images + change).clamp(0, 1)), texts, (True,) * len(images))

    @torch.no_grad()
    def evidence(self, mimicries: Tensor) -> Floats:
        """Bits of each picture, N x 32."""
        image_batch(mimicries, self.encoder.size)
        logits = self.decoder(square_view(mimicries, self.encoder.size))
        return (logits > 0).double().numpy()  # type: ignore[no-any-return]

    def p_value(self, evidence: Floats, rule: str = "published") -> float:
        """The p-value of bits, by :func:`~siren_ext.baselines.bits.bits_p_value`."""
        return bits_p_value(evidence, self.string, rule, self.seed)

    def save(self, path: Path) -> None:
        """Write the pair to a safetensors file."""
        from safetensors.torch import save_file

        nets = {"encoder": self.encoder, "decoder": self.decoder}
        tensors = {f"{n}.{k}": v for n, net in nets.items() for k, v in net.state_dict().items()}
        with atomic(Path(path)) as temporary:
            save_file(tensors, temporary, {"size": str(self.encoder.size)})

    @classmethod
    def load(cls, path: Path, seed: int = 0) -> Yu:
        """Read a pair that :meth:`save` wrote.

        Parameters
        ----------
        path : Path
            The file.
        seed : int
            Of the string.

        Raises
        ------
        ModelError
            If the file is none of this kind.
        """
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        try:
            with safe_open(path, "pt") as file:
                size = int((file.metadata() or {})["size"])
            with torch.device("meta"):  # a small file may name a large size
                pair = cls(Encoder(size), Decoder(size), seed)
            tensors = load_file(path)
            for name in ("encoder", "decoder"):
                cut = len(name) + 1
                part = {k[cut:]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
                getattr(pair, name).load_state_dict(part, assign=True)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, ConfigError) as error:
            raise ModelError(
                f"{Path(path).name} is not a pair of an encoder and a decoder; expected a file "
                "that train_yu made. Train it again."
            ) from error
        weights = [*pair.encoder.parameters(), *pair.decoder.parameters()]
        if not all(bool(torch.isfinite(one).all()) for one in weights):
            raise ModelError(
                f"{Path(path).name} has weights that are not finite numbers. Train it again."
            )
        pair.encoder.float().eval()
        pair.decoder.float().eval()
        return pair


def train_yu(images: Tensor, settings: YuTraining, progress: Progress = NULL) -> Yu:
    """Train a pair.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1]; general images, none of them the owner's.
    settings : YuTraining
        Size and length.
    progress : Progress
        Told of every step; may cancel.

    Returns
    -------
    Yu
        The pair with the string of seed 0.

    Raises
    ------
    Cancelled
        If the user stops.

    Notes
    -----
    Loss of the paper: cross-entropy of random bits, plus a rising weight times the squared error.
    """
    image_batch(images, 16)
    data = square_view(images, settings.size)
    rng = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder, decoder = Encoder(settings.size), Decoder(settings.size)
        _initialise(encoder)
        _initialise(decoder)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(weights, settings.rate)
    progress.stage("Training encoder and decoder", settings.steps)
    for step in range(settings.steps):
        clean = data[torch.randint(len(data), (settings.batch,), generator=rng)]
        bits = torch.randint(2, (settings.batch, BITS), generator=rng).float()
        marked = encoder(clean, bits)
        reading = F.binary_cross_entropy_with_logits(decoder(marked), bits)
        loss = reading + settings.weight(step) * F.mse_loss(marked, clean)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress.advance(note=f"bits {reading.item():.3f}")
    return Yu(encoder.eval(), decoder.eval())


def _initialise(net: nn.Module) -> None:
    """He's weights: with PyTorch's, the bits fade from layer to layer and training stands still."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _check_size(size: int) -> None:
    if not 32 <= size <= LARGEST or size % 32:
        raise ConfigError(
            f"Found a size of {size} pixels; expected a multiple of 32, at most {LARGEST}."
        )
