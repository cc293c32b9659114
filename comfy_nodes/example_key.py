"""The key of the example LoRA, so that the example of a verification runs at once.

It is no secret: it is the key of ``siren-ext demo``, which follows from a number. So no image of
one's own may be coated with it, and its tests are not counted.
"""

from __future__ import annotations

from typing import Any

from . import files

NAME = f"key of the example LoRA{files.BUNDLED}"
_SEED, _BITS = 0, 48


def example_key() -> Any:
    """The key of the demo.

    Returns
    -------
    CoatingKey
        Always the same.
    """
    from siren_ext.workflows.demo import demo_key

    return demo_key(_SEED, _BITS)


def require_own(key: Any) -> None:
    """Refuse the example's key where one's own belongs.

    Parameters
    ----------
    key : CoatingKey | None
        The connected key.

    Raises
    ------
    EvidenceError
        It is the example's.
    """
    from siren_ext.errors import EvidenceError

    if key is not None and key == example_key():
        raise EvidenceError(
            f"The {NAME} is connected, but everybody has that key. Make a key of your own with "
            "New Key."
        )
