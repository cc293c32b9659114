"""Content credentials on coated files: who can read them, what they say, and what goes wrong."""

from __future__ import annotations

import base64
import json
import pickle
import traceback
from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET
from PIL import Image
from support.content_certificates import write_certificates
from support.fake_coater import FakeCoater

from siren_ext.coating.credentials import USES, ContentSigner, add_credentials
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.errors import Cancelled, DatasetError, EvidenceError
from siren_ext.files import sha256_file
from siren_ext.progress import Progress

c2pa = pytest.importorskip("c2pa")
pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def pems(tmp_path_factory) -> tuple[Path, Path]:
    return write_certificates(tmp_path_factory.mktemp("pems"))


@pytest.fixture
def signer(pems) -> ContentSigner:
    return ContentSigner(*pems)


@pytest.fixture
def three(tmp_path) -> Path:
    """A PNG, a JPEG and a WebP file."""
    folder = tmp_path / "three"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "webp"):
        Image.fromarray(pixels).save(folder / f"{suffix}.{suffix}", quality=95)
    return folder


def read(path: Path) -> dict:
    """What C2PA's own reader says of a file."""
    with c2pa.Reader(path) as reader:
        found = json.loads(reader.json())
    return found


def coated(data: Path, out: Path, **config) -> CoatManifest:
    return coat_folder(ImageSet.open(data), FakeCoater(), out, CoatConfig(**config))


def test_signed_files_are_read_by_both_readers(three, tmp_path, signer):
    out = tmp_path / "out"
    before = coated(three, out, format="keep", share=0.7)
    pixels = {entry.output: read_picture(out / entry.output).rgb for entry in before.entries}
    after = add_credentials(out, before, signer)
    assert after == CoatManifest.load(out / MANIFEST_NAME)
    assert [entry.coated for entry in after.entries].count(False) == 1, "it is signed as well"
    for entry in after.entries:
        path = out / entry.output
        assert (entry.output_sha256, entry.credentials) == (sha256_file(path), signer.fingerprint)
        assert np.array_equal(read_picture(path).rgb, pixels[entry.output])
        found = read(path)
        assert {one["code"] for one in found["validation_status"]} == {
            "signingCredential.untrusted"
        }, "nobody but the test knows its authority"
        own = found["manifests"][found["active_manifest"]]
        (said,) = (one for one in own["assertions"] if one["label"] == "cawg.training-mining")
        assert said["data"]["entries"] == {use: {"use": "notAllowed"} for use in USES}
        assert own["signature_info"]["issuer"] == "A painter"
        assert "thumbnail" not in json.dumps(found)
        assert b"siren" not in path.read_bytes().lower(), "the file does not say that it is coated"


def test_a_changed_picture_is_seen(three, tmp_path, signer):
    out = tmp_path / "out"
    add_credentials(out, coated(three, out, format="keep"), signer)
    path = out / "jpg.jpg"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert "assertion.dataHash.mismatch" in {one["code"] for one in read(path)["validation_status"]}


def test_running_again_keeps_signed_files_and_signs_new_ones(data, tmp_path, signer):
    out = tmp_path / "out"
    first = add_credentials(out, coated(data, out), signer)
    Image.new("RGB", (12, 10)).save(data / "new.png")
    again = coated(data, out)
    kept = {entry.output: entry for entry in again.entries}
    assert all(kept[entry.output] == entry for entry in first.entries)
    assert kept["new.png"].credentials is UNSET
    last = add_credentials(out, again, signer)
    assert {entry.credentials for entry in last.entries} == {signer.fingerprint}
    assert all(entry in last.entries for entry in first.entries), "signed once"


def test_a_stop_keeps_what_was_signed(data, tmp_path, signer):
    out, manifest = tmp_path / "out", coated(data, tmp_path / "out")
    calls = iter([False, False, True])
    with pytest.raises(Cancelled):
        add_credentials(out, manifest, signer, Progress(lambda: next(calls)))
    marks = [entry.credentials for entry in CoatManifest.load(out / MANIFEST_NAME).entries]
    assert 0 < marks.count(signer.fingerprint) < 10
    assert coated(data, out).entries == CoatManifest.load(out / MANIFEST_NAME).entries


def test_a_file_that_was_changed_is_not_signed(data, tmp_path, signer):
    out, manifest = tmp_path / "out", coated(data, tmp_path / "out")
    Image.new("RGB", (12, 10)).save(out / "0.png")
    with pytest.raises(DatasetError, match=r"0\.png was changed after it was coated"):
        add_credentials(out, manifest, signer)


def test_a_certificate_for_an_unknown_kind_of_key(pems: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pems
    begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
    first = certificate.read_text().removeprefix(begin).split(end)[0]
    p256, none = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d032607")
    data = base64.b64decode(first)
    assert p256 in data
    changed = base64.encodebytes(data.replace(p256, none)).decode()
    (tmp_path / "odd.pem").write_text(begin + changed + end)
    with pytest.raises(EvidenceError, match=r"odd\.pem is for a key of an unknown kind"):
        ContentSigner(tmp_path / "odd.pem", key)


def test_the_key_is_in_no_message(pems, tmp_path, signer):
    certificate, key = pems
    lines = [line for line in key.read_text().splitlines() if "-" not in line]
    assert lines
    other = write_certificates(tmp_path / "other")
    wrong = (
        (certificate, other[1], "is not the key of the first certificate in cert.pem"),
        (key, key, "key.pem contains no certificate"),
        (certificate, certificate, "cert.pem contains no private key"),
        (certificate, tmp_path / "none.pem", r"none\.pem"),
        (certificate, encrypted(key, tmp_path / "locked.pem"), "locked.pem is encrypted"),
    )
    for one, two, words in wrong:
        with pytest.raises(EvidenceError, match=words) as raised:
            ContentSigner(one, two)
        said = "".join(traceback.format_exception(raised.value))
        assert not any(line in said for line in lines)
    assert repr(signer) == f"ContentSigner({signer.fingerprint})"
    with pytest.raises(EvidenceError, match="can't be pickled"):
        pickle.dumps(signer)


def encrypted(key: Path, place: Path) -> Path:
    """The same key with a passphrase."""
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    place.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, locked))
    return place


def test_a_certificate_for_something_else_is_refused(data, tmp_path):
    signer = ContentSigner(*write_certificates(tmp_path / "pems", "SERVER_AUTH"))
    out = tmp_path / "out"
    before = coated(data, out)
    with pytest.raises(EvidenceError, match="It must be a certificate for signing content"):
        add_credentials(out, before, signer)
    assert CoatManifest.load(out / MANIFEST_NAME) == before
    assert sha256_file(out / "0.png") == before.entries[0].output_sha256
    assert not list(out.rglob(".part-*"))
