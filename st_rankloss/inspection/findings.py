"""Findings, and the list of checks that look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from st_rankloss.inspection.columns import Flat, Look, Mask

SEVERITIES = ("error", "warning", "note")

RARE = 0.01
"""Share of items below which an error becomes a warning: real data are never perfect."""

FATAL = frozenset(
    {
        "decimal commas",
        "empty lists",
        "grades as text",
        "infinite numbers",
        "invalid weights",
        "misaligned lists",
        "missing texts",
        "negative grades",
        "numbers as text",
        "unknown documents",
        "unknown queries",
        "unreadable labels",
    }
)
"""Findings on which training or evaluation fails, however few items they concern."""


@dataclass(frozen=True)
class Finding:
    """Something in the data that the user should know.

    Attributes:
        name: The kind of finding.
        severity: "error": training fails or learns something wrong, so `st-rankloss train` refuses the data; "warning":
            probably a mistake; "note": good to know. An error in less than 1% of the items is a warning, unless
            training or evaluation fails on a single one, see `FATAL`. A leak is an error from 20% of the later part.
        message: What was found, how often, an example, and a remedy.
        part: Name of the part.
        column: Name of the column, if it is one column.
        count: Number of rows or items.
        row: Number of the first such row.
        value: The value there.
    """

    name: str
    severity: str
    message: str
    part: str = ""
    column: str = ""
    count: int = 0
    row: int | None = None
    value: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return asdict(self)


Check = Callable[[Look], Iterator[Finding]]
CHECKS: list[tuple[Check, tuple[str, ...]]] = []
"""The checks of a single part, and the tasks that each applies to; empty for all."""


def check(*tasks: str) -> Callable[[Check], Check]:
    """Register a check for some tasks, or for all."""

    def register(function: Check) -> Check:
        CHECKS.append((function, tasks))
        return function

    return register


def findings_of(look: Look) -> Iterator[Finding]:
    """Run all checks of a part's task."""
    for function, tasks in CHECKS:
        if look.rows and (not tasks or look.task in tasks):
            yield from function(look)


def report(
    look: Look, flat: Flat, mask: Mask, name: str, severity: str, what: str, remedy: str, *, warn_above: float = 0.0
) -> Iterator[Finding]:
    """Yield a finding for the items in ``mask``, if any.

    Args:
        look: The part.
        flat: The column.
        mask: The items concerned.
        name: Name of the finding.
        severity: Its severity at most, see `severity_of`.
        what: Completes "3 of 100 items in 'text' ...".
        remedy: What to do.
        warn_above: See `severity_of`.
    """
    count = int(mask.sum())
    if not count:
        return
    severity = severity_of(name, severity, count / len(mask), warn_above)
    item = int(mask.argmax())
    row, value = int(flat.rows[item]), shorten(flat.example(item))
    share = f"{count:,} of {len(mask):,} values in {flat.column!r} {what}"
    message = f"{share}, such as {value!r} in row {row}. {remedy}"
    yield Finding(name, severity, message, look.name, flat.column, count, row, value)


def severity_of(name: str, severity: str, share: float, warn_above: float = 0.0) -> str:
    """Return the severity of a finding that concerns a share of the items.

    Args:
        name: Name of the finding.
        severity: Its severity at most: "error" becomes "warning" below a share of `RARE`, unless the finding is in
            `FATAL`; "warning" becomes "note" up to ``warn_above``.
        share: Share of the items, above 0 and at most 1.
        warn_above: A share from 0 to 1.

    Returns:
        "error", "warning" or "note".

    Example:
        >>> severity_of("header rows", "error", 0.001), severity_of("negative grades", "error", 0.001)
        ('warning', 'error')
    """
    if severity == "error" and share < RARE and name not in FATAL:
        return "warning"
    return "note" if severity == "warning" and share <= warn_above else severity


def merged(findings: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """Return findings with their parts, those that are the same in several parts, such as of a shared corpus, once.

    Args:
        findings: The findings.

    Returns:
        The first of each, in order, and the names of its parts.

    Example:
        >>> found = [Finding("no rows", "error", "There are 0 rows.", part) for part in ("dev", "test")]
        >>> [(finding.name, parts) for finding, parts in merged(found)]
        [('no rows', 'dev, test')]
    """
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.severity, finding.name, finding.message), []).append(finding)
    return [(same[0], ", ".join(finding.part for finding in same)) for same in alike.values()]


def shorten(value: Any) -> Any:
    """Cut a long text."""
    return value[:77] + "..." if isinstance(value, str) and len(value) > 80 else value


def repeated(keys: Any) -> Mask:
    """Which keys occurred before."""
    mask = np.ones(len(keys), dtype=bool)
    mask[np.unique(keys, return_index=True)[1]] = False
    return mask


def in_conflict(keys: Any, values: Any) -> Mask:
    """Which items have a key that another item has with another value."""
    if not len(keys):
        return np.zeros(0, dtype=bool)
    order = np.lexsort((values, keys))
    key, value = np.asarray(keys)[order], np.asarray(values)[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    ends = np.concatenate([starts[1:], [len(key)]])
    mixed = value[starts] != value[ends - 1]
    mask = np.zeros(len(key), dtype=bool)
    mask[order] = np.repeat(mixed, ends - starts)
    return mask
