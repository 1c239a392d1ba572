"""Turning the switches of a server that runs as a process of its own: /_control/..., without a key.

GET  /_control/requests          {"kind status": count}
GET  /_control/truth/SENSOR      {"times": [...], "values": [...]}
POST /_control/now               {"now": microseconds or null}
POST /_control/faults            {"clear": true, "hostile": 1.0, "add": [{"kind": ..., ...}]}
POST /_control/release           {} (bench: show the rows that were held back)
POST /_control/forget            {} (counters start again)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.openaq_server.faults import RateLimit

if TYPE_CHECKING:
    from tests.openaq_server.server import OpenAQServer


def control(server: OpenAQServer, method: str, url: str, body: bytes) -> dict[str, Any]:
    """Do what is asked and say how things stand."""
    what, _, rest = url.removeprefix("/_control/").partition("/")
    asked: dict[str, Any] = json.loads(body) if body else {}
    match method, what:
        case "GET", "requests":
            return {f"{kind} {status}": n for (kind, status), n in sorted(server.requests.items())}
        case "GET", "truth":
            times, values = server.world.truth(int(rest))
            return {"times": times, "values": values}
        case "POST", "now":
            server.world.now = asked["now"]
        case "POST", "faults":
            if asked.get("clear"):
                server.faults.clear()
            if strength := asked.get("hostile"):
                server.faults.hostile(float(strength))
            for rule in asked.get("add", ()):
                server.faults.add(rule.pop("kind"), **rule)
            if "per_minute" in asked:
                server.faults.limits = [RateLimit(asked["per_minute"])]
        case "POST", "release":
            server.world.now = (1 << 62) - 1
        case "POST", "forget":
            server.forget_requests()
        case _:
            return {"error": f"{method} {url}: unknown"}
    return {"ok": True}
