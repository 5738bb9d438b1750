"""The columns beside inputs: ids and weights of rows, queries and documents, which models never see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from st_rankloss.collators.inputs import Row, input_columns
from st_rankloss.labels import is_missing, plain, read_weights, row_name
from st_rankloss.relevance import encode_ids

ROW_NUMBER = "_row_number"
"""What the rows of a dataset whose loss has a weighting call their number, see `st_rankloss.numbering`."""


def pop_numbers(rows: list[Row]) -> tuple[list[Row], dict[str, Tensor]]:
    """Remove the numbers of rows, and return them by name if there are any."""
    if ROW_NUMBER not in rows[0]:
        return rows, {}
    return rows, {"row_numbers": torch.tensor([row.pop(ROW_NUMBER) for row in rows])}


def id_names(column: str) -> tuple[str, ...]:
    """Return the names that a column of ids for an input column may have."""
    return tuple(f"{stem}_{end}" for stem in _stems(column) for end in ("id", "ids"))


def pop_ids(rows: list[Row], label_columns: Sequence[str]) -> dict[str, list[Any]]:
    """Remove the id columns from the rows, and return ids by the name of their input column."""
    found: dict[str, list[Any]] = {}
    for column in list(rows[0]):
        for name in id_names(column):
            if name in rows[0] and column not in label_columns:
                found[column] = [row.pop(name) for row in rows]
                break
    return found


def inputs_among(names: Iterable[str], label_columns: Sequence[str]) -> list[str]:
    """Return the names of columns of inputs.

    Args:
        names: The columns of a dataset.
        label_columns: Candidate names of the label column.

    Returns:
        Those that are not labels, ids, weights or the name of the dataset.

    Example:
        >>> inputs_among(["query", "query_id", "documents", "labels", "weight"], ["labels"])
        ['query', 'documents']
    """
    row: Row = {name: [0] for name in names if name not in label_columns}
    pop_weights([row], label_columns)
    pop_ids([row], label_columns)
    return input_columns(row)


def weight_columns(names: Iterable[str], label_columns: Sequence[str]) -> dict[str, str]:
    """Find the columns of weights.

    Args:
        names: The columns of a dataset.
        label_columns: Candidate names of the label column.

    Returns:
        The name of the input column that each column of weights belongs to, or "" for the weights of rows.

    Example:
        >>> weight_columns(["query", "documents", "weight", "document_weights"], ["label"])
        {'weight': '', 'document_weights': 'documents'}
    """
    names = [name for name in names if name not in label_columns]
    found = {"weight": ""}
    for column in names:
        found |= {f"{stem}_{end}": column for stem in _stems(column) for end in ("weight", "weights")}
    return {name: column for name, column in found.items() if name in names}


def _stems(column: str) -> tuple[str, str]:
    return column, column.removesuffix("s")


def pop_weights(rows: list[Row], label_columns: Sequence[str]) -> dict[str, tuple[str, list[Any]]]:
    """Remove the columns of weights from the rows; return name and values by input column, "" for the rows' own."""
    found: dict[str, tuple[str, list[Any]]] = {}
    for name, column in weight_columns(rows[0], label_columns).items():
        if column in found:
            raise ValueError(f"weights must be in one column, got {found[column][0]!r} and {name!r}: remove one.")
        found[column] = (name, [row.pop(name) for row in rows])
    return found


def encode_weights(
    weights: dict[str, tuple[str, list[Any]]], columns: list[str], rows: int, list_sizes: Tensor | None
) -> dict[str, Tensor]:
    """Return weights of rows, queries and documents by name; a column without weights weighs 1."""
    sizes = {column: [1] * rows for column in ["", *columns]}
    if list_sizes is not None:
        sizes[columns[-1]] = list_sizes.tolist()
    flat = {
        column: torch.tensor(read_weights(values, name, sizes[column]), dtype=torch.float32)
        for column, (name, values) in weights.items()
    }
    query, *documents = columns
    found = {"row_weights": flat.get(""), "query_weights": flat.get(query)}
    if any(column in flat for column in documents):
        found["document_weights"] = torch.cat([flat.get(c, torch.ones(sum(sizes[c]))) for c in documents])
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def encode_row_ids(ids: dict[str, list[Any]], columns: list[str], list_sizes: Tensor | None) -> dict[str, Tensor]:
    """Return ids of queries and documents by name; raise ValueError if a column or an input lacks them."""
    missing = [column for column in columns if column not in ids]
    if missing:
        raise ValueError(
            f"either all input columns or none need ids, got none for {missing}: add a column {missing[0] + '_id'!r}."
        )
    sizes = {column: [1] * len(ids[column]) for column in columns}
    if list_sizes is not None:
        sizes[columns[1]] = list_sizes.tolist()
    query, *documents = (encode_ids(_flat_ids(ids[column], column, sizes[column])) for column in columns)
    return {"query_ids": query, "document_ids": torch.cat(documents) if documents else query}


def id_examples(ids: dict[str, list[Any]], columns: list[str]) -> dict[str, Any]:
    """Return the first id of the queries and of the documents, if they have any, for warnings."""
    first = [plain(ids[column][0]) for column in columns[:2] if column in ids]
    return dict(zip(("query", "document"), (x[0] if isinstance(x, list) else x for x in first), strict=False))


def _flat_ids(values: list[Any], column: str, sizes: list[int]) -> list[Any]:
    """Return the ids of all inputs of a column, or raise a ValueError that names the row without them."""
    if {*map(type, values)} <= {str, int} and "" not in values and {*sizes} == {1}:
        return values
    flat: list[Any] = []
    for i, (value, expected) in enumerate(zip(values, sizes, strict=True)):
        row_ids = plain(value)
        row_ids = row_ids if isinstance(row_ids, list) else [row_ids]
        if len(row_ids) != expected or not all(isinstance(x, str | int) and not is_missing(x) for x in row_ids):
            raise ValueError(
                f"{column!r} needs an id (a string or an integer) for each of its {expected} inputs in {row_name(i)}, "
                f"got {value!r}."
            )
        flat += row_ids
    return flat
