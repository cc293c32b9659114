"""The prompts made from a class word: for the surrogate, and for what a model is asked."""

from __future__ import annotations

from siren_ext.errors import ConfigError


def class_noun(class_word: str) -> str:
    """The class word with single spaces; raises :class:`ConfigError` when it is empty."""
    word = " ".join(class_word.split())
    if not word:
        raise ConfigError(
            "The class word is empty; expected a noun for what the images show, such as dog, "
            "person or landscape."
        )
    return word


def surrogate_prompt(class_word: str) -> str:
    """The prompt under which the surrogate knows the images."""
    return f"a photo of {class_noun(class_word)}"


def class_prompt(class_word: str) -> str:
    """The prompt of the class; raises :class:`ConfigError` when the word is empty."""
    return f"an image of {class_noun(class_word)}"
