"""Strings into numbers as people write them: gaps, commas in decimals and thousands, but no ids with leading zeros."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

GAPS = ("", "NA", "N/A", "n/a", "nan", "NaN", "null", "NULL", "None")
"""Strings that stand for a missing number."""

_NUMBER = r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?"
_GROUPED = r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?"  # 1,569.81, where a comma is never a decimal point
_COMMA = r"[-+]?(0|[1-9][0-9]*),[0-9]+"
_ID = "(0|[1-9][0-9]*)"
_SOME_DIGIT = r"^[-+.]*[0-9]"  # RE2 and re agree on it; rules out "", "." and "e5"


class Numbers(NamedTuple):
    """A column as numbers, and what was converted; unclear if some have commas, and all could be lists of ids."""

    column: pa.ChunkedArray
    gaps: int
    commas: bool
    grouped: bool = False
    unclear: bool = False


def read_number(text: str, *, commas: bool = False) -> float | int | None:
    """Return the number that a string holds.

    Args:
        text: The string; white space around it is ignored.
        commas: Whether a comma is a decimal point; else it may stand between thousands.

    Returns:
        An integer or a float; None for one of `GAPS`.

    Raises:
        ValueError: If it is not a number, or has leading zeros, as ids have.

    Example:
        >>> read_number("3"), read_number(" 2,5", commas=True), read_number("NA")
        (3, 2.5, None)
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and (text[0] != "0" or text == "0"):  # nearly all, much faster
        return int(text)
    if text in GAPS:
        return None
    if commas and re.fullmatch(_COMMA, text):
        text = text.replace(",", ".")
    if not commas and re.fullmatch(_GROUPED, text):
        text = text.replace(",", "")
    if not (re.fullmatch(_NUMBER, text) and re.match(_SOME_DIGIT, text)):
        raise ValueError(f"not a number: {text!r}")
    return int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else float(text)


def is_number(text: str) -> bool:
    """Return whether a string holds a number, or one of `GAPS`."""
    try:
        read_number(text, commas=True)
    except ValueError:
        return False
    return True


def as_numbers(column: Any, *, commas: bool = False) -> Numbers | None:
    """Convert a column of strings, if every one of them is a number or a gap.

    Args:
        column: A pyarrow array of strings.
        commas: Whether a comma is a decimal point; else it may stand between thousands.

    Returns:
        The column as int64 or float64, with None for gaps; None if it holds other texts, numbers with leading zeros
        or of more than 19 digits (ids), or nothing at all.

    Example:
        >>> as_numbers(pa.chunked_array([["1", "", "2.5"]])).column.to_pylist()
        [1.0, None, 2.5]
        >>> as_numbers(pa.chunked_array([["007", "8"]])) is None
        True
    """
    texts = pc.utf8_trim_whitespace(column)
    gap = pc.is_in(texts, pa.array(GAPS, texts.type))
    texts = texts.filter(pc.invert(gap)) if len(texts) else texts
    if not len(texts):
        return None
    with_comma = pc.match_substring_regex(texts, f"^{_COMMA}$") if commas else None
    any_comma = bool(commas and pc.any(with_comma).as_py())
    unclear = _may_be_lists(texts)
    if any_comma:
        texts = pc.if_else(with_comma, pc.replace_substring(texts, ",", "."), texts)
    grouped = None if commas else pc.match_substring_regex(texts, f"^{_GROUPED}$")
    any_grouped = bool(not commas and pc.any(grouped).as_py())
    if any_grouped:
        texts = pc.if_else(grouped, pc.replace_substring(texts, ",", ""), texts)
    numeric = pc.and_(pc.match_substring_regex(texts, f"^{_NUMBER}$"), pc.match_substring_regex(texts, _SOME_DIGIT))
    if not pc.all(numeric).as_py():
        return None
    whole = pc.all(pc.match_substring_regex(texts, "^[-+]?[0-9]+$")).as_py()
    texts = pc.replace_substring_regex(texts, r"^\+", "")
    try:
        numbers = texts.cast(pa.int64() if whole else pa.float64())
    except pa.ArrowInvalid:  # too long for an integer: an id
        return None
    gaps = pc.sum(gap).as_py()
    return Numbers(_spread(numbers, gap) if gaps else numbers, gaps, any_comma, any_grouped, unclear)


def _may_be_lists(texts: pa.ChunkedArray) -> bool:
    """Return whether some texts are whole numbers, and all others whole numbers with commas between them."""
    lists = pc.match_substring_regex(texts, f"^{_ID}(,{_ID})*$")
    several = pc.match_substring(texts, ",")
    return bool(pc.all(lists).as_py() and pc.any(several).as_py() and not pc.all(several).as_py())


def _spread(numbers: pa.ChunkedArray, gap: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put numbers back in the places that are no gaps."""
    kept = pc.cast(pc.invert(gap), pa.int64()).combine_chunks()
    place = pc.if_else(pc.equal(kept, 1), pc.subtract(pc.cumulative_sum(kept), 1), None)
    return numbers.take(place)
