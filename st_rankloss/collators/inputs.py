"""The input columns of dataset rows: which hold lists, and what may be embedded."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from st_rankloss._host import MODALITIES, format_modality, infer_modality, is_message_dict
from st_rankloss.judgements import check_inputs, is_list_of_inputs
from st_rankloss.labels import refusal, row_name

Row = dict[str, Any]
"""A row of the dataset, by column."""

_LOOKS_LIKE_IDS = re.compile(r"(.*[_-])?(id|ids|idx|uid|uuid|guid)|[qdp]ids?|(doc|query|corpus)ids?", re.IGNORECASE)

_NUMBERS = ("int", "uint", "float", "double", "bool", "decimal")


def same_columns(features: list[Row]) -> list[Row]:
    """Copy rows, without the gaps of their inputs; raise ValueError if a row lacks a column.

    Args:
        features: The rows of a batch.

    Returns:
        The rows, see `without_gaps`.

    Raises:
        ValueError: If a row has other columns than the first.
    """
    names = features[0].keys()
    for place, row in enumerate(features):
        if row.keys() != names:
            raise ValueError(
                f"every row must have the columns {list(names)}, got {list(row)} in {row_name(place)}: fill the "
                "column, or remove it."
            )
    return [{name: without_gaps(value) for name, value in row.items()} for row in features]


def without_gaps(value: Any) -> Any:
    """Return an input, or a list of inputs, without the None that Arrow stores where a row's dict lacks a key.

    Args:
        value: Any value of a column. Only dicts of modalities and chat messages, or lists of them, change: the others
            give None a meaning, or have no keys.

    Returns:
        The value without keys that have no value; as it is if there are none.

    Example:
        >>> without_gaps({"text": "a cat", "image": None})
        {'text': 'a cat'}
        >>> without_gaps([{"role": "user", "content": [{"type": "text", "text": "a cat", "image": None}]}])
        [{'role': 'user', 'content': [{'type': 'text', 'text': 'a cat'}]}]
    """
    if isinstance(value, str):  # nearly all, much faster
        return value
    if isinstance(value, list | tuple):
        if not any(isinstance(item, Mapping | list | tuple) for item in value[:1]):
            return value
        return [without_gaps(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if is_message_dict(value):
        return _filled(value)
    return _present(value) if value.keys() <= MODALITIES else value


def _filled(value: Any) -> Any:
    """Return a message, or a part of one, without None."""
    if isinstance(value, Mapping):
        return {key: _filled(each) for key, each in _present(value).items()}
    return [_filled(each) for each in value] if isinstance(value, list | tuple) else value


def _present(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that have a value; datasets 4.1 leaves images encoded if the first of a list has none."""
    found = {key: each for key, each in value.items() if each is not None}
    image = found.get("image")
    if isinstance(image, Mapping) and image.keys() == {"bytes", "path"}:
        from datasets import Image  # has encoded the image, so is installed

        found["image"] = Image().decode_example(dict(image))
    return found


def input_columns(row: Row) -> list[str]:
    """Return the names of a row's input columns."""
    return [name for name in row if name != "dataset_name"]


def list_columns(rows: list[Row]) -> list[str]:
    """Find columns of lists of inputs (strings, images or chats), but not of numbers or chat messages."""
    return [name for name in input_columns(rows[0]) if any(is_list_of_inputs(row[name]) for row in rows)]


def holds_lists(feature: Any) -> bool:
    """Return whether a feature of a dataset declares a column of lists of inputs, as `list_columns` finds in rows.

    Args:
        feature: A feature of ``datasets``, such as ``List(Value("string"))``.

    Returns:
        True for lists of strings, images, dicts and chats; False for lists of numbers and for chats.

    Example:
        >>> from datasets import Image, List, Value
        >>> [holds_lists(feature) for feature in (List(Value("string")), List(Image()), List(Value("int64")), Image())]
        [True, True, False, False]
    """
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    if inner is None:
        return False
    if isinstance(inner, Mapping):
        return not {"role", "content"} <= inner.keys()
    if isinstance(inner, list) or hasattr(inner, "feature"):  # a list of lists: of chats, or of numbers
        deeper = inner[0] if isinstance(inner, list) else inner.feature
        return isinstance(deeper, Mapping)
    return not str(getattr(inner, "dtype", "")).startswith(_NUMBERS)


def read_list(value: Any, place: int, name: str) -> list[Any]:
    """Read a row's list of documents.

    Args:
        value: A list, a tuple or an array.
        place: Number of the row, for errors.
        name: Name of the column, for errors.

    Returns:
        The documents, at least one.

    Raises:
        ValueError: If the value is not a list, is empty, or holds something that cannot be embedded.
    """
    documents = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(documents, list | tuple):
        raise refusal(name, place, value, "a list of documents", "fill the row, or remove it")
    if not documents:
        raise refusal(name, place, value, "at least one document in each list", "remove the row")
    check_inputs(((place, document) for document in documents), name, "row")
    return list(documents)


def check_columns(rows: list[Row]) -> None:
    """Raise ValueError for an input that cannot be embedded, or would be embedded by mistake.

    Args:
        rows: Rows of input columns of single values.

    Raises:
        ValueError: If a column looks like ids, or a value is not an input.
    """
    for name in input_columns(rows[0]):
        if _LOOKS_LIKE_IDS.fullmatch(name):
            raise ValueError(
                f"column {name!r} looks like ids, but would be embedded as an input: name it after its "
                "input column plus '_id', or remove it with dataset.remove_columns."
            )
        check_inputs(((place, row[name]) for place, row in enumerate(rows)), name, "row")


@contextlib.contextmanager
def naming_mixed(columns: Mapping[str, list[Any]]) -> Iterator[None]:
    """Name the column that mixes modalities, if the model cannot embed one of these columns.

    Args:
        columns: The inputs of each column.

    Yields:
        None: The model runs inside.

    Raises:
        ValueError: As the model raises it, or with the name of the column.
    """
    try:
        yield
    except ValueError as error:
        for name, inputs in columns.items():
            found = list(dict.fromkeys(format_modality(infer_modality(value)) for value in inputs))
            if len(found) > 1:
                raise ValueError(
                    f"column {name!r} mixes {' and '.join(found)} in one batch, which this model does not embed "
                    "together: use a model with a chat template, or give each modality a column or a dataset of its "
                    "own."
                ) from error
        raise
