"""Requests to authorities and beacons: https, or plain http to this machine only."""

from __future__ import annotations

from urllib.parse import unquote

from siren_ext.errors import ConfigError, EvidenceError
from siren_ext.suspects.address import on_this_machine, split_address
from siren_ext.suspects.http import Client
from siren_ext.suspects.responses import SuspectError


def send_safely(url: str, data: bytes, kind: str, *, limit: int, timeout: float) -> bytes:
    """POST bytes.

    Parameters
    ----------
    url : str
        the address.
    data : bytes
        the body.
    kind : str
        its content type.
    limit : int
        largest answer in bytes.
    timeout : float
        seconds for the whole exchange.

    Returns
    -------
    bytes
        the answer.

    Raises
    ------
    ConfigError
        the address is malformed or not https.
    EvidenceError
        the server gave no usable answer.
    """
    client, path = _client(url, timeout)
    try:
        return client.send(path, data, kind, limit=limit).body
    except SuspectError as error:
        raise EvidenceError(str(error)) from error


def get_safely(url: str, *, limit: int, timeout: float) -> bytes:
    """GET an address; the parameters, result and errors are those of :func:`send_safely`."""
    client, path = _client(url, timeout)
    try:
        return client.get(path, limit=limit).body
    except SuspectError as error:
        raise EvidenceError(str(error)) from error


def _client(url: str, timeout: float) -> tuple[Client, str]:
    """A client of the server, and the path."""
    parts = split_address(url)
    if parts.scheme != "https" and not on_this_machine(str(parts.hostname)):
        raise ConfigError(f"http://{parts.netloc} is not encrypted; give an https address.")
    if parts.query or parts.fragment:
        raise ConfigError(f"The address of {parts.netloc} has a query; leave out ? and #.")
    return Client(f"{parts.scheme}://{parts.netloc}", timeout=timeout), unquote(parts.path)
