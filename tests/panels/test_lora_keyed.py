"""A LoRA is tested with a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.keyed_samples import BITS, noise, owners_key

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ConfigError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.panels.generation import ImageRequest
from siren_ext.panels.lora import KEY_ALONE, lora_step, reference_remark
from siren_ext.panels.verify import verdict_values
from siren_ext.progress import Progress

pytestmark = pytest.mark.usefixtures("cheap")


class Generator:
    """Draws noise."""

    def __init__(self) -> None:
        self.requests: list[ImageRequest] = []

    def checkpoints(self) -> list[str]:
        return ["tiny"]

    def loras(self) -> list[str]:
        return ["accused"]

    def generate(self, request: ImageRequest, out: Path, progress: Progress) -> dict[str, object]:
        self.requests.append(request)
        noise(out, request.count, request.seed + len(request.loras))
        return {"prompts": list(request.prompts)}


REQUEST = ImageRequest("tiny", (("accused", 1.0),), ("a dog",), 8, 1, 3, 7.0, 64)


@pytest.mark.parametrize(("clean", "roles"), [([], 1), ([()], 2)])
def test_a_lora_with_a_key(
    keyed: Coater, tmp_path: Path, clean: list[tuple[()]], roles: int
) -> None:
    key, generator = owners_key(keyed, noise(tmp_path / "same", 8, seed=2)), Generator()
    job = tmp_path / "job"
    job.mkdir()
    done = lora_step(generator, REQUEST, clean, 9, keyed, job, alpha=1e-6, key=key)
    card, charts, report, low, _ = verdict_values(done, reference_remark(clean))
    assert len(generator.requests) == roles
    assert "<b>100 %</b><span>how well the secret message fits" in card
    assert ("without a LoRA" in card) is (roles == 2)
    assert charts.count("<svg") == (1 if roles == 1 else 3)
    assert len(report) == 2
    assert low


def test_nothing_is_generated_for_an_impossible_test(
    keyed: Coater, plain: Coater, tmp_path: Path
) -> None:
    key, generator = CoatingKey.draw(BITS), Generator()
    with pytest.raises(ConfigError, match="key can decide, but no key"):
        lora_step(generator, REQUEST, [], 9, keyed, tmp_path)
    with pytest.raises(CoaterError, match="not keyed"):
        lora_step(generator, REQUEST, [], 9, plain, tmp_path, key=key)
    assert generator.requests == []
    assert KEY_ALONE.startswith("no reference")
