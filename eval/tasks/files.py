"""Rows of files, and the texts and labels in their columns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import load_dataset

from eval.names import check_name

FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}

Row = Mapping[str, Any]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a parquet, jsonl, csv or tsv file.

    Raises:
        FileNotFoundError: If there is no such file, with the closest names in its folder.
    """
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=3, cutoff=0.3)
        raise FileNotFoundError(f"there is no {path}" + (f"; the folder has {', '.join(near)}." if near else "."))
    check_name(path.suffix, FORMATS, f"format of {path}:")
    options = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
    rows = load_dataset(FORMATS[path.suffix], data_files=str(path), split="train", **options)
    found: list[dict[str, Any]] = rows.to_list()
    return found


def label_set(row: Row, columns: Sequence[str]) -> set[str]:
    """Join the labels of several columns, each a string or a list of strings."""
    return {str(x) for column in columns for x in ([row[column]] if isinstance(row[column], str) else row[column])}


def joined(row: Row, columns: str | Sequence[str]) -> str:
    """Join the texts of one or several columns by a space; an empty text becomes a full stop."""
    texts = [str(row[c]) for c in ([columns] if isinstance(columns, str) else columns) if row[c] is not None]
    return " ".join(text for text in texts if text).strip() or "."
