"""Names that a user types: an unknown one is an error that suggests the closest known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_LISTED = 60
"""Number of known names that an error still lists in full."""


def check_name(name: str, known: Iterable[str], what: str) -> None:
    """Raise a ValueError with the closest known names if a name is unknown.

    Example:
        >>> check_name("nfcropus", ["nfcorpus", "stsb"], "task")
        Traceback (most recent call last):
        ...
        ValueError: unknown task 'nfcropus'; did you mean nfcorpus? Known: nfcorpus, stsb.
    """
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        rest = f"Known: {', '.join(known)}." if len(known) <= MOST_LISTED else f"{len(known)} are known."
        raise ValueError(f"unknown {what} {name!r}; {hint}{rest}")
