"""Ports for servers that must be told theirs."""

from __future__ import annotations

import random
import socket

_CHOICE = random.SystemRandom()


def free_port() -> int:
    """Nobody listens on it, and the system gives it to nobody: it lies below those that connections
    and servers without a wish are given, which may be taken again before it is used."""
    while True:
        port = _CHOICE.randrange(15_000, 32_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
