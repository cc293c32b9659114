"""Textual inversion: new words for the text encoder (Gal et al. 2023)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from siren_ext.adapters.keys import TEXT, TEXT_2
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import AdapterError

_TOKENIZERS = {TEXT: "tokenizer", TEXT_2: "tokenizer_2"}
_SDXL = {"clip_l": TEXT, "clip_g": TEXT_2}
RESERVED = ("emb_params", *_SDXL, "__metadata__")
"""Names in a file that can't be words: a word has none of them, and no dot."""


@dataclass(frozen=True)
class Embedding:
    """Vectors that replace a word in the prompts for one text encoder.

    Attributes
    ----------
    word : str
        The trigger word.
    component : {"text_encoder", "text_encoder_2"}
        The text encoder.
    vectors : Tensor
        n x width, one per token.
    """

    word: str
    component: str
    vectors: Tensor = field(repr=False)


def find_embeddings(path: Path, tensors: Mapping[str, Tensor]) -> tuple[Embedding, ...]:
    """The embeddings in a file.

    Parameters
    ----------
    path : Path
        The file. Embeddings in the formats ``emb_params`` (A1111, kohya) and ``clip_l``, ``clip_g``
        or both (SDXL) are named after it; a file of diffusers has one tensor named by its word.
    tensors : mapping of str to Tensor
        Its content.

    Returns
    -------
    tuple of Embedding
        Empty if the file has none of these three formats.
    """
    names = set(tensors)
    if names == {"emb_params"}:
        found = {path.stem: (TEXT, tensors["emb_params"])}
        entries = [(word, *value) for word, value in found.items()]
    elif names and names <= set(_SDXL):
        entries = [(path.stem, _SDXL[name], tensors[name]) for name in sorted(names)]
    elif len(names) == 1 and "." not in (word := next(iter(names))):
        entries = [(word, TEXT, tensors[word])]
    else:
        return ()
    if any(not t.is_floating_point() or t.ndim not in (1, 2) for _, _, t in entries):
        return ()
    return tuple(
        Embedding(word, part, vectors.reshape(-1, vectors.shape[-1]))
        for word, part, vectors in entries
    )


class Words:
    """A tokenizer that replaces trigger words by the tokens of their vectors.

    Everything else is passed on to the original tokenizer.

    Parameters
    ----------
    tokenizer : tokenizer of transformers
        The original, with the tokens added.
    expansions : mapping of str to str
        The text of the tokens of each trigger word.
    """

    def __init__(self, tokenizer: Any, expansions: Mapping[str, str]) -> None:
        self._tokenizer = tokenizer
        self._expansions = dict(expansions)

    def __call__(self, text: str | Sequence[str], **options: Any) -> Any:
        """Tokenize one text or several, with the options of the original."""
        texts = self.expand(text) if isinstance(text, str) else [self.expand(one) for one in text]
        return self._tokenizer(texts, **options)

    def expand(self, text: str) -> str:
        """Replace trigger words in a text by their tokens; only whole words."""
        for word, tokens in self._expansions.items():
            text = re.sub(word_pattern(word), tokens, text)
        return text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own, which a copy asks for before it has a tokenizer
            raise AttributeError(name)
        return getattr(self.__dict__["_tokenizer"], name)

    def __len__(self) -> int:
        return len(self._tokenizer)


def word_pattern(word: str) -> str:
    """A pattern that finds a trigger word, but not inside a longer word."""
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def count_lacking(word: str, texts: Iterable[str]) -> int:
    """How many texts lack a trigger word, so that it has no effect on them.

    Parameters
    ----------
    word : str
        The word.
    texts : iterable of str
        Prompts or captions.
    """
    return sum(not re.search(word_pattern(word), text) for text in texts)


@dataclass
class EmbeddingSwap:
    """The parts of a pipeline that were replaced to add words.

    Attributes
    ----------
    pipeline : Pipeline
        The pipeline.
    before : list of (str, tokenizer, torch.nn.Module)
        Text encoder, its original tokenizer and its original table of token vectors.
    """

    pipeline: Pipeline = field(repr=False)
    before: list[tuple[str, Any, nn.Module]] = field(default_factory=list, repr=False)

    def undo(self) -> None:
        """Put the original tokenizers and tables back."""
        for component, tokenizer, table in reversed(self.before):
            getattr(self.pipeline, component).set_input_embeddings(table)
            setattr(self.pipeline, _TOKENIZERS[component], tokenizer)


def install_embeddings(
    pipeline: Pipeline, name: str, embeddings: Sequence[Embedding]
) -> EmbeddingSwap:
    """Add words to a pipeline's tokenizers and text encoders.

    Everything is checked before anything is changed.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline to change.
    name : str
        Name of the embedding's file, for messages.
    embeddings : sequence of Embedding
        The words.

    Returns
    -------
    EmbeddingSwap
        Undoes the change.

    Raises
    ------
    AdapterError
        If an embedding does not fit the pipeline.
    """
    for embedding in embeddings:
        _check(pipeline, name, embedding)
    swap = EmbeddingSwap(pipeline)
    for embedding in embeddings:
        encoder = getattr(pipeline, embedding.component)
        tokenizer = getattr(pipeline, _TOKENIZERS[embedding.component])
        table = encoder.get_input_embeddings()
        larger, tokens = _extended(tokenizer, table, embedding)
        words = Words(larger[0], {embedding.word: tokens})
        swap.before.append((embedding.component, tokenizer, table))
        encoder.set_input_embeddings(larger[1])
        setattr(pipeline, _TOKENIZERS[embedding.component], words)
    return swap


def _check(pipeline: Pipeline, name: str, embedding: Embedding) -> None:
    """Refuse an embedding that does not fit the pipeline."""
    encoder = getattr(pipeline, embedding.component, None)
    if encoder is None:
        raise AdapterError(
            f"{name} is an embedding for a second text encoder, which this model does not have; it "
            "was made for SDXL. Load it with its own base model."
        )
    width = encoder.get_input_embeddings().weight.shape[1]
    rows, found = embedding.vectors.shape
    if found != width:
        raise AdapterError(
            f"{name} contains vectors of width {found}; this model's text encoder has {width}. "
            "Load it with the base model that it was trained on."
        )
    room = int(getattr(pipeline, _TOKENIZERS[embedding.component]).model_max_length) - 2
    if rows > room or not embedding.word.strip():
        raise AdapterError(
            f"{name} contains {rows} vectors for the word {embedding.word!r}; expected a word and "
            f"at most {room} vectors, because no more fit into a prompt."
        )


def _extended(
    tokenizer: Any, table: nn.Module, embedding: Embedding
) -> tuple[tuple[Any, nn.Embedding], str]:
    """A tokenizer and a table of token vectors with the new ones, and the text of their tokens."""
    weight: Tensor = table.weight  # type: ignore[assignment]
    larger = copy.deepcopy(tokenizer)
    marks = [f"<siren-{len(tokenizer)}-{row}>" for row in range(len(embedding.vectors))]
    larger.add_tokens(marks)
    ids = larger.convert_tokens_to_ids(marks)
    rows = max(len(weight), max(ids) + 1)
    values = torch.zeros(rows, weight.shape[1], dtype=weight.dtype, device=weight.device)
    values[: len(weight)] = weight.detach()
    values[ids] = embedding.vectors.to(weight)
    extended = nn.Embedding(rows, weight.shape[1], _weight=values)
    return (larger, extended.requires_grad_(weight.requires_grad)), " ".join(marks)
