"""The coater: bounds of the coating, scores without neighbours, files that can be trusted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import _SIZE, load_file, save_file
from torch import Tensor

from siren_ext.coater import coater as coater_module
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.file import FORMAT, FORMAT_VERSION
from siren_ext.coater.nets.blocks import IMAGENET_STD
from siren_ext.coater.nets.jnd import jnd_map
from siren_ext.errors import CoaterError, ConfigError

SHAPE = CoaterConfig(
    channels=8,
    generator_blocks=2,
    extractor_blocks=2,
    bits=4,
    features=6,
    working_size=32,
    min_psnr=0,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no message": {"bits": 0},
    "pool": {"feature_layer": "pool"},
    "binary": {"head": "binary"},
    "paper": {"bits": 0, "feature_layer": "pool"},
}


def shaped(**changes: Any) -> CoaterConfig:
    return dataclasses.replace(SHAPE, **changes)


def pictures(count: int, height: int = 40, width: int = 56, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "c.safetensors"
    Coater(SHAPE, seed=1).save(path)
    return path


def test_a_coater_can_not_ask_for_gigabytes() -> None:
    assert shaped(channels=64, working_size=1024).channels == 64
    with pytest.raises(ConfigError, match=r"512 channels at 2048 x 2048 pixels.*at most"):
        shaped(channels=512, working_size=2048)


# -- coating --------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(16, 70), st.integers(16, 70), st.sampled_from([1.5, 7.0]))
def test_coating_stays_below_what_the_eye_tolerates(
    height: int, width: int, strength: float
) -> None:
    images = pictures(2, height, width)
    change = Coater(shaped(strength=strength), seed=3).residual(images)
    assert change.shape == images.shape
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    assert (change.abs() <= strength * std * jnd_map(images) + 1e-7).all()
    for edge in (change[..., 0, :], change[..., -1, :], change[..., 0], change[..., -1]):
        assert not edge.any()
    assert change.abs().max() > 0


def test_quality_floor_scales_each_image_by_itself() -> None:
    images = torch.cat([pictures(2, 32, 32), torch.full((1, 3, 32, 32), 0.5)])
    free = Coater(shaped(strength=20), seed=3).residual(images)
    held = Coater(shaped(strength=20, min_psnr=38), seed=3).residual(images)

    def decibels(change: Tensor) -> Tensor:
        return -10 * torch.log10(change.square().mean((1, 2, 3)))

    assert (decibels(free)[:2] < 38).all()
    assert (decibels(held) >= 38 - 1e-3).all()
    torch.testing.assert_close(decibels(held)[:2], torch.full((2,), 38.0))
    untouched = decibels(free) > 38
    torch.testing.assert_close(held[untouched], free[untouched])
    alone = Coater(shaped(strength=20, min_psnr=38), seed=3).residual(images[1:2])
    torch.testing.assert_close(alone, held[1:2], rtol=0, atol=1e-6)


def test_pattern_is_made_at_the_working_size() -> None:
    coater = Coater(SHAPE, seed=3)
    seen: list[torch.Size] = []
    coater.generator.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    coater.residual(pictures(1, 48, 96))
    assert seen == [torch.Size((1, 3, 32, 32))]


def test_another_working_size_keeps_the_weights() -> None:
    coater = Coater(SHAPE, seed=3)
    larger = coater.at_working_size(48)
    assert larger.config == shaped(working_size=48)
    assert all(torch.equal(value, larger.tensors()[key]) for key, value in coater.tensors().items())
    assert larger.pattern(pictures(1)).shape == (1, 3, 48, 48)
    assert coater.config == SHAPE


@pytest.mark.parametrize("variant", VARIANTS)
def test_neighbours_do_not_matter(variant: str) -> None:
    coater = Coater(shaped(**VARIANTS[variant]), seed=2)
    images = pictures(4)
    scores = coater.score(images)
    assert scores.shape == (4,)
    single = torch.cat([coater.score(image[None]) for image in images])
    torch.testing.assert_close(scores, single, rtol=0, atol=1e-5)
    turned = coater.score(torch.cat([1 - images[:1], images[[3, 0]]]))
    torch.testing.assert_close(turned[1:], scores[[3, 0]], rtol=0, atol=1e-5)
    change = coater.residual(images)
    torch.testing.assert_close(coater.residual(images[2:3]), change[2:3], rtol=0, atol=1e-5)


def test_scoring_changes_nothing() -> None:
    for norm in ("image", "running"):
        coater = Coater(shaped(norm=norm), seed=2)
        before = coater.fingerprint
        coater.score(pictures(3))
        coater.residual(pictures(3))
        assert coater.fingerprint == before


def test_running_statistics_are_an_ablation() -> None:
    """They learn while training and are used, batch or no batch, afterwards."""
    coater = Coater(shaped(norm="running"), seed=2)
    images = pictures(4)
    fresh = coater.score(images)
    coater.train()
    for _ in range(20):
        coater.features(images)
    coater.train(False)
    learnt = coater.score(images)
    assert not torch.allclose(learnt, fresh)
    torch.testing.assert_close(coater.score(images[1:2]), learnt[1:2], rtol=0, atol=1e-5)


def test_scores_of_each_head() -> None:
    sphere = Coater(SHAPE)
    features = torch.tensor([[3.0, 4.0, 0, 0, 0, 0]])
    assert sphere.distance(features).item() == pytest.approx(26**0.5 - 1)
    assert sphere.distance(sphere.center).item() == 0
    binary = Coater(shaped(head="binary"))
    assert binary.distance(torch.tensor([[2.5], [-1.0]])).tolist() == [-2.5, 1.0]
    with pytest.raises(ConfigError, match="binary head needs feature_layer 'linear'"):
        shaped(head="binary", feature_layer="pool")


def test_seed_decides_weights_and_message_and_leaves_the_global_one_alone() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (Coater(SHAPE, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.fingerprint == same.fingerprint != other.fingerprint


# -- settings -------------------------------------------------------------------------------


def test_presets() -> None:
    official = CoaterConfig.preset("official")
    numbers = (official.channels, official.generator_blocks, official.extractor_blocks)
    assert numbers == (64, 4, 8)
    assert (official.bits, official.working_size, official.strength) == (48, 512, 1.5)
    assert official.min_psnr == 0
    assert CoaterConfig.preset("default") == CoaterConfig()
    paper = CoaterConfig.preset("paper", working_size=64)
    assert (paper.bits, paper.feature_layer, paper.working_size) == (0, "pool", 64)
    with pytest.raises(
        ConfigError, match="'best' is not known; expected one of default, coarse, keyed, offic"
    ):
        CoaterConfig.preset("best")
    with pytest.raises(ConfigError, match="no setting colour"):
        CoaterConfig.preset("official", colour=1)


def test_published_pair_is_below_two_megabytes() -> None:
    coater = Coater(CoaterConfig.preset("official"))
    nets = (coater.generator, coater.extractor)
    count = sum(p.numel() for net in nets for p in net.parameters())
    assert count == 471_171
    assert 4 * count < 2e6


# -- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_file_round_trip(variant: str, tmp_path: Path) -> None:
    coater = Coater(shaped(**VARIANTS[variant]), seed=5)
    coater.center = torch.rand_like(coater.center)
    coater.provenance = {"steps": 3, "prompt": "a photo of ein Bär"}
    path = tmp_path / "c.safetensors"
    coater.save(path)
    loaded = Coater.load(path)
    assert loaded.fingerprint == coater.fingerprint
    assert loaded.config == coater.config
    assert loaded.provenance == coater.provenance
    images = pictures(2)
    assert torch.equal(loaded.score(images), coater.score(images))
    assert torch.equal(loaded.residual(images), coater.residual(images))


def test_fingerprint_depends_on_weights_centre_message_and_settings() -> None:
    def changed(name: str) -> str:
        coater = Coater(SHAPE)
        weights = {k: v.clone() for k, v in coater.tensors().items()}
        weights[name].view(-1)[0] += 1
        coater.load_tensors(weights)
        return coater.fingerprint

    prints = {Coater(SHAPE).fingerprint, Coater(shaped(strength=2)).fingerprint}
    for name in ("center", "generator.msg", "extractor.linear.bias"):
        prints.add(changed(name))
    assert len(prints) == 5


def test_other_formats_give_nearly_the_same_scores(saved: Path) -> None:
    images = pictures(2, 32, 32)
    exact = Coater.load(saved).score(images)
    rough = Coater.load(saved, dtype=torch.bfloat16).score(images)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
    double = Coater.load(saved, dtype=torch.float64).score(images)
    torch.testing.assert_close(double.float(), exact, rtol=1e-4, atol=1e-5)


def rewritten(path: Path, out: Path, change: Any = None, **meta: str) -> Path:
    """A copy with changed tensors or header texts."""
    with safe_open(str(path), framework="pt") as stream:
        header = dict(stream.metadata())
    weights = load_file(path)
    if change is not None:
        change(weights)
    save_file(weights, out, metadata=header | meta)
    return out


def config_text(**changes: Any) -> str:
    return json.dumps(SHAPE.to_dict() | changes)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"format": "lora"}, "is marked 'lora'"),
        ({"version": "99"}, "version '99'; expected 'siren_ext.coater' version '1'"),
        ({"config": "{"}, "unusable settings"),
        ({"config": "[1, 2]"}, r"unusable settings: CoaterConfig is \[1, 2\]; expected settings"),
        ({"config": "[" * 100_000}, "unusable settings"),
        ({"config": '{"channels": 4, "channels": 4}'}, "the name 'channels' twice"),
        ({"config": "{}"}, "does not match"),
        ({"config": config_text(channels="8")}, "channels is '8'"),
        ({"config": config_text(channels=8.5)}, "unusable settings"),
        ({"config": config_text(channels=10**9)}, "channels is 1000000000; expected"),
        (
            {"config": config_text(strength=float("nan"))},
            "unusable settings: config contains NaN; expected finite",
        ),
        ({"config": config_text(head="x")}, "head is 'x'"),
        ({"config": config_text(colour=1)}, "no setting colour"),
        ({"config": config_text(features=7)}, "does not match its settings: center"),
        ({"provenance": "nonsense"}, "unusable settings"),
        ({"provenance": "[]"}, "unusable settings: found list"),
    ],
)
def test_bad_headers(saved: Path, tmp_path: Path, meta: dict[str, str], message: str) -> None:
    with pytest.raises(CoaterError, match=message):
        Coater.load(rewritten(saved, tmp_path / "bad.safetensors", **meta))


def test_a_header_of_giant_networks_takes_no_memory(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise MemoryError

    giant = config_text(channels=512, generator_blocks=16, extractor_blocks=32)
    bad = rewritten(saved, tmp_path / "bad.safetensors", config=giant)
    monkeypatch.setattr(coater_module.Coater, "__init__", forbidden)
    with pytest.raises(CoaterError, match="does not match its settings"):
        Coater.load(bad)


def test_bad_tensors(saved: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    head = "extractor.linear.weight"
    count = "generator.conv_bns.0.layers.1.num_batches_tracked"
    changes = {
        "not finite": lambda w: w[head].view(-1)[0].fill_(float("nan")),
        "finite": lambda w: w["center"].fill_(float("inf")),
        "numbers": lambda w: w.update({"center": torch.full((1, 6), 1e300, dtype=torch.float64)}),
        "match its settings: extractor.linear.weight": lambda w: w.pop(head),
        "match its settings: surplus": lambda w: w.update(surplus=torch.zeros(1)),
        "settings: extractor.linear.weight": lambda w: w.update({head: torch.zeros(6, 5)}),
        "settings: center": lambda w: w.update(center=torch.zeros(1, 6, dtype=torch.int64)),
        "match its settings: generator.msg": lambda w: w.update(
            {"generator.msg": torch.zeros(1, 4, dtype=torch.int32)}
        ),
        "settings: generator.conv_bns": lambda w: w.update({count: torch.tensor(0.5)}),
    }
    # neither the oldest torch nor the oldest safetensors knows this format
    if hasattr(torch, "float8_e4m3fn") and torch.float8_e4m3fn in _SIZE:
        changes["its settings: center"] = lambda w: w.update(
            center=torch.zeros(1, 6).to(torch.float8_e4m3fn)
        )
    for message, change in changes.items():
        with pytest.raises(CoaterError, match=message):
            Coater.load(rewritten(saved, bad, change))


def test_bad_files(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    bad = tmp_path / "bad.safetensors"

    def refused(match: str) -> None:
        with pytest.raises(CoaterError, match=match) as caught:
            Coater.load(bad)
        assert str(bad) in str(caught.value)

    refused(
        "can't be opened: No such file or directory. Expected a coater's file, or one of start,"
    )
    bad.mkdir()
    refused("not a regular file; expected a coater")
    bad.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(bad)  # opening it would wait for ever
        refused("not a regular file; expected a coater")
        bad.unlink()
    for piece in (b"", whole[:5], whole[:200], whole[:-1], whole + b"x", b"\xff" * 4000):
        bad.write_bytes(piece)
        refused("not a readable safetensors file")
    torch.save({"center": torch.zeros(1, 6)}, bad)
    refused("is a PyTorch checkpoint, not a coater; expected .* siren-ext import-official")
    save_file({"center": torch.zeros(1, 6)}, bad)
    refused("is marked None")
    with bad.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    refused("a coater has at most")
    giant = json.dumps({"t": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    bad.write_bytes(len(giant).to_bytes(8, "little") + giant.encode())
    refused("not a readable safetensors file")


@settings(max_examples=40)
@given(data=st.data())
def test_damaged_bytes_never_surprise(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A flipped header byte gives a CoaterError or, in a free text, a coater; nothing else."""
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    good, bad = folder / "good.safetensors", folder / "bad.safetensors"
    if not good.exists():
        Coater(shaped(channels=4), seed=1).save(good)
    raw = bytearray(good.read_bytes())
    length = int.from_bytes(raw[:8], "little")
    place = data.draw(st.integers(0, 8 + length - 1))
    raw[place] = data.draw(st.integers(0, 255))
    bad.write_bytes(raw)
    with contextlib.suppress(CoaterError):
        Coater.load(bad)


def test_header_names_format_and_version(saved: Path) -> None:
    with safe_open(str(saved), framework="pt") as stream:
        meta = stream.metadata()
    assert (meta["format"], meta["version"]) == (FORMAT, FORMAT_VERSION)
    assert json.loads(meta["config"]) == SHAPE.to_dict()
