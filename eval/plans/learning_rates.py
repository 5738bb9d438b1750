"""Learning rates that are tuned, by encoder."""

from __future__ import annotations

import numpy as np

from eval.tasks.records import Record

ENCODERS = {
    "static": 0.07,
    "clip": 1e-3,
    "static-minilm": 3e-3,
    "minilm": 5e-5,
    "minilm-2": 1e-4,
    "bert": 1e-3,
}
"""The middle of each encoder's grid. ``static``, ``clip`` and ``bert`` start from random weights, the others from
all-MiniLM-L6-v2: its word embeddings, its first two layers, or all of it."""

OTHERS = 2e-5
"""The same for any other encoder."""

EXAMPLES = {"static": 0.2, "minilm": 2e-5, "minilm-2": 2e-5}
"""Learning rates of sentence-transformers' own examples, for encoders of their kind."""

SPREAD = 3.0
"""Ratio of neighbouring learning rates of a grid of three."""


def middle_learning_rate(encoder: str) -> float:
    """Return the middle of an encoder's grid of learning rates."""
    return ENCODERS.get(encoder, OTHERS)


def untouched_learning_rate(encoder: str) -> float:
    """Return the learning rate if nothing is tuned: that of the host's examples, or the middle of the grid."""
    return EXAMPLES.get(encoder, middle_learning_rate(encoder))


def learning_rates(record: Record, encoder: str, settings: int) -> list[float]:
    """Return a grid of three learning rates, or of nine over the same range for a loss with a single setting.

    Example:
        >>> from eval.tasks.records import load_records
        >>> learning_rates(load_records()["documentation"], "static", 3)
        [0.0700, 0.2100, 0.6300]
    """
    middle = middle_learning_rate(encoder) * record.rate
    rates = np.geomspace(middle / SPREAD, middle * SPREAD, 9 if settings == 1 else 3)
    return [float(f"{rate:.4g}") for rate in rates]
