"""Addresses of servers: what may be configured, and where two of them are the same. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from loader.errors import ConfigError


def check_url(url: str, *, insecure: bool) -> str:
    """`url` without a slash at its end. Raises ConfigError unless it is a plain http(s) address;
    http is for this machine alone unless `insecure`."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ConfigError("must be an address such as https://api.openaq.org")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("must have no user, password, query or fragment in it")
    if parts.scheme == "http" and not insecure and not loopback(host):
        raise ConfigError(
            f"{host} would be asked over plain http, for everybody on the way to read and change; "
            "use https, or set `insecure: true`"
        )
    return url.rstrip("/")


def loopback(host: str) -> bool:
    """True for this machine's own addresses and names."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; port -1 where it is no number."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = -1
    return parts.scheme, (parts.hostname or "").lower(), port


def shown(url: str) -> str:
    """Host, unusual port and path, for errors: what stands in the query is nobody's business."""
    parts = urlsplit(url)
    _, host, port = origin(url)
    return f"{host}{f':{port}' if port not in (-1, 80, 443) else ''}{parts.path}"
