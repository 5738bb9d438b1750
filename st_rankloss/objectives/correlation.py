"""Objectives for rank correlation, and close relatives."""

from __future__ import annotations

from st_rankloss.functional.correlation import approx_rank_mse, pearson, soft_kendall, soft_spearman
from st_rankloss.objectives.base import Configured


class SoftSpearman(Configured):
    """1 - `soft_spearman`. Over pairs, as STS benchmarks report it: ``OverPairs(SoftSpearman())``."""

    @soft_spearman.settings
    def __init__(self) -> None: ...


class SoftKendall(Configured):
    """1 - `soft_kendall`."""

    @soft_kendall.settings
    def __init__(self) -> None: ...


class Pearson(Configured):
    """1 - `pearson`."""

    @pearson.settings
    def __init__(self) -> None: ...


class ApproxRankMSE(Configured):
    """`approx_rank_mse`, ADR-MSE."""

    @approx_rank_mse.settings
    def __init__(self) -> None: ...
