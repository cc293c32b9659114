"""Who may use the service."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from siren_ext.errors import ConfigError
from siren_ext.service.tokens import Tokens, is_loopback, refuse_open_address

ONE, TWO = "first-token-0123456789", "second-token-0123456789"


def test_only_a_whole_token_is_admitted() -> None:
    tokens = Tokens([ONE, TWO])
    for good in (f"Bearer {ONE}", f"bearer {TWO}", f"Bearer  {ONE} "):
        assert tokens.admit(good)
    for bad in (None, "", ONE, f"Basic {ONE}", f"Bearer {ONE[:-1]}", f"Bearer {ONE}x", "Bearer ä"):
        assert not tokens.admit(bad)
    assert Tokens().admit(None)


def test_tokens_are_compared_in_constant_time_and_not_kept(monkeypatch) -> None:
    seen = []
    compare = hmac.compare_digest

    def compared(left: bytes, right: bytes) -> bool:
        seen.append((left, right))
        return compare(left, right)

    tokens = Tokens([ONE, TWO])
    monkeypatch.setattr("siren_ext.service.tokens.hmac.compare_digest", compared)
    assert tokens.admit(f"Bearer {ONE}")
    assert len(seen) == 2, "also after the right one was found"
    assert {len(part) for pair in seen for part in pair} == {32}
    assert ONE not in repr(vars(tokens))


def test_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text(f"# of the shop\n{ONE}\n\n  {TWO}\n")
    assert len(Tokens.read(file, None)) == 2
    monkeypatch.setenv("SHOP", ONE)
    assert Tokens.read(None, "SHOP").admit(f"Bearer {ONE}")
    assert len(Tokens.read(None, None)) == 0
    with pytest.raises(ConfigError, match="not both"):
        Tokens.read(file, "SHOP")
    with pytest.raises(ConfigError, match="'NONE' is not set"):
        Tokens.read(None, "NONE")
    file.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="has no token"):
        Tokens.read(file, None)
    with pytest.raises(ConfigError, match="none"):
        Tokens.read(tmp_path / "none", None)


@pytest.mark.parametrize("secret", ["short", "with a space in it", "umlaut-ä-0123456789"])
def test_weak_tokens_are_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="expected at least 16") as error:
        Tokens([secret])
    assert secret not in str(error.value)


def test_addresses() -> None:
    for own in ("127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"):
        assert is_loopback(own)
        refuse_open_address(own, Tokens())
    for other in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):
        assert not is_loopback(other)
        with pytest.raises(ConfigError, match="but no token"):
            refuse_open_address(other, Tokens())
        refuse_open_address(other, Tokens([ONE]))
