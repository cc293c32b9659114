"""How similar the patches of a picture are to those of images, by an autoencoder's latents.

This needs no model that was trained on the images: it is what remains when only a picture is at
hand. Unlike a comparison of whole images it finds a part that was copied to another place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.errors import DatasetError
from siren_ext.progress import NULL, Progress

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet
    from siren_ext.diffusion.load import Pipeline

AREAS = 4
"""A picture is divided into 4 x 4 areas, from whose spread the interval comes."""

_PATCH = 3  # cells of latents along a side
_FAINT = 1e-6


@torch.no_grad()
def descriptors(
    pipeline: Pipeline, images: ImageSet, size: int, *, progress: Progress = NULL
) -> Tensor:
    """Patches of images: 3 x 3 cells of latents, without their mean colour, of length 1.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    images : ImageSet
        n images.
    size : int
        Side of the images in pixels.
    progress : Progress
        One unit per image.

    Returns
    -------
    Tensor
        n x places x d, float32; places run along rows. Patches without any structure are zero.

    Raises
    ------
    DatasetError
        If there is no image.
    ImageError
        If an image cannot be read.
    """
    if not images.items:
        raise DatasetError(f"{images.name} contains no images; expected at least one.")
    found = []
    progress.stage("Reading patches", len(images))
    for item in images.items:
        view = crop_view(to_tensor(read_picture(item.path).rgb), size)
        found.append(_patches(pipelines.encode_latents(pipeline, view).cpu()))
        progress.advance()
    return torch.cat(found)


def _patches(latents: Tensor) -> Tensor:
    """Descriptors of one image from its latents, 1 x C x h x w."""
    spread = functional.unfold(latents, _PATCH)
    parts = spread.view(1, latents.shape[1], _PATCH**2, -1)
    flat = (parts - parts.mean(2, keepdim=True)).flatten(1, 2).transpose(1, 2)
    length = flat.norm(dim=2, keepdim=True)
    return torch.where(length > _FAINT, flat / length.clamp_min(_FAINT), torch.zeros_like(flat))


def patch_similarity(pictures: Tensor, images: Tensor) -> NDArray[np.float64]:
    """The best match in each image for the patches of pictures, by area.

    Parameters
    ----------
    pictures : Tensor
        q x places x d, of :func:`descriptors`.
    images : Tensor
        n x places x d.

    Returns
    -------
    array, shape (q, 16, n)
        For each of 4 x 4 areas of a picture the mean over its patches of the highest cosine among
        all patches of an image, from -1 to 1. Mirrored images are not matched.
    """
    places = pictures.shape[1]
    side = round(places**0.5)
    rows = torch.arange(places) // side * AREAS // side
    columns = torch.arange(places) % side * AREAS // side
    area = rows * AREAS + columns
    total = torch.zeros(len(pictures), AREAS**2, len(images))
    for number, image in enumerate(images):
        best = (pictures @ image.T).amax(2)
        total[:, :, number].index_add_(1, area, best)
    count = torch.bincount(area, minlength=AREAS**2).clamp_min(1)
    found: NDArray[np.float64] = (total / count[:, None]).double().numpy()
    used = torch.bincount(area, minlength=AREAS**2).numpy() > 0
    return found[:, used]
