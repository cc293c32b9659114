"""Reading the published pair, from state dicts made here with the published names."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.nets.blocks import normalise
from siren_ext.coater.official import load_official
from siren_ext.errors import CoaterError

State = dict[str, Tensor]


def block(name: str, wide: int, out: int, generator: torch.Generator) -> State:
    """Convolution and batch norm as PyTorch names them in a Sequential."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        f"{name}.layers.0.weight": draw(out, wide, 3, 3) / (3 * wide**0.5),
        f"{name}.layers.0.bias": draw(out),
        f"{name}.layers.1.weight": 1 + 0.1 * draw(out),
        f"{name}.layers.1.bias": 0.1 * draw(out),
        f"{name}.layers.1.running_mean": draw(out),
        f"{name}.layers.1.running_var": 5 + draw(out).abs(),
        f"{name}.layers.1.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture(scope="module")
def states() -> tuple[State, State]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    made: State = {"msg": torch.randint(0, 2, (1, 48), generator=generator).float()}
    for number in range(4):
        made |= block(f"conv_bns.{number}", 64 if number else 3, 64, generator)
    made |= block("after_concat_layer", 115, 64, generator)
    made |= {"final_layer.weight": draw(3, 64, 1, 1) / 8, "final_layer.bias": draw(3)}
    read: State = {"center": draw(1, 48)}
    for number in range(8):
        read |= block(f"layers.{number}", 64 if number else 3, 64, generator)
    read |= block("layers.8", 64, 48, generator)
    read |= {"linear.weight": draw(48, 48), "linear.bias": draw(48)}
    return made, read


def written(folder: Path, generator: Any, extractor: Any) -> tuple[Path, Path]:
    paths = folder / "end_encoder.pth", folder / "end_decoder.pth"
    for path, data in zip(paths, (generator, extractor), strict=True):
        torch.save(data, path)
    return paths


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
    with pytest.raises(CoaterError, match="wrong order"):
        load_official(*written(tmp_path, read, made))
    without = {k: v for k, v in made.items() if k != "msg"}
    with pytest.raises(CoaterError, match=r"lack generator\.msg: these are weights from which"):
        load_official(*written(tmp_path, without, read))
    cases: dict[str, State] = {
        "conv_bns.0.layers.0.bias": {k: v for k, v in made.items() if "s.0.layers.0.b" not in k},
        "final_layer.bias": made | {"final_layer.bias": torch.zeros(4)},
        "generator.extra": made | {"extra": torch.zeros(1)},
        "not finite": made | {"final_layer.bias": torch.tensor([0.0, float("nan"), 0.0])},
        "generator.msg": made | {"msg": torch.zeros(1).expand(2**30, 2**10)},
    }
    for message, broken in cases.items():
        with pytest.raises(CoaterError, match=message):
            load_official(*written(tmp_path, broken, read))


class Nasty:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("pwned"), "x"))


def test_hostile_files(
    states: tuple[State, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, extractor = written(tmp_path, *states)
    bad = tmp_path / "bad.pth"

    def refused(match: str) -> None:
        with pytest.raises(CoaterError, match=match):
            load_official(bad, extractor)

    refused("can't be opened")
    bad.mkdir()
    refused("can't be opened")
    bad.rmdir()
    bad.write_bytes(b"")
    refused("not a file that torch.save")
    bad.write_bytes(good.read_bytes()[:-5000])
    refused("not a file that torch.save")
    bad.write_bytes(pickle.dumps(Nasty()))
    refused("not a file that torch.save")
    torch.save({"final_layer.weight": Nasty()}, bad)
    refused("more than weights")
    torch.save(states[0], bad, _use_new_zipfile_serialization=False)
    refused("load it and save it again")
    with bad.open("wb") as stream:
        stream.truncate(65 << 20)
    refused("expected at most")
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(70 << 20))
    refused("unpacks to")
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    refused("damaged")
    torch.save([1, 2], bad)
    refused("holds no generator")
    assert not (tmp_path / "pwned").exists()
