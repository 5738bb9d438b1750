"""Files of tables: what they are called, how they are opened, and how they fail."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JSON, DELIMITED, PARQUET = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv", ".txt", ".tab"), (".parquet", ".pq")

TABLES = (*JSON, *DELIMITED, *PARQUET)
"""What the names of files end in."""

SHARD = re.compile(r"-(\d+)-of-(\d+)(?=\.)")
"""Which shard of a table a file is, in its name."""


class Shards(tuple[Path, ...]):
    """The files that are shards of one table."""


def suffix_of(path: Path) -> str:
    """Return what the name of a file ends in, without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def without_shard(path: Path) -> str:
    """Return the name of the table that a file is a shard of."""
    return SHARD.sub("", path.name)


def is_table(path: Path) -> bool:
    """Return whether a file is named like a table."""
    return suffix_of(path) in TABLES


def _open_bytes(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def open_text(path: Path, encoding: str | None = None) -> io.TextIOBase:
    """Open a text file, which may be compressed and may start with a byte order mark."""
    return io.TextIOWrapper(_open_bytes(path), encoding or encoding_of(path), newline="")


def encoding_of(path: Path) -> str:
    """Return UTF-16 if a file starts with its mark, or UTF-8."""
    with _open_bytes(path) as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of decoding and of compression into a ValueError that names the remedy."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: a text file must be in {error.encoding}, got the byte {error.object[error.start]:#x}: pass "
            "encoding=, such as 'cp1252', or save it as UTF-8."
        ) from error
    except LookupError as error:
        raise ValueError(f"{path}: encoding= must be one that Python knows, such as 'cp1252', got {error}.") from error
    except (OSError, EOFError) as error:
        raise ValueError(f"{path}: the file cannot be read: {error}.") from error
