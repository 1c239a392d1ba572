"""Proxies and certificates of one's own, and what goes wrong on the way to a server."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from loader.errors import ConfigError, SourceUnavailable
from loader.transport import ca_bundle, meaning, proxies

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no bundle but those that a test sets."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As other programs have it: `HTTPS_PROXY=proxy:3128`."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxies("https://api.example")["https"] == "proxy.example:3128"


def test_a_proxy_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kind and the variables are named, its password is not."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:pass-word@proxy.example:1080")
    with pytest.raises(ConfigError, match=r"socks5 cannot be used.*HTTPS_PROXY") as caught:
        proxies("https://api.example")
    assert "pass-word" not in str(caught.value)


def test_a_bundle_without_certificates_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any request, with the name of the variable and of the file."""
    assert ca_bundle() is True
    file = tmp_path / "ca.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with pytest.raises(ConfigError, match=r"REQUESTS_CA_BUNDLE names .*ca\.pem, which does not exist"):
        ca_bundle()
    file.write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"ca\.pem, which holds no certificates"):
        ca_bundle()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert ca_bundle() == str(tmp_path), "a folder of certificates"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere"))
    assert ca_bundle("http://127.0.0.1:9", "proxy.example:3128") is True, "nothing here speaks https"
    for addresses in (("HTTPS://a.example",), ("http://a.example", "https://proxy.example")):
        with pytest.raises(ConfigError, match="nowhere"):
            ca_bundle(*addresses)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            requests.exceptions.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"),
            "not speak https",
        ),
        (
            requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            "REQUESTS_CA_BUNDLE",
        ),
    ],
)
def test_what_waiting_cannot_mend_is_not_tried_again(error: Exception, said: str) -> None:
    """A wrong port and an unknown certificate stay what they are."""
    final, again = meaning("host/path", error)
    assert isinstance(final, SourceUnavailable)
    assert said in str(final)
    assert not again
