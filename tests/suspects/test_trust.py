"""Hosts and variables that a description may use."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.suspects.trust import Trust


@pytest.mark.parametrize("name", ["", "SIREN_TOKEN", "SIREN_API_KEY_2"])
def test_free_variables(name: str) -> None:
    Trust().check_variable(name)


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "siren_token", "SIREN_PASSPHRASE", "SIREN_MY_PassPhrase", "A"]
)
def test_variables_that_have_to_be_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"add --token-env {name}"):
        Trust(variables=("OTHER",)).check_variable(name)
    Trust(variables=("OTHER", name)).check_variable(name)


def test_hosts_are_compared_as_the_network_does() -> None:
    trust = Trust(hosts=("API.Example.com ", "b\u00fccher.example"))
    trust.check_hosts("https://api.example.com", "api.example.com", ["B\u00dcCHER.example"], "")
    trust.check_hosts("https://x", "xn--bcher-kva.example", [], "")


def test_letters_of_other_scripts_are_seen() -> None:
    host = "\u0430pi.example.com"  # the first letter is Cyrillic
    with pytest.raises(ConfigError) as caught:
        Trust(hosts=("api.example.com",)).check_hosts(f"https://{host}", host, (), "")
    assert "Prompts are sent to https://xn--pi-6kc.example.com." in str(caught.value)
    assert "add --trust-host xn--pi-6kc.example.com" in str(caught.value)
    odd = "a" * 300 + "\n\u202e"
    with pytest.raises(ConfigError) as caught:
        Trust().check_hosts("https://x", "x", [odd], "T")
    assert "\n" not in str(caught.value)
    assert "\u202e" not in str(caught.value)
