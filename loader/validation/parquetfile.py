"""Parquet files, with the extra `lake`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from loader.validation.blocks import Blocks, sample, whole
from loader.validation.tables import ROWS, Opened, Table, flat
from loader.validation.trouble import Troubles, Unreadable


def open_parquet(path: Path, most: int, wanted: int | None, troubles: Troubles) -> Opened:
    """Rows take the place of lines. Raises Unreadable, also where the extra is missing."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError:
        raise Unreadable(
            f'{path}: Parquet needs the extra lake: pip install "sensor-loader[lake]"'
        ) from None
    try:
        file = pq.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(f"{path}: is no Parquet file that can be read ({_line(error)})") from None
    rows = file.metadata.num_rows
    blocks = whole(1, most) if wanted is None else sample(1, rows, wanted)
    troubles.cut = not blocks.sampled and rows > most
    names = list(flat({f.name: _children(f.type) for f in file.schema_arrow}))
    tables = _tables(path, file, blocks)
    return Opened("parquet", names, tables, text=False, sampled=blocks.sampled, facts=blocks.said)


def _children(kind: Any) -> Any:
    """The fields of a struct, so that `flat` names them as it does those of records."""
    from pyarrow import types

    return {f.name: _children(f.type) for f in kind} if types.is_struct(kind) else None


def _tables(path: Path, file: Any, blocks: Blocks) -> Iterator[Table]:
    import pyarrow

    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    starts = [1, *(1 + end for end in accumulate(sizes))]
    at = 1
    try:
        for group, size in enumerate(sizes):
            at = starts[group]
            if not any(blocks.within(range(at, at + size))):
                continue
            for batch in file.iter_batches(batch_size=ROWS, row_groups=[group]):
                for block, part in blocks.within(range(at, at + len(batch))):
                    some = batch.slice(part.start - at, len(part))
                    yield Table(list(part), _columns(some), block)
                at += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(f"{path}:{at}: cannot be read on ({_line(error)})") from None


def _columns(batch: Any) -> dict[str, list[Any]]:
    import pyarrow
    from pyarrow import types

    table = pyarrow.Table.from_batches([batch])
    while any(types.is_struct(column.type) for column in table.columns):
        table = table.flatten()
    return {name: _plain(column) for name, column in zip(table.column_names, table.columns, strict=True)}


def _plain(column: Any) -> list[Any]:
    """Python values; times as datetime (nanoseconds cut to microseconds)."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    elif types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif types.is_decimal(kind):
        column = column.cast(pyarrow.float64())
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        values = [_value(one) for one in column]
    return values


def _value(scalar: Any) -> Any:
    """A Python value; text for what Python has none for, such as a time after the year 9999."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return f"{scalar.value} {scalar.type}"


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
