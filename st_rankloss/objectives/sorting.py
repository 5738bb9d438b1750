"""Objectives on softly sorted lists."""

from __future__ import annotations

from dataclasses import dataclass

from st_rankloss.functional import group_ordering, neural_ndcg
from st_rankloss.functional.gains import Gain
from st_rankloss.functional.lists import two_grades, two_kinds
from st_rankloss.objectives.base import Configured


@dataclass(frozen=True)
class NeuralNDCG(Configured):
    """1 - `neural_ndcg`.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines .01 to .1; or ``"auto"``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable.
        k: Cutoff; None means no cutoff.
        iterations: Of Sinkhorn's algorithm, at least 1.
    """

    function = staticmethod(neural_ndcg)
    higher_is_better = True
    spreads = 0.5
    needs = staticmethod(two_grades)

    temperature: float | str = 0.05
    gain: Gain = "linear"
    k: int | None = None
    iterations: int = 30


@dataclass(frozen=True)
class GroCo(Configured):
    """`group_ordering`: relevant documents fill the first ranks of a sorting network.

    Args:
        temperature: Width of the soft comparison, above 0, in units of similarity; on cosines .01 to .1; or ``"auto"``.
    """

    function = staticmethod(group_ordering)
    spreads = 0.5
    needs = staticmethod(two_kinds)

    temperature: float | str = 0.05
