"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from st_rankloss.data.table import BATCH, Row, Table, of_arrow


def read(path: Path, streaming: bool) -> Table:
    """Read a parquet file; see `read_table`."""
    try:
        if not streaming:
            return of_arrow(pq.read_table(path), str(path), folder=path.parent)
        names = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: the file is not valid parquet: {error}.") from error
    return Table(str(path), names, partial(_stream, path), streaming=True, folder=path.parent)


def _stream(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from batch.to_pylist()
