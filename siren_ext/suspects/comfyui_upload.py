"""Sends pictures to the input folder of a ComfyUI server."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from siren_ext.errors import ConfigError
from siren_ext.suspects.http import Client
from siren_ext.suspects.responses import BadAnswer, at_path


def upload_file(client: Client, path: Path) -> str:
    """Send a picture file.

    Parameters
    ----------
    client : Client
        Of the server.
    path : Path
        The picture.

    Returns
    -------
    str
        The name that the server gives it.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    BadAnswer
        If the server does not accept it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path.name} can't be read: {error.strerror}.") from error
    return upload(client, content, path.suffix.lower())


def upload(client: Client, content: bytes, suffix: str) -> str:
    """Send a picture.

    Parameters
    ----------
    client : Client
        Of the server.
    content : bytes
        The bytes of its file, from which its name is derived, so that a second upload replaces it.
    suffix : str
        End of its name, such as ``.png``.

    Returns
    -------
    str
        The name that the server gives it.

    Raises
    ------
    BadAnswer
        If the server does not accept it.
    """
    boundary = uuid.uuid4().hex
    name = f"siren_{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    data = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    answer = client.send("/upload/image", data, f"multipart/form-data; boundary={boundary}").json()
    stored, folder = at_path(answer, "name"), at_path(answer, "subfolder") or ""
    if not isinstance(stored, str):
        raise BadAnswer("The server did not give the name of the uploaded picture.")
    return f"{folder}/{stored}" if folder else stored
