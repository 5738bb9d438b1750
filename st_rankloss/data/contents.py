"""Which rows hold the same text or the same image, without decoding images."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor


def stored(dataset: Dataset, names: Sequence[str]) -> list[list[Any]]:
    """Return columns as they are stored: images as their encoded bytes or their path.

    Args:
        dataset: The dataset.
        names: Names of columns.

    Returns:
        The values of each column.

    Example:
        >>> stored(Dataset.from_dict({"text": ["a", "b"]}), ["text"])
        [['a', 'b']]
    """
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    return [table[name].to_pylist() for name in names]


def content_of(value: Any) -> Hashable:
    """Return what tells a stored text or image from others.

    Args:
        value: A text, or an image's ``bytes`` and ``path``.

    Returns:
        The text, the bytes or, without bytes, the path.

    Example:
        >>> content_of({"bytes": None, "path": "rose.png"})
        'rose.png'
    """
    return (value.get("bytes") or value.get("path")) if isinstance(value, Mapping) else value


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
    known: dict[Hashable, int] = {}
    numbers = []
    for batch in dataset.select_columns(name).with_format("arrow").iter(1_000):
        for content in map(content_of, batch[name].to_pylist()):
            key = hashlib.sha256(content).digest() if isinstance(content, bytes) else content
            numbers.append(known.setdefault(key, len(known)))
    return torch.tensor(numbers, dtype=torch.long)
