"""Train Adapter on a stand-in host: what it passes on, writes, finds again and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_host import FakeHost, nodes_of_pack, run
from support.tiny_models import need_models, shared_model

from siren_ext.errors import ConfigError, DatasetError, ModelError

INPUTS: dict[str, Any] = {
    "folder": "pictures", "base": "pocket (bundled)", "method": "lora", "save_as": "sub/mine",
    "steps": 1, "batch_size": 1, "seed": 0, "learning_rate": 0.0, "prompt": "a cat",
}  # fmt: skip


def test_settings_reach_the_training(
    host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siren_ext.personalize import run as module
    from siren_ext.personalize.config import RATES, PersonalizeConfig

    seen: list[Any] = []
    others: list[Any] = []

    def stand_in(*values: Any, class_images: Any, **_: Any) -> None:
        seen.append(values)
        others.append(class_images)

    node = nodes_of_pack()["SirenTrainAdapter"]
    monkeypatch.setattr(module, "personalize", stand_in)
    (combo,) = (part for part in node.define_schema().inputs if part.id == "method")
    for method in combo.options["options"]:
        found = run(node, **(INPUTS | {"method": method, "prompt": " "}))
        data, model, config, out = seen[-1]
        assert len(data) == len(list(pictures.glob("*.png")))
        assert (model, config.prompt) == ("pocket", None)
        assert (config.method, config.learning_rate) == (method, RATES[method])
        kind = "checkpoints" if method in ("dreambooth", "full") else "loras"
        assert out == host.base / "models" / kind / "sub" / "mine.safetensors"
        assert found.args == ("sub/mine.safetensors",)
    run(node, **(INPUTS | {"learning_rate": 0.01, "token": "<fox>"}))
    expected = {"steps": 1, "batch_size": 1, "learning_rate": 0.01, "token": "<fox>"}
    assert seen[-1][2] == PersonalizeConfig.from_dict({**expected, "prompt": "a cat"})
    assert others == [None] * len(others)
    kind = {"class_prompt": " a pet ", "class_folder": "pictures"}
    run(node, **(INPUTS | {"method": "dreambooth"} | kind))
    assert seen[-1][2].class_prompt == "a pet"
    assert others[-1].hash == seen[-1][0].hash


def test_what_cannot_be_used_is_refused(host: FakeHost, pictures: Path) -> None:
    node = nodes_of_pack()["SirenTrainAdapter"]
    assert "can't be used as a name" in str(node.validate_inputs(save_as="../outside"))
    assert "There is no folder" in str(node.validate_inputs(folder="nothing here"))
    assert "There is no folder" in str(node.validate_inputs(class_folder="nothing here"))
    assert node.validate_inputs(folder="pictures", save_as="mine", class_folder="") is True
    with pytest.raises(ConfigError, match="needs class images"):
        run(node, **(INPUTS | {"method": "dreambooth"}))
    with pytest.raises(ModelError, match="no checkpoint"):
        run(node, **(INPUTS | {"base": "gone.safetensors"}))
    with pytest.raises(DatasetError, match="no folder"):
        run(node, **(INPUTS | {"folder": "nothing here"}))
    with pytest.raises(ConfigError, match="learning_rate"):
        run(node, **(INPUTS | {"learning_rate": 2.0}))


def test_all_weights_of_a_base_that_is_no_checkpoint_are_refused(
    host: FakeHost, pictures: Path
) -> None:
    pytest.importorskip("diffusers")
    with pytest.raises(ModelError, match="Stable Diffusion 1"):
        run(nodes_of_pack()["SirenTrainAdapter"], **(INPUTS | {"method": "full"}))


@pytest.mark.models
def test_a_file_is_written_found_again_and_never_overwritten(
    host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    need_models()
    import importlib

    from siren_ext.adapters.read import read_adapter

    node = nodes_of_pack()["SirenTrainAdapter"]
    model = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    module = importlib.import_module("comfy_nodes.train_adapter")
    monkeypatch.setattr(module, "base_file", lambda _: str(model))
    inputs = INPUTS | {"method": "svdiff", "save_as": "mine"}
    assert run(node, **inputs).ui["siren"][0]["title"] == "Adapter saved"
    out = host.base / "models" / "loras" / "mine.safetensors"
    assert set(read_adapter(out).summary().kinds) == {"svdiff"}
    again = run(node, **inputs)
    assert again.ui["siren"][0]["title"] == "Adapter found"
    assert again.args == ("mine.safetensors",)
    out.write_bytes(b"")  # as a full disk leaves it
    assert run(node, **inputs).ui["siren"][0]["title"] == "Adapter saved"
    assert set(read_adapter(out).summary().kinds) == {"svdiff"}
    for changed in ({"steps": 2}, {"method": "lora"}, {"prompt": "a dog"}):
        with pytest.raises(ConfigError, match="not overwritten"):
            run(node, **(inputs | changed))
    out.write_bytes(b"another program's")
    with pytest.raises(ConfigError, match="not overwritten"):
        run(node, **inputs)
    assert out.read_bytes() == b"another program's"


@pytest.mark.models
def test_whole_models_are_checkpoints(
    host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    need_models()
    import importlib

    from safetensors import safe_open

    from siren_ext.personalize import save

    node = nodes_of_pack()["SirenTrainAdapter"]
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    module = importlib.import_module("comfy_nodes.train_adapter")
    monkeypatch.setattr(module, "base_file", lambda _: str(model))
    monkeypatch.setattr(save, "check_single", lambda _: None)  # it is too small
    inputs = INPUTS | {"method": "dreambooth", "save_as": "sub/mine", "class_folder": "pictures"}
    inputs |= {"class_prompt": "a pet"}
    first = run(node, **inputs)
    assert first.ui["siren"][0]["lines"] == ["models/checkpoints/sub/mine.safetensors"]
    with safe_open(host.base / "models" / "checkpoints" / "sub" / "mine.safetensors", "pt") as file:
        assert "model.diffusion_model.out.0.weight" in file.keys()  # noqa: SIM118 - no dictionary
    assert run(node, **inputs).ui["siren"][0]["title"] == "Model found"
    with pytest.raises(ConfigError, match=r"models/checkpoints.* not overwritten"):
        run(node, **(inputs | {"class_prompt": "a dog"}))
