"""What an owner could give to the test of a model's file, and what the program makes of it."""

from __future__ import annotations

from pathlib import Path

import torch

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import coat_images
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, read_picture, to_tensor, to_uint8, write_picture
from siren_ext.experiments.owner_cheats import Scene
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.local import LocalSuspect
from siren_ext.verdict.verify import verify

IMAGES = 24


def opposite_originals(set_: Scene, work: Path) -> str:
    """Images with the opposite of the message are given as originals: models remove a part of it.

    The suspect is a LoRA that was trained for one step, on the images as they are.
    """
    coater = Coater.load(coater_path("keyed"))
    opposite, folder = CoatingKey(-set_.key.signs(), bytes(32)), work / "opposite"
    folder.mkdir()
    for item in sample_set().items[:IMAGES]:
        coated = coat_images(to_tensor(read_picture(item.path).rgb), coater, key=opposite)
        write_picture(Picture(to_uint8(coated[0])), folder / item.path.name)
        (folder / f"{item.path.stem}.txt").write_text(item.caption or "", encoding="utf-8")
    lora = work / "one_step.safetensors"
    personalize(sample_set(), "pocket", PersonalizeConfig(steps=1), lora, device="cpu")
    suspect = LocalSuspect("pocket", lora, dtype=torch.float32)
    scores = measure_preference(suspect, ImageSet.open(folder), coater, PreferenceConfig())
    said = verify(scores, key=set_.key, coater=coater)
    whole = said.deciding.whole
    assert whole is not None
    return (
        f"{said.outcome}: p = {whole.p_value:.1g}, but the base model in its place has "
        f"{whole.base_p:.1g}"
    )
