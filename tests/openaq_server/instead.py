"""What a fault puts in the place of an answer."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tests.openaq_server.faults import Strike
from tests.openaq_server.render import dumps
from tests.openaq_server.request import Answer, detail, internal_error

TIMED_OUT = "Connection timed out: Try to provide more specific query parameters or a smaller time frame."
SIGN_IN = b"<!doctype html><title>Sign in</title><p>Please sign in."
GATEWAY = b"<html><head><title>Bad Gateway</title></head><body>nginx</body></html>"
BROKEN_OFF = b'{"meta": {"name": "openaq-api"}, "results": [{"value": 1.5, "per\xff'


class HangUp(Exception):
    """The connection ends here; `reset` with a RST instead of a FIN."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


def bomb(size: int) -> bytes:
    """A gzip stream of about `size` bytes of blanks in a JSON list; a thousandth of that on the wire."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b'{"meta":{},"results":[') + packer.flush(zlib.Z_FULL_FLUSH)
    blanks = packer.compress(b" " * block) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush blocks stand alone, so one of them can be repeated.
    return head + blanks * max(1, size // block)


def _down(strike: Strike) -> Answer:
    if strike.option("how", "503") == "close":
        raise HangUp(reset=True)
    return Answer(503, b"<html><body>no server is available</body></html>", "text/html", cacheable=False)


def _too_many(strike: Strike) -> Answer:
    answer, wait = detail(429, "Too many requests"), str(strike.option("wait", 1))
    match strike.option("how", "bare"):
        case "headers":
            used = {"x-ratelimit-limit": "60", "x-ratelimit-used": "60", "x-ratelimit-remaining": "0"}
            answer.headers = used | {"x-ratelimit-reset": wait}
        case "retry-after":
            answer.headers = {"retry-after": wait}
    return answer


def _internal(strike: Strike) -> Answer:
    if strike.option("how", "text") == "json":
        return Answer(500, dumps({"detail": "permission denied"}), cacheable=False)
    return internal_error()


def _bomb(strike: Strike) -> Answer:
    return Answer(200, bomb(strike.option("size", 1 << 31)), headers={"content-encoding": "gzip"})


INSTEAD: dict[str, Callable[[Strike], Answer]] = {
    "down": _down,
    "429": _too_many,
    "408": lambda _: detail(408, TIMED_OUT),
    "500": _internal,
    "502": lambda _: Answer(502, GATEWAY, "text/html", cacheable=False),
    "503": lambda _: Answer(503, GATEWAY, "text/html", cacheable=False),
    "rubbish": lambda _: Answer(200, BROKEN_OFF),
    "html": lambda _: Answer(200, SIGN_IN, "text/html"),
    "empty": lambda _: Answer(200, b""),
    "bomb": _bomb,
}


def redirect(strike: Strike, url: str, port: int) -> Answer | None:
    """A redirect to the same place by the same or by another host name; only once a request."""
    if "redirected=1" in url:
        return None
    host = f"http://localhost:{port}" if strike.kind == "redirect-cross" else ""
    there = f"{host}{url}{'&' if '?' in url else '?'}redirected=1"
    return Answer(307, b"", "text/plain", cacheable=False, headers={"location": there})
