"""The HTTP client: limits of time and size, redirects, and secrets that stay secret."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.standins import LINE_FAULTS, Standin, running

from siren_ext.errors import ConfigError
from siren_ext.suspects.http import Client
from siren_ext.suspects.responses import BadAnswer, SuspectError
from siren_ext.suspects.secret import Secret

TOKEN = "tok-very-secret"
LIMIT = 4 << 20


class Plain(Standin):
    """Answers each GET by its path, after the faults."""

    def answer(self, handler: Any, method: str, path: str, query: Any, body: Any) -> None:
        fault = self.fault()
        if fault and self.misbehave(handler, fault):
            return
        if path == "/moved":
            self.send(handler, 302, b"", Location="/here?x=1")
        elif path == "/circle":
            self.send(handler, 302, b"", Location="/circle")
        elif path == "/away":
            self.send(handler, 302, b"", Location=self.elsewhere)
        elif path == "/missing":
            self.json(handler, {"detail": "no such thing"}, 404)
        else:
            self.json(handler, {"path": path, "query": query, "method": method})


@pytest.fixture
def plain() -> Iterator[Plain]:
    with running(Plain()) as standin:
        yield standin


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    return Secret.from_env("MY_TOKEN")


def test_get_and_post(plain: Plain) -> None:
    client = Client(f"http://{plain.place}/api")
    assert client.get("/a b/ü", {"q": "ä&b"}).json() == {
        "path": "/api/a b/ü",
        "query": {"q": "ä&b"},
        "method": "GET",
    }
    assert client.post("x", {"n": 1}).json()["method"] == "POST"
    assert plain.seen[-1][2] == {"n": 1}


@pytest.mark.parametrize("fault", LINE_FAULTS)
def test_bad_lines_are_bad_answers_and_bounded(plain: Plain, fault: str) -> None:
    timeout = 0.3 if fault in ("hang", "drip", "head drip") else 20.0
    client = Client(f"http://{plain.place}", timeout=timeout)
    plain.faults = [fault]
    start = time.monotonic()
    with pytest.raises(BadAnswer) as caught:
        client.get("/", limit=LIMIT).json()
    assert time.monotonic() - start < 4
    expected = {
        "500": "500",
        "429": "429",
        "html": "not JSON but begins with '<html>",
        "hang": "within 0.3 s",
        "drip": "within 0.3 s",
        "head drip": "within 0.3 s",
        "cut": "The answer ended after",
        "giant": "at most 4,194,304",
        "endless": "more than 4,194,304",
        "gzip": "compressed (gzip)",
        "hang up": "can't be reached, or the connection broke",
    }
    assert expected[fault] in str(caught.value)
    assert client.get("/fine").json()["path"] == "/fine"


def test_retry_after_is_read_and_bounded(plain: Plain) -> None:
    waits = []
    for header in ("7", "99999999", "999999", "Wed, 21 Oct 2099 07:28:00 GMT"):
        plain.answer = lambda h, *a, header=header: plain.send(h, 429, b"{}", Retry_After=header)  # type: ignore[method-assign]
        with pytest.raises(BadAnswer) as caught:
            Client(f"http://{plain.place}").get("/")
        waits.append(caught.value.wait)
    assert waits == [7.0, 0.0, 300.0, 0.0]


def test_redirects_stay_on_the_host(plain: Plain, secret: Secret) -> None:
    client = Client(f"http://{plain.place}", secret=secret)
    assert client.get("/moved").json()["path"] == "/here"
    with pytest.raises(SuspectError, match="more than 3 times"):
        client.get("/circle")
    with running(Plain()) as other:
        for there in (f"http://{other.place}/x", f"//{other.place}/x", "file:///etc/passwd"):
            plain.elsewhere = there
            with pytest.raises(SuspectError) as caught:
                client.get("/away")
            assert not isinstance(caught.value, BadAnswer)
        assert other.seen == []
    plain.elsewhere = f"http://{plain.place}/moved"
    plain.faults = ["redirect"]
    with pytest.raises(SuspectError, match="not followed"):
        client.post("/x", {})


def test_wrong_requests_are_not_repeated(plain: Plain) -> None:
    with pytest.raises(SuspectError, match=r"404: .*no such thing") as caught:
        Client(f"http://{plain.place}").get("/missing")
    assert not isinstance(caught.value, BadAnswer)
    with pytest.raises(BadAnswer, match="can't be reached"):
        Client("http://127.0.0.1:9", timeout=2).get("/")


def test_secret_is_sent_and_never_shown(plain: Plain, secret: Secret) -> None:
    client = Client(f"http://{plain.place}", secret=secret)
    client.get("/")
    assert plain.headers[-1]["authorization"] == f"Bearer {TOKEN}"
    plain.faults = ["forbidden"]
    with pytest.raises(SuspectError, match=r"403.*\*\*\*.*Check that the token is right") as caught:
        client.get("/")
    assert TOKEN not in str(caught.value) + repr(secret) + repr(vars(client))


def test_login_is_sent_by_basic_authentication(plain: Plain, monkeypatch) -> None:
    monkeypatch.setenv("LOGIN", "me:pass")
    client = Client(f"http://{plain.place}", secret=Secret.login_from_env("LOGIN"))
    client.get("/")
    assert plain.headers[-1]["authorization"] == "Basic bWU6cGFzcw=="
    assert client.scrub("me:pass bWU6cGFzcw==") == "*** ***"


def test_secret_needs_a_closed_line(secret: Secret) -> None:
    with pytest.raises(ConfigError, match="unencrypted; use https"):
        Client("http://example.com", secret=secret)
    Client("https://example.com", secret=secret)
    Client("http://[::1]:80", secret=secret)


@pytest.mark.parametrize("value", ["", "a b", "a\nX: y", "tök"])
def test_unusable_tokens(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MY_TOKEN", value)
    with pytest.raises(ConfigError, match="MY_TOKEN") as caught:
        Secret.from_env("MY_TOKEN")
    assert not value or value not in str(caught.value)


def test_token_itself_in_place_of_a_name_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        Secret.from_env("sk-live-123")
    assert "sk-live-123" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "http://",
        "host:80",
        "http://user:word@host",
        "http://host:99999",
        "http://host:0",
        "http://ho st",
        "http://host/x?token=1",
    ],
)
def test_odd_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(address)
    assert "word" not in str(caught.value) or "password" in str(caught.value)
    assert "user:word" not in str(caught.value)
