"""Asking black boxes: retries, pace, budget, misses, and adapters that do nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from siren_ext.errors import AdapterError, Cancelled, ConfigError
from siren_ext.progress import Progress
from siren_ext.suspects.base import Missed, PromptPlan, generate_images, read_missed
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RemoteSuspect, RequestLimits, persistently
from siren_ext.suspects.responses import (
    BadAnswer,
    Refused,
    SuspectError,
    decode_base64,
    decode_picture,
)

PLAN = PromptPlan(prompts=("a", "b"), count=4, seed=10)


QUICK = RequestLimits(backoff=0.0, attempts=3)


class Box(RemoteSuspect):
    """A black box that answers by a function of (index, scale, request number)."""

    def __init__(
        self,
        answer: Callable[[int, float, int], Tensor],
        limits: RequestLimits = QUICK,
        **options: Any,
    ) -> None:
        super().__init__(limits, **options)
        self.answer = answer
        self.times: list[float] = []

    def describe(self) -> dict[str, Any]:
        return {"kind": "box"}

    def check(self, plan: PromptPlan) -> None:
        if plan.negative:
            raise ConfigError("no negative prompts here")

    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress) -> Tensor:
        self.times.append(time.monotonic())
        return self.answer(index, scale, len(self.times))


def colour(index: int, scale: float = 1.0, number: int = 0) -> Tensor:
    image = torch.zeros(3, 8, 8)
    image[0, 0, 0] = 1.0
    image[1] = (index + 1) / 255
    image[2] = scale / 2
    return image


def fails(*numbers: int, error: type[SuspectError] = BadAnswer) -> Callable[..., Tensor]:
    def answer(index: int, scale: float, number: int) -> Tensor:
        if number in numbers:
            raise error(f"no {number}")
        return colour(index, scale)

    return answer


def test_bad_answers_are_asked_for_again(tmp_path: Path) -> None:
    box = Box(fails(1, 3, 4))
    paths = generate_images(box, PLAN, tmp_path)
    assert [p.name for p in paths] == [f"{i:05d}.png" for i in range(4)]
    assert len(box.times) == 7
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["requests"] == 7
    assert "missed" not in record


def test_what_never_comes_is_missed_and_asked_for_next_time(tmp_path: Path) -> None:
    box = Box(fails(2, 3, 4))
    paths = generate_images(box, PLAN, tmp_path)
    assert [p.name for p in paths] == ["00000.png", "00002.png", "00003.png"]
    assert read_missed(tmp_path) == [("00001.png", "no 4")]
    assert not (tmp_path / "00001.png").exists()
    again = Box(fails())
    assert len(generate_images(again, PLAN, tmp_path)) == 4
    assert len(again.times) == 1
    assert read_missed(tmp_path) == []
    assert json.loads((tmp_path / "provenance.json").read_text())["requests"] == 7


def test_a_changed_picture_that_is_refused_does_not_stay(tmp_path: Path) -> None:
    generate_images(Box(fails()), PLAN, tmp_path)
    (tmp_path / "00001.png").write_bytes((tmp_path / "00000.png").read_bytes())
    paths = generate_images(Box(fails(1, error=Refused)), PLAN, tmp_path)
    assert [p.name for p in paths] == ["00000.png", "00002.png", "00003.png"]
    assert not (tmp_path / "00001.png").exists()
    assert "00001.png" not in json.loads((tmp_path / "provenance.json").read_text())["images"]


def test_a_refused_picture_is_not_asked_for_twice() -> None:
    box = Box(fails(2, error=Refused))
    found = list(box.generate(PLAN))
    assert isinstance(found[1], Missed)
    assert len(box.times) == 4


def test_a_hopeless_run_stops(tmp_path: Path) -> None:
    box = Box(fails(*range(2, 100)), RequestLimits(backoff=0, attempts=2, give_up=2))
    with pytest.raises(SuspectError, match=r"2 pictures in a row.*no 5"):
        generate_images(box, PLAN, tmp_path)
    assert [p.name for p in tmp_path.glob("*.png")] == ["00000.png"]
    with pytest.raises(SuspectError, match="no 1"):
        list(Box(fails(1, error=SuspectError)).generate(PLAN))


def test_limit_of_requests_holds_over_runs(tmp_path: Path) -> None:
    limits = RequestLimits(backoff=0, requests=3)
    with pytest.raises(SuspectError, match="limit of 3 requests"):
        generate_images(Box(fails(2), limits), PLAN, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 2
    again = Box(fails(), limits)
    with pytest.raises(SuspectError, match="limit of 3 requests"):
        generate_images(again, PLAN, tmp_path)
    assert again.times == []
    assert len(generate_images(Box(fails(), RequestLimits(requests=5)), PLAN, tmp_path)) == 4


def test_budget_is_never_exceeded(tmp_path: Path) -> None:
    limits = RequestLimits(price=0.1, budget=0.3)
    box = Box(fails(), limits)
    with pytest.raises(SuspectError, match=r"budget of 0.3: 3 requests were made at 0.1"):
        generate_images(box, PLAN, tmp_path)
    assert len(box.times) == 3
    with pytest.raises(ConfigError, match="no price"):
        Box(fails(), RequestLimits(budget=1.0))


def test_pace_and_backoff() -> None:
    box = Box(fails(), RequestLimits(pause=0.05))
    list(box.generate(PLAN))
    gaps = [b - a for a, b in zip(box.times, box.times[1:], strict=False)]
    assert min(gaps) >= 0.045
    waits = Box(fails(1, 2), RequestLimits(backoff=0.04, attempts=3))
    list(waits.generate(PLAN, indices=[0]))
    first, second = (b - a for a, b in zip(waits.times, waits.times[1:], strict=False))
    assert first >= 0.038
    assert second >= 0.078


def test_server_may_ask_for_a_longer_wait() -> None:
    calls: list[float] = []

    def work() -> int:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise BadAnswer("later", wait=0.1)
        return 1

    assert persistently(work, RequestLimits(backoff=0)) == 1
    assert calls[1] - calls[0] >= 0.095


def test_waiting_can_be_stopped(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Cancelled):
        generate_images(
            Box(fails(1), RequestLimits(backoff=60)),
            PLAN,
            tmp_path,
            progress=Progress(lambda: True),
        )
    assert time.monotonic() - start < 5


def test_plan_is_checked_before_anything_is_asked() -> None:
    box = Box(fails())
    with pytest.raises(ConfigError, match="no negative"):
        list(box.generate(PromptPlan(negative="x", count=1)))
    assert box.times == []


def test_adapter_that_does_nothing_is_refused() -> None:
    idle = Box(lambda index, scale, number: colour(index), adapter="idle.safetensors")
    with pytest.raises(AdapterError, match=r"idle.safetensors at strength 1 changes nothing"):
        list(idle.generate(PLAN))
    works = Box(lambda index, scale, number: colour(index, scale), adapter="a", scale=0.5)
    found = list(works.generate(PLAN))
    assert len(found) == 4
    assert len(works.times) == 5  # one picture without it
    assert torch.equal(found[0].image, colour(0, 0.5))  # type: ignore[union-attr]
    list(works.generate(PLAN))
    assert len(works.times) == 9


@pytest.mark.parametrize("scheme", ["a1111", "comfyui"])
@pytest.mark.parametrize("scale", ["nan", "inf", "-1e400"])
def test_strengths_are_finite(scheme: str, scale: str) -> None:
    with pytest.raises(ConfigError, match=r"strength of stolen is .*; expected a number"):
        open_suspect(f"{scheme}://localhost?lora=stolen&scale={scale}")


def test_adapter_is_checked_on_the_first_picture_that_comes() -> None:
    box = Box(fails(1, error=Refused), adapter="a")
    found = list(box.generate(PLAN))
    assert [type(f).__name__ for f in found] == ["Missed", *["Mimicry"] * 3]
    assert len(box.times) == 1 + 2 + 2


def test_enough_stops_the_run_and_sees_earlier_pictures(tmp_path: Path) -> None:
    seen: list[str] = []

    def enough(path: Path) -> bool:
        seen.append(path.name)
        return len(seen) == 2

    assert len(generate_images(Box(fails()), PLAN, tmp_path, enough=enough)) == 2
    seen.clear()
    box = Box(fails())
    assert len(generate_images(box, PLAN, tmp_path, enough=enough)) == 2
    assert box.times == []


def test_pictures_have_to_be_pictures() -> None:
    from support.standins import bomb, noise, png

    image = noise({"prompt": "", "seed": 1, "width": 16, "height": 8})
    whole = png(image)
    assert decode_picture(whole, (16, 8)).shape == (3, 8, 16)
    for data, size, why in (
        (whole[:200], (16, 8), "can't be used"),
        (whole, (8, 16), "16x8 pixels, but 8x16 were requested"),
        (whole, (8, 8), "can't be used"),
        (b"<html>", None, "not a picture but begins with '<html>'"),
        (b"GIF89a" + whole, None, "is not a picture but begins with"),
        (b"", None, "is not a picture but begins with"),
        (bomb(), None, "read safely"),
        (bomb(4096, 4096), None, "can't be used"),
        (whole[:-20], None, "can't be used"),
    ):
        with pytest.raises(BadAnswer, match=why):
            decode_picture(data, size)
    from PIL import Image

    with pytest.raises(Refused, match="a single flat colour"):
        decode_picture(png(Image.new("RGB", (8, 8))))
    for text in (None, 3, "no base64!", "data:image/png;base64,%%%"):
        with pytest.raises(BadAnswer):
            decode_base64(text)
