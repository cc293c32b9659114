"""Several processes make the pictures of one; after kills nothing is lost or made twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from support.inline_engine import InlineEngine
from support.tiny_models import need_models, shared_model

from siren_ext.errors import Cancelled, ConfigError
from siren_ext.progress import Progress
from siren_ext.scale import run as module
from siren_ext.scale.generate import Generated, generate_with_workers
from siren_ext.scale.processes import ProcessEngine, ProcessWorker
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.provenance import Provenance

need_models()
pytestmark = pytest.mark.models
pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
PLAN = PromptPlan(prompts=("a red cat", "a blue dog"), count=7, steps=2, seed=3)


class Notes(Progress):
    def __init__(self, after: int = 10**9) -> None:
        super().__init__(lambda: len(self.names) >= after)
        self.names: list[str] = []

    def advance(self, units: int = 1, note: str = "") -> None:
        self.names.append(note)
        super().advance(units, note)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "engine_for", lambda _, setup, __: InlineEngine(setup))


def suspect(model: Path) -> LocalSuspect:
    return LocalSuspect(model, device="cpu", batch_size=3)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("inline")
def test_files_and_record_are_those_of_one_process(model, tmp_path) -> None:
    generate_images(suspect(model), PLAN, tmp_path / "one")
    first, second = Notes(after=2), Notes()
    with pytest.raises(Cancelled):
        generate_with_workers(suspect(model), PLAN, tmp_path / "two", progress=first)
    assert first.names == [f"{index:05d}.png" for index in range(3)]  # the batch that was begun
    (tmp_path / "two" / "00001.png").write_bytes(b"changed")
    made = generate_with_workers(suspect(model), PLAN, tmp_path / "two", progress=second)
    assert made == Generated(tuple(f"{index:05d}.png" for index in range(7)), ())
    assert second.names == ["00001.png", *(f"{index:05d}.png" for index in range(3, 7))]
    assert files(tmp_path / "two") == files(tmp_path / "one")
    # each understands what the other left
    assert len(generate_images(suspect(model), PLAN, tmp_path / "two", progress=first)) == 7
    by_url = f"file://{tmp_path}/three"
    generate_with_workers(suspect(model), PLAN, by_url)
    assert files(tmp_path / "three") == files(tmp_path / "one")
    (tmp_path / "three" / "00002.png").unlink()
    third = Notes()
    generate_with_workers(suspect(model), PLAN, by_url, progress=third)
    assert third.names == ["00002.png"]


@pytest.mark.usefixtures("inline")
def test_pictures_of_others_are_kept(model, tmp_path) -> None:
    generate_with_workers(suspect(model), PLAN, tmp_path / "a")
    other = PromptPlan(prompts=("a bird",), count=7, steps=2)
    with pytest.raises(ConfigError, match="another model, adapter or plan"):
        generate_with_workers(suspect(model), other, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.png").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"without a provenance\.json"):
        generate_with_workers(suspect(model), PLAN, tmp_path / "b")
    with pytest.raises(ConfigError, match="processes is 0"):
        generate_with_workers(suspect(model), PLAN, tmp_path / "c", processes=0)
    with pytest.raises(ConfigError, match="sampler is 'heun'"):
        generate_with_workers(suspect(model), PromptPlan(sampler="heun"), tmp_path / "d")


class Killing(ProcessEngine):
    """Kills the first worker as soon as it has reported a picture."""

    def __init__(self, setup: object) -> None:
        super().__init__(setup)
        self.started: list[ProcessWorker] = []

    def start(self) -> ProcessWorker:
        self.started.append(super().start())
        return self.started[-1]

    def wait(self, workers: list[ProcessWorker]) -> list[ProcessWorker]:
        ready = super().wait(workers)
        if len(self.started) == 1:
            os.kill(self.started[0].pid, signal.SIGKILL)
        return ready


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_is_made_twice(
    model, tmp_path, monkeypatch
) -> None:
    from PIL import Image

    engines: list[Killing] = []
    monkeypatch.setattr(
        module, "ProcessEngine", lambda setup: engines.append(Killing(setup)) or engines[-1]
    )
    progress, out = Notes(), tmp_path / "two"
    made = generate_with_workers(suspect(model), PLAN, out, progress=progress)
    assert len(engines[0].started) == 2
    assert sorted(progress.names) == list(made.names)
    assert len(made.names) == 7
    assert set(files(out)) == {*made.names, "provenance.json"}
    assert list(Provenance.load(out).images) == list(made.names)  # type: ignore[union-attr]
    for path in generate_images(suspect(model), PLAN, tmp_path / "one"):
        pixels = [np.asarray(Image.open(file)).astype(int) for file in (path, out / path.name)]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1  # perhaps other threads


@pytest.mark.slow
def test_pictures_go_to_a_bucket(model, tmp_path, bucket) -> None:
    import fsspec

    store = fsspec.filesystem("s3")
    made = generate_with_workers(suspect(model), PLAN, f"{bucket}/made", processes=2)
    generate_images(suspect(model), PLAN, tmp_path / "one")
    assert len(made.names) == 7
    found = {name.rpartition("/")[2] for name in store.find("bucket/made")}
    assert found == set(files(tmp_path / "one"))
    store.rm_file("bucket/made/00004.png")
    progress = Notes()
    generate_with_workers(suspect(model), PLAN, f"{bucket}/made", progress=progress)
    assert progress.names == ["00004.png"]
