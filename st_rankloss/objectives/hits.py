"""Objectives for reciprocal rank and recall."""

from __future__ import annotations

from st_rankloss.functional.hits import approx_mrr, approx_recall
from st_rankloss.objectives.base import Configured


class ApproxMRR(Configured):
    """1 - `approx_mrr`."""

    @approx_mrr.settings
    def __init__(self) -> None: ...


class ApproxRecall(Configured):
    """1 - `approx_recall`."""

    @approx_recall.settings
    def __init__(self) -> None: ...
