"""The contents of texts and images: which rows hold the same, without decoding images."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image
from torch import Tensor


def is_decoded(value: Any) -> bool:
    """Return whether a value is a PIL image, without importing PIL."""
    return type(value).__module__.startswith("PIL.")


def encoded(image: Any) -> dict[str, Any]:
    """Return a PIL image as the bytes of a file: as it is now, not as in the file that it was opened from."""
    found: dict[str, Any] = Image().encode_example(image.copy())  # a copy belongs to no file
    return found


def content_of(value: Any) -> Any:
    """Return a stored value as it can be compared with others: an image as a digest of its file.

    Args:
        value: A value as pyarrow holds it; an image is a dict of ``bytes`` and ``path``.

    Returns:
        The digest of an image, or those in a list; the path of one that is not a file here; else the value.

    Example:
        >>> content_of("red"), len(content_of({"bytes": b"abc", "path": None}))
        ('red', 32)
    """
    if isinstance(value, list):
        return [*map(content_of, value)]
    if not isinstance(value, Mapping) or not (value.get("bytes") or value.get("path")):
        return value
    if not value.get("bytes") and not Path(value["path"]).is_file():  # an address, or inside an archive
        return value["path"]
    return hashlib.sha256(value.get("bytes") or Path(value["path"]).read_bytes()).digest()


def contents(dataset: Dataset, name: str) -> Iterator[Any]:
    """Yield the values of a column as they can be compared, without decoding images.

    Args:
        dataset: The dataset.
        name: Name of the column.

    Yields:
        Any: Each row's value, see `content_of`.

    Example:
        >>> [*contents(Dataset.from_dict({"text": ["b", "a"]}), "text")]
        ['b', 'a']
    """
    for batch in dataset.select_columns(name).with_format("arrow").iter(1_000):
        yield from map(content_of, batch[name].to_pylist())


def number_contents(dataset: Dataset, name: str) -> Tensor:
    """Number the texts or images of a column, equal ones alike.

    Args:
        dataset: The dataset.
        name: Name of the column.

    Returns:
        Numbers from 0 in the order of first occurrence, int64, shape ``(rows,)``.

    Example:
        >>> number_contents(Dataset.from_dict({"text": ["b", "a", "b"]}), "text")
        tensor([0, 1, 0])
    """
    return torch.tensor(numbered(contents(dataset, name)), dtype=torch.long)


def numbered(values: Iterable[Hashable]) -> list[int]:
    """Number values from 0 in the order of first occurrence, equal ones alike.

    Args:
        values: The values, such as `contents`.

    Returns:
        The number of each.

    Example:
        >>> numbered(["b", None, "b"])
        [0, 1, 0]
    """
    known: dict[Hashable, int] = {}
    return [known.setdefault(value, len(known)) for value in values]
