"""Kinds of raw labels, their missing values, and one reader per kind for collators and samplers.

===============  ==========================================================================  ======================
kind             a row holds                                                                 missing
===============  ==========================================================================  ======================
``class``        a string or an integer                                                      also -1
``path``         a list of strings or integers, coarse to fine; it may end early             also -1, at any level
``multi_label``  a list of strings or of class ids, or a multi-hot of 0 and 1                -
``numbers``      a number, or a list of numbers of the same length in every row              -
``grades``       a grade of at least 0, or a list of one grade per document                  -
===============  ==========================================================================  ======================

None, NaN and the empty string mean "missing" in every kind; class codes also use -1, as in ``datasets.ClassLabel`` and
scikit-learn. A row without a label is unjudged: it is neither relevant nor irrelevant to any other. An empty list is a
label: the empty set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

NO_CODE = -1
"""The code of a missing class or path level."""

LABEL_KINDS = ("class", "path", "multi_label", "numbers", "grades")

LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""Names of label columns, as in sentence-transformers."""

Code = str | int

_PLAIN = {str, int, float, bool, type(None)}


def plain(value: Any) -> Any:
    """Return a label as plain Python values.

    Args:
        value: Any value; tensors, arrays, numpy and Decimal numbers, sets and tuples are converted, including inside
            lists.

    Returns:
        Strings, numbers, None, or lists of them; any other value is returned unchanged.

    Example:
        >>> plain(np.array([1, 2])), plain(np.float32(0.5)), plain((Decimal("1.5"), None))
        ([1, 2], 0.5, [1.5, None])
    """
    if isinstance(value, str | int | float | None):
        return value.item() if isinstance(value, np.generic) else value  # np.float64 is a float, np.str_ a string
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return list(value) if {*map(type, value)} <= _PLAIN else [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    return value


def is_missing(value: Any, *, code: bool = False) -> bool:
    """Return whether a plain value means that the label is missing.

    Args:
        value: A label, or one level of a path.
        code: Whether it is a class, for which -1 means "none".

    Returns:
        True for None, NaN and the empty string, and for -1 if ``code``.

    Example:
        >>> [is_missing(value) for value in (None, float("nan"), "", 0, -1)], is_missing(-1, code=True)
        ([True, True, True, False, False], True)
    """
    if value is None or (isinstance(value, str) and not value):
        return True
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isnan(value) or (code and value == NO_CODE)


def read_classes(rows: Sequence[Any], column: str) -> list[Code | None]:
    """Read one class per row.

    Args:
        rows: Strings or integers (whole floats count as integers, since pandas stores classes with gaps as floats).
        column: Name of the column, for errors.

    Returns:
        A string or an integer per row; None if the row is unlabelled.

    Raises:
        ValueError: If a row holds anything else, or strings and integers are mixed.

    Example:
        >>> read_classes(["cat", None, "dog"], "label"), read_classes([1.0, float("nan"), -1], "label")
        (['cat', None, 'dog'], [1, None, None])
    """
    found = [_read_code(value, row, column, "a class (a string or an integer)") for row, value in _plain(rows)]
    _check_one_type(found, column)
    return found


def read_paths(rows: Sequence[Any], column: str) -> list[tuple[Code, ...]]:
    """Read one path per row, coarse to fine.

    Args:
        rows: Lists of strings or integers; only trailing levels may be missing.
        column: Name of the column, for errors.

    Returns:
        The levels of each row; empty if the row is unlabelled.

    Raises:
        ValueError: If a row is not a list, a level is not a string or an integer, strings and integers are mixed, or a
            level follows a missing one.

    Example:
        >>> read_paths([["animal", "cat"], ["plant", None], None], "label")
        [('animal', 'cat'), ('plant',), ()]
    """
    found: list[tuple[Code, ...]] = []
    for row, value in _plain(rows):
        levels = [] if is_missing(value) else value
        if _holds_codes(levels):
            found.append(tuple(levels))
            continue
        if not isinstance(levels, list):
            raise refusal(column, row, value, "a path: a list of levels, coarse to fine", _split(value))
        codes = [_read_code(level, row, column, "a string or an integer at each level") for level in levels]
        end = codes.index(None) if None in codes else len(codes)
        if any(code is not None for code in codes[end:]):
            raise refusal(column, row, value, "a path without gaps", "fill the missing level, or end the path there")
        found.append(tuple(code for code in codes if code is not None))
    _check_one_type([level for path in found for level in path], column)
    return found


def is_multi_hot(rows: Sequence[Any], *, class_ids: bool = False) -> bool:
    """Return whether lists are multi-hot: of equal length, with only numbers in [0, 1].

    Args:
        rows: Lists of numbers or strings; rows without a label are ignored.
        class_ids: Whether the dataset's features declare the numbers as class ids, which rules out a multi-hot.

    Returns:
        Whether each position in a row represents a label.

    Example:
        >>> is_multi_hot([[0, 1, 1], [1, 0, 0]]), is_multi_hot([[0, 3], [1]])
        (True, False)
    """
    labelled = [row for row in (plain(value) for value in rows) if not is_missing(row)]
    if class_ids or not labelled or not all(isinstance(row, list) for row in labelled):
        return False
    if len({len(row) for row in labelled}) > 1 or not labelled[0]:
        return False
    return all(isinstance(x, int | float) and 0 <= x <= 1 for row in labelled for x in row)


def holds_class_ids(feature: Any) -> bool:
    """Return whether a feature of a dataset declares a column as lists of class ids: ``List(ClassLabel(...))``."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return type(inner).__name__ == "ClassLabel"


def read_sets(rows: Sequence[Any], column: str, *, class_ids: bool = False) -> list[dict[Code, float] | None]:
    """Read one set of labels per row.

    Args:
        rows: Lists of strings or class ids, or multi-hot lists, see `is_multi_hot`.
        column: Name of the column, for errors.
        class_ids: As in `is_multi_hot`.

    Returns:
        Degree of membership, above 0 and at most 1, by label (a string, an id or a position in the multi-hot); None if
        the row is unlabelled.

    Raises:
        ValueError: If a row is not a list, a label is missing or not a string or an integer, or strings and integers
            are mixed.

    Example:
        >>> read_sets([["a", "b"], [], None], "label"), read_sets([[3, 17], [4]], "label")
        ([{'a': 1.0, 'b': 1.0}, {}, None], [{3: 1.0, 17: 1.0}, {4: 1.0}])
        >>> read_sets([[0, 1, 1], [1, 0, 0]], "label")
        [{1: 1.0, 2: 1.0}, {0: 1.0}]
    """
    if is_multi_hot(rows, class_ids=class_ids):
        return [
            None if is_missing(value) else {place: float(x) for place, x in enumerate(value) if x}
            for _, value in _plain(rows)
        ]
    found: list[dict[Code, float] | None] = []
    for row, value in _plain(rows):
        if is_missing(value):
            found.append(None)
            continue
        if _holds_codes(value):
            found.append(dict.fromkeys(value, 1.0))
            continue
        if not isinstance(value, list):
            raise refusal(column, row, value, "a set of labels: a list of strings, ids, or 0 and 1", _split(value))
        codes = [_read_code(label, row, column, "a string, an id or a multi-hot of 0 and 1") for label in value]
        negative = any(isinstance(code, int) and code < 0 for code in codes)
        if None in codes or negative:
            raise refusal(column, row, value, "labels that are not missing", "leave missing labels out of the list")
        found.append({code: 1.0 for code in codes if code is not None})
    _check_one_type([label for labels in found for label in labels or ()], column)
    return found


def read_numbers(rows: Sequence[Any], column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read one or more numbers per row.

    Args:
        rows: Numbers, or (nested) lists of numbers of equal shape.
        column: Name of the column, for errors.

    Returns:
        float64, shape ``(rows,)`` or ``(rows, n, ...)``; all NaN for a row with a missing number.

    Raises:
        ValueError: If a row holds anything else, is infinite, or has another shape.

    Example:
        >>> read_numbers([1, None, 2.5], "label"), read_numbers([[1, 2], [3, None]], "label").tolist()
        (array([1. , nan, 2.5]), [[1.0, 2.0], [nan, nan]])
    """
    values = [plain(value) for value in rows]
    if {*map(type, values)} == {float}:
        return _finite(np.array(values), values, column)
    shape: tuple[int, ...] | None = None
    found: list[tuple[int, np.ndarray[Any, np.dtype[np.float64]]]] = []
    for row, value in enumerate(values):
        if is_missing(value):
            continue
        try:
            found.append((row, _as_numbers(value)))
        except (TypeError, ValueError) as error:
            raise refusal(column, row, value, "a number, or a list of numbers", _cast(value)) from error
        shape = found[-1][1].shape if shape is None else shape
        if found[-1][1].shape != shape or 0 in shape:
            remedy = "for sets of class ids use MultiLabel() and RankingTrainer, or label_kind='multi_label'"
            raise refusal(column, row, value, f"numbers of shape {shape}, as in the rows before", remedy)
    numbers = np.full((len(values), *(shape or ())), np.nan)
    for row, array in found:
        numbers[row] = array
    return _finite(numbers, values, column)


def _finite(
    numbers: np.ndarray[Any, np.dtype[np.float64]], values: list[Any], column: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the numbers of ``values``, all NaN in rows with a missing one; raise ValueError if one is infinite."""
    flat = numbers.reshape(len(values), math.prod(numbers.shape[1:]))
    infinite = np.isinf(flat).any(axis=1)
    if infinite.any():
        row = int(infinite.argmax())
        raise refusal(column, row, values[row], "finite numbers", "leave the row out, or use None for no label")
    flat[np.isnan(flat).any(axis=1)] = np.nan
    return numbers


def read_grades(value: Any, row: int, column: str) -> list[float]:
    """Read the grades of a row, one per document.

    Args:
        value: A list of grades; a single grade counts as a list of one.
        row: Number of the row, for errors.
        column: Name of the column, for errors.

    Returns:
        Grades of at least 0; NaN for an unjudged document.

    Raises:
        ValueError: If a grade is not a number, is negative or infinite.

    Example:
        >>> read_grades([3, None, 0.5], 0, "labels")
        [3.0, nan, 0.5]
    """
    grades = []
    value = plain(value)
    for grade in value if isinstance(value, list) else [value]:
        if is_missing(grade):
            grades.append(math.nan)
            continue
        if not isinstance(grade, Real):
            raise refusal(column, row, grade, "grades that are numbers", _cast(grade))
        if not 0 <= float(grade) < math.inf:
            remedy = "use None for an unjudged document, or shift the scores so that the lowest is 0"
            raise refusal(column, row, grade, "finite grades of at least 0", remedy)
        grades.append(float(grade))
    return grades


def read_weights(rows: Sequence[Any], column: str, sizes: Sequence[int]) -> list[float]:
    """Read the weights of each row's inputs.

    Args:
        rows: A number per row, or a list of one per input.
        column: Name of the column, for errors.
        sizes: Number of inputs of each row; a single number is repeated.

    Returns:
        Weights of at least 0, of all rows one after another.

    Raises:
        ValueError: If a weight is missing, is not a number, is negative or infinite, or a row has too many or too few.

    Example:
        >>> read_weights([0.5, [1, 2]], "document_weights", [3, 2])
        [0.5, 0.5, 0.5, 1.0, 2.0]
    """
    found: list[float] = []
    for (row, value), size in zip(_plain(rows), sizes, strict=True):
        weights = value if isinstance(value, list) else [value] * size
        if len(weights) != size:
            rule = "one weight per row" if size == 1 else f"one weight, or {size}, one per input"
            raise refusal(column, row, value, rule, "correct it, or name weights of documents 'document_weights'")
        for weight in weights:
            if not isinstance(weight, Real) or not 0 <= float(weight) < math.inf:
                remedy = (
                    "use 1 for the usual weight and 0 to leave the input out; if these are inputs, rename the column"
                )
                raise refusal(column, row, weight, "weights: finite numbers of at least 0", remedy)
            found.append(float(weight))
    return found


_OF = ContextVar("of", default="")


@contextmanager
def rows_of_a_batch() -> Iterator[None]:
    """Let errors say that the number of a row is that within the batch, which differs from that in the dataset."""
    before = _OF.set(" of the batch")
    try:
        yield
    finally:
        _OF.reset(before)


def row_name(row: int) -> str:
    """Return how errors call a row, see `rows_of_a_batch`."""
    return f"row {row}{_OF.get()}"


def refusal(column: str, row: int, value: Any, rule: str, remedy: str) -> ValueError:
    """Return an error for a value that breaks a rule; it names column, row, rule, value and remedy."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return ValueError(f"column {column!r} must hold {rule}, got {shown} in {row_name(row)}: {remedy}.")


def _plain(rows: Sequence[Any]) -> list[tuple[int, Any]]:
    return [(row, plain(value)) for row, value in enumerate(rows)]


def _holds_codes(value: Any) -> bool:
    """Return whether a value is a list of strings or of integers, none missing: nearly all, and read much faster."""
    kinds = {*map(type, value)} if isinstance(value, list) else set()
    return (kinds == {str} and "" not in value) or (kinds == {int} and min(value) >= 0)


def _read_code(value: Any, row: int, column: str, rule: str) -> Code | None:
    """Return a class code, or None if missing."""
    if (type(value) is int and value != NO_CODE) or (type(value) is str and value):  # nearly all, much faster
        return value
    if is_missing(value, code=True):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and value == int(value if math.isfinite(value) else 0):
        return int(value)
    remedy = "for numbers use relevance.Numeric()" if isinstance(value, float) else "convert the column"
    raise refusal(column, row, value, rule, remedy)


def _check_one_type(codes: Sequence[Code | None], column: str) -> None:
    kinds = {*map(type, codes)} - {type(None)}
    if len(kinds) > 1:
        first = {kind: next(code for code in codes if type(code) is kind) for kind in (str, int)}
        raise ValueError(
            f"column {column!r} must hold strings or integers, not both, got {first[str]!r} and {first[int]!r}: "
            "convert one of them."
        )


def _split(value: Any) -> str:
    return "split the string into a list" if isinstance(value, str) else "convert the column"


def _cast(value: Any) -> str:
    if isinstance(value, str):
        return "cast the column to numbers, such as dataset.cast_column(name, Value('float64'))"
    return "convert the column"


def _as_numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the numbers of a row, or raise TypeError or ValueError."""
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":  # None or "" among numbers, or integers beyond 64 bits
        array = np.array(_each(_float_or_nan, value))
    return array.astype(np.float64)


def _float_or_nan(value: Any) -> float:
    """Return a number as a float, and a missing value as NaN; raise TypeError for anything else."""
    if is_missing(value):
        return math.nan
    if not isinstance(value, Real):
        raise TypeError(f"not a number: {value!r}")
    return float(value)


def _each(function: Callable[[Any], float], value: Any) -> Any:
    return [_each(function, item) for item in value] if isinstance(value, list) else function(value)
