"""A network that removes coatings from pictures, and its file."""

from __future__ import annotations

import json
import stat
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.attacks.checks import image_batch, version
from siren_ext.coater.nets.coarse import silence
from siren_ext.coater.nets.tiles import by_tiles, tile_side
from siren_ext.errors import ConfigError, ModelError
from siren_ext.files import atomic
from siren_ext.schema import shown

FORMAT = "siren_ext.uncoater"
MAX_WIDTH, MAX_LEVELS = 128, 6
_MAX_BYTES = 1 << 30


class Uncoater(nn.Module):
    """A UNet whose output is added to the picture.

    Each level has two 3 x 3 convolutions with batch normalisation and ReLU; the last layer is a
    1 x 1 convolution that begins at zero, so that an untrained network changes nothing.

    Parameters
    ----------
    width : int
        Channels of the first level, doubled at each further one; 64 in the original UNet.
    levels : int
        Number of levels.

    References
    ----------
    Ronneberger, Fischer and Brox (2015), "U-Net: convolutional networks for biomedical image
    segmentation" (arXiv 1505.04597). SIREN (arXiv 2410.10437), Table VII, says "UNet" and no more.

    Notes
    -----
    UNets of diffusers take a timestep and normalise in groups; none of them is this network.
    """

    def __init__(self, width: int = 64, levels: int = 4) -> None:
        super().__init__()
        self.width, self.levels = width, levels
        widths = [width << level for level in range(levels)]
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise((3, *widths)))
        pairs = list(pairwise(widths))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.joined = nn.ModuleList(_block(2 * a, a) for a, _ in pairs)
        self.last = nn.Conv2d(width, 3, 1)
        silence(self.last)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures without their coating; not clamped.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1], of any size.

        Returns
        -------
        Tensor
            B x 3 x H x W.
        """
        height, width = images.shape[2:]
        step = 1 << (self.levels - 1)
        padded = F.pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        side, halo = tile_side(self, padded), 4 << self.levels
        if not side:
            return images + self._change(padded)[:, :, :height, :width]
        found = torch.empty_like(padded)
        for rows, columns, part in by_tiles(self._change, padded, side=side, halo=halo):
            found[:, :, rows, columns] = part
        return images + found[:, :, :height, :width]

    def _change(self, images: Tensor) -> Tensor:
        """What is added; both sides are multiples of two to the number of levels, less one."""
        kept: list[Tensor] = []
        maps = images
        for level, block in enumerate(self.down):
            maps = block(F.max_pool2d(maps, 2) if level else maps)
            kept.append(maps)
        kept.pop()
        for up, block in zip(self.up, self.joined, strict=True):
            maps = block(torch.cat((kept.pop(), up(maps)), 1))
        change: Tensor = self.last(maps)
        return change

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write the network with its settings.

        Parameters
        ----------
        path : Path
            A file, which is replaced.
        facts : dict
            Plain values about its training.
        """
        from safetensors.torch import save_file

        told = {"format": FORMAT, "width": str(self.width), "levels": str(self.levels)}
        tensors = {name: one.detach().cpu().contiguous() for name, one in self.state_dict().items()}
        with atomic(Path(path)) as temporary:
            save_file(tensors, temporary, told | {"training": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> Uncoater:
        """Read what :meth:`save` wrote; ready for pictures.

        Parameters
        ----------
        path : Path
            The file.

        Raises
        ------
        ModelError
            If it can't be read or is no such network.
        """
        from safetensors import SafetensorError, safe_open

        told = read_facts(path)
        try:
            # without memory, because a small file may describe a giant network
            with torch.device("meta"):
                net = cls(_up_to(MAX_WIDTH, told["width"]), _up_to(MAX_LEVELS, told["levels"]))
            with safe_open(str(path), framework="pt") as stream:
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            net.load_state_dict(tensors, assign=True)
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path} is damaged: {error}. Train the network again with 'siren-ext uncoat'."
            ) from error
        floats = [one for one in tensors.values() if one.is_floating_point()]
        if not all(bool(torch.isfinite(one).all()) for one in floats):
            raise ModelError(
                f"{path} has weights that are not finite numbers; train the network again."
            )
        return net.float().eval().requires_grad_(False)


def _up_to(limit: int, text: str) -> int:
    """A number from 1 to a limit; raises ValueError."""
    if not 1 <= (value := int(text)) <= limit:
        raise ValueError(f"found {value} in its header, expected 1 to {limit}")
    return value


def read_facts(path: Path) -> dict[str, str]:
    """The header of a network's file: format, width, levels, and the training as JSON.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelError
        If it can't be read, is too large or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    advice = "expected a file that 'siren-ext uncoat' wrote"
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise ModelError(f"{path} is not a regular file; {advice}.")
        if status.st_size > _MAX_BYTES:
            raise ModelError(f"{path} has {status.st_size} bytes; {advice}, at most {_MAX_BYTES}.")
        with safe_open(str(path), framework="pt") as stream:
            found: dict[str, str] = stream.metadata() or {}
    except OSError as error:
        raise ModelError(f"{path} can't be opened: {error.strerror}; {advice}.") from error
    except SafetensorError as error:
        raise ModelError(f"{path} is not a readable safetensors file; {advice}.") from error
    if found.get("format") != FORMAT:
        raise ModelError(f"{path} is marked {shown(found.get('format'))}; {advice}.")
    return found


def uncoat(images: Tensor, generator: torch.Generator | None = None, *, file: str = "") -> Tensor:
    """Remove coatings with a network that was trained on pairs of coated and clean images.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    file : str
        The network, written by :func:`siren_ext.attacks.uncoat_training.train_uncoater`.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If no file is named.
    ImageError
        If ``images`` is not a batch of images.
    ModelError
        If the file can't be read.

    References
    ----------
    SIREN (arXiv 2410.10437), Table VII.
    """
    if not isinstance(file, str) or not file:
        raise ConfigError(
            f"file is {shown(file)}; expected the network's file: train one with 'siren-ext "
            "uncoat' and give --set file=FILE."
        )
    image_batch(images)
    net = _network(file, version(Path(file)), images.device)
    with torch.no_grad():
        return net(images.float()).clamp(0, 1).to(images)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _network(file: str, version: tuple[int, ...], device: torch.device) -> Uncoater:
    """A network; the last one stays loaded for the images that follow, unless it is replaced."""
    return Uncoater.load(Path(file)).to(device)


def _block(before: int, after: int) -> nn.Sequential:
    """Two convolutions with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)
