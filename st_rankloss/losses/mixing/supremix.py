"""Hard positives and negatives for numeric labels (SupReMix)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from st_rankloss.functional.settings import Count, Positive, check_fields
from st_rankloss.losses.mixing.base import Mixing, Sides, beta
from st_rankloss.losses.mixing.hard_negatives import QueryNegativeMixup
from st_rankloss.losses.mixing.own import Mixtures, OwnMixing, Ranked, where_found
from st_rankloss.losses.mixing.parents import pick
from st_rankloss.relevance.base import Labels
from st_rankloss.relevance.matrix import RelevanceMatrix


@dataclass(frozen=True)
class SupReMix(Mixing):
    """Adds hard positives and hard negatives by numeric labels.

    A hard positive of a query mixes two documents whose labels lie on either side of the query's, each within the
    window, so that the mixed label equals the query's; it is as relevant as a document with the query's label. A hard
    negative mixes the query, with a share drawn from Beta(2, 8), and a document with relevance 0; its relevance is 0.
    Mixtures are normalised for the cosine and are constants, which send no gradient to their parents. Cost: O(Q ·
    (positives + negatives) · dimensions).

    The relevance must have zeros: `Numeric`'s default has none, so pass ``Numeric("triangle", bandwidth=...)``, with
    which documents a bandwidth apart or more are irrelevant, and an objective for binary labels: ``RankingLoss(model,
    objective=SupCon(), relevance=Numeric("triangle", bandwidth=1.0), mixup=SupReMix(window=5.0))``.

    Args:
        window: The largest distance of a hard positive's parents from the query, above 0, in bandwidths of `Numeric`,
            otherwise in units of the labels.
        positives: Hard positives per query, at least 1.
        negatives: Hard negatives per query, at least 1.

    Raises:
        TypeError: If ``window`` is not a number.
        ValueError: If a setting is out of its range; in `RankingLoss`, if ``similarity_fct`` is neither the cosine nor
            the dot product; in training, if the labels are not one number per input.

    Example:
        >>> SupReMix(window=5.0)
        SupReMix(window=5.0, positives=8, negatives=8)

    Source: Wu et al. (2023), "Mixup Your Own Pairs" (SupReMix), arXiv 2309.16633, and the authors' code, which takes
    every pair of parents where this draws some, does not normalise mixtures, and weighs negatives by the distance of
    their labels, which is not done here.
    """

    similarities: ClassVar[tuple[Any, ...]] = OwnMixing.similarities
    of_irrelevant: ClassVar[bool] = True
    window: Positive = 1.0
    positives: Count = 8
    negatives: Count = 8

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, sides: Sides) -> Sides:
        """Add both kinds of mixtures to those that each block makes."""
        return _HardNegatives(self.negatives, None, 1.0)(_HardPositives(self.positives, self.window)(sides))


class _HardNegatives(QueryNegativeMixup):
    """Mixtures with a query, whose share the authors draw from Beta(2, 8)."""

    def draw(self, queries: Tensor) -> Tensor:
        draws = super().draw(queries)
        draws[..., 2] = beta(draws.shape[:2], queries, 2.0, 8.0)
        return draws


@dataclass(frozen=True)
class _HardPositives(OwnMixing):
    """Mixtures of two documents with the query's label."""

    detached: ClassVar[bool] = True
    count: int
    window: float

    def choose(self, ranked: Ranked, draws: Tensor) -> Mixtures:
        if not isinstance(ranked.relevance_of, RelevanceMatrix):
            raise ValueError("SupReMix reads the labels of queries and documents: put it before other strategies.")
        matrix, labels = ranked.relevance_of, ranked.relevance_of.own(ranked.rows)
        away = _numbers_of(matrix.others) - _numbers_of(labels)[:, None]
        near = away.abs() < self.window
        below, above = near & (away < 0), near & (away > 0)
        both = below.any(1, keepdim=True) & above.any(1, keepdim=True)
        one, other, _ = draws.unbind(-1)
        first, second = pick(below, one), pick(above, other)
        down, up = away.gather(1, first), away.gather(1, second)
        share = torch.where(both, up / torch.where(both, up - down, 1), 0).to(draws.dtype)
        same = matrix.relevance(labels, labels).diagonal()[:, None].to(draws.dtype)
        return Mixtures(first, second, share, where_found(both, same.expand_as(share)))


def _numbers_of(labels: Labels) -> Tensor:
    """Return one number per row; raise ValueError for other labels."""
    tensors = [*labels.values()] if isinstance(labels, dict) else [labels]
    if len(tensors) == 1 and tensors[0].is_floating_point() and tensors[0][0].numel() == 1:
        return tensors[0].flatten()
    found = ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in tensors)
    raise ValueError(
        f"SupReMix reads one number per input, as Numeric() does, got labels of {found}: pass relevance=Numeric()."
    )
