"""The demo: bookkeeping at no cost, and the whole chain at reduced size on the pocket model."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.hostile_files import damaged, wrong_values
from support.stopping import Watched

import siren_ext
from siren_ext.errors import Cancelled, CoaterError, ConfigError, DatasetError, ModelError
from siren_ext.workflows.demo import DemoConfig, demo_key, run_demo
from siren_ext.workflows.demo_summary import DemoSummary
from siren_ext.workflows.run_log import RunLog

TINY = DemoConfig(
    coater="samples",
    alpha=1e-6,
    images=6,
    suspect_images=3,
    innocent_images=2,
    reference_images=4,
    training_steps=2,
    training_batch=2,
    sampling_steps=2,
)


FIGURES: dict[str, Any] = {
    "psnr_db": 40.0,
    "ssim": 0.98,
    "local_de00_p99": 1.5,
    "scores_separate": True,
    "suspect": {
        "verdict": "scores lower than this reference",
        "headline": "Found.",
        "p": 1e-9,
        "n": 30,
        "m": 100,
        "d": 0.9,
    },
    "innocent": {
        "verdict": "no difference found",
        "headline": "No.",
        "p": 0.4,
        "n": 30,
        "m": 100,
        "d": 0.1,
    },
    "seconds": 61.0,
    "peak_memory_gb": 1.2,
}


KEYED_FIGURES = FIGURES | {
    model: {**FIGURES[model], "verdict": verdict, "m": 0}
    for model, verdict in (("suspect", "coating found"), ("innocent", "no evidence"))
}


def log_of(root: Path, config: DemoConfig) -> RunLog:
    return RunLog(root / "demo.json", "demo", config.to_dict(), key="config")


def seconds(log: RunLog) -> float:
    return float(sum(log.costs()["seconds"].values()))


def finished(root: Path, config: DemoConfig) -> DemoSummary:
    """A folder that looks like a finished demo."""
    with log_of(root, config).step("all"):
        pass
    (root / "report.html").write_text("<html>")
    summary = DemoSummary(**FIGURES, report=root / "report.html")
    (root / "summary.json").write_text(json.dumps(summary.to_dict(root)))
    return summary


def test_finished_demo_is_only_read(tmp_path: Path) -> None:
    summary = finished(tmp_path, TINY)
    assert run_demo(tmp_path, config=TINY) == summary


def test_summary_in_words() -> None:
    text = DemoSummary(**FIGURES, report=Path("r")).text()
    assert "PSNR 40.0 dB" in text
    assert (
        "coated images   -> scores lower than this reference (p = 1e-09, 30 images against 100)"
    ) in text
    assert "clean originals -> no difference found (p = 0.4" in text
    assert "against" not in DemoSummary(**KEYED_FIGURES, report=Path("r")).text()
    assert "1 min 01 s, 1.2 GB" in text


def test_summary_without_its_report_is_not_finished(tmp_path: Path) -> None:
    finished(tmp_path, TINY)
    (tmp_path / "report.html").unlink()
    assert DemoSummary.load(tmp_path) is None
    summary = json.loads((tmp_path / "summary.json").read_text())
    for name in ("x" * 5000, "nul\0", "/"):  # the system can't look these up, or it is a folder
        (tmp_path / "summary.json").write_text(json.dumps(summary | {"report": name}))
        assert DemoSummary.load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"report": "report.html"}'])
def test_damaged_summary_is_not_finished(tmp_path: Path, text: str) -> None:
    finished(tmp_path, TINY)
    (tmp_path / "summary.json").write_text(text)
    assert DemoSummary.load(tmp_path) is None


def test_no_damaged_summary_is_a_finished_demo(tmp_path: Path) -> None:
    finished(tmp_path, TINY)
    path = tmp_path / "summary.json"
    text = path.read_text()
    variants = {what: json.dumps(data) for what, data in wrong_values(json.loads(text))}
    for name in ("peak_memory_gb = 3", "peak_memory_gb = None", "report = 'text'", "seconds = 3"):
        variants.pop(name, None)
    for what, (content, _) in damaged(text).items():
        path.write_bytes(content)
        assert DemoSummary.load(tmp_path) is None, what
    for what, variant in variants.items():
        if not (what.endswith(" = 3") and isinstance(json.loads(text)[what[:-4]], float)):
            path.write_text(variant)
            assert DemoSummary.load(tmp_path) is None, what
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert DemoSummary.load(tmp_path) is not None


def test_only_a_coater_without_a_key_needs_a_reference() -> None:
    counts = {"suspect": 100, "innocent": 30}
    assert DemoConfig().counts(keyed=True) == counts
    assert DemoConfig().counts(keyed=False) == counts | {"reference": 100}
    assert TINY.counts(keyed=True)["reference"] == 4


def test_the_key_of_a_demo_follows_from_its_seed() -> None:
    key = demo_key(0, 48)
    assert key == demo_key(0, 48)
    assert key.bits == 48
    assert len({demo_key(seed, 48).fingerprint() for seed in range(20)}) == 20
    means = [demo_key(seed, 48).signs().mean() for seed in range(200)]
    assert abs(sum(means)) / 200 < 4 / (200 * 48) ** 0.5


def test_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    finished(tmp_path, TINY)
    with pytest.raises(ConfigError, match=r"a demo that differs in seed \(see demo\.json\)"):
        run_demo(tmp_path, config=dataclasses.replace(TINY, seed=1))


def test_foreign_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="do not belong to a demo"):
        run_demo(tmp_path, config=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_mistyped_setting_can_be_corrected_in_the_same_folder(tmp_path: Path) -> None:
    for changed, error in (
        ({"base": str(tmp_path / "none")}, ModelError),
        ({"coater": str(tmp_path / "none")}, CoaterError),
        ({"data": str(tmp_path / "none")}, DatasetError),
    ):
        with pytest.raises(error, match="none"):
            run_demo(tmp_path / "out", config=dataclasses.replace(TINY, **changed), device="cpu")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["demo.json"]


def test_damaged_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(ConfigError, match=r"demo\.json"):
        run_demo(tmp_path, config=TINY)


def test_log_adds_up_over_interruptions(tmp_path: Path) -> None:
    def work_and_stop() -> None:
        with log_of(tmp_path, TINY).step("coat"):
            time.sleep(0.02)
            raise Cancelled

    with pytest.raises(Cancelled):
        work_and_stop()
    first = seconds(log_of(tmp_path, TINY))
    assert first >= 0.02
    again = log_of(tmp_path, TINY)
    with again.step("coat"):
        time.sleep(0.02)
    assert seconds(again) >= first + 0.02


def run_interrupted(out: Path, config: DemoConfig, stops: tuple[int, ...]) -> DemoSummary:
    """Run a demo that is stopped after so many units of work, each time, and then let through."""
    for after in stops:
        with pytest.raises(Cancelled):
            run_demo(out, progress=Watched(after + 1), config=config, device="cpu")
        assert not (out / "summary.json").exists()
    return run_demo(out, progress=Watched(), config=config, device="cpu")


def check_result(out: Path, config: DemoConfig, summary: DemoSummary) -> dict[str, Any]:
    """What every finished demo has; returns ``summary.json``."""
    assert len(list((out / "coated").glob("*.png"))) == config.images
    counts = (config.suspect_images, config.innocent_images, config.reference_images)
    for model, count in zip(("suspect", "innocent", "reference"), counts, strict=True):
        assert (out / "adapters" / f"{model}.safetensors").is_file()
        assert len(list((out / "mimicries" / model).glob("*.png"))) == count
    written: dict[str, Any] = json.loads((out / "summary.json").read_text())
    for model, count in zip(("suspect", "innocent"), counts, strict=False):
        assert (written[model]["n"], written[model]["m"]) == (count, config.reference_images)
        assert written[model]["verdict"] == "inconclusive", "so few images can't reach 1e-6"
        assert 0 < written[model]["p"] <= 1
    assert summary.report == out / "report.html"
    assert "<html" in summary.report.read_text(encoding="utf-8")
    assert (out / "innocent" / "report.html").is_file()
    assert not list(out.rglob(".part-*"))
    start, before = time.monotonic(), {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert run_demo(out, config=config) == summary
    assert time.monotonic() - start < 1
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    return written


@pytest.mark.models
def test_chain_on_a_tiny_random_model(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Coat, train three models, generate, score, verify, report; stopped twice and resumed."""
    from support.tiny_models import need_models, shared_model

    need_models()
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig

    tiny = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
    )
    Coater(tiny, seed=1).save(tmp_path / "coater.safetensors")
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    config = dataclasses.replace(
        TINY, coater=str(tmp_path / "coater.safetensors"), base=str(base), prompts=("a cat",)
    )
    out = tmp_path / "demo"
    summary = run_interrupted(out, config, (3, 14, 20))
    written = check_result(out, config, summary)
    assert written["psnr_db"] > 20


@pytest.mark.models
def test_chain_with_a_key(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A keyed coater: two models and no reference, judged by the demo's own key."""
    from support.tiny_models import need_models, shared_model

    need_models()
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig

    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, message_bits=2, working_size=32
    )
    Coater(shape, seed=1).save(tmp_path / "coater.safetensors")
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    config = dataclasses.replace(
        TINY, coater=str(tmp_path / "coater.safetensors"), base=str(base), prompts=("a cat",),
        images=2, suspect_images=2, reference_images=0,
    )  # fmt: skip
    out = tmp_path / "demo"
    summary = run_demo(out, config=config, device="cpu")
    assert [path.name for path in sorted((out / "mimicries").iterdir())] == ["innocent", "suspect"]
    assert (summary.suspect["n"], summary.suspect["m"]) == (2, 0)
    assert summary.suspect["verdict"] == "inconclusive", "two bits can't reach 1e-6"
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"]["findings"][0]["committed_as"] == demo_key(0, 2).fingerprint()
    assert DemoSummary.load(out) == summary


@pytest.mark.slow
@pytest.mark.models
def test_chain_on_the_pocket_model(tmp_path: Path) -> None:
    """The bundled model, coater and samples, at reduced size."""
    from support.tiny_models import need_models

    need_models()
    pocket = Path(siren_ext.__file__).parent / "pocket"
    for part in (
        "model/model_index.json",
        "coaters/samples.safetensors",
        "coaters/start.safetensors",
    ):
        if not (pocket / part).exists():
            pytest.skip(f"the bundled {part} is not in this tree")
    summary = run_interrupted(tmp_path, TINY, (3,))
    written = check_result(tmp_path, TINY, summary)
    assert 25 < written["psnr_db"] < 60
    assert written["ssim"] > 0.9
    assert written["scores_separate"], "the bundled coater separates its own samples"
