"""A new word for the text encoder, of which only the vectors are trained.

Source: Gal et al. (2023), "An image is worth one word: Personalizing text-to-image generation using
textual inversion" (arXiv 2208.01618), section 3.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from siren_ext.adapters.embeddings import (
    RESERVED,
    Embedding,
    count_lacking,
    install_embeddings,
)
from siren_ext.adapters.keys import TEXT
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.personalize.config import WITH_TOKEN, PersonalizeConfig
from siren_ext.personalize.weights import VectorWeights


class TrainedRows(nn.Embedding):
    """A table of token vectors of which a few rows are trained.

    Parameters
    ----------
    table : torch.nn.Embedding
        The table, which stays as it is.
    first, count : int
        The first row that is trained, and how many are.

    Attributes
    ----------
    rows : torch.nn.Parameter
        count x width.
    """

    def __init__(self, table: nn.Embedding, first: int, count: int) -> None:
        frozen = table.weight.detach()
        super().__init__(frozen.shape[0], frozen.shape[1], _weight=frozen)
        self.weight.requires_grad_(False)
        self.first, self.count = first, count
        self.rows = nn.Parameter(frozen[first : first + count].clone())

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of B x tokens token numbers."""
        place = ids - self.first
        new = (place >= 0) & (place < self.count)
        rows = self.rows[place.clamp(0, self.count - 1)]
        return torch.where(new[..., None], rows, super().forward(ids))


class WordWeights(VectorWeights):
    """Textual inversion: the vectors of one new word.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline, whose tokenizer and text encoder learn the word.
    config : PersonalizeConfig
        Gives the word, the number of vectors and the word to begin with.
    more : iterable of Tensor
        Other tensors that are trained with it.

    Raises
    ------
    ConfigError
        If the word is known already, or the word to begin with is not.
    AdapterError
        If the vectors don't fit into a prompt.
    """

    def __init__(
        self, pipeline: Pipeline, config: PersonalizeConfig, more: Iterable[Tensor] = ()
    ) -> None:
        self.word = config.token
        start = first_vector(pipeline, config).repeat(config.token_vectors, 1)
        name = "PersonalizeConfig.token"
        install_embeddings(pipeline, name, [Embedding(self.word, TEXT, start)])
        encoder = pipeline.text_encoder
        first = pipeline.tokenizer(self.word, add_special_tokens=False).input_ids[0]
        table = TrainedRows(encoder.get_input_embeddings(), first, config.token_vectors)
        encoder.set_input_embeddings(table)
        super().__init__([table.rows, *more])

    def vectors(self) -> Tensor:
        """The word's vectors, n x width, float32."""
        return self.pieces()[0]


def first_vector(pipeline: Pipeline, config: PersonalizeConfig) -> Tensor:
    """The vector that a new word begins with, 1 x width, after the word was checked.

    Parameters
    ----------
    pipeline : Pipeline
        The base model.
    config : PersonalizeConfig
        Gives the new word and the word to begin with.

    Raises
    ------
    ConfigError
        If the word is known already or not one word, or the word to begin with is not known.
    """
    token, tokenizer = config.token, pipeline.tokenizer
    if not token or any(letter.isspace() for letter in token):
        raise ConfigError(
            f"PersonalizeConfig.token is {token!r}; expected one word without spaces, such as "
            "'<new1>'."
        )
    # the file of a word has its vectors under the word, where these mean something else
    if "." in token or token in RESERVED:
        raise ConfigError(
            f"PersonalizeConfig.token is {token!r}, but an embeddings file can't store words with "
            "dots; expected a word without dots, such as '<new1>'."
        )
    if _single(tokenizer, token) is not None:
        raise ConfigError(
            f"PersonalizeConfig.token is {token!r}, which this model already knows; expected a "
            "new word. Choose one that no caption would contain by chance, such as '<new1>'."
        )
    table: Tensor = pipeline.text_encoder.get_input_embeddings().weight.detach()
    if not config.token_start:
        return table.float().mean(0, keepdim=True).to(table)
    known = _single(tokenizer, config.token_start)
    if known is None:
        raise ConfigError(
            f"PersonalizeConfig.token_start is {config.token_start!r}, which is not one token of "
            "this model; expected a common word such as 'dog', or nothing."
        )
    return table[known : known + 1]


def check_word(pipeline: Pipeline, prompts: Iterable[str], config: PersonalizeConfig) -> None:
    """Make the checks of :func:`check_prompts` and :func:`first_vector`, if a word is learnt."""
    if config.method in WITH_TOKEN:
        check_prompts(prompts, config)
        first_vector(pipeline, config)


def check_prompts(prompts: Iterable[str], config: PersonalizeConfig) -> None:
    """Refuse captions of which none contains the new word.

    Parameters
    ----------
    prompts : iterable of str
        All captions of the run.
    config : PersonalizeConfig
        Gives the word.

    Raises
    ------
    DatasetError
        If none contains it.
    """
    texts = list(prompts)
    if count_lacking(config.token, texts) == len(texts):
        raise DatasetError(
            f"No caption contains the new word {config.token!r} as a separate word, so nothing "
            "would be learnt; expected it in at least one caption. Give one prompt for all "
            f"images, such as 'a photo of {config.token}'."
        )


def check_tokens(pipeline: Pipeline, ids: Tensor, config: PersonalizeConfig) -> None:
    """Refuse captions that a text encoder reads up to a place before the new word only.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline, whose tokenizer knows the word.
    ids : Tensor
        Tokens of all captions of the run, n x tokens.
    config : PersonalizeConfig
        Gives the word.

    Raises
    ------
    DatasetError
        If none contains it.
    """
    first = pipeline.tokenizer(config.token, add_special_tokens=False).input_ids[0]
    if not bool((ids == first).any()):
        raise DatasetError(
            f"The new word {config.token!r} comes too late in every caption: a model reads "
            f"{ids.shape[1]} tokens, of which the first and the last are only marks, so nothing "
            "would be learnt. Shorten the captions, or put the word at the beginning."
        )


def _single(tokenizer: object, word: str) -> int | None:
    """The number of a word that is one token; None if it is several, or unknown."""
    ids = tokenizer(word, add_special_tokens=False).input_ids  # type: ignore[operator]
    unknown = getattr(tokenizer, "unk_token_id", None)
    vocabulary = tokenizer.get_vocab()  # type: ignore[attr-defined]
    if word in vocabulary:
        return int(vocabulary[word])
    return int(ids[0]) if len(ids) == 1 and ids[0] != unknown else None
