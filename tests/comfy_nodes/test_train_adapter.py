"""Train Adapter on a stand-in host: what it passes on, writes, finds again and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_host import FakeHost, nodes_of_pack, run
from support.tiny_models import need_models, shared_model

from siren_ext.errors import AdapterError, ConfigError, DatasetError, ModelError

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
    node = nodes_of_pack()["SirenTrainAdapter"]
    monkeypatch.setattr(module, "personalize", lambda *values, **_: seen.append(values))
    (combo,) = (part for part in node.define_schema().inputs if part.id == "method")
    for method in combo.options["options"]:
        found = run(node, **(INPUTS | {"method": method, "prompt": " "}))
        data, model, config, out = seen[-1]
        assert len(data) == len(list(pictures.glob("*.png")))
        assert (model, config.prompt) == ("pocket", None)
        assert (config.method, config.learning_rate) == (method, RATES[method])
        assert out == host.base / "models" / "loras" / "sub" / "mine.safetensors"
        assert found.args == ("sub/mine.safetensors",)
    run(node, **(INPUTS | {"learning_rate": 0.01, "token": "<fox>"}))
    expected = {"steps": 1, "batch_size": 1, "learning_rate": 0.01, "token": "<fox>"}
    assert seen[-1][2] == PersonalizeConfig.from_dict({**expected, "prompt": "a cat"})


def test_what_cannot_be_used_is_refused(host: FakeHost, pictures: Path) -> None:
    node = nodes_of_pack()["SirenTrainAdapter"]
    assert "can't be used as a name" in str(node.validate_inputs(save_as="../outside"))
    assert "There is no folder" in str(node.validate_inputs(folder="nothing here"))
    assert node.validate_inputs(folder="pictures", save_as="mine") is True
    with pytest.raises(ModelError, match="no checkpoint"):
        run(node, **(INPUTS | {"base": "gone.safetensors"}))
    with pytest.raises(DatasetError, match="no folder"):
        run(node, **(INPUTS | {"folder": "nothing here"}))
    with pytest.raises(ConfigError, match="learning_rate"):
        run(node, **(INPUTS | {"learning_rate": 2.0}))


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
    written = out.read_bytes()
    assert set(read_adapter(out).summary().kinds) == {"svdiff"}
    again = run(node, **inputs)
    assert again.ui["siren"][0]["title"] == "Adapter found"
    assert again.args == ("mine.safetensors",)
    for changed in ({"steps": 2}, {"method": "lora"}, {"prompt": "a dog"}):
        with pytest.raises(AdapterError, match="not overwritten"):
            run(node, **(inputs | changed))
    out.write_bytes(b"another program's")
    with pytest.raises(AdapterError, match="not overwritten"):
        run(node, **inputs)
    assert written != out.read_bytes() == b"another program's"
