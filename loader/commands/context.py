"""What every command gets: the configuration and the store, opened when first asked for."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from loader.errors import ConfigError

if TYPE_CHECKING:
    from loader.config import Config
    from loader.contracts import Database


class Context:
    """Holds what a command has opened, and closes it at the end."""

    def __init__(self, config_path: Path | None) -> None:
        self._asked = config_path
        self._config: Config | None = None
        self._store: Database | None = None
        self.log_level: str | None = None

    @property
    def config_path(self) -> Path:
        """The file named on the command line, else `config.yaml` here, else the shipped one."""
        if self._asked is None:
            self._asked = Path("config.yaml")
            if not self._asked.exists():
                from loader.config import shipped

                self._asked = shipped("config.yaml")
        # Found once: a file that goes away later must not be taken for another.
        return self._asked

    def config(self) -> Config:
        """The configuration, read once; logging is set up by it. Raises ConfigError."""
        if self._config is None:
            from loader import log, wiring

            self._config = wiring.load_config(self.config_path)
            settings = self._config.log
            try:
                log.configure(self.log_level or settings.level, settings.format, settings.file)
            except ConfigError as error:
                raise ConfigError(f"{self.config_path}: {error}") from None
        return self._config

    def reload(self) -> Config:
        """The configuration, read again. Raises ConfigError and keeps the one before."""
        before, self._config = self._config, None
        try:
            return self.config()
        except ConfigError:
            self._config = before
            raise

    def store(self) -> Database:
        """The store, opened once and brought up to date."""
        if self._store is None:
            from loader import wiring

            self._store = wiring.open_store(self.config())
        return self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.close()
