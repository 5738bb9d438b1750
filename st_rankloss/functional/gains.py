"""Gains of documents and discounts of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.checks import check_choice, check_not_negative

Gain = str | Callable[[Tensor], Tensor]


def linear_gain(relevance: Tensor) -> Tensor:
    """Return the relevance itself, the gain used by pytrec_eval, MTEB and scikit-learn."""
    return relevance


def exponential_gain(relevance: Tensor) -> Tensor:
    """Return 2^y - 1, scaled per query by 2^-max(y), which leaves NDCG unchanged and prevents overflow.

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
    # 2^(y-m) - 2^-m as a product: the difference would lose small grades next to large ones.
    return torch.exp2(relevance - most) * -torch.expm1(-math.log(2) * relevance)


GAINS: dict[str, Callable[[Tensor], Tensor]] = {"linear": linear_gain, "exponential": exponential_gain}


def check_gain(gain: Gain) -> None:
    """Raise ValueError unless ``gain`` is a key of `GAINS` or a callable."""
    if not callable(gain):
        check_choice(gain, GAINS, "gain")


def gains_of(relevance: Tensor, gain: Gain) -> Tensor:
    """Turn relevance into gains; unjudged (NaN) documents and negligible relevance get 0.

    Args:
        relevance: At least 0, NaN where unjudged, shape ``(..., D)``.
        gain: A key of `GAINS`, or a function of relevance that maps 0 to 0 and is never negative.

    Returns:
        Gains, at least 0, shape ``(..., D)``.

    Raises:
        ValueError: If, on a CPU, a custom function returns a negative or non-finite gain.

    Example:
        >>> gains_of(torch.tensor([2.0, float("nan"), 1.0]), "linear")
        tensor([2.0000, 0.0000, 1.0000])
    """
    known = fill_unjudged(relevance)
    if not callable(gain):
        return without_traces(GAINS[gain](known))
    gains = gain(known).masked_fill(relevance.isnan(), 0)
    check_not_negative(gains, "gain must return numbers that are")
    return without_traces(gains)


def gains_of_clean(relevance: Tensor, gain: Gain) -> Tensor:
    """Compute `gains_of` relevance that holds neither NaN nor traces: the linear gain takes no pass over it."""
    return relevance if gain == "linear" else gains_of(relevance, gain)


def fill_unjudged(relevance: Tensor) -> Tensor:
    """Return relevance, 0 where it is NaN."""
    return relevance.nan_to_num(0.0, posinf=math.inf)


def without_traces(values: Tensor) -> Tensor:
    """Return 0 for values below the smallest normal number of their type (float32: 1.2e-38), others unchanged.

    The package applies this rule to relevance and gains: subnormal numbers have lost digits, some processors round them
    to 0, and their reciprocals overflow.

    Args:
        values: At least 0, NaN where unjudged, any shape.

    Returns:
        The same shape.

    Example:
        >>> without_traces(torch.tensor([1e-40, 1.0]))
        tensor([0.0000, 1.0000])
    """
    least = torch.finfo(values.dtype).tiny
    return F.threshold(values, least * (1 - torch.finfo(values.dtype).eps), 0)  # one pass, which keeps NaN


def over_largest(values: Tensor) -> Tensor:
    """Divide each list by its largest value, so that no sum overflows; a list of zeros is unchanged.

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
    """Return 1 / log2(1 + rank), the discount of a gain at a rank; 0 at rank ``inf``.

    Args:
        rank: Ranks, 1-based, any shape.

    Returns:
        Factors in [0, 1], of the same shape.

    Example:
        >>> discount(torch.tensor([1.0, 3.0, float("inf")]))
        tensor([1.0000, 0.5000, 0.0000])
    """
    return torch.log2(1 + rank).reciprocal()
