"""What tests of the commands around keys share."""

from __future__ import annotations

import numpy as np
from support.evidence_samples import PASSPHRASE


def env(name="SECRET"):
    return ("--passphrase-env", name)


def ways(key):
    signs = key.signs()
    bits = "".join("1" if sign > 0 else "0" for sign in signs)
    return [bits, np.packbits(signs > 0).tobytes().hex(), key._salt.hex()]


def refused(call, arguments, words):
    """The command ends with one message that holds the words and no secret."""
    code, out, told = call(*arguments)
    assert (code, out) == (2, ""), arguments
    assert told.startswith("Error: ")
    assert words in told, (arguments, told)
    assert "Traceback" not in told
    assert PASSPHRASE not in told
