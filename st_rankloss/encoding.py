"""Encode the labels of a batch as tensors, with their kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from st_rankloss.labels import (
    LABEL_KINDS,
    NO_CODE,
    Code,
    is_missing,
    is_multi_hot,
    plain,
    read_classes,
    read_grades,
    read_numbers,
    read_paths,
    read_sets,
    refusal,
    row_name,
)
from st_rankloss.relevance import encode_ids

EXACT = torch.float32 if torch.backends.mps.is_available() else torch.float64
"""The type for exact numbers: float32 cannot separate timestamps a minute apart. MPS has no float64."""


def encode_labels(
    labels: Sequence[Any],
    column: str,
    kind: str = "auto",
    *,
    reads: Sequence[str] = LABEL_KINDS,
    list_sizes: Tensor | None = None,
    label_names: Sequence[Code] | None = None,
    class_ids: bool = False,
    exact: bool = True,
) -> dict[str, Any]:
    """Encode a batch's labels.

    Args:
        labels: One label per row.
        column: Name of the column, for errors.
        kind: One of `LABEL_KINDS`, or ``"auto"``: the only one in ``reads``, or else inferred.
        reads: The kinds that the loss's relevance reads.
        list_sizes: Number of documents per row, if rows hold lists.
        label_names: All names of a multi-label set, in the order of the columns; None uses those of the batch.
        class_ids: Whether the dataset's features declare lists of integers as lists of classes.
        exact: Whether undeclared numbers may be float64; otherwise float32, as other losses expect.

    Returns:
        The tensor as ``label``; its ``kind``, if declared or inferred; and ``label_codes``, the encoded column names,
        for a multi-label set with the batch's own names.

    Raises:
        ValueError: If the labels do not fit the kind; the error names the column, the row, the rule and the remedy.

    Example:
        >>> encode_labels([["a"], ["a", "b"]], "label", "multi_label", label_names=["a", "b"])
        {'label': tensor([[1., 0.],
                [1., 1.]]), 'kind': 'multi_label'}
        >>> encode_labels([3, None, 3], "label", reads=["class"])
        {'label': tensor([ 3, -1,  3]), 'kind': 'class'}
    """
    if kind == "auto":
        kind = reads[0] if len(reads) == 1 else _guess_kind(labels, list_sizes, class_ids=class_ids)
    if kind == "undeclared":
        return {"label": _encode_undeclared(labels, column, exact=exact)}
    if kind == "multi_label":
        encoded = _encode_sets(labels, column, label_names, class_ids=class_ids)
    elif kind == "grades":
        encoded = {"label": _encode_grades(labels, column, list_sizes)}
    elif kind == "numbers":
        encoded = {"label": torch.from_numpy(read_numbers(labels, column)).to(EXACT)}
    elif kind == "class":
        encoded = {"label": _encode_classes(labels, column)}
    else:
        encoded = {"label": _encode_paths(labels, column)}
    return encoded | {"kind": kind}


def read_list_grades(value: Any, row: int, column: str, documents: int) -> list[float]:
    """Read the grades of a row, one per document (NaN where unjudged), or raise ValueError."""
    value = plain(value)
    if is_missing(value):
        return [math.nan] * documents
    grades = read_grades(value, row, column)
    if len(grades) != documents or not isinstance(value, list):
        raise ValueError(
            f"column {column!r} must hold a list of grades, one per document, got {len(grades)} grades for "
            f"{documents} documents in {row_name(row)}."
        )
    return grades


def _guess_kind(labels: Sequence[Any], list_sizes: Tensor | None, *, class_ids: bool) -> str:
    """Infer the kind of labels if neither the user nor the loss declares it."""
    if list_sizes is not None:
        return "grades"
    values = [value for value in map(plain, labels) if not is_missing(value)]
    telling: Any = next((value for value in values if value != []), [])
    if isinstance(telling, list):
        strings = any(isinstance(item, str) for item in telling)
        return "multi_label" if strings or class_ids or not telling else "undeclared"
    gaps = len(values) < len(labels)  # keep integers with gaps as integers: as numbers they would become floats
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return "class" if isinstance(telling, str) or (whole and gaps) else "undeclared"


def _encode_undeclared(labels: Sequence[Any], column: str, *, exact: bool) -> Tensor:
    """Keep numbers unchanged, as the collator of sentence-transformers does."""
    numbers = torch.from_numpy(read_numbers(labels, column))
    if isinstance(labels[0], Tensor):
        tensor = torch.stack(list(labels))
    else:
        tensor = numbers if numbers.isnan().any() else torch.tensor([plain(label) for label in labels])
    if not tensor.is_floating_point():
        return tensor
    if exact:
        return numbers.to(EXACT)
    single = numbers.float()
    given = numbers[~numbers.flatten(1).isnan().any(1)] if numbers.dim() > 1 else numbers[~numbers.isnan()]
    if single.dim() < 3 and len(given.float().unique(dim=0)) < len(given.unique(dim=0)):
        raise ValueError(
            f"column {column!r} holds numbers that float32 cannot tell apart, such as {float(given.flatten()[0]):g}: "
            "train with RankingTrainer, set label_kind='numbers', or subtract the smallest."
        )
    return single


def _encode_classes(labels: Sequence[Any], column: str) -> Tensor:
    """Encode classes, with `NO_CODE` for a missing one."""
    classes = read_classes(labels, column)
    if not any(isinstance(code, str) for code in classes):
        return torch.tensor([NO_CODE if code is None else code for code in classes])
    codes = encode_ids("" if code is None else code for code in classes)
    return codes.masked_fill(torch.tensor([code is None for code in classes]), NO_CODE)


def _encode_paths(labels: Sequence[Any], column: str) -> Tensor:
    """Encode each level of a path by the path that leads to it, with `NO_CODE` for a missing level."""
    paths = read_paths(labels, column)
    codes = torch.full((len(paths), max(1, *map(len, paths))), NO_CODE)
    for i, path in enumerate(paths):
        codes[i, : len(path)] = encode_ids("\x1f".join(map(str, path[: level + 1])) for level in range(len(path)))
    return codes


def _encode_sets(
    labels: Sequence[Any], column: str, label_names: Sequence[Code] | None, *, class_ids: bool
) -> dict[str, Tensor]:
    """Build a multi-hot; if its columns are the batch's own, include their codes for other processes."""
    if is_multi_hot(labels, class_ids=class_ids):
        hot = torch.from_numpy(read_numbers(labels, column)).float()
        if label_names is not None and hot.shape[1] != len(label_names):
            raise ValueError(
                f"column {column!r} must hold a multi-hot as wide as label_names, {len(label_names)}, got "
                f"{hot.shape[1]} places: remove label_names, or name every label."
            )
        return {"label": hot}
    sets = read_sets(labels, column, class_ids=True)  # lists that are not multi-hot hold names or ids
    found = {name for row in sets for name in row or ()}
    # A batch without labels still needs a column, under a name that no label has.
    names: Sequence[Code] = label_names if label_names is not None else sorted(found, key=str) or [""]
    place = {name: i for i, name in enumerate(names)}
    hot = torch.zeros(len(labels), len(names))
    for i, row in enumerate(sets):
        if row is None:
            hot[i] = torch.nan
            continue
        for name in row:
            if name not in place:
                raise refusal(column, i, name, "labels that are among label_names", "add it to label_names")
            hot[i, place[name]] = 1
    return {"label": hot} | ({} if label_names is not None else {"label_codes": encode_ids(names)})


def _encode_grades(labels: Sequence[Any], column: str, list_sizes: Tensor | None) -> Tensor:
    """Pad each row's grades with NaN; one score per row gives a single dimension."""
    values = [plain(value) for value in labels]
    widths = [len(value) for value in values if isinstance(value, list)]
    if list_sizes is None and not widths:
        return torch.tensor([read_grades(value, row, column)[0] for row, value in enumerate(values)])
    # Without lists of documents, there is one grade per document column, the same number in every row.
    sizes = [widths[0]] * len(values) if list_sizes is None else list_sizes.tolist()
    rows = [read_list_grades(value, row, column, sizes[row]) for row, value in enumerate(values)]
    grades = torch.full((len(rows), max(map(len, rows))), torch.nan)
    for row, own in enumerate(rows):
        grades[row, : len(own)] = torch.tensor(own)
    return grades
