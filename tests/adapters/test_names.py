"""kohya's names of modules, on a toy network."""

from __future__ import annotations

from support.toy_adapters import CONV, POINT, TEXT, K, toy

from siren_ext.adapters.names import kohya_names, text_name


def test_keys_are_those_of_kohya() -> None:
    assert set(kohya_names(toy())) == {K, CONV, POINT, K.replace("to_k", "to_v"), TEXT}
    assert text_name("text_model.encoder.x") == "lora_te_text_model_encoder_x"
