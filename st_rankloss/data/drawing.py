"""Rows drawn at random."""

from __future__ import annotations

import random


def draw_rows(count: int, most: int, seed: int = 0) -> list[int]:
    """Draw at most ``most`` of ``count`` rows.

    Neither the first rows nor evenly spaced ones would do: files are sorted by class, or alternate between classes.

    Args:
        count: Number of rows.
        most: Number of rows to draw, at least 0.
        seed: Seed of the draw.

    Returns:
        The rows in ascending order; all of them if there are no more than ``most``.

    Example:
        >>> draw_rows(10, 3)
        [0, 6, 9]
    """
    return sorted(random.Random(seed).sample(range(count), min(count, most)))
