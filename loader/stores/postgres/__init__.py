"""The store on PostgreSQL 15 to 18; with the TimescaleDB extension, on a hypertable."""

from loader.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
