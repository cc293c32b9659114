"""Signing keys are kept like secrets."""

from __future__ import annotations

import pytest
from support.evidence_samples import PASSPHRASE

from siren_ext.errors import EvidenceError
from siren_ext.keys.signing import Signer, checked_public, is_signed


@pytest.fixture(scope="module")
def signer():
    pytest.importorskip("cryptography")
    return Signer.draw()


@pytest.mark.usefixtures("cheap")
def test_signing_keys_are_kept_like_secrets(tmp_path, signer):
    path = tmp_path / "signing.json"
    signer.save(path, PASSPHRASE)
    again = Signer.load(path, PASSPHRASE)
    assert again.public == signer.public
    private = signer._private.private_bytes_raw().hex()
    assert private not in path.read_text()
    assert private not in repr(signer)
    assert is_signed(b"x", again.sign(b"x"), signer.public)
    assert not is_signed(b"y", again.sign(b"x"), signer.public)
    with pytest.raises(EvidenceError, match="passphrase is wrong"):
        Signer.load(path, "another passphrase")
    with pytest.raises(TypeError, match="can't be pickled"):
        __import__("pickle").dumps(signer)
    assert checked_public(f" {signer.public.upper()}\n") == signer.public
    with pytest.raises(EvidenceError, match="is not a public key"):
        checked_public("abc")
