"""What a column of labels holds: classes, paths, sets or numbers, and how strings with separators become them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from datasets import List, Value

from st_rankloss.labels import is_missing, plain, read_classes, read_numbers, read_paths, read_sets, refusal

PATH_SEPARATORS = (" > ", " / ", ">", " :: ")
SET_SEPARATORS = ("|", ";")
_MOST_CLASSES = 50
_TASKS = ("classification", "hierarchy", "multi_label", "regression")


@dataclass(frozen=True)
class LabelForm:
    """How labels of a column are read.

    Args:
        task: The task.
        separator: What separates levels or labels in a string; None if they are no strings, or one label each.
        numbers: Whether classes are integers.
    """

    task: str
    separator: str | None = None
    numbers: bool = False

    @property
    def feature(self) -> Any:
        """The type of the column of a dataset."""
        if self.task == "regression":
            return Value("float64")
        code = Value("int64" if self.numbers else "string")
        return code if self.task == "classification" else List(code)

    def read(self, value: Any, row: int, column: str) -> Any:
        """Read the label of a row.

        Args:
            value: The raw label.
            row: Number of the row, for errors.
            column: Name of the column, for errors.

        Returns:
            The label; None if it is missing.

        Raises:
            ValueError: If it is not of this form.
        """
        value = plain(value)
        if is_missing(value, code=self.task == "classification"):
            return None
        if self.separator is not None:
            if not isinstance(value, str):
                raise refusal(column, row, value, f"texts separated by {self.separator!r}", "correct the value")
            value = [part.strip() for part in value.split(self.separator)]
            if self.task == "multi_label":
                value = list(dict.fromkeys(part for part in value if part))
        return _CHECKS[self.task](self, value, row, column)


def _class(form: LabelForm, value: Any, row: int, column: str) -> Any:
    code = _named(partial(read_classes, [value]), row, column)[0]
    if isinstance(code, int) != form.numbers:
        rule = "integers, as in other rows" if form.numbers else "names of classes, as in other rows"
        raise refusal(column, row, value, rule, "write all classes as numbers, or all as texts")
    return code


def _path(form: LabelForm, value: Any, row: int, column: str) -> Any:
    return list(_named(partial(read_paths, [value]), row, column)[0]) or None


def _set(form: LabelForm, value: Any, row: int, column: str) -> Any:
    _named(partial(read_sets, [value], class_ids=True), row, column)
    return value


def _number(form: LabelForm, value: Any, row: int, column: str) -> Any:
    return float(_named(partial(read_numbers, [value]), row, column)[0])


_CHECKS: dict[str, Callable[[LabelForm, Any, int, str], Any]] = {
    "classification": _class,
    "hierarchy": _path,
    "multi_label": _set,
    "regression": _number,
}


def _named(read: Callable[[str], Any], row: int, column: str) -> Any:
    """Name the row in the error of a reader that saw one value only."""
    try:
        return read(column)
    except ValueError as error:
        raise ValueError(str(error).replace("in row 0", f"in row {row}")) from error


def find_form(
    values: Sequence[Any], column: str, *, task: str | None = None, separator: str | None = None
) -> LabelForm:
    """Return the form of a column of labels.

    Args:
        values: The labels.
        column: Name of the column, for errors.
        task: What they are for, if the caller knows; None finds out.
        separator: What separates levels or labels; None finds out: " > " and " / " between levels, "|" and ";" between
            labels.

    Returns:
        The form.

    Raises:
        ValueError: If there are no labels, or they do not suit the task.

    Example:
        >>> find_form(["A > B", "A"], "label"), find_form([3, 17.5, None], "price").task
        (LabelForm(task='hierarchy', separator=' > ', numbers=False), 'regression')
    """
    known = [value for value in map(plain, values) if not is_missing(value)]
    if not known:
        raise ValueError(f"column {column!r} must hold labels, got none in {len(values)} rows.")
    if all(isinstance(value, str) for value in known):
        return _of_texts(known, column, task, separator)
    if all(isinstance(value, list) for value in known):
        numbers = any(isinstance(item, int) for value in known for item in value)
        return LabelForm(task or "multi_label", None, numbers)
    whole = all(float(value).is_integer() for value in known if isinstance(value, int | float))
    few = whole and len(set(map(str, known))) <= min(_MOST_CLASSES, max(2, len(known) // 2))
    return LabelForm(task or ("classification" if few else "regression"), None, numbers=True)


def _of_texts(known: Sequence[str], column: str, task: str | None, separator: str | None) -> LabelForm:
    if task == "regression":
        remedy = "write numbers with a decimal point, or leave gaps empty"
        raise refusal(column, 0, known[0], "numbers", remedy)
    if task == "classification":
        return LabelForm(task)
    if separator is not None:
        return LabelForm(task or ("hierarchy" if separator.strip() in (">", "/", "::") else "multi_label"), separator)
    for name, separators in (("hierarchy", PATH_SEPARATORS), ("multi_label", SET_SEPARATORS)):
        found = next((mark for mark in separators if any(mark in value for value in known)), None)
        if found is not None and task in (None, name):
            return LabelForm(name, found)
    if task is not None:
        raise refusal(column, 0, known[0], f"labels of {task}, with a separator", "pass separator=")
    return LabelForm("classification")
