"""Content credentials (C2PA) on coated files: a signed statement that they are not for training.

The statement is the assertion ``cawg.training-mining`` with the use ``notAllowed`` for training and
data mining. It is signed with the user's own certificate. It names neither this program nor the
coating, and holds no thumbnail. Nothing is fetched from or sent to a network.

References
----------
C2PA, "Content Credentials: C2PA Technical Specification"; CAWG, "Training and Data Mining
Assertion".
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NoReturn

from msgspec import structs

from siren_ext.coating.manifest import MANIFEST_NAME, CoatEntry, CoatManifest
from siren_ext.data.lossy import SUFFIXES
from siren_ext.documents import read_bytes
from siren_ext.errors import DatasetError, EvidenceError, MissingExtraError
from siren_ext.files import atomic, sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

USES = ("cawg.ai_generative_training", "cawg.ai_training", "cawg.data_mining")
"""What the statement does not allow."""
_MAX_BYTES = 1 << 20
_CERTIFICATE = "Use a PEM file with your certificate first, then those above it, up to the root."
_KEY = "Use a PEM file with the private key of the certificate."
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


class ContentSigner:
    """Signs files with a certificate of the user.

    The private key is kept by the library that signs. It is in no message, and can't be pickled.

    Parameters
    ----------
    certificates : Path
        PEM file: the user's certificate first, then those above it.
    key : Path
        PEM file of its private key, which is not encrypted.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of the certificate.

    Raises
    ------
    EvidenceError
        A file can't be read, holds something else, or the two don't belong together.
    MissingExtraError
        The package ``c2pa-python`` is not installed.
    """

    def __init__(self, certificates: Path, key: Path) -> None:
        self._c2pa = _module()
        chain, self.fingerprint, public = _certificates(certificates)
        private, algorithm = _private_key(key, public, printable(Path(certificates).name))
        info = self._c2pa.C2paSignerInfo(algorithm, chain, private, None)
        try:
            self._signer = self._c2pa.Signer.from_info(info)
            settings = self._c2pa.Settings.from_json(json.dumps(_SETTINGS))
            self._context = self._c2pa.Context(settings=settings)
        except self._c2pa.C2paError as error:
            raise _refused(error) from None  # the text of the library's error is in the message

    def sign(self, path: Path) -> None:
        """Write the statement into a file, which is replaced once it is complete.

        Parameters
        ----------
        path : Path
            A PNG, JPEG or WebP file. Its pixels and other metadata stay as they are.

        Raises
        ------
        EvidenceError
            The certificate is not one for signing content.
        DatasetError
            The file can't be read or written.
        """
        suffix = path.suffix.lower()
        kind = next(_KINDS[name] for name, known in SUFFIXES.items() if suffix in known)
        try:
            with atomic(path) as temporary:
                builder = self._c2pa.Builder(json.dumps(self._statement()), self._context)
                builder.set_intent(self._c2pa.C2paBuilderIntent.EDIT)
                with path.open("rb") as source, temporary.open("w+b") as target:
                    builder.sign(self._signer, kind, source, target)
        except self._c2pa.C2paError as error:
            raise _refused(error) from None
        except OSError as error:
            raise DatasetError(f"{path.name} can't be signed: {error.strerror}.") from error

    def _statement(self) -> dict[str, Any]:
        uses = {use: {"use": "notAllowed"} for use in USES}
        return {
            "claim_generator_info": [{"name": "c2pa-rs", "version": self._c2pa.sdk_version()}],
            "assertions": [{"label": "cawg.training-mining", "data": {"entries": uses}}],
        }

    def __repr__(self) -> str:
        return f"ContentSigner({self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise EvidenceError("A signer contains a private key and can't be pickled.")


def add_credentials(
    out: Path, manifest: CoatManifest, signer: ContentSigner, progress: Progress = NULL
) -> CoatManifest:
    """Sign all images that a coating run wrote, coated or not.

    Files that carry this certificate's credentials already stay. If only coated files were signed,
    that would tell which ones are coated.

    Parameters
    ----------
    out : Path
        The output folder.
    manifest : CoatManifest
        Its manifest.
    signer : ContentSigner
        Signs.
    progress : Progress
        Counts the images.

    Returns
    -------
    CoatManifest
        With the hashes of the signed files; also written to the folder. After a stop it has those
        that were finished.

    Raises
    ------
    EvidenceError
        The certificate is not one for signing content.
    DatasetError
        A file can't be written, or was changed since it was coated.
    Cancelled
        The user stopped the run.
    """
    entries = list(manifest.entries)
    done = sum(entry.credentials == signer.fingerprint for entry in entries)
    progress.stage("Signing", len(entries), done)
    try:
        for index, entry in enumerate(entries):
            if entry.credentials != signer.fingerprint:
                entries[index] = _signed(out / entry.output, entry, signer)
                progress.advance(1, entry.output)
    finally:
        manifest = dataclasses.replace(manifest, entries=tuple(entries))
        try:
            manifest.save(out / MANIFEST_NAME)
        except OSError as error:
            raise DatasetError(f"{MANIFEST_NAME} can't be written: {error.strerror}.") from error
    return manifest


def _signed(path: Path, entry: CoatEntry, signer: ContentSigner) -> CoatEntry:
    """Sign a file, and say so in its entry."""
    try:
        same = sha256_file(path) == entry.output_sha256
    except OSError:
        same = False
    if not same:
        raise DatasetError(
            f"{entry.output} was changed after it was coated; run the same command again to write "
            "it again."
        )
    signer.sign(path)
    return structs.replace(entry, output_sha256=sha256_file(path), credentials=signer.fingerprint)


def _certificates(path: Path) -> tuple[bytes, str, Any]:
    """PEM of the chain, SHA-256 of the first certificate, and its public key."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization

    name = printable(Path(path).name)
    data = read_bytes(
        path, error=EvidenceError, max_bytes=_MAX_BYTES, name=name, advice=_CERTIFICATE
    )
    try:
        found = x509.load_pem_x509_certificates(data)
        public = found[0].public_key()
    except (ValueError, IndexError, x509.InvalidVersion) as error:
        raise EvidenceError(f"{name} contains no certificate. {_CERTIFICATE}") from error
    except UnsupportedAlgorithm as error:
        raise EvidenceError(
            f"The first certificate in {name} is for a key of an unknown kind; expected P-256, "
            f"P-384, P-521, Ed25519 or RSA. {_CERTIFICATE}"
        ) from error
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)
    return chain, found[0].fingerprint(hashes.SHA256()).hex(), public


def _private_key(path: Path, public: Any, certificate: str) -> tuple[bytes, str]:
    """PEM of the private key, and the name of the algorithm it signs by."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    name = printable(Path(path).name)
    data = read_bytes(path, error=EvidenceError, max_bytes=_MAX_BYTES, name=name, advice=_KEY)
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise EvidenceError(
            f"{name} is encrypted; expected a key without a passphrase. Decrypt it first, for "
            "example with 'openssl pkcs8'."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise EvidenceError(f"{name} contains no private key. {_KEY}") from None
    own = private.public_key()
    if own != public:
        raise EvidenceError(f"{name} is not the key of the first certificate in {certificate}.")
    algorithm = ""
    if isinstance(own, ec.EllipticCurvePublicKey):
        algorithm = _CURVES.get(own.curve.name, "")
    elif isinstance(own, ed25519.Ed25519PublicKey):
        algorithm = "ed25519"
    elif isinstance(own, rsa.RSAPublicKey):
        algorithm = "ps256"
    if not algorithm:
        raise EvidenceError(
            f"{name} is of a kind that content credentials don't allow; expected P-256, P-384, "
            "P-521, Ed25519 or RSA."
        )
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, form, plain), algorithm


def _refused(error: Exception) -> EvidenceError:
    return EvidenceError(
        f"The files can't be signed with this certificate ({printable(str(error))[:200]}). It "
        "must be a certificate for signing content, issued by another certificate, and valid "
        "today."
    )


def _module() -> Any:
    """The package that writes content credentials."""
    try:
        import c2pa
    except (ImportError, OSError) as error:  # the latter where its library can't be loaded
        raise MissingExtraError("c2pa-python", "credentials") from error
    return c2pa
