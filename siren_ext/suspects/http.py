"""An HTTP client on the standard library, for servers that may be hostile or broken.

Only http and https are used, and redirects to other hosts are not followed. The size of an answer
and the time of a whole exchange are limited, even if bytes arrive slowly. Compression is off, so a
small answer cannot unpack into a large one. A secret is sent only to its own host and never
unencrypted, and it never appears in messages.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin

from siren_ext.errors import ConfigError
from siren_ext.suspects.address import on_this_machine, split_address
from siren_ext.suspects.responses import BadAnswer, SuspectError, parse_json, quoted
from siren_ext.suspects.secret import Secret

MAX_JSON_BYTES = 8 << 20
MAX_WAIT = 300.0
_REDIRECTS = 3
_CHUNK = 1 << 16
_SAID = 16 << 10
_TRANSIENT = frozenset({408, 425, 429})
_SAFE_PATH = "/:@!$&'()*+,;=~-._%"

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A successful answer.

    Attributes
    ----------
    body : bytes
        Its content.
    kind : str
        The content type that it claims, in lower case.
    """

    body: bytes
    kind: str

    def json(self) -> Any:
        """The body as JSON.

        Raises
        ------
        BadAnswer
            If it is not JSON.
        """
        return parse_json(self.body)


class Client:
    """Sends requests to one scheme, host and port.

    Parameters
    ----------
    base : str
        ``http(s)://host[:port][/prefix]``, without user, password and query.
    timeout : float
        Seconds for a whole exchange, from the connection to the last byte.
    secret : Secret | None
        Sent with each request; needs https, or a server on this machine.

    Raises
    ------
    ConfigError
        If the address is malformed or contains a password, or a secret would be sent unencrypted.
    """

    def __init__(self, base: str, *, timeout: float = 60.0, secret: Secret | None = None) -> None:
        parts = split_address(base)
        if parts.query or parts.fragment:
            raise ConfigError(
                f"The address {parts.scheme}://{parts.netloc}{parts.path} has a query; expected an "
                "address without ? and #."
            )
        self.scheme = parts.scheme
        self.host = str(parts.hostname)
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self.timeout = timeout
        self.secret = secret
        if secret is not None and self.scheme != "https" and not on_this_machine(self.host):
            raise ConfigError(
                f"A token would be sent to {self.origin} unencrypted; use https (for A1111 and "
                "ComfyUI: ?tls=yes)."
            )

    @property
    def origin(self) -> str:
        """Scheme, host and port, for records and messages."""
        usual = self.port == (443 if self.scheme == "https" else 80)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, limit: int = MAX_JSON_BYTES
    ) -> Answer:
        """GET a path below the base address; follows redirects on this host.

        Parameters
        ----------
        path : str
            The path, not yet quoted.
        query : mapping of str to str or None
            The query.
        limit : int
            Largest answer in bytes.

        Raises
        ------
        BadAnswer
            If the failure may be temporary: 5xx, 429, timeout, size, a broken connection.
        SuspectError
            If trying again would not help: other 4xx, redirects to another host.
        """
        return self.fetch(self._target(path, query), limit=limit)

    def fetch(self, target: str, *, limit: int = MAX_JSON_BYTES) -> Answer:
        """GET a path with a query exactly as given, for an address that the server sent.

        Parameters
        ----------
        target : str
            The path and query, already quoted.
        limit : int
            Largest answer in bytes.

        Raises
        ------
        BadAnswer, SuspectError
            As in :meth:`get`.
        """
        path = target.partition("?")[0]
        for _ in range(_REDIRECTS + 1):
            status, headers, body = self._exchange("GET", target, None, "", limit)
            if status not in (301, 302, 303, 307, 308):
                return self._good(status, headers, body, path)
            target = self._followed(headers.get("location", ""), target, path)
        raise SuspectError(f"{self.origin}{path} redirects more than {_REDIRECTS} times.")

    def post(self, path: str, value: Any, *, limit: int = MAX_JSON_BYTES) -> Answer:
        """POST a JSON value below the base address.

        Parameters
        ----------
        path : str
            The path, not yet quoted.
        value : object
            What :mod:`json` can write.
        limit : int
            Largest answer in bytes.

        Raises
        ------
        BadAnswer, SuspectError
            As in :meth:`get`; a redirect is a :class:`SuspectError`.
        """
        import json

        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return self.send(path, data, "application/json", limit=limit)

    def send(self, path: str, data: bytes, kind: str, *, limit: int = MAX_JSON_BYTES) -> Answer:
        """POST bytes below the base address.

        Parameters
        ----------
        path : str
            The path, not yet quoted.
        data : bytes
            The body.
        kind : str
            Its content type.
        limit : int
            Largest answer in bytes.

        Raises
        ------
        BadAnswer, SuspectError
            As in :meth:`post`.
        """
        answer = self._exchange("POST", self._target(path, None), data, kind, limit)
        return self._good(*answer, path)

    def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        """Quoted path and query."""
        target = quote(f"{self.prefix}/{path.lstrip('/')}", safe=_SAFE_PATH)
        return target + (f"?{urlencode(query)}" if query else "")

    def _followed(self, location: str, target: str, path: str) -> str:
        """Path and query of a redirect, if it stays on this host."""
        there = urljoin(f"{self.origin}{target}", location)
        parts = split_address(there, SuspectError)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if (parts.scheme, parts.hostname, port) != (self.scheme, self.host, self.port):
            raise SuspectError(
                f"{self.origin}{path} redirects to {parts.scheme}://{quoted(parts.netloc)}; "
                "redirects to another host are not followed. If you trust it, give that address."
            )
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def _good(self, status: int, headers: dict[str, str], body: bytes, path: str) -> Answer:
        """The answer, if its status is a success."""
        if 200 <= status < 300:
            return Answer(body, headers.get("content-type", "").partition(";")[0].strip().lower())
        said = quoted(self.scrub(body[:_SAID].decode("utf-8", "replace")))
        message = f"{self.origin}{path} answered {status}" + (f": {said}" if said else "")
        if status >= 500 or status in _TRANSIENT:
            raise BadAnswer(message, wait=_seconds(headers.get("retry-after", "")))
        if status in (401, 403):
            raise SuspectError(
                f"{message}. Check that the token is right and has permission to do this."
            )
        if 300 <= status < 400:
            raise SuspectError(f"{message}: a redirect, which is not followed here.")
        raise SuspectError(message)

    def scrub(self, text: str) -> str:
        """The text with the secret replaced by stars, in case the server repeated it."""
        return text if self.secret is None else self.secret.scrub(text)

    def _exchange(
        self, method: str, target: str, data: bytes | None, kind: str, limit: int
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; returns status, headers in lower case and body."""
        connection = self._connection()
        headers = {"Accept-Encoding": "identity", "User-Agent": "siren-ext", "Connection": "close"}
        if data is not None:
            headers["Content-Type"] = kind
        if self.secret is not None:
            headers[self.secret.header] = self.secret.header_value

        def talk() -> tuple[int, dict[str, str], bytes]:
            connection.request(method, target, body=data, headers=headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, _body(response, limit)

        def disconnect() -> None:
            opened = connection.sock
            if opened is not None:
                with contextlib.suppress(OSError):  # it may be closed already
                    opened.shutdown(socket.SHUT_RDWR)

        address = f"{self.origin}{target.partition('?')[0]}"
        try:
            return within(self.timeout, talk, disconnect)
        except TimeoutError as error:
            raise BadAnswer(
                f"{address} did not answer completely within {self.timeout:g} s; if the server is "
                "slow, set a longer timeout."
            ) from error
        except SuspectError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise SuspectError(
                f"The certificate of {address} is not valid: {quoted(self.scrub(str(error)))}"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = str(getattr(error, "strerror", None) or error)
            why = quoted(self.scrub(said)) or type(error).__name__
            raise BadAnswer(
                f"{address} can't be reached, or the connection broke: {why}. Check "
                "that the server is running at this address."
            ) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        """A new connection, not yet open."""
        if self.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout, context=context
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)


def within(seconds: float, work: Callable[[], T], give_up: Callable[[], None]) -> T:
    """Run a function in a thread with a time limit.

    The timeout of a socket limits only each wait for the next bytes. This limits the whole
    exchange, including name resolution and the TLS handshake.

    Parameters
    ----------
    seconds : float
        The limit.
    work : callable
        The function; its result is returned and its exceptions are raised.
    give_up : callable
        Called when the time is over, to end ``work``.

    Raises
    ------
    TimeoutError
        If ``work`` has not finished in time.
    """
    results: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            results.put((True, work()))
        except BaseException as error:  # handed to the caller's thread
            results.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        fine, result = results.get(timeout=seconds)
    except queue.Empty:
        give_up()
        raise TimeoutError from None
    if not fine:
        raise result
    value: T = result
    return value


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The whole body of a response, of at most ``limit`` bytes."""
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise BadAnswer(
            f"The answer is compressed ({quoted(encoding)}), which was not requested and is not "
            "supported."
        )
    claimed = response.getheader("Content-Length") or ""
    pieces, size = [], 0
    if claimed.isdigit() and int(claimed) > limit:
        raise BadAnswer(f"The answer has {int(claimed):,} bytes; expected at most {limit:,}.")
    while piece := response.read1(_CHUNK):
        size += len(piece)
        if size > limit:
            raise BadAnswer(f"The answer has more than {limit:,} bytes, which is the limit.")
        pieces.append(piece)
    # read1 does not report an early end
    if claimed.isdigit() and size < int(claimed):
        raise BadAnswer(f"The answer ended after {size:,} of {int(claimed):,} bytes.")
    return b"".join(pieces)


def _seconds(text: str) -> float:
    """The seconds in a Retry-After header, at most 300; 0 for dates and invalid text."""
    return min(float(text), MAX_WAIT) if re.fullmatch(r"\d{1,6}", text.strip()) else 0.0
