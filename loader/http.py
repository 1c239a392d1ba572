"""The one way out to HTTP: time and size limits, retries, redirects, proxies, for every adapter.

Errors name host and path only: a query or a header may carry a secret.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests
import tenacity
from requests.adapters import HTTPAdapter
from requests.utils import requote_uri
from urllib3 import exceptions as urllib3_errors

from loader import __version__
from loader.addresses import check_url, origin, shown
from loader.contracts import Budget, Clock, Usage
from loader.errors import (
    AccessDenied,
    ConfigError,
    Interrupted,
    LoaderError,
    NotFound,
    Permanent,
    SourceUnavailable,
)
from loader.log import forms
from loader.responses import BadBody, TooLarge, detail_of, inflate, retry_after
from loader.transport import Unanswered, ca_bundle, meaning, proxies

T = TypeVar("T")

CHUNK = 1 << 18
ERROR_BODY = 1 << 16
"""Bytes read of an error's body, for its detail."""
REDIRECTS = 3
THROTTLED_TRIES = 5
"""A 429 says nothing about what was asked for, so it does not use up the tries of a request."""
NO_ANSWER = "none"
"""Stands for the status of a request that got none, or whose answer broke off."""
CONTENT_FAILURES = (408, 500, 504)
"""Refusals that the amount or the content asked for causes: less of it may succeed."""

Parameters = Iterable[tuple[str, str | int | float]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful response: status, headers (case-insensitive) and the inflated body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What a response may take, and how often a request is sent.

    connect_s, read_s  seconds to connect, and between two pieces of a response
    total_s            seconds for a whole response, body included
    body               bytes of a body, on the wire and inflated
    tries              requests in all before giving up
    backoff_s          pause before the second try; it doubles from there, with jitter
    longest_wait_s     longest pause, and the longest Retry-After that is waited for
    connections        connections kept open
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 120.0
    body: int = 1 << 24
    tries: int = 5
    backoff_s: float = 0.5
    longest_wait_s: float = 300.0
    connections: int = 8


class _Failed(Exception):
    """One try failed; `final` is what to raise when it was the last."""

    def __init__(self, final: LoaderError, *, pause: float | None = None, throttled: bool = False) -> None:
        super().__init__(str(final))
        self.final = final
        self.pause = pause
        self.throttled = throttled


class _Patience:
    """How often one request is tried again, and after which pause."""

    def __init__(self, tries: int, limits: Limits) -> None:
        self._tries = tries
        self._limits = limits
        self._failures = 0
        self._throttled = 0

    def count(self, failed: _Failed) -> None:
        if failed.throttled:
            self._throttled += 1
        else:
            self._failures += 1

    def over(self, _state: tenacity.RetryCallState) -> bool:
        return self._failures >= self._tries or self._throttled >= THROTTLED_TRIES

    def pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _Failed) and error.pause is not None:
            return error.pause
        longest = self._limits.backoff_s * 2.0 ** (self._failures + self._throttled - 1)
        # Jitter spreads the threads that failed together.
        return min(longest, self._limits.longest_wait_s) * random.uniform(0.5, 1.0)  # noqa: S311


class Http:
    """GET requests to one origin. Callable from any number of threads.

    `secrets` are headers that never show in an error; `budget` is asked before every request
    and told of every response. Raises ConfigError for an address or a CA bundle that cannot be
    used. Proxies and CA bundle come from the environment, read once.
    """

    def __init__(
        self,
        base_url: str,
        *,
        budget: Budget,
        stop: threading.Event,
        clock: Clock,
        secrets: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        insecure: bool = False,
    ) -> None:
        self._base = check_url(base_url, insecure=insecure)
        self._origin = origin(self._base)
        self._budget = budget
        self._stop = stop
        self._clock = clock
        self._limits = limits or Limits()
        told = {form for value in (secrets or {}).values() for form in forms(value)}
        self._secrets = sorted(told, key=len, reverse=True)
        for name, value in (secrets or {}).items():
            if not (value.isascii() and value.isprintable()):
                raise ConfigError(f"the value for header {name} has characters that a header cannot carry")
        # The environment is looked at here, once, and not again for every request.
        self._proxies = proxies(self._base)
        self._verify = ca_bundle(self._base, *self._proxies.values())
        self._adapter = HTTPAdapter(pool_maxsize=self._limits.connections, pool_block=False)
        headers = {
            "User-Agent": f"sensor-loader/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            **(secrets or {}),
        }
        self._template = requests.Request("GET", self._base, headers=headers).prepare()
        self._lock = threading.Lock()
        self._usage = Usage()

    @property
    def origin(self) -> str:
        """Scheme, host and port, for people."""
        return "{}://{}:{}".format(*self._origin)

    def get(
        self,
        path: str,
        parameters: Parameters = (),
        *,
        parse: Callable[[Reply], T],
        tries: int | None = None,
        background: bool = False,
    ) -> T:
        """What `parse` makes of the response to GET `path`.

        `parse` raises BadBody for a body that is not what was asked for; that is retried too.
        Raises AccessDenied (401, 403), NotFound (404, 410), Permanent (other refusals),
        Unanswered (a server that is there failed every time), SourceUnavailable (it is not
        there, or allows no more requests), Interrupted.
        """
        query = urlencode(list(parameters), quote_via=quote, safe=",:")
        url = self._base + path + (f"?{query}" if query else "")
        patience = _Patience(tries or self._limits.tries, self._limits)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Failed),
            stop=patience.over,
            wait=patience.pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    try:
                        return self._once(url, parse, background, attempt.retry_state.attempt_number > 1)
                    except _Failed as failed:
                        patience.count(failed)
                        raise
        except _Failed as failed:
            raise failed.final from None
        raise AssertionError("unreachable: tenacity returns or raises")

    def usage(self) -> Usage:
        """What has been used so far. A request is counted by its status, or as NO_ANSWER; it is an
        error with NO_ANSWER and with every status from 400 on, 404 and 429 included. Each try and
        each step of a redirect is a request."""
        with self._lock:
            return self._usage

    def close(self) -> None:
        """Close the connections and give the rest of the request budget back."""
        self._adapter.close()
        self._budget.close()

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted("asked to stop between two tries")

    def _once(self, url: str, parse: Callable[[Reply], T], background: bool, again: bool) -> T:
        for _hop in range(REDIRECTS + 1):
            self._budget.acquire(background)
            where = shown(url)
            began = time.monotonic()
            received = [0]
            code = NO_ANSWER
            try:
                response = self._send(url, again)
                code = str(response.status_code)
                with response:
                    self._budget.observe(response.status_code, response.headers)
                    pieces = self._pieces(response, began + self._limits.total_s, received)
                    if response.is_redirect:
                        url = self._redirected(url, response.headers["location"])
                        continue
                    if response.status_code >= 300:
                        raise self._refusal(where, response, pieces)
                    encoding = response.headers.get("content-encoding", "")
                    body = inflate(pieces, encoding, self._limits.body)
                    self._check_length(response, received[0])
                return parse(Reply(response.status_code, response.headers, body))
            except TooLarge as error:
                raise Unanswered(f"{where}: {error}", bisect=True) from None
            except BadBody as error:
                raise _Failed(Unanswered(f"{where}: {error}", bisect=True)) from None
            except (requests.RequestException, urllib3_errors.HTTPError, OSError) as error:
                code = NO_ANSWER
                final, again = meaning(where, error)
                raise (_Failed(final) if again else final) from None
            finally:
                self._count(code, received[0], time.monotonic() - began)
        raise Permanent(f"{shown(url)}: redirected more than {REDIRECTS} times")

    def _send(self, url: str, again: bool) -> requests.Response:
        # Preparing anew for every request would cost more than all the rest of sending it.
        request = self._template.copy()
        request.url = url
        if again:
            # A cache on the way may hold the failure that is being retried.
            request.headers["Cache-Control"] = "no-cache"
        return self._adapter.send(
            request,
            stream=True,
            timeout=(self._limits.connect_s, self._limits.read_s),
            verify=self._verify,
            proxies=self._proxies,
        )

    def _pieces(self, response: requests.Response, deadline: float, received: list[int]) -> Iterator[bytes]:
        """The body as it comes off the wire. `received` keeps the sum of its bytes."""
        while piece := response.raw.read1(CHUNK, decode_content=False):
            received[0] += len(piece)
            if received[0] > self._limits.body:
                raise TooLarge(f"the body has more than {self._limits.body} bytes")
            if time.monotonic() > deadline:
                raise urllib3_errors.TimeoutError
            if self._stop.is_set():
                raise Interrupted("asked to stop while a response came in")
            yield piece

    def _check_length(self, response: requests.Response, received: int) -> None:
        announced = response.headers.get("content-length", "")
        if (
            announced.isdigit()
            and "transfer-encoding" not in response.headers
            and int(announced) != received
        ):
            raise BadBody("the body is cut off")

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        # Whatever we send with a request, the key included, is meant for this origin alone.
        if origin(target) != self._origin:
            raise Permanent(
                f"{shown(url)}: redirects to another server ({urlsplit(target).hostname}), refused; "
                "set the source's address to where it really is"
            )
        return requote_uri(target)

    def _refusal(self, where: str, response: requests.Response, pieces: Iterator[bytes]) -> Exception:
        """The error that a status of 300 or more stands for."""
        status = response.status_code
        try:
            body = inflate(pieces, response.headers.get("content-encoding", ""), ERROR_BODY)
        except (BadBody, TooLarge, urllib3_errors.HTTPError, OSError):
            body = b""
        said = detail_of(body, self._secrets)
        text = f"{where}: {status} {said or response.reason or ''}".rstrip()
        if status in (401, 403):
            return AccessDenied(text)
        if status in (404, 410):
            return NotFound(text)
        if status in (408, 429) or (status >= 500 and status not in (501, 505)):
            pause = retry_after(response.headers, self._clock())
            if pause is not None and pause > self._limits.longest_wait_s:
                return SourceUnavailable(f"{text}; it asks to come back in {pause:.0f} s")
            if status == 429:
                return _Failed(SourceUnavailable(text), pause=pause, throttled=True)
            return _Failed(Unanswered(text, bisect=status in CONTENT_FAILURES), pause=pause)
        return Permanent(text)

    def _count(self, code: str, received: int, seconds: float) -> None:
        with self._lock:
            used = self._usage
            self._usage = Usage(
                requests=used.requests + 1,
                bytes=used.bytes + received,
                slowest_s=max(used.slowest_s, seconds),
                errors=used.errors + (code == NO_ANSWER or int(code) >= 400),
                codes={**used.codes, code: used.codes.get(code, 0) + 1},
            )
