"""The errors of the package; each message says what was found, what was expected, what to do."""

from __future__ import annotations

from siren_ext.text import printable


class SirenError(Exception):
    """Base of every error that this package raises on purpose.

    Messages often quote file names and text from files. Control characters, line breaks and
    characters that reverse the text are shown as escapes, so no quoted text can forge a line of
    output.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class ConfigError(SirenError):
    """A setting has an impossible value or an unknown name."""


class ImageError(SirenError):
    """An image file can't be read, or is too large or malformed to be handled safely."""


class DatasetError(SirenError):
    """A folder or dataset description holds no usable images or contradicts itself."""


class CoaterError(SirenError):
    """A coater file is damaged, of another format, or does not fit what is asked of it."""


class ModelError(SirenError):
    """A diffusion model is missing, unreadable or lacks a needed part."""


class AdapterError(SirenError):
    """An adapter (LoRA) file does not fit the model or was only partly understood."""


class ScoreError(SirenError):
    """Scores are missing, malformed or were made by another coater."""


class EvidenceError(SirenError):
    """A key, commitment, signature or report is missing, damaged or of another make."""


class MissingExtraError(SirenError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str = "models") -> None:
        super().__init__(
            f"This step needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'siren-ext[{extra}]'"
        )


class Cancelled(SirenError):  # noqa: N818 - a decision of the user, not a fault
    """The user stopped a long step; what was finished is kept."""
