"""New words: unknown ones only, and rows that alone are trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.short_runs import load, short, trained
from support.tiny_models import need_models
from torch import nn

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import AdapterError, ConfigError, DatasetError
from siren_ext.personalize.word import TrainedRows, WordWeights, check_prompts, first_vector

need_models()
pytestmark = pytest.mark.models


def test_trained_rows() -> None:
    table = nn.Embedding(6, 3)
    rows = TrainedRows(table, 3, 2)
    ids = torch.tensor([[0, 3, 4, 5]])
    assert torch.equal(rows(ids), table(ids))
    rows(ids).sum().backward()
    assert rows.weight.grad is None
    assert torch.equal(rows.rows.grad, torch.ones(2, 3))
    with torch.no_grad():
        rows.rows += 1
    assert torch.equal(
        rows(ids) - table(ids) > 0.5,
        torch.tensor([[[False], [True], [True], [False]]]).expand(1, 4, 3),
    )


def test_known_and_impossible_words_are_refused(model: Path) -> None:
    pipeline = load(model)
    for token, said in (("cat", "knows"), ("", "one word"), ("a b", "one word"),
                        ("my.style", "without dots"), ("emb_params", "can't store")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            first_vector(pipeline, short("textual-inversion", token=token))
    with pytest.raises(ConfigError, match="not one token"):
        first_vector(pipeline, short("textual-inversion", token_start="zebra-crossing"))
    with pytest.raises(AdapterError, match="fit into a prompt"):
        WordWeights(pipeline, short("textual-inversion", token_vectors=64))
    mean = first_vector(pipeline, short("textual-inversion"))
    table = pipeline.text_encoder.get_input_embeddings().weight
    torch.testing.assert_close(mean, table.mean(0, keepdim=True))


def test_captions_must_contain_the_word(model: Path, data: ImageSet) -> None:
    config = short("textual-inversion", prompt="a photo of a cat")
    with pytest.raises(DatasetError, match="No caption contains"):
        trained(model, data, config, 0)
    check_prompts(["", "a <new1> cat"], config)
    with pytest.raises(DatasetError, match="as a separate word"):
        check_prompts(["two <new1>s"], config)


def test_a_word_behind_the_last_token_is_refused(model: Path, data: ImageSet) -> None:
    words = "a cat " * 60
    config = short("textual-inversion", prompt=f"{words}<new1>")
    with pytest.raises(DatasetError, match="comes too late in every caption"):
        trained(model, data, config, 0)
    trained(model, data, short("textual-inversion", prompt=f"a <new1> {words}"), 0)


def test_the_text_encoder_must_not_be_trained() -> None:
    with pytest.raises(ConfigError, match="does not train the text encoder"):
        short("textual-inversion", train_text_encoder=True)
