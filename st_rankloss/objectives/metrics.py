"""Objectives that are a metric with soft ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from st_rankloss.functional import (
    approx_mrr,
    approx_ndcg,
    approx_rank_mse,
    approx_recall,
    hierarchical_ap,
    pearson,
    smooth_ap,
    soft_kendall,
    soft_spearman,
    sup_ap,
)
from st_rankloss.functional.gains import Gain
from st_rankloss.functional.lists import two_grades, two_kinds, two_kinds_beyond
from st_rankloss.objectives.base import Configured


@dataclass(frozen=True)
class ApproxNDCG(Configured):
    """1 - `approx_ndcg`: the A-NDCG objective.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines .01 to .1; or ``"auto"``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable.
        k: Cutoff; None means no cutoff, which trains better: ranks in a batch are not ranks in a corpus.
        cutoff_temperature: Width of the soft cutoff, above 0, in ranks.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.

    Raises:
        ValueError: If a temperature is not above 0, ``k`` is below 1, or a name is unknown.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7]])
        >>> ApproxNDCG(temperature=0.1)(similarity, torch.tensor([[1.0, 0.0, 0.5]]))
        tensor([0.0504])

    Source: Qin, Liu, Li (2010), "A general approximation framework for direct optimization of information
    retrieval measures"; over every sample of a batch, Gu (2021), arXiv 2103.15093.
    """

    function = staticmethod(approx_ndcg)
    higher_is_better = True
    spreads = 0.5
    needs = staticmethod(two_grades)

    temperature: float | str = 0.05
    gain: Gain = "linear"
    k: int | None = None
    cutoff_temperature: float = 1.0
    method: str = "auto"


@dataclass(frozen=True)
class _SoftRanked(Configured):
    """What has soft ranks at a temperature, and no further setting."""

    spreads = 0.5

    temperature: float | str = 0.05
    method: str = "auto"


@dataclass(frozen=True)
class SoftSpearman(Configured):
    """1 - `soft_spearman`. Over pairs, as STS benchmarks report it: ``OverPairs(SoftSpearman())``.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines .01 to .1; or ``"auto"``.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.
    """

    function = staticmethod(soft_spearman)
    higher_is_better = True
    spreads = 0.5
    needs = staticmethod(two_grades)

    temperature: float | str = 0.1
    method: str = "auto"


@dataclass(frozen=True)
class SoftKendall(Configured):
    """1 - `soft_kendall`.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines .01 to .1; or ``"auto"``.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.
    """

    function = staticmethod(soft_kendall)
    higher_is_better = True
    spreads = 0.5
    needs = staticmethod(two_grades)

    temperature: float | str = 0.1
    method: str = "auto"


@dataclass(frozen=True)
class Pearson(Configured):
    """1 - `pearson`."""

    function = staticmethod(pearson)
    higher_is_better = True
    needs = staticmethod(two_grades)


class ApproxRankMSE(_SoftRanked):
    """`approx_rank_mse`, ADR-MSE.

    Settings: ``temperature`` and ``method`` as of `SoftSpearman`, 0.05 and ``"auto"``.
    """

    function = staticmethod(approx_rank_mse)
    needs = staticmethod(two_grades)


class SmoothAP(_SoftRanked):
    """1 - `smooth_ap`.

    Settings: ``temperature`` and ``method`` as of `SoftSpearman`, 0.05 and ``"auto"``.
    """

    function = staticmethod(smooth_ap)
    higher_is_better = True
    needs = staticmethod(two_kinds)


@dataclass(frozen=True)
class SupAP(Configured):
    """1 - `sup_ap`, an upper bound of 1 - AP; ROADMAP adds `ThresholdMargin`.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity.
        slope: Of the penalty for irrelevant documents far above a relevant one, at least 0.
        width: From where on it is linear, at least 0, in units of similarity.
    """

    function = staticmethod(sup_ap)
    higher_is_better = True
    needs = staticmethod(two_kinds)

    temperature: float = 0.01
    slope: float = 100.0
    width: float = 0.05


class HierarchicalAP(_SoftRanked):
    """1 - `hierarchical_ap`.

    Settings: ``temperature`` and ``method`` as of `SoftSpearman`, 0.05 and ``"auto"``.
    """

    function = staticmethod(hierarchical_ap)
    higher_is_better = True
    needs = staticmethod(two_grades)


class ApproxMRR(_SoftRanked):
    """1 - `approx_mrr`.

    Settings: ``temperature`` and ``method`` as of `SoftSpearman`, 0.05 and ``"auto"``.
    """

    function = staticmethod(approx_mrr)
    higher_is_better = True
    needs = staticmethod(two_kinds)


@dataclass(frozen=True)
class ApproxRecall(Configured):
    """1 - `approx_recall`, the recall@k surrogate.

    Args:
        k: Cutoff, at least 1.
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines .01 to .1; or ``"auto"``.
        cutoff_temperature: Width of the soft cutoff, above 0, in ranks.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.
    """

    function = staticmethod(approx_recall)
    higher_is_better = True
    spreads = 0.5

    k: int = 10
    temperature: float | str = 0.05
    cutoff_temperature: float = 1.0
    method: str = "auto"

    def _needs(self) -> Callable[[Tensor, Tensor], Tensor]:
        return two_kinds_beyond(self.k)
