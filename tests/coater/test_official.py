"""Reading the published pair, from state dicts made here with the published names."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.published_pair import State, meta_learned, published_states, work_small, written
from support.stopping import StopAfter
from torch import Tensor, nn

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.nets.blocks import normalise
from siren_ext.coater.nets.jnd import jnd_map
from siren_ext.coater.official import import_official, load_official
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.errors import Cancelled, CoaterError, DatasetError
from siren_ext.files import sha256_file


@pytest.fixture(scope="module")
def states() -> tuple[State, State]:
    return published_states()


def reference_block(state: State, name: str, x: Tensor) -> Tensor:
    """Convolution, batch norm in training mode (batch of one), GELU."""
    x = nn.functional.conv2d(
        x, state[f"{name}.layers.0.weight"], state[f"{name}.layers.0.bias"], padding=1
    )
    x = nn.functional.batch_norm(
        x,
        None,
        None,
        state[f"{name}.layers.1.weight"],
        state[f"{name}.layers.1.bias"],
        training=True,
        eps=1e-3,
    )
    return nn.functional.gelu(x)


def test_every_weight_is_taken(states: tuple[State, State], tmp_path: Path) -> None:
    coater = load_official(*written(tmp_path, *states))
    assert coater.config == CoaterConfig.preset("official")
    found = coater.tensors()
    for kind, state in zip(("generator", "extractor"), states, strict=True):
        for name, value in state.items():
            key = "center" if name == "center" else f"{kind}.{name}"
            assert torch.equal(found.pop(key), value), key
    assert not found
    assert coater.provenance["source"] == "official"
    coater.save(tmp_path / "kept.safetensors")
    assert Coater.load(tmp_path / "kept.safetensors").fingerprint == coater.fingerprint


def test_computes_what_the_published_networks_compute(
    states: tuple[State, State], tmp_path: Path
) -> None:
    coater = load_official(*written(tmp_path, *states))
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    patterns, features = [], []
    for image in images.split(1):
        x = first = normalise(image)
        for number in range(4):
            x = reference_block(states[0], f"conv_bns.{number}", x)
        message = (2 * states[0]["msg"] - 1)[..., None, None].expand(-1, -1, 32, 40)
        x = reference_block(states[0], "after_concat_layer", torch.cat([message, x, first], 1))
        head = (states[0]["final_layer.weight"], states[0]["final_layer.bias"])
        patterns.append(torch.tanh(nn.functional.conv2d(x, *head)))
        x = first
        for number in range(9):
            x = reference_block(states[1], f"layers.{number}", x)
        linear = (states[1]["linear.weight"], states[1]["linear.bias"])
        features.append(nn.functional.linear(x.mean((2, 3)), *linear))
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(coater.generator(normalise(images)), torch.cat(patterns), **close)
    found = coater.extractor(normalise(images))
    torch.testing.assert_close(found, torch.cat(features), **close)
    expected = ((found - states[1]["center"]).square().sum(1) + 1).sqrt() - 1
    torch.testing.assert_close(coater.distance(found), expected)


def test_wrappings_are_taken_off(states: tuple[State, State], tmp_path: Path) -> None:
    plain = load_official(*written(tmp_path, *states)).fingerprint
    parallel = [OrderedDict((f"module.{k}", v) for k, v in s.items()) for s in states]
    assert load_official(*written(tmp_path, *parallel)).fingerprint == plain
    nested = [{"epoch": 3, "state": {"model": s}} for s in states]
    assert load_official(*written(tmp_path, *nested)).fingerprint == plain
    both = {f"module.encoder.{k}": v for k, v in states[0].items()}
    both |= {f"module.decoder.{k}": v for k, v in states[1].items()}
    joint = {"encoder_decoder": both, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
    assert load_official(*written(tmp_path, joint, joint)).fingerprint == plain


def test_old_details(states: tuple[State, State], tmp_path: Path) -> None:
    made = {k: v for k, v in states[0].items() if "num_batches" not in k}
    made["msg"] = made["msg"].flatten()
    read = states[1] | {"center": states[1]["center"].flatten()}
    coater = load_official(*written(tmp_path, made, read))
    assert torch.equal(coater.center, states[1]["center"])
    assert torch.equal(coater.generator.msg, states[0]["msg"])


def test_wrong_files(states: tuple[State, State], tmp_path: Path) -> None:
    made, read = states
    with pytest.raises(CoaterError, match=r"swapped: .*end_encoder.pth contains the extractor"):
        load_official(*written(tmp_path, read, made))
    for kind, pair in (("extractor", (made, made)), ("generator", (read, read))):
        with pytest.raises(CoaterError, match=f"contains no {kind} in the published"):
            load_official(*written(tmp_path, *pair))
    without = {k: v for k, v in made.items() if k != "msg"}
    with pytest.raises(CoaterError, match="lacks the constant message 'msg', and the extractor on"):
        load_official(*written(tmp_path, without, read))
    with pytest.raises(CoaterError, match=r"'msg', and the extractor has no centre: these are the"):
        load_official(*written(tmp_path, *meta_learned((without, read))))
    sparse = torch.zeros(1, 48).to_sparse()
    cases: dict[str, State] = {
        "conv_bns.0.layers.0.bias": {k: v for k, v in made.items() if "s.0.layers.0.b" not in k},
        "final_layer.bias": made | {"final_layer.bias": torch.zeros(4)},
        "generator.extra": made | {"extra": torch.zeros(1)},
        "not finite": made | {"final_layer.bias": torch.tensor([0.0, float("nan"), 0.0])},
        "generator.msg": made | {"msg": torch.zeros(1).expand(2**30, 2**10)},
        r"settings: generator\.msg": made | {"msg": sparse},
    }
    for message, broken in cases.items():
        with pytest.raises(CoaterError, match=message):
            load_official(*written(tmp_path, broken, read))


# -- the centre ---------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of other shapes than the working view."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number, shape in enumerate([(40, 56, 3), (32, 32, 3), (20, 24, 3)]):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def published_centre(states: tuple[State, State], images: list[Tensor]) -> Tensor:
    """As the published code computes it, image by image, in normalised space."""
    rows = []
    for image in images:
        x = first = normalise(image)
        for number in range(4):
            x = reference_block(states[0], f"conv_bns.{number}", x)
        message = (2 * states[0]["msg"] - 1)[..., None, None].expand(-1, -1, *image.shape[2:])
        x = reference_block(states[0], "after_concat_layer", torch.cat([message, x, first], 1))
        head = (states[0]["final_layer.weight"], states[0]["final_layer.bias"])
        mask = jnd_map(image)
        x = first + 1.5 * mask * torch.tanh(nn.functional.conv2d(x, *head))
        for number in range(9):
            x = reference_block(states[1], f"layers.{number}", x)
        linear = (states[1]["linear.weight"], states[1]["linear.bias"])
        rows.append(nn.functional.linear(x.mean((2, 3)), *linear))
    return torch.cat(rows).mean(0, keepdim=True)


def test_a_meta_learned_pair_gets_the_published_centre(
    states: tuple[State, State], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_small(monkeypatch)
    pair = written(tmp_path, *meta_learned(states))
    with pytest.raises(CoaterError, match=r"contains no 'center', .* \(--data FOLDER in"):
        load_official(*pair)
    images = ImageSet.open(photos)
    coater = load_official(*pair, images)
    views = [square_view(to_tensor(read_picture(i.path).rgb), 32) for i in images.items]
    torch.testing.assert_close(coater.center, published_centre(states, views), rtol=0, atol=2e-4)
    assert coater.center.shape == (1, 48)
    assert coater.provenance == {
        "source": "official",
        "generator_sha256": sha256_file(pair[0]),
        "extractor_sha256": sha256_file(pair[1]),
        "center_images": 3,
        "center_images_sha256": images.hash,
    }
    # a centre that is there is kept, and the images are not looked at
    whole = written(tmp_path, *states)
    kept = load_official(*whole, images)
    assert torch.equal(kept.center, states[1]["center"])
    assert "center_images" not in kept.provenance


def test_features_that_are_no_numbers(
    states: tuple[State, State], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_small(monkeypatch)
    made, read = meta_learned(states)
    huge = read | {"linear.weight": torch.full((48, 48), 3e38)}
    with pytest.raises(CoaterError, match="features of the images are not finite"):
        load_official(*written(tmp_path, made, huge), ImageSet.open(photos))


# -- a coater file ------------------------------------------------------------------------


def test_a_trained_pair_becomes_a_file(states: tuple[State, State], tmp_path: Path) -> None:
    pair = written(tmp_path, *states)
    out = tmp_path / "new" / "coater.safetensors"
    made = import_official(*pair, out, tmp_path / "not there")
    assert made.images is None
    assert "trained for one set of images" in made.summary
    loaded = Coater.load(out)
    assert loaded.fingerprint == load_official(*pair).fingerprint
    assert loaded.provenance["generator_sha256"] == sha256_file(pair[0])
    before = out.read_bytes()
    with pytest.raises(CoaterError, match=r"coater\.safetensors already exists"):
        import_official(*pair, out)
    assert out.read_bytes() == before
    with pytest.raises(CoaterError, match=r"expected a name ending in \.safetensors"):
        import_official(*pair, tmp_path / "coater.pth")


def test_a_meta_learned_pair_becomes_a_file(
    states: tuple[State, State], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_small(monkeypatch)
    pair = written(tmp_path, *meta_learned(states))
    out = tmp_path / "coater.safetensors"
    with pytest.raises(CoaterError, match="contains no 'center'"):
        import_official(*pair, out)
    with pytest.raises(DatasetError):
        import_official(*pair, out, tmp_path / "not there")
    assert not out.exists()
    (photos / "bad.png").write_bytes(b"no picture")
    made = import_official(*pair, out, photos)
    assert made.images is not None
    assert len(made.images) == 3
    assert [name for name, _ in made.images.problems] == ["bad.png"]
    assert "from 3 images" in made.summary
    assert torch.equal(Coater.load(out).center, made.coater.center)


@pytest.mark.parametrize("units", [1, 4, 6])
def test_a_stop_leaves_no_file(
    states: tuple[State, State],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    units: int,
) -> None:
    work_small(monkeypatch)
    pair = written(tmp_path, *meta_learned(states))
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(Cancelled):
        import_official(*pair, folder / "c.safetensors", photos, progress=StopAfter(units))
    assert list(folder.iterdir()) == []
