"""Texts of a row: read, joined from their fields, and named by an id where the data have none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from st_rankloss.labels import is_missing, refusal

FIELDS = ("title", "text")
"""Fields of an object that are a text."""


def text_id(text: str) -> str:
    """Make an id from a text.

    Args:
        text: The text.

    Returns:
        The id: equal texts have equal ids, in every file and on every machine.

    Example:
        >>> text_id("red shoes") == text_id("red shoes"), len(text_id("red shoes"))
        (True, 16)
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def join_title(title: Any, text: Any) -> str:
    """Join a title and a text by a space, as BEIR does.

    Args:
        title: The title; anything but a text counts as missing.
        text: The text; as above.

    Returns:
        Both, or the one that is there; "" if neither is.

    Example:
        >>> join_title("Shoes", "Red ones."), join_title("", "Red ones.")
        ('Shoes Red ones.', 'Red ones.')
    """
    return " ".join(part for part in (title, text) if isinstance(part, str) and part)


def read_texts(row: Mapping[str, Any], place: int, columns: Sequence[str]) -> str | None:
    """Return the text of a row, joined by spaces if it is in several columns; None if all are missing or blank."""
    texts = [text for name in columns if (text := read_text(row[name], place, name)) is not None]
    return " ".join(texts) or None


def read_text(value: Any, row: int, column: str) -> str | None:
    """Return the text of a row.

    Args:
        value: A string, or an object with a ``title`` and a ``text``, which are joined.
        row: Number of the row, for errors.
        column: Name of the column, for errors.

    Returns:
        The text; None if it is missing or blank.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> read_text({"title": "Shoes", "text": "Red ones."}, 0, "document")
        'Shoes Red ones.'
    """
    if type(value) is str and value and not value.isspace():  # almost always
        return value
    if isinstance(value, Mapping):
        known = {str(name).lower(): item for name, item in value.items()}
        if not any(isinstance(known.get(name), str) for name in FIELDS):
            raise refusal(column, row, value, "texts, or objects with 'title' and 'text'", "join their fields first")
        value = join_title(*(known.get(name) for name in FIELDS))
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise refusal(column, row, value, "texts", "convert it to a string, or name the column of the texts")
    return value
