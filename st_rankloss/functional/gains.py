"""Gains and discounts: what a document is worth, and how much of it counts at a rank."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_choice, check_not_negative

Gain = str | Callable[[Tensor], Tensor]


def linear_gain(relevance: Tensor) -> Tensor:
    """Return the relevance itself: the gain of pytrec_eval, MTEB and scikit-learn."""
    return relevance


def exponential_gain(relevance: Tensor) -> Tensor:
    """Return 2^y - 1, scaled for each query by 2^-max(y), which NDCG does not see and no grade overflows.

    Args:
        relevance: At least 0, shape ``(..., D)``.

    Returns:
        Gains in [0, 1), shape ``(..., D)``.

    Example:
        >>> exponential_gain(torch.tensor([3.0, 1.0, 0.0]))
        tensor([0.8750, 0.1250, 0.0000])
    """
    if not relevance.shape[-1]:
        return relevance
    most = relevance.amax(dim=-1, keepdim=True)
    # 2^(y-m) - 2^-m as a product: a difference would lose the small grades beside large ones.
    return torch.exp2(relevance - most) * -torch.expm1(-math.log(2) * relevance)


GAINS: dict[str, Callable[[Tensor], Tensor]] = {"linear": linear_gain, "exponential": exponential_gain}


def check_gain(gain: Gain) -> None:
    """Raise ValueError unless ``gain`` is a name of `GAINS` or a callable."""
    if not callable(gain):
        check_choice(gain, GAINS, "gain")


def gains_of(relevance: Tensor, gain: Gain) -> Tensor:
    """Turn relevance into gains; unjudged (NaN) documents gain 0, and so do those with next to nothing.

    Args:
        relevance: At least 0, NaN where unjudged, shape ``(..., D)``.
        gain: A name of `GAINS`, or a function of relevance that maps 0 to 0 and nothing below 0.

    Returns:
        Gains, at least 0, shape ``(..., D)``.

    Raises:
        ValueError: If, on a CPU, a function of your own returns a gain that is negative or not finite.

    Example:
        >>> gains_of(torch.tensor([2.0, float("nan"), 1.0]), "linear")
        tensor([2.0000, 0.0000, 1.0000])
    """
    unjudged = relevance.isnan()
    known = relevance.masked_fill(unjudged, 0)
    if not callable(gain):
        return without_traces(GAINS[gain](known)).masked_fill(unjudged, 0)
    gains = gain(known).masked_fill(unjudged, 0)
    check_not_negative(gains, "gain must return numbers that are")
    return without_traces(gains)


def without_traces(values: Tensor) -> Tensor:
    """Return 0 for values below the smallest normal number of their type (float32: 1.2e-38), others as they are.

    This is the package's rule for relevance and for gains: less than that is none. Subnormal numbers have lost digits,
    some processors round them to 0, and their reciprocals overflow.

    Args:
        values: At least 0, NaN where unjudged, any shape.

    Returns:
        The same shape.

    Example:
        >>> without_traces(torch.tensor([1e-40, 1.0]))
        tensor([0.0000, 1.0000])
    """
    return values.masked_fill(values < torch.finfo(values.dtype).tiny, 0)


def over_largest(values: Tensor) -> Tensor:
    """Divide each list by its largest value, so that no sum of a list overflows; a list of zeros stays so.

    Args:
        values: At least 0, shape ``(..., D)``.

    Returns:
        In [0, 1], shape ``(..., D)``.

    Example:
        >>> over_largest(torch.tensor([[4.0, 1.0], [0.0, 0.0]]))
        tensor([[1.0000, 0.2500],
                [0.0000, 0.0000]])
    """
    if not values.shape[-1]:
        return values
    largest = values.amax(dim=-1, keepdim=True)
    return values / torch.where(largest > 0, largest, 1)


def discount(rank: Tensor) -> Tensor:
    """Return 1 / log2(1 + rank), the factor by which a gain counts at a rank; 0 at rank ``inf``.

    Args:
        rank: Ranks, 1-based, any shape.

    Returns:
        Factors in [0, 1], of the same shape.

    Example:
        >>> discount(torch.tensor([1.0, 3.0, float("inf")]))
        tensor([1.0000, 0.5000, 0.0000])
    """
    return torch.log2(1 + rank).reciprocal()
