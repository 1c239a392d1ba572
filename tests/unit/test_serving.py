"""Probes and metrics, asked over real connections."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from loader import serving
from loader.errors import LoaderError
from loader.metrics import Metrics
from loader.serving import AT_ONCE, Serving


class Served:
    """A server whose answers can be changed."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self.not_live: list[str] = []
        self.not_ready: list[str] = []
        self.metrics = Metrics(["a"])
        self.serving = Serving(listen, lambda: self.not_live, lambda: self.not_ready, self.metrics.render)

    def ask(self, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, str]:
        """Status, body and content type."""
        connection = http.client.HTTPConnection(host, self.serving.port, timeout=60)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers["Content-Type"]
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.serving.port), timeout=20)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that lets its clients stay."""
    monkeypatch.setattr(serving, "CLIENT_S", 3600.0)
    one = Served()
    yield one
    one.serving.close()


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    yield one
    one.serving.close()


def test_probes_tell_the_reasons(served: Served) -> None:
    """200 while all is well, 503 with a line for each reason; one probe does not speak for another."""
    assert served.ask("/livez") == (200, "ok\n", "text/plain; charset=utf-8")
    served.not_ready = ["the store is away", "caf\u00e9: no key"]
    assert served.ask("/readyz?verbose") == (
        503,
        "the store is away\ncaf\u00e9: no key\n",
        "text/plain; charset=utf-8",
    )
    assert served.ask("/livez")[0] == 200
    served.not_live = ["stuck"]
    assert served.ask("/livez")[:2] == (503, "stuck\n")
    served.not_live, served.not_ready = [], []
    assert served.ask("/readyz")[0] == 200


def test_metrics_are_served(served: Served) -> None:
    """The figures come as they are now, with the content type of Prometheus' text format."""
    status, body, kind = served.ask("/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert "version=" in kind
    assert 'loader_holes{source="a"} 0.0' in body


def test_head_has_no_body_and_other_methods_are_refused(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """HEAD answers as GET does, without a body; POST is 501; nothing is logged."""
    served.not_ready = ["no"]
    assert served.ask("/readyz", "HEAD")[:2] == (503, "")
    assert served.ask("/readyz", "POST")[0] == 501
    assert served.ask("/")[0] == 404
    assert served.ask("/livez/../metrics")[0] == 404
    assert capfd.readouterr() == ("", "")


def test_a_probe_that_fails_is_an_error() -> None:
    """An exception while answering is 500, told in the log only, and the server goes on."""

    def broken() -> list[str]:
        raise RuntimeError("s3cr3t")

    one = Serving("127.0.0.1:0", broken, list, lambda: (b"", "text/plain"))
    try:
        for path, status in (("/livez", 500), ("/readyz", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=10)
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == status
            assert b"s3cr3t" not in response.read()
            connection.close()
    finally:
        one.close()


def test_slow_clients_block_nobody(patient: Served) -> None:
    """With far more silent and dripping clients than are served at once, a probe is answered, and who
    came first is dismissed."""
    with ExitStack() as stack:
        clients = [stack.enter_context(patient.connect()) for _ in range(4 * AT_ONCE)]
        for n, client in enumerate(clients):
            if n % 2 and n >= 3 * AT_ONCE:
                client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        for _ in range(10):
            assert patient.ask("/readyz")[0] == 200
        for client in clients[: 3 * AT_ONCE]:
            assert client.recv(1) == b""


def test_a_client_has_only_so_long(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a byte now and then is disconnected when its time is over."""
    monkeypatch.setattr(serving, "CLIENT_S", 0.5)
    with served.connect() as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        client.settimeout(0.05)
        deadline = time.monotonic() + 60
        ended = False
        while not ended:
            assert time.monotonic() < deadline
            try:
                client.sendall(b"x")
                ended = client.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
    assert served.ask("/livez")[0] == 200


def test_a_huge_request_is_not_read(served: Served) -> None:
    """Of megabytes of headers only the beginning is taken in, and the connection ends."""
    sent = 0
    with served.connect() as client:
        try:
            client.sendall(b"GET /livez HTTP/1.1\r\n")
            for _ in range(2000):
                sent += client.send(b"X: " + b"x" * 16_000 + b"\r\n")
        except OSError:
            pass
    assert sent < 2000 * 16_005
    assert served.ask("/livez")[0] == 200


def test_a_taken_port_is_named(served: Served) -> None:
    """The message names the address, why, and the remedy."""
    taken = f"127.0.0.1:{served.serving.port}"
    with pytest.raises(LoaderError, match=rf"{taken} \(Address already in use\).*LOADER_LISTEN"):
        Served(taken)


@pytest.mark.parametrize(
    "listen", ["", "8080", "localhost", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "192.0.2.1:0"]
)
def test_a_wrong_address_is_named(listen: str) -> None:
    """What is no address, or not one of this machine, is refused with the remedy."""
    with pytest.raises(LoaderError, match="LOADER_LISTEN"):
        Served(listen)


def test_ipv6() -> None:
    """An address in brackets is IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    one = Served("[::1]:0")
    try:
        assert one.ask("/livez", host="::1")[0] == 200
    finally:
        one.serving.close()


def test_closed_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """After close the port is free again, also while a client hangs on."""
    monkeypatch.setattr(serving, "CLIENT_S", 3600.0)
    one = Served()
    with one.connect():
        one.serving.close()
    with pytest.raises(OSError, match="refused"):
        one.connect()
    assert served.ask("/livez")[0] == 200
