"""The files of a chain of evidence from options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.evidence.chain import ChainFiles


def chain_files(
    commitment: Path | None,
    timestamp: Path | None,
    root: Path | None,
    rounds: Path | None,
    coater: Path | None,
    coated: Path | None,
    salt: Path | None,
) -> ChainFiles | None:
    """The files of a chain from options; None without a commitment.

    Parameters
    ----------
    commitment, timestamp, root, rounds, coater, coated, salt
        the options of the same names.

    Returns
    -------
    ChainFiles | None
        for :func:`siren_ext.evidence.chain.check_chain`.

    Raises
    ------
    ConfigError
        something was given that only makes sense with a commitment.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.evidence.chain import ChainFiles

    if commitment is None:
        options = {"--coated": coated, "--coater": coater, "--timestamp": timestamp}
        options |= {"--root": root, "--round": rounds, "--salt": salt}
        if given := [name for name, value in options.items() if value is not None]:
            verb = "is" if len(given) == 1 else "are"
            raise ConfigError(
                f"{' and '.join(given)} {verb} compared with a --commitment, but none was given; "
                "add one."
            )
        return None
    file = coater_path(coater) if coater else None
    return ChainFiles(commitment, timestamp, root, rounds, file, coated)
