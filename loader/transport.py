"""The way to a server: proxies and certificates from the environment, and what goes wrong on it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies
from urllib3 import exceptions as urllib3_errors

from loader.errors import ConfigError, LoaderError, Retryable, SourceUnavailable

PROXY_REMEDY = "HTTPS_PROXY (HTTP_PROXY, ALL_PROXY) says which it is, NO_PROXY where to go without"

_NO_WAY = {
    "ProxyError": f"the proxy does not answer; {PROXY_REMEDY}",
    "NameResolutionError": "the name of the host cannot be resolved",
    "NewConnectionError": "no connection, it is refused or there is no way there",
}
"""What the transport's errors are called, and what they mean."""


class Unanswered(Retryable):
    """A server that is there did not answer after all tries.

    `bisect` is true where asking for less may succeed.
    """

    def __init__(self, message: str, *, bisect: bool) -> None:
        super().__init__(message)
        self.bisect = bisect


def proxies(url: str) -> dict[str, str]:
    """The proxies on the way to `url`, by scheme, as the environment names them (`HTTPS_PROXY`,
    `NO_PROXY`, ...). Raises ConfigError for one whose address cannot be used."""
    found = dict(get_environ_proxies(url, no_proxy=None))
    for proxy in found.values():
        scheme = urlsplit(proxy).scheme if "://" in proxy else "http"
        if scheme not in ("http", "https"):
            # Its user and password are nobody's business.
            raise ConfigError(f"a proxy of the kind {scheme} cannot be used, http can; {PROXY_REMEDY}")
    return found


def ca_bundle(*addresses: str) -> str | bool:
    """The file or folder with the certificates to trust, where one is named; else True, for the
    usual ones. Raises ConfigError for one that cannot be read. With addresses (of server and proxies)
    of which none is https it is not looked at."""
    if addresses and not any(address.lower().startswith("https:") for address in addresses):
        return True
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if not path:
            continue
        if not Path(path).exists():
            raise ConfigError(f"{name} names {path}, which does not exist")
        if Path(path).is_file():
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
            except OSError:
                raise ConfigError(
                    f"{name} names {path}, which holds no certificates that can be read (PEM)"
                ) from None
        return path
    return True


def meaning(where: str, error: Exception) -> tuple[LoaderError, bool]:
    """What an error of the transport means, and whether trying again may help. Its own text is
    not shown: it holds the whole address."""
    text = repr(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        what = "its certificate cannot be verified; a CA of your own goes into REQUESTS_CA_BUNDLE"
        return SourceUnavailable(f"{where}: {what}"), False
    if "WRONG_VERSION_NUMBER" in text or "HTTP_REQUEST" in text:
        what = "what answers there does not speak https; check scheme and port of the address"
        return SourceUnavailable(f"{where}: {what}"), False
    if isinstance(error, requests.Timeout | urllib3_errors.TimeoutError | TimeoutError):
        if isinstance(error, requests.ConnectTimeout):
            return SourceUnavailable(f"{where}: no connection within the time limit"), True
        return Unanswered(f"{where}: no answer within the time limit", bisect=False), True
    for sign, what in _NO_WAY.items():
        if sign in text:
            return SourceUnavailable(f"{where}: {what}"), True
    cut = "IncompleteRead" in text or "InvalidChunkLength" in text
    return Unanswered(f"{where}: the {'body is cut off' if cut else 'connection broke'}", bisect=cut), True
