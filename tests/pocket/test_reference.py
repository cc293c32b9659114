"""The reference corpus: refused when incomplete, its features computed once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.small_corpus import FakeBackbone, write_corpus

from siren_ext.errors import DatasetError
from siren_ext.pocket.reference import Corpus


def test_missing_corpus_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"siren_ext\.pocket\.corpus"):
        Corpus(tmp_path, tmp_path)


def test_corpus_with_lost_captions_is_refused(tmp_path: Path):
    write_corpus(tmp_path)
    rows = json.loads((tmp_path / "captions.json").read_text("utf-8"))
    (tmp_path / "captions.json").write_text(json.dumps(rows[:-1]), encoding="utf-8")
    with pytest.raises(DatasetError, match="equal numbers"):
        Corpus(tmp_path, tmp_path)


def test_corpus_features_are_computed_once(tmp_path: Path):
    corpus = Corpus(write_corpus(tmp_path), tmp_path / "cache")
    backbone = FakeBackbone()
    rows = np.array([3, 1, 3], np.int64)
    first = corpus.features(rows, backbone)
    assert backbone.seen == 2
    np.testing.assert_array_equal(first[0], first[2])
    direct = FakeBackbone().many(corpus.tensors(np.array([1])))
    np.testing.assert_allclose(first[1], direct[0], rtol=1e-5, atol=1e-5)
    again = Corpus(tmp_path, tmp_path / "cache").features(np.array([1, 2, 3]), backbone)
    assert backbone.seen == 3
    np.testing.assert_array_equal(again[0], first[1])
