"""Typed decoders are made at import, where one thread is at work."""

from __future__ import annotations

import ast
from pathlib import Path

LOADER = Path(__file__).resolve().parents[2] / "loader"
MAKERS = {"msgspec.json.decode", "msgspec.json.Decoder", "msgspec.convert"}


def test_no_function_makes_a_typed_decoder() -> None:
    """msgspec looks a type up when it first meets it; threads that do so at once crash the interpreter."""
    made = [
        f"{path.relative_to(LOADER)}:{call.lineno}"
        for path in sorted(LOADER.rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in MAKERS
        if call.keywords or len(call.args) > 1 or ast.unparse(call.func).endswith("Decoder")
    ]
    assert made == []
