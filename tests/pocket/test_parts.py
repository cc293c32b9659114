"""The pocket model's own vocabulary works as CLIP's tokenizer does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from siren_ext.pocket.parts import MAX_TOKENS, VOCABULARY, load_tokenizer, make_tokenizer

CAPTIONS = [
    f"{style} of {subject}"
    for style in ("a photo", "an emoji", "a flat emoji", "a line drawing", "a clip art")
    for subject in (
        "a red apple",
        "a grand piano",
        "a hawksbill turtle, swimming",
        "a café crème",
        "smiling face with heart-shaped eyes",
        "the blacksmith's shop",
        "tropical fish",
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(CAPTIONS, out)
    return out


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return load_tokenizer(folder)


def round_trip(tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip()


def test_captions_round_trip(tokenizer):
    for caption in CAPTIONS:
        # CLIP's decoder puts a space around punctuation: words are what has to survive
        assert round_trip(tokenizer, caption).replace(" ", "") == caption.replace(" ", "")


@pytest.mark.parametrize(
    "text", ["a photo of a red apple", "zebra quux", "crème brûlée", "señor übergröße", "naïve"]
)
def test_words_round_trip_exactly(tokenizer, text: str):
    assert round_trip(tokenizer, text) == text


def words() -> st.SearchStrategy[str]:
    word = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)
    return st.lists(word, min_size=1, max_size=4).map(" ".join)


@given(words())
def test_lowercase_ascii_round_trips(text: str):
    assert round_trip(_shared(), text) == text


@given(st.text(alphabet="àáâäçèéêëìíîïñòóôöùúûüß", min_size=1, max_size=8))
def test_accented_letters_round_trip(text: str):
    assert round_trip(_shared(), text) == text


def test_start_end_and_padding(tokenizer):
    ids = tokenizer("a red apple", padding="max_length", max_length=MAX_TOKENS).input_ids
    assert len(ids) == MAX_TOKENS
    assert ids[0] == tokenizer.bos_token_id
    end = ids.index(tokenizer.eos_token_id)
    assert 1 < end < MAX_TOKENS - 1
    assert set(ids[end:]) == {tokenizer.pad_token_id}
    assert tokenizer.bos_token_id != tokenizer.eos_token_id


def test_long_text_is_cut_with_its_end_token(tokenizer):
    assert tokenizer.model_max_length == MAX_TOKENS
    ids = tokenizer("red " * 100, truncation=True).input_ids
    assert len(ids) == MAX_TOKENS
    assert ids[-1] == tokenizer.eos_token_id


def test_capitals_do_not_matter(tokenizer):
    assert tokenizer("A Red APPLE").input_ids == tokenizer("a red apple").input_ids


def test_known_words_are_single_tokens(tokenizer):
    # start, "red", "apple", end: the vocabulary was learnt, not only bytes
    assert len(tokenizer("red apple").input_ids) == 4


def test_vocabulary_is_dense_and_bounded(tokenizer, folder: Path):
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    assert len(vocabulary) == len(tokenizer) <= VOCABULARY
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert VOCABULARY <= 4096


def test_merges_only_use_known_tokens(folder: Path):
    vocabulary = set(json.loads((folder / "vocab.json").read_text("utf-8")))
    merges = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    assert merges
    for merge in merges:
        left, right = merge.split()
        assert {left, right, left + right} <= vocabulary


def test_vocabulary_stays_bounded_for_many_captions(tmp_path: Path):
    many = [f"w{i:x}q{i * 7919:x} z{i * 104729:x}" for i in range(6000)]
    make_tokenizer(many, tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text("utf-8"))
    assert len(vocabulary) <= VOCABULARY
    # CLIP takes every digit for a word of its own
    assert round_trip(load_tokenizer(tmp_path), "w1f q2") == "w 1 f q 2"


def test_making_is_deterministic(tmp_path: Path, folder: Path):
    for _ in range(8):
        make_tokenizer(list(reversed(CAPTIONS)), tmp_path)
        for name in ("vocab.json", "merges.txt"):
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


_CACHE: list = []


@pytest.fixture(autouse=True, scope="module")
def _fill_cache(tokenizer):
    """Property tests can't take module fixtures per example cheaply: hand the tokenizer over."""
    _CACHE.append(tokenizer)
    yield
    _CACHE.clear()


def _shared():
    return _CACHE[0]
