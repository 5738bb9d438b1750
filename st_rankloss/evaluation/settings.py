"""Checks of the settings of evaluators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

PRECISIONS = ("float32", "binary", "ubinary")
# Not int8 and uint8: their order depends on the engine, which compares integers that each dimension scales differently.


def check_count(argument: str, value: Any, *, at_least: int = 1) -> int:
    """Check an integer argument against its lower bound, and return it."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{argument} must be an integer of at least {at_least}, got {value!r}.")
    return int(value)


def check_optional_count(argument: str, value: Any, *, at_least: int = 1) -> int | None:
    """Check an integer argument that may be None, and return it."""
    return None if value is None else check_count(argument, value, at_least=at_least)


def check_precision(value: Any) -> str:
    """Check the precision of embeddings, and return it."""
    if not isinstance(value, str) or value not in PRECISIONS:
        integers = isinstance(value, str) and value in ("int8", "uint8")
        remedy = "rank with the engine that compares them, and score its rankings with compute_metrics"
        raise ValueError(f"precision must be one of {PRECISIONS}, got {value!r}{f'; {remedy}' if integers else ''}.")
    return value


def check_level(value: Any) -> Any:
    """Check the lowest relevant grade, and return it unchanged."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ValueError(f"relevance_level must be a finite number above 0, got {value!r}.")
    return value


def check_cutoffs(argument: str, cutoffs: Any) -> tuple[int, ...]:
    """Return cutoffs in ascending order, each once."""
    if isinstance(cutoffs, str) or not isinstance(cutoffs, Sequence) or not cutoffs:
        raise ValueError(f"{argument} must be a non-empty list of integers of at least 1, got {cutoffs!r}.")
    return tuple(sorted({check_count(f"each of {argument}", k) for k in cutoffs}))
