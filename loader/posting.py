"""Posting small messages over HTTP, once each, under a limit of time that nothing outlasts.

Addresses that are posted to are secrets themselves: an error names their host and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as urllib3_errors

from loader import __version__
from loader.addresses import origin
from loader.contracts import Clock
from loader.errors import ConfigError, Permanent, Undelivered
from loader.log import forms
from loader.responses import detail_of, retry_after
from loader.transport import PROXY_REMEDY, ca_bundle, meaning, proxies

T = TypeVar("T")

TOTAL_S = 30.0
"""Seconds for a message, from looking up the name of the host to the end of the answer."""
CONNECT_S = 10.0
BODY = 1 << 16
"""Bytes read of an answer, for what it says."""
LONGEST_WAIT_S = 3600.0
"""A Retry-After beyond it is cut: a message must not be parked for ever by a header."""
LATER = (407, 408, 409, 425, 429)
"""Refusals that say "not now": the proxy, too slow, the same is being worked on, too early, too many."""
SHORTEST_PART = 6
"""Parts of an address that are blotted out where a server echoes them; `hooks` is no secret."""

Remedy = Callable[[int, str], str]


def now() -> int:
    """The clock of the machine, in microseconds UTC."""
    return time.time_ns() // 1000


def within(seconds: float, where: str, work: Callable[[], T]) -> T:
    """What `work` returns or raises; Undelivered when that takes longer.

    The limits of time of sockets hold for each piece that is sent or received, and none holds
    for looking up a name, so the work gets a thread that is left behind when it hangs.
    """
    ended: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((work(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, name=f"message to {where}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise Undelivered(f"{where}: no answer within {seconds:g} s in all")
    result, error = ended[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error it is what `work` returned


class Poster:
    """Sends to one address. Callable from any number of threads.

    A user and password in the address become HTTP's basic login. `setting` is the key of the
    configuration that the address came from, for errors. `secrets` never show in an error, nor
    does the address. Proxies and CA bundle come from the environment, read once. Raises
    ConfigError for an address, a proxy or a bundle that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        setting: str,
        clock: Clock = now,
        secrets: Iterable[str] = (),
        total_s: float = TOTAL_S,
    ) -> None:
        self._setting = setting
        self._clock = clock
        self._total_s = total_s
        _check(url, setting)
        _, host, port = origin(url)
        self.where = host if port in (80, 443) else f"{host}:{port}"
        hidden = {form for one in (*_parts(url), *secrets) if one for form in forms(one)}
        self._secrets = sorted(hidden, key=len, reverse=True)
        try:
            self._template = requests.Request("GET", url).prepare()
        except (requests.RequestException, ValueError):
            raise ConfigError(f"{setting} is no address that can be posted to") from None
        self._proxies = proxies(url)
        self._verify = ca_bundle(url, *self._proxies.values())

    def __repr__(self) -> str:
        return f"Poster({self.where})"

    def post(
        self,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        *,
        remedy: Remedy | None = None,
    ) -> None:
        """Send it, once; with None, ask for the address with GET.

        Returns when it is answered with 2xx. Raises Undelivered for no answer, 5xx and refusals
        for now, with the seconds that Retry-After asks to wait; Permanent for any other refusal
        and for redirects. `remedy` makes of status and text of a refusal what to do about it.
        """
        within(self._total_s, self.where, lambda: self._send(body, headers or {}, remedy))

    def _send(self, body: bytes | None, headers: Mapping[str, str], remedy: Remedy | None) -> None:
        request = self._template.copy()
        request.prepare_method("GET" if body is None else "POST")
        request.prepare_body(body, None)
        request.headers.update(
            {
                "User-Agent": f"sensor-loader/{__version__}",
                "Accept-Encoding": "identity",
                # Messages are rare, and a connection kept for hours is one that broke meanwhile.
                "Connection": "close",
                **headers,
            }
        )
        # An adapter of its own: one that is kept would keep the connection too where the answer does
        # not say that it closes, and the next try would run into the closing.
        with contextlib.closing(HTTPAdapter()) as adapter:
            try:
                response = adapter.send(
                    request,
                    stream=True,
                    timeout=(min(CONNECT_S, self._total_s), self._total_s),
                    verify=self._verify,
                    proxies=self._proxies,
                )
            except (requests.RequestException, urllib3_errors.HTTPError, OSError) as error:
                raise Undelivered(str(meaning(self.where, error)[0])) from None
            with response:
                if not 200 <= response.status_code < 300:
                    raise self._refusal(response, remedy)

    def _refusal(self, response: requests.Response, remedy: Remedy | None) -> Undelivered | Permanent:
        status = response.status_code
        if 300 <= status < 400:
            return Permanent(
                f"{self.where}: {status}, redirects to another address, refused; "
                f"put the one it really has into {self._setting}"
            )
        said = b""
        with contextlib.suppress(urllib3_errors.HTTPError, OSError):
            said = response.raw.read(BODY, decode_content=False)
        detail = detail_of(said, self._secrets)
        text = f"{self.where}: {status} {detail or detail_of(str(response.reason or '').encode())}".rstrip()
        if status == 407:
            text += f"; {PROXY_REMEDY}"
        if status in LATER or status >= 500:
            wait = retry_after(response.headers, self._clock())
            return Undelivered(text, wait_s=None if wait is None else min(wait, LONGEST_WAIT_S))
        what = remedy(status, detail) if remedy else f"check {self._setting}"
        return Permanent(f"{text}; {what}")


def _check(url: str, setting: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0 or parts.scheme not in ("http", "https") or not url.isprintable():
        raise ConfigError(f"{setting} must be an address such as https://host/path")


def _parts(url: str) -> list[str]:
    """The address and what of it may be secret by itself, down to the parts of its path."""
    parts = urlsplit(url)
    values = [value for _, value in parse_qsl(parts.query)]
    login = [unquote(one) for one in (parts.username, parts.password) if one]
    pieces = [parts.path, parts.query, *values, *login, *parts.path.split("/")]
    return [url, *(piece for piece in pieces if len(piece) >= SHORTEST_PART)]
