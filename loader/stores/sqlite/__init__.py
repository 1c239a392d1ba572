"""The store on one SQLite file: readings, ledger, runs, quarantine, reports and journal."""

from loader.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
