"""Logging, on stderr and in a file: text for people, JSON for machines, secrets masked.

`configure` is called once, early; before that, everything from `info` up goes to stderr. A log
line is an event in plain words and fields: `log.get_logger().info("run ended", new=12)`. Safe
from any thread; a log that cannot be written never stops the loader.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, Protocol, TextIO
from urllib.parse import quote

from loader.errors import ConfigError

MASK = "***"
SHORTEST_SECRET = 4
"""Masking anything shorter would make logs unreadable and protect nothing."""

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class FileSettings(Protocol):
    """Where to log as well, and when to begin a new file."""

    @property
    def path(self) -> Path: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def backups(self) -> int: ...


_secrets: set[str] = set()
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def forms(value: str) -> set[str]:
    """The forms in which a value turns up: as it is, in JSON, in a repr, in a URL."""
    return {value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value), quote(value, safe="")}


def register_secret(value: str) -> None:
    """From now on show `***` in place of this value, in whatever is logged."""
    global _pattern  # noqa: PLW0603 - one process, one set of secrets
    if len(value) < SHORTEST_SECRET:
        return
    with _lock:
        _secrets.update(forms(value))
        _pattern = re.compile("|".join(re.escape(s) for s in sorted(_secrets, key=len, reverse=True)))


def redact(text: str) -> str:
    """The text with every registered secret masked."""
    pattern = _pattern
    return pattern.sub(MASK, text) if pattern else text


def _structlog() -> Any:
    """structlog, without the rich tracebacks that it would import: 0.1 s of every start."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        import structlog

        return structlog
    sys.modules["rich"] = None  # type: ignore[assignment]  # the documented way to say "not here"
    try:
        import structlog
    finally:
        del sys.modules["rich"]
    return structlog


class _Output:
    """Where finished events go: called by structlog, and by the bridge from `logging`."""

    def __init__(
        self, stream: TextIO | None, text: bool, colours: bool, file: logging.Handler | None
    ) -> None:
        structlog = _structlog()
        self._stream = stream
        self._file = file
        as_json = structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
        as_text = structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
        )
        self._shown, self._filed = (as_text if text else as_json), as_json

    def write(self, /, **event: Any) -> None:
        shown = redact(self._shown(None, "", dict(event)))
        try:
            # Looked up at each line: a progress bar puts its own stream there for a while.
            stream = sys.stderr if self._stream is None else self._stream
            with _lock:
                stream.write(shown + "\n")
                stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
        if self._file is not None:
            line = redact(self._filed(None, "", dict(event)))
            self._file.handle(logging.LogRecord("loader", 20, "", 0, line, None, None))

    debug = info = warning = error = critical = exception = msg = write


def _clean(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put time, level and event first, and keep control characters in an event from moving the
    cursor of a terminal."""
    text = str(event.get("event", ""))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    first = {"timestamp": event.pop("timestamp", None), "level": event.pop("level", None), "event": text}
    return first | {key: value for key, value in event.items() if key != "event"}


class _Bridge(logging.Handler):
    """Passes warnings of libraries that use `logging` on to our output."""

    def __init__(self, output: _Output) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        from datetime import UTC, datetime

        fields: dict[str, Any] = {"logger": record.name, "level": record.levelname.lower()}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._output.write(
            timestamp=datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            event=record.getMessage(),
            **fields,
        )


def _open_file(settings: FileSettings) -> logging.Handler:
    from logging.handlers import RotatingFileHandler

    class Rotating(RotatingFileHandler):
        failed = False

        def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging's name
            """Say once that the file cannot be written (a full disk), and go on."""
            if not self.failed:
                self.failed = True
                sys.stderr.write(f"log file {self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")

        def close(self) -> None:
            with contextlib.suppress(OSError):  # what is left in its buffer has no room either
                super().close()

    try:
        settings.path.parent.mkdir(parents=True, exist_ok=True)
        return Rotating(
            settings.path, maxBytes=settings.max_bytes, backupCount=settings.backups, encoding="utf-8"
        )
    except OSError as e:
        raise ConfigError(
            f"log.file.path: {settings.path} cannot be written ({e.strerror}); name another place"
        ) from None


def configure(
    level: str = "info",
    format: str = "auto",
    file: FileSettings | None = None,
    stream: TextIO | None = None,
) -> None:
    """Set logging up for the process; a second call replaces the first.

    `level` is the least that is logged; `format` is `text`, `json` or `auto` (text on a terminal,
    JSON elsewhere); the file holds JSON always. `stream` is stderr unless given. Raises
    ConfigError where the file cannot be opened.
    """
    structlog = _structlog()
    target = sys.stderr if stream is None else stream
    terminal = bool(getattr(target, "isatty", lambda: False)())
    text = terminal if format == "auto" else format == "text"
    colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    handler = _open_file(file) if file is not None else None
    output = _Output(stream, text, colours, handler)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _clean,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Bridge)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(_Bridge(output))
    _close_previous(handler)


_handler: logging.Handler | None = None


def _close_previous(handler: logging.Handler | None) -> None:
    global _handler  # noqa: PLW0603 - one process, one log file
    if _handler is not None:
        _handler.close()
    _handler = handler


class Logger:
    """Logs events with fields; costs nothing to make, and imports nothing before its first line."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any] | None = None) -> None:
        self._fields = fields or {}

    def bind(self, **fields: Any) -> Logger:
        """A logger that adds these fields to every line."""
        return Logger(self._fields | fields)

    def _log(self, method: str, event: str, fields: dict[str, Any]) -> None:
        structlog = _structlog()
        if not structlog.is_configured():
            configure()
        getattr(structlog.get_logger(), method)(event, **(self._fields | fields))

    def debug(self, event: str, /, **fields: Any) -> None:
        self._log("debug", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._log("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._log("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self._log("error", event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._log("exception", event, fields)


def get_logger(**fields: Any) -> Logger:
    """A logger; the fields are added to each of its lines."""
    return Logger(fields)
