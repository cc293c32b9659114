"""The errors of the package; each message says what was found, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from siren_ext.text import printable


class SirenError(Exception):
    """Base class of every error that this package raises on purpose.

    Messages often quote file names and text from files. Control characters, line breaks and
    characters that change the text direction are shown as escapes, so quoted text cannot forge a
    line of output.

    Parameters
    ----------
    message : object
        What was found, what was expected and what to do.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class ConfigError(SirenError):
    """A setting has an impossible value or an unknown name."""


class BusyError(ConfigError):
    """Another run is writing the same output."""


class ImageError(SirenError):
    """An image file can't be read, or is too large or malformed to be handled safely."""


class DatasetError(SirenError):
    """A folder or dataset description contains no usable images or contradicts itself."""


class NoImagesError(DatasetError):
    """A folder or dataset description contains no usable image.

    Parameters
    ----------
    message : object
        What was found and what was expected.
    problems : Sequence[tuple[str, str]]
        Name of each file that can't be used, and why.
    notices : Sequence[str]
        What else was left out.
    """

    def __init__(
        self,
        message: object,
        problems: Sequence[tuple[str, str]] = (),
        notices: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.problems, self.notices = tuple(problems), tuple(notices)


class CoaterError(SirenError):
    """A coater file is damaged, has another format, or does not suit the task."""


class ModelError(SirenError):
    """A diffusion model is missing, unreadable or incomplete."""


class AdapterError(SirenError):
    """An adapter (LoRA) file does not fit the model or has parts that cannot be read."""


class ScoreError(SirenError):
    """Scores are missing, malformed or come from another coater."""


class EvidenceError(SirenError):
    """A key, commitment, signature or report is missing, damaged or does not match."""


class MissingExtraError(SirenError):
    """An optional dependency is not installed.

    Parameters
    ----------
    package : str
        Name of the missing package.
    extra : str
        The extra of siren-ext that installs it.
    """

    def __init__(self, package: str, extra: str = "models") -> None:
        super().__init__(
            f"This step needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'siren-ext[{extra}]'"
        )


class Cancelled(SirenError):  # noqa: N818 - the user's decision, not an error
    """The user stopped a long step; finished work is kept."""


def reason_of(error: BaseException | str) -> str:
    """Why something failed: the words of the system, without number and path, if there are any.

    Parameters
    ----------
    error : BaseException | str
        What was raised, or its words.
    """
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def first_line(error: BaseException) -> str:
    """The first line of an error of another library, or the name of its class if it has no words.

    Parameters
    ----------
    error : BaseException
        What was raised.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def words_of(error: SirenError | OSError) -> str:
    """What an error says to a person.

    Parameters
    ----------
    error : SirenError | OSError
        What was raised.
    """
    if isinstance(error, SirenError):
        return str(error)
    path = Path(str(error.filename2 or error.filename or "A file"))
    if path.name.startswith(".part-"):  # a file that would have been renamed
        path = path.parent
    if isinstance(error, FileExistsError):  # its folder could not be made
        return printable(
            f"{path} is a file or a broken link; expected a folder. Choose another place."
        )
    return printable(
        f"{path} can't be read or written ({error.strerror or error}); check the path, its "
        "permissions and the free space."
    )
