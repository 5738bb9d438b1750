"""Grades of judgements by id: numbers, words, and numbers of other scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from st_rankloss.data.building import Notes
from st_rankloss.data.numbers import read_number
from st_rankloss.data.scaling import Scale, read_flag, rescale, suggest_scale
from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import Judgements, collect_qrels
from st_rankloss.labels import is_missing

Rows = Callable[[], Iterator[tuple[int, Any, Any, Any]]]
"""A function that yields number, query id, document id and grade of each row; each call starts over."""


@dataclass(frozen=True)
class Grading:
    """How the grades of judgements are read.

    Args:
        negative: What to do about negative grades, as some tracks have: "refuse" or "zero".
        scale: How to map words or numbers to grades of at least 0, see `rescale`.

    Raises:
        ValueError: If one is unknown, or both say what negative grades mean.

    Example:
        >>> rows = lambda: iter([(0, "q1", "d1", "Exact"), (1, "q1", "d2", "Irrelevant")])
        >>> Grading(scale={"Exact": 1, "Irrelevant": 0}).judgements(rows, Notes())
        {'q1': {'d1': 1.0, 'd2': 0.0}}
    """

    negative: str = "refuse"
    scale: Scale = None

    def __post_init__(self) -> None:
        check_choice(self.negative, ("refuse", "zero"), "negative")
        if self.negative == "zero" and self.scale is not None:
            raise ValueError("negative='zero' and scale= both say what negative grades mean: pass scale= alone.")

    def judgements(
        self, rows: Rows, notes: Notes, *, column: str = "grade", found: Judgements | None = None
    ) -> Judgements:
        """Return the judgements of rows.

        Args:
            rows: The rows.
            notes: Where negative grades are counted that are read as 0.
            column: Name of the column of grades, for errors.
            found: Judgements of other rows, to which these are added.

        Returns:
            Grades by query id and document id.

        Raises:
            ValueError: If an id or a grade is invalid, or a document has two grades for one query; the error names the
                row.
        """
        graded = (
            (place, query, document, self._read(value, place, column, notes, rows))
            for place, query, document, value in rows()
        )
        return collect_qrels(graded, found)

    def _read(self, value: Any, place: int, column: str, notes: Notes, rows: Rows) -> float | None:
        """Return a grade; None if it is missing."""
        in_words = isinstance(self.scale, Mapping)
        if self.scale is None and (flag := read_flag(value)) is not None:
            value = flag
        elif isinstance(value, str) and not (isinstance(self.scale, Mapping) and value in self.scale):
            try:
                value = read_number(value)
            except ValueError as error:
                if not in_words:
                    remedy = _remedy(rows)
                    raise ValueError(f"row {place}: a grade must be a number, got {value!r}: {remedy}.") from error
        if self.scale is not None:
            grade: float | None = rescale(value, self.scale, place, column)
            return grade
        if isinstance(value, int | float) and value < 0:
            if self.negative == "refuse":
                raise ValueError(
                    f"row {place}: a grade must be at least 0, got {value:g}: pass negative='zero' if it means "
                    "irrelevant, or scale= with the grade of each value."
                )
            notes.count("negative grades are read as 0", f"row {place}")
            return 0.0
        return None if value is None else float(value)


def _remedy(rows: Rows) -> str:
    words = [value for value in dict.fromkeys(value for *_, value in rows()) if not is_missing(value)]
    scale = suggest_scale(words)
    return f"grade words, such as {scale}" if scale else "correct it, or drop the row"
