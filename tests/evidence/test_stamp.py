"""Time stamps of a local authority: made, checked, and refused where they do not fit."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from support.time_authority import TimeAuthority

from siren_ext.errors import ConfigError, EvidenceError
from siren_ext.evidence.stamp import check_stamp, request_stamp


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return TimeAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.json"
    path.write_text("a commitment")
    return path


def test_a_stamp_states_the_time_and_the_authority(authority, file):
    with authority.serving() as url:
        token = file.with_name("c.json.tsr")
        token.write_bytes(request_stamp(url, file))
    found = check_stamp(token, file, authority.root)
    assert abs(found.time - datetime.now(timezone.utc)) < timedelta(minutes=2)
    assert found.latest == found.time + timedelta(seconds=1), "the stated accuracy"
    assert (found.authority, found.root) == ("CN=Test authority", "CN=Test authority root")
    assert "UTC by CN=Test authority" in found.text


def test_a_stamp_of_another_file_or_authority_is_refused(authority, file, tmp_path):
    token = authority.stamped(file)
    check_stamp(token, file, authority.root)
    other = TimeAuthority(tmp_path / "other", name="Somebody else")
    with pytest.raises(
        EvidenceError, match=r"not a valid time stamp of c\.json by an authority in"
    ):
        check_stamp(token, file, other.root)
    file.write_text("a commitment, changed later")
    with pytest.raises(EvidenceError, match="Mismatch between messages"):
        check_stamp(token, file, authority.root)


def test_of_several_roots_the_one_that_the_stamp_rests_on_is_named(authority, file, tmp_path):
    token, both = authority.stamped(file), tmp_path / "both.pem"
    other = TimeAuthority(tmp_path / "other", name="Somebody else")
    both.write_bytes(other.root.read_bytes() + authority.root.read_bytes())
    found = check_stamp(token, file, both)
    assert found == check_stamp(token, file, authority.root)
    assert "Somebody else" not in found.root


def test_a_changed_token_is_refused(authority, file):
    token = authority.stamped(file)
    good = token.read_bytes()
    when = good.index(b"\x18\x0f20") + 2  # the year in GeneralizedTime
    for bad in (
        good[: when + 3] + b"1" + good[when + 4 :],
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-40],
        b"",
        b"no token",
    ):
        token.write_bytes(bad)
        with pytest.raises(EvidenceError):
            check_stamp(token, file, authority.root)


def test_a_refusal_is_no_stamp(authority, file):
    (token := file.with_name("c.json.tsr")).write_bytes(bytes.fromhex("30053003020102"))
    with pytest.raises(EvidenceError, match=r"refusal to stamp \(status 2\), not a time stamp"):
        check_stamp(token, file, authority.root)


def test_roots_that_are_none_are_refused(authority, file):
    token = authority.stamped(file)
    for text, words in ((b"", "no certificate in PEM"), (b"x", "no certificate in PEM")):
        (bad := file.with_name("bad.pem")).write_bytes(text)
        with pytest.raises(EvidenceError, match=words):
            check_stamp(token, file, bad)
    with pytest.raises(EvidenceError, match="no root certificate"):
        check_stamp(token, file, authority.folder / "tsa.pem")


def test_an_answer_to_another_request_is_refused(authority, file):
    kept = authority.stamped(file).read_bytes()
    with (
        authority.serving(lambda query: kept) as url,
        pytest.raises(EvidenceError, match="another"),
    ):
        request_stamp(url, file)
    with (
        authority.serving(lambda query: authority.answer(b"junk")) as url,
        pytest.raises(EvidenceError, match="refused to stamp"),
    ):
        request_stamp(url, file)
    with authority.serving(lambda query: b"junk") as url, pytest.raises(EvidenceError, match="no"):
        request_stamp(url, file)


@pytest.mark.parametrize(
    "url", ["http://tsa.example/tsr", "ftp://a/b", "https://u:p@tsa.example/x"]
)
def test_only_https_is_asked(authority, file, url):
    with pytest.raises(ConfigError):
        request_stamp(url, file)
