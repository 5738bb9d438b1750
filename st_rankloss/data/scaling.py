"""Scores of any sign and words into grades of at least 0, if the caller says how."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

from st_rankloss.data.numbers import read_number
from st_rankloss.data.table import Table
from st_rankloss.judgements import few
from st_rankloss.labels import is_missing, plain, read_grades, refusal

_MOST_WORDS = 6
_KNOWN = [
    {word: grade for grade, words in enumerate(scale) for word in words.split("|")}
    for scale in (
        ("no|false|n|f|0", "yes|true|y|t|1"),
        ("irrelevant|i", "complement|c", "substitute|s", "exact|e"),
        ("irrelevant", "partial", "exact"),
        ("irrelevant|not relevant|not_relevant|non-relevant|nonrelevant", "somewhat relevant|partially relevant",
         "relevant", "highly relevant|very relevant"),
        ("bad", "ok|okay|fair", "good", "very good|excellent", "perfect"),
        ("low", "medium|mid", "high"),
        ("contradiction", "neutral", "entailment"),
    )
]  # fmt: skip
_FLAGS = {"true": 1, "false": 0}
_UNSURE = ("-", "?")
Scale = tuple[float, float] | Mapping[Any, float | None] | str | None


def rescale(value: Any, scale: Scale, row: int, column: str) -> Any:
    """Map a score, or a list of scores, to grades.

    Args:
        value: The score; missing scores stay missing.
        scale: None leaves scores as they are; ``(low, high)`` maps them linearly to 0 to 1, such as ``(-1, 1)`` for
            cosines; ``"sigmoid"`` maps logits, such as those of cross-encoders, to 0 to 1; a dict gives each value its
            grade, such as ``{"good": 1, "bad": 0}``, or None for unjudged.
        row: Number of the row, for errors.
        column: Name of the column, for errors.

    Returns:
        The grade or grades.

    Raises:
        ValueError: If the scale is unknown, or a score is negative without one, not a number, or outside of it, or a
            dict lacks a value or gives it no grade.

    Example:
        >>> rescale([-1, 0.5, None], (-1, 1), 0, "score"), rescale(0.0, "sigmoid", 0, "score")
        ([0.0, 0.75, None], 0.5)
        >>> rescale(["good", None, "bad"], {"good": 1, "bad": 0}, 0, "grade")
        [1, None, 0]
    """
    value = plain(value)
    if isinstance(value, list):
        return [rescale(item, scale, row, column) for item in value]
    if is_missing(value):
        return None
    if isinstance(scale, Mapping):
        return _look_up(value, scale, row, column)
    if scale is None and (flag := read_flag(value)) is not None:
        return flag
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal(column, row, value, "numbers", _remedy(str(value)))
    if scale is None:
        if value < 0:
            remedy = "pass scale=(lowest, highest) of the scores, or scale='sigmoid' for logits"
            raise refusal(column, row, value, "grades of at least 0", remedy)
        return value
    low, high = _bounds(scale)
    if scale == "sigmoid":
        return 1 / (1 + math.exp(-max(min(value, 700), -700)))
    if not low <= value <= high:
        raise refusal(column, row, value, f"scores from {low:g} to {high:g}", "pass a wider scale=")
    return (value - low) / (high - low)


def read_scaled(value: Any, scale: Scale, row: int, column: str) -> float:
    """Read one grade, after mapping it; see `rescale`.

    Args:
        value: The score.
        scale: How to map it.
        row: Number of the row, for errors.
        column: Name of the column, for errors.

    Returns:
        The grade, of at least 0; NaN if it is missing.

    Raises:
        ValueError: If it is not a grade.

    Example:
        >>> read_scaled(3, None, 0, "grade"), read_scaled(None, None, 0, "grade")
        (3.0, nan)
    """
    if scale is None and type(value) in (int, float) and 0 <= value < math.inf:  # almost always
        return float(value)
    (grade,) = read_grades([rescale(value, scale, row, column)], row, column)
    return grade


def check_numbers(table: Table, column: str, scale: Scale = None) -> None:
    """Raise a ValueError that names the first value that is not a number, if the column holds texts without a dict.

    A column of a csv file stays text if one of its values is not a number, so that the others are texts as well. True and
    false, in any case, count as 1 and 0.

    Args:
        table: The table.
        column: Name of the column; lists of numbers are checked elsewhere.
        scale: How scores become grades; a dict may name texts.

    Raises:
        ValueError: If the column holds texts; the error names the row.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> check_numbers(read_table({"grade": ["1", "good"]}), "grade")
        Traceback (most recent call last):
        ValueError: column 'grade' must hold numbers, got 'good' in row 1: correct the value, name the column of the scores, or grade words, such as scale={'good': 1}.
    """  # noqa: E501
    if isinstance(scale, Mapping):
        return
    known = ((row, values[column]) for row, values in enumerate(table.rows()) if not is_missing(values[column]))
    first = next(known, None)
    if first is None or not isinstance(first[1], str):
        return
    values = [*chain([first], known)]
    if all(read_flag(value) is not None for _, value in values):
        return
    for row, value in values:
        try:
            read_number(value)
        except ValueError:
            words = list(
                dict.fromkeys(str(values[column]) for values in table.rows() if not is_missing(values[column]))
            )
            remedy = "the header is repeated: remove that row" if value == column else _remedy(str(value), words)
            raise refusal(column, row, value, "numbers", remedy) from None
    raise refusal(column, *first, "numbers", "write numbers without quotes, or name the column of the scores")


def suggest_scale(words: Sequence[Any]) -> str | None:
    """Write a scale for the values of a column, for an error to propose.

    Args:
        words: The different values.

    Returns:
        The option, whose grades are ``...`` unless the words are those of a common scale; None unless they are a few
        words.

    Example:
        >>> suggest_scale(["good", "bad"]), suggest_scale(["A1", "B2"])
        ("scale={'bad': 0, 'good': 1}", "scale={'A1': ..., 'B2': ...} with a grade for each")
    """
    if not 1 < len(words) <= _MOST_WORDS or not all(isinstance(w, str) and not w.strip()[:1].isdigit() for w in words):
        return None
    plain_words = {word: word.strip().lower() for word in words if word.strip() not in _UNSURE}
    known = next((scale for scale in _KNOWN if scale.keys() >= {*plain_words.values()}), None)
    if known is None:
        return f"scale={{{', '.join(f'{word!r}: ...' for word in words)}}} with a grade for each"
    ranks = sorted({known[word] for word in plain_words.values()})
    grades: dict[str, Any] = {word: ranks.index(known[plain_words[word]]) for word in plain_words}
    grades = dict(sorted(grades.items(), key=lambda item: item[1])) | {w: None for w in words if w not in grades}
    return f"scale={{{', '.join(f'{word!r}: {grade}' for word, grade in grades.items())}}}"


def read_weight(row: Mapping[str, Any], place: int, column: str | None) -> float:
    """Read the weight of a row.

    Args:
        row: The row.
        place: Its number, for errors.
        column: Column of the weights; None means that all weigh 1.

    Returns:
        The weight.

    Raises:
        ValueError: If it is missing, negative or not a number.

    Example:
        >>> read_weight({"weight": 2}, 0, "weight"), read_weight({}, 0, None)
        (2.0, 1.0)
    """
    if column is None:
        return 1.0
    weight = plain(row[column])
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
        raise refusal(column, place, weight, "weights of at least 0", "fill the row, or remove it")
    return float(weight)


def _look_up(value: Any, grades: Mapping[Any, float | None], row: int, column: str) -> float | None:
    if not isinstance(value, Hashable) or value not in grades:
        raise refusal(column, row, value, f"values of scale=, {few(grades)}", "correct the value, or add its grade")
    grade = grades[value]
    if grade is not None and (
        isinstance(grade, bool) or not isinstance(grade, int | float) or not 0 <= grade < math.inf
    ):
        raise ValueError(f"scale must give finite grades of at least 0, or None, got {grade!r} for {value!r}.")
    return grade


def _bounds(scale: tuple[float, float] | str) -> tuple[float, float]:
    if scale == "sigmoid":
        return -math.inf, math.inf
    if isinstance(scale, Sequence) and not isinstance(scale, str) and len(scale) == 2 and scale[0] < scale[1]:
        return float(scale[0]), float(scale[1])
    raise ValueError(f"scale must be (low, high), 'sigmoid', a dict or None, got {scale!r}.")


def read_flag(value: Any) -> int | None:
    """Return 1 for true and 0 for false, also as words; None for anything else."""
    return _FLAGS.get(str(value).strip().lower()) if isinstance(value, bool | str) else None


def _remedy(text: str, words: Sequence[str] = ()) -> str:
    """Return what to do about a text in the place of a number; ``words`` are all values of its column."""
    try:
        read_number(text, commas=True)
    except ValueError:
        if scale := suggest_scale(words):
            return f"name the column of the scores, or grade its words, such as {scale}"
        return f"correct the value, name the column of the scores, or grade words, such as scale={{{text!r:.40}: 1}}"
    if "," in text:
        return "it has a decimal comma: write a point, or separate the fields of the file by ';'"
    return (
        "it is a text, as all values are if a single one is not a number, such as a repeated header: correct that row"
    )
