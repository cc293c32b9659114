"""One careful HTTP client on the standard library, for machines that may be hostile or broken.

Only http and https; no redirect leaves the host; bodies are capped in bytes and whole exchanges in
seconds, however slowly they drip; no compression, so that no small body unpacks into a large one.
A secret goes to its own host alone, never over an open line, and never into a message.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import os
import queue
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from siren_ext.errors import ConfigError
from siren_ext.suspects.responses import BadAnswer, SuspectError, parse_json, quoted

MAX_JSON_BYTES = 8 << 20
MAX_WAIT = 300.0
_REDIRECTS = 3
_CHUNK = 1 << 16
_TRANSIENT = frozenset({408, 425, 429})
_SAFE_PATH = "/:@!$&'()*+,;=~-._%"

T = TypeVar("T")


@dataclass(frozen=True)
class Secret:
    """A token that is shown as stars; ``header`` and ``form`` say how it is sent."""

    value: str
    header: str = "Authorization"
    form: str = "Bearer {token}"
    plain: str = ""

    def __repr__(self) -> str:
        return "Secret(***)"

    @classmethod
    def from_env(
        cls, name: str, header: str = "Authorization", form: str = "Bearer {token}"
    ) -> Secret:
        """The token in environment variable ``name``; raises :class:`ConfigError` without one."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ConfigError(
                "The token is given by the name of an environment variable, such as MY_TOKEN; the "
                "name given isn't one. Never write a token itself into a file or an address."
            )
        value = os.environ.get(name, "").strip()
        if not value:
            raise ConfigError(f"The environment variable {name} is not set; put the token there.")
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ConfigError(
                f"The environment variable {name} holds spaces or characters that can't be part of "
                "a token; expected printable ASCII."
            )
        if not re.fullmatch(r"[A-Za-z0-9-]+", header) or form.count("{token}") != 1:
            raise ConfigError(
                f"A token is to be sent as {quoted(header)}: {quoted(form)}; expected the name of "
                "a header and a text with {token} in it."
            )
        return cls(value, header, form)

    @classmethod
    def login_from_env(cls, name: str) -> Secret:
        """``user:password`` in environment variable ``name``, for HTTP Basic authentication."""
        raw = cls.from_env(name).value
        return cls(base64.b64encode(raw.encode()).decode(), form="Basic {token}", plain=raw)

    @property
    def line(self) -> str:
        """What the header says."""
        return self.form.replace("{token}", self.value)


@dataclass(frozen=True)
class Answer:
    """A good answer: its bytes and the content type that it claims."""

    body: bytes
    kind: str

    def json(self) -> Any:
        """The body as JSON; raises :class:`BadAnswer`."""
        return parse_json(self.body)


class Client:
    """Requests to one scheme, host and port.

    Parameters
    ----------
    base : str
        ``http(s)://host[:port][/prefix]``; nothing else may be in it.
    timeout : float
        seconds for a whole exchange, from the connection to the last byte.
    secret : Secret | None
        sent with each request; needs https, or a server on this machine.

    Raises
    ------
    ConfigError
        another kind of address, a password in it, or a secret over an open line.
    """

    def __init__(self, base: str, *, timeout: float = 60.0, secret: Secret | None = None) -> None:
        parts = split_address(base)
        if parts.query or parts.fragment:
            raise ConfigError(
                f"The address {parts.scheme}://{parts.netloc}{parts.path} has a query behind it; "
                "expected one without."
            )
        self.scheme = parts.scheme
        self.host = str(parts.hostname)
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self.timeout = timeout
        self.secret = secret
        if secret is not None and self.scheme != "https" and not on_this_machine(self.host):
            raise ConfigError(
                f"A token would go to {self.origin} over an open line; use https (for A1111 and "
                "ComfyUI: ?tls=yes)."
            )

    @property
    def origin(self) -> str:
        """Scheme, host and port, as recorded and shown."""
        usual = self.port == (443 if self.scheme == "https" else 80)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, limit: int = MAX_JSON_BYTES
    ) -> Answer:
        """GET ``path`` below the base; follows redirects that stay on this host.

        Raises :class:`BadAnswer` for what may pass (5xx, 429, time, size, a broken line) and
        :class:`SuspectError` for what will not (other 4xx, redirects elsewhere).
        """
        return self.fetch(self._target(path, query), limit=limit)

    def fetch(self, target: str, *, limit: int = MAX_JSON_BYTES) -> Answer:
        """GET a path with its query exactly as given, as from an address that this host sent."""
        path = target.partition("?")[0]
        for _ in range(_REDIRECTS + 1):
            status, headers, body = self._exchange("GET", target, None, "", limit)
            if status not in (301, 302, 303, 307, 308):
                return self._good(status, headers, body, path)
            target = self._followed(headers.get("location", ""), target, path)
        raise SuspectError(f"{self.origin}{path} redirects more than {_REDIRECTS} times.")

    def post(self, path: str, value: Any, *, limit: int = MAX_JSON_BYTES) -> Answer:
        """POST ``value`` as JSON; a redirect is an error, as is all that :meth:`get` raises."""
        import json

        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return self.send(path, data, "application/json", limit=limit)

    def send(self, path: str, data: bytes, kind: str, *, limit: int = MAX_JSON_BYTES) -> Answer:
        """POST bytes of content type ``kind``."""
        answer = self._exchange("POST", self._target(path, None), data, kind, limit)
        return self._good(*answer, path)

    def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        target = quote(f"{self.prefix}/{path.lstrip('/')}", safe=_SAFE_PATH)
        return target + (f"?{urlencode(query)}" if query else "")

    def _followed(self, location: str, target: str, path: str) -> str:
        there = urljoin(f"{self.origin}{target}", location)
        parts = split_address(there, SuspectError)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if (parts.scheme, parts.hostname, port) != (self.scheme, self.host, self.port):
            raise SuspectError(
                f"{self.origin}{path} redirects to {parts.scheme}://{quoted(parts.netloc)}; only "
                "redirects to the same place are followed. If you trust it, give that address."
            )
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def _good(self, status: int, headers: dict[str, str], body: bytes, path: str) -> Answer:
        if 200 <= status < 300:
            return Answer(body, headers.get("content-type", "").partition(";")[0].strip().lower())
        said = self.scrub(quoted(body[:1000].decode("utf-8", "replace")))
        message = f"{self.origin}{path} answered {status}" + (f": {said}" if said else "")
        if status >= 500 or status in _TRANSIENT:
            raise BadAnswer(message, wait=_seconds(headers.get("retry-after", "")))
        if status in (401, 403):
            raise SuspectError(f"{message}. Is the token right and allowed to do this?")
        if 300 <= status < 400:
            raise SuspectError(f"{message}: a redirect, which is not followed here.")
        raise SuspectError(message)

    def scrub(self, text: str) -> str:
        """``text`` without the secret, should the other side have repeated it."""
        if self.secret is not None:
            for hidden in filter(None, (self.secret.value, self.secret.plain)):
                text = text.replace(hidden, "***")
        return text

    def _exchange(
        self, method: str, target: str, data: bytes | None, kind: str, limit: int
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self._connection()
        headers = {"Accept-Encoding": "identity", "User-Agent": "siren-ext", "Connection": "close"}
        if data is not None:
            headers["Content-Type"] = kind
        if self.secret is not None:
            headers[self.secret.header] = self.secret.line

        def talk() -> tuple[int, dict[str, str], bytes]:
            connection.request(method, target, body=data, headers=headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, _body(response, limit)

        def hang_up() -> None:
            line = connection.sock
            if line is not None:
                with contextlib.suppress(OSError):  # it was closed already
                    line.shutdown(socket.SHUT_RDWR)

        place = f"{self.origin}{target.partition('?')[0]}"
        try:
            return within(self.timeout, talk, hang_up)
        except TimeoutError as error:
            raise BadAnswer(
                f"{place} did not answer fully within {self.timeout:g} s; a longer time can be set."
            ) from error
        except SuspectError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise SuspectError(f"{place}: the certificate is not valid: {quoted(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = quoted(getattr(error, "strerror", None) or error) or type(error).__name__
            raise BadAnswer(
                f"{place} can't be reached or broke off: {self.scrub(why)}. Does the server run, "
                "at this address?"
            ) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout, context=context
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)


def split_address(text: str, kind: type[Exception] = ConfigError) -> Any:
    """The parts of an http(s) address; raises ``kind`` for any other, or with a password in it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise kind("The address can't be understood; expected http(s)://host:port.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise kind(
            f"The address begins with {str(parts.scheme)[:20]!r}; expected http(s)://host[:port]."
        )
    if parts.username is not None or parts.password is not None:
        raise kind(
            f"The address of {parts.hostname} has a name or password in it, which would end up in "
            "records; give the name of an environment variable instead."
        )
    if port == 0 or re.search(r"[\x00-\x20\x7f]", text):
        raise kind("The address has an impossible port or characters; expected http(s)://host.")
    return parts


def on_this_machine(host: str) -> bool:
    """Whether a host name is a loopback one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def within(seconds: float, work: Callable[[], T], give_up: Callable[[], None]) -> T:
    """``work()`` in a thread of its own; after ``seconds``, ``give_up()`` and TimeoutError.

    A time limit of a socket only bounds each wait for the next bytes; this bounds all of it, the
    look-up of the name and the greeting of TLS included.
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
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise BadAnswer(
            f"The answer is packed as {quoted(encoding)}, which was not asked for and isn't read."
        )
    claimed = response.getheader("Content-Length") or ""
    pieces, size = [], 0
    if claimed.isdigit() and int(claimed) > limit:
        raise BadAnswer(f"The answer has {int(claimed):,} bytes; at most {limit:,} are read.")
    while piece := response.read1(_CHUNK):
        size += len(piece)
        if size > limit:
            raise BadAnswer(f"The answer has more than {limit:,} bytes, which isn't read.")
        pieces.append(piece)
    # read1 takes an early end for the end
    if claimed.isdigit() and size < int(claimed):
        raise BadAnswer(f"The answer broke off after {size:,} of {int(claimed):,} bytes.")
    return b"".join(pieces)


def _seconds(text: str) -> float:
    """What a Retry-After header asks for; dates and nonsense count as nothing."""
    return min(float(text), MAX_WAIT) if re.fullmatch(r"\d{1,6}", text.strip()) else 0.0
