"""Numbers and names as tables and sentences show them; the unknown is a dash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from eval.report.blocks import Bold
from eval.report.comparing import Entry
from eval.report.significance import Estimate
from eval.results import Run

NONE = "–"
MINUS = "−"


def join(values: Iterable[Any]) -> str:
    """List distinct values, numbers by size."""
    return ", ".join(map(str, sorted({value for value in values if value is not None}))) or NONE


def average(values: Iterable[float | None]) -> float:
    """Average the known values; NaN if there are none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def score(value: float, digits: int = 4) -> str:
    """Write a score."""
    return f"{value:.{digits}f}" if math.isfinite(value) else NONE


def whole(value: float) -> str:
    """Write seconds."""
    return f"{value:.0f}" if math.isfinite(value) else NONE


def mean(estimate: Estimate) -> str:
    """Write a mean and half the width of its interval."""
    known = math.isfinite(estimate.low)
    return score(estimate.value) + (f" ± {estimate.high - estimate.value:.4f}" if known else "")


def signed(value: float, digits: int = 4) -> str:
    """Write a number with its sign, which 0 has not.

    Example:
        >>> signed(0.12345), signed(-0.12345, 3), signed(-0.0001, 3)
        ('+0.1235', '−0.123', '0.000')
    """
    if not math.isfinite(value):
        return NONE
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", MINUS)


def difference(estimate: Estimate, digits: int = 4) -> str:
    """Write a difference with its interval."""
    known = math.isfinite(estimate.low)
    ends = f" [{signed(estimate.low, digits)}, {signed(estimate.high, digits)}]" if known else ""
    return signed(estimate.value, digits) + ends


def metric(name: str) -> str:
    """Write the name of a metric.

    Example:
        >>> metric("ndcg_at_10+probe_spearman")
        'ndcg@10 + probe spearman'
    """
    return name.replace("_at_", "@").replace("_", " ").replace("+", " + ")


def interval(estimate: Estimate) -> str:
    """Write the interval of a difference alone."""
    return f"{signed(estimate.low)} to {signed(estimate.high)}"


def between(estimate: Estimate) -> str:
    """Write a positive number with its interval."""
    return f"{score(estimate.value)} [{score(estimate.low)}, {score(estimate.high)}]"


def setting(run: Run | None) -> str:
    """Write the arguments of a run's loss."""
    values = (run.setting if run else {}).items()
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in values) or NONE


def emphasise(verdict: str, text: str = "") -> str:
    """Write a verdict, or a text with it, in bold for a win or a loss."""
    return Bold(text or verdict) if verdict in ("win", "loss") else text or verdict


def bold_best(values: Sequence[float], texts: Sequence[str] = (), *, lower: bool = False) -> list[str]:
    """Write values, or their given texts, with the best in bold unless all are equal."""
    known = [value for value in values if math.isfinite(value)]
    best, worst = (choice(known, default=math.nan) for choice in ((min, max) if lower else (max, min)))
    if math.isclose(best, worst, abs_tol=1e-9):
        best = math.nan  # all are equal
    pairs = zip(values, texts or [score(value) for value in values], strict=True)
    return [Bold(text) if math.isclose(value, best, abs_tol=1e-9) else text for value, text in pairs]


def number(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def range_of(scores: Sequence[float]) -> str:
    """Write the mean of scores, and their range if there are several."""
    if not scores:
        return NONE
    text = score(average(scores))
    return text if len(scores) == 1 else f"{text} ({score(min(scores))} to {score(max(scores))})"


def trials(entries: Iterable[Entry]) -> str:
    """Write the number of trials with a score, and the number of all trials if it differs."""
    counts = [(len(entry.trials), len(entry.trials_begun)) for entry in entries]
    scored, begun = map(sum, zip(*counts, strict=True))
    return str(scored) if scored == begun else f"{scored} of {begun}"
