"""What a column of labels holds: classes, paths, sets or numbers, and how strings with separators become them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from datasets import List, Value

from st_rankloss.data.columns import normal
from st_rankloss.data.numbers import is_number
from st_rankloss.labels import (
    is_missing,
    is_multi_hot,
    plain,
    read_classes,
    read_numbers,
    read_paths,
    read_sets,
    refusal,
)

_SEPARATORS = {
    "hierarchy": {" :: ": 0.1, " / ": 0.5},
    "multi_label": {"|": 0.1, ";": 0.5},
}
"""Separators by task beside ">" and "->", and the share of labels that must have them: classes may hold a few."""

_MOST_CLASSES = 50
ORDERED = {"price", "rating", "ratings", "score", "scores", "stars", "value"}
_VERSION = re.compile(r"v?\d+(\.\d+){2,}.*")
_IDS = re.compile(r"\d+(,\s?\d+)*")
UNCLEAR = (
    "must hold numbers or lists of ids, got commas that may be of either: pass separator=',' for ids, or "
    "task='regression' for numbers."
)
_FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_TASKS = ("classification", "hierarchy", "multi_label", "regression")


@dataclass(frozen=True)
class LabelForm:
    """How labels of a column are read.

    Args:
        task: The task.
        separator: What separates levels or labels in a string; None if they are no strings, or one label each.
        code: Type of classes and labels: "string", "int64", or "float64" for degrees of membership.
        columns: The columns of a set, each of which says with 1 or 0 whether the label of its name applies.
        size: How many numbers each row has; 0 if it has one, which is not a list.
    """

    task: str
    separator: str | None = None
    code: str = "string"
    columns: tuple[str, ...] = ()
    size: int = 0

    @property
    def feature(self) -> Any:
        """The type of the column of a dataset."""
        if self.task == "regression":
            return List(Value("float64")) if self.size else Value("float64")
        return Value(self.code) if self.task == "classification" else List(Value(self.code))

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
            doubled = self.separator + self.separator.lstrip()  # "food > > fruit" lacks a level
            parts = value.replace(doubled, 2 * self.separator).split(self.separator)
            value = [part.strip() for part in parts]
            if self.separator.strip() == "/" and len(value) > 1 and not value[0]:
                value = value[1:]  # "/food/fruit"
            if self.task == "multi_label":
                value = list(dict.fromkeys(part for part in value if part))
        return _CHECKS[self.task](self, value, row, column)

    def read_flags(self, values: Sequence[Any], row: int) -> list[str]:
        """Return the labels of a row whose columns hold 1, or raise ValueError for a cell other than 1 and 0."""
        flags = [as_flag(value) for value in values]
        if None in flags:
            wrong = flags.index(None)
            raise refusal(self.columns[wrong], row, values[wrong], "0 or 1 in each row with a label", "fill the cell")
        return [name for name, flag in zip(self.columns, flags, strict=True) if flag]


def _class(form: LabelForm, value: Any, row: int, column: str) -> Any:
    (code,) = _named(partial(read_classes, [value]), row, column)
    _check_type(form, [code], value, row, column)
    return code


def _path(form: LabelForm, value: Any, row: int, column: str) -> Any:
    (path,) = _named(partial(read_paths, [value]), row, column)
    _check_type(form, path, value, row, column)
    return list(path) or None


def _set(form: LabelForm, value: Any, row: int, column: str) -> Any:
    _named(partial(read_sets, [value]), row, column)
    _check_type(form, value, value, row, column)
    return value


def _number(form: LabelForm, value: Any, row: int, column: str) -> Any:
    if not form.size and isinstance(value, list):
        raise refusal(column, row, value, "one number per row, as in other rows", "correct the row")
    if form.size and (not isinstance(value, list) or len(value) != form.size):
        raise refusal(column, row, value, f"{form.size} numbers per row, as in other rows", "correct the row")
    (numbers,) = _named(partial(read_numbers, [value]), row, column).tolist()
    return numbers


def _check_type(form: LabelForm, codes: Sequence[Any], value: Any, row: int, column: str) -> None:
    """Raise a ValueError unless labels are texts or numbers, as in the rows that decided on the form."""
    if any(isinstance(code, str) != (form.code == "string") for code in codes):
        rule = f"{'texts' if form.code == 'string' else 'numbers'}, as in other rows"
        raise refusal(column, row, value, rule, "write all labels as texts, or all as numbers")


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
        separator: What separates levels or labels; None finds out: " > ", ">", "->" or " :: " between levels and "|"
            between labels of at least a tenth of the rows, or " / " and ";" of half of them.

    Returns:
        The form.

    Raises:
        ValueError: If there are no labels, or they do not suit the task.

    Example:
        >>> form = find_form(["A > B", "A"], "label")
        >>> form.task, form.separator, find_form([3, 17.5, None], "price").task
        ('hierarchy', ' > ', 'regression')
    """
    known = [value for value in map(plain, values) if not is_missing(value)]
    if not known:
        raise ValueError(f"column {column!r} must hold labels, got none in {len(values)} rows.")
    if all(isinstance(value, str) for value in known):
        return _of_texts(values, known, column, task, separator)
    if all(isinstance(value, list) for value in known):
        fractions = code_type(item for value in known for item in value) == "float64"
        several = fractions and len({*map(len, known)}) == 1 and not is_multi_hot(known)
        if task == "regression" or (task is None and several):
            return LabelForm("regression", size=len(known[0]))
        return LabelForm(task or "multi_label", None, code_type(item for value in known for item in value))
    whole = all(float(value).is_integer() for value in known if isinstance(value, int | float))
    few = whole and len(set(map(str, known))) <= min(_MOST_CLASSES, max(2, len(known) // 2))
    few = few and (normal(column) not in ORDERED or all(as_flag(value) is not None for value in known))
    return LabelForm(task or ("classification" if few else "regression"), None, "int64")


def _are_written_numbers(texts: Sequence[str]) -> bool:
    """Return whether nearly all texts are amounts, perhaps with a currency; plain digits are names of classes."""
    money = re.compile(r"[^\w|/;>]*([A-Z]{3})?\s*\d[\d.,']*\s*([A-Z]{3})?[^\w|/;>]*")
    return sum(bool(money.fullmatch(text)) for text in texts) >= 0.9 * len(texts) and not all(map(str.isdigit, texts))


def _are_nearly_numbers(texts: Sequence[str]) -> bool:
    """Return whether nearly all texts, but not all, are numbers, some of them with fractions, as classes have none."""
    numbers = [text for text in texts if is_number(text)]
    fractions = any("." in text for text in numbers) and not any(map(_VERSION.fullmatch, texts))
    return fractions and 0.9 * len(texts) <= len(numbers) < len(texts)


def _may_be_lists(texts: Sequence[str]) -> bool:
    """Return whether all texts are whole numbers, some of them several with commas between."""
    return all(map(_IDS.fullmatch, texts)) and any("," in text for text in texts)


def _find_arrow(texts: Sequence[str], column: str, share: float) -> str | None:
    """Return which sign with ">" separates levels, on which all texts that hold one agree; None if few do."""
    arrows = [text for text in texts if ">" in text]
    if not arrows or len(arrows) < share * len(texts):
        return None
    if all("->" in text for text in arrows):
        return "->"
    if mixed := next((text for text in arrows if "->" in text), None):
        raise refusal(column, texts.index(mixed), mixed, "one separator of levels, '>' or '->'", "write one of them")
    return " > " if all(" > " in text for text in arrows) else ">"


def as_flag(value: Any) -> bool | None:
    """Return whether a cell says that a label applies.

    Args:
        value: 0 or 1, true or false, also as text.

    Returns:
        The flag; None for anything else.

    Example:
        >>> as_flag(1), as_flag("False"), as_flag(2)
        (True, False, None)
    """
    return _FLAGS.get(str(value).lower())


def code_type(codes: Iterable[Any]) -> str:
    """Return the type of a column of classes or labels, of which missing ones say nothing.

    Args:
        codes: Texts or numbers.

    Returns:
        "int64" for whole numbers, "float64" for other numbers, else "string".

    Example:
        >>> code_type(["a", None]), code_type([1, 2.0]), code_type([0.5])
        ('string', 'int64', 'float64')
    """
    known = [code for code in codes if not is_missing(code)]
    if not known or any(isinstance(code, str) for code in known):
        return "string"
    return "int64" if all(float(code).is_integer() for code in known) else "float64"


def _of_texts(
    values: Sequence[Any], known: Sequence[str], column: str, task: str | None, separator: str | None
) -> LabelForm:
    ordered = normal(column) in ORDERED and _are_written_numbers(known)
    if task is None and separator is None and _may_be_lists(known):
        raise ValueError(f"column {column!r} {UNCLEAR}")
    if task == "regression" or (task is None and separator is None and (ordered or _are_nearly_numbers(known))):
        wrong = next((value for value in known if not is_number(value)), known[0])
        remedy = (
            "write plain numbers, such as 1250.50, without a currency or other signs, or pass task='classification'"
        )
        raise refusal(column, [*map(plain, values)].index(wrong), wrong, "numbers", remedy)
    if task == "classification":
        return LabelForm(task)
    if separator is not None:
        paths = separator.strip() in (">", "->", "/", "::")
        return LabelForm(task or ("hierarchy" if paths else "multi_label"), separator)
    if task in (None, "hierarchy") and (arrow := _find_arrow(known, column, 0.1 if task is None else 0.0)):
        return LabelForm("hierarchy", arrow)
    for name, separators in _SEPARATORS.items():
        for mark, share in separators.items():
            count = sum(mark in value for value in known)
            if (task is None and count >= share * len(known)) or (task == name and count):
                return LabelForm(name, mark)
    if task is not None:
        raise refusal(column, 0, known[0], f"labels of {task}, with a separator", "pass separator=")
    return LabelForm("classification")
