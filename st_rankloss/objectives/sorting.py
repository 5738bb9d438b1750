"""Objectives on softly sorted lists."""

from __future__ import annotations

from st_rankloss.functional.sorting import groco, neural_ndcg
from st_rankloss.objectives.base import Configured


class NeuralNDCG(Configured):
    """1 - `neural_ndcg`."""

    @neural_ndcg.settings
    def __init__(self) -> None: ...


class GroCo(Configured):
    """`groco`: a soft sort leaves relevant and irrelevant documents in their groups."""

    @groco.settings
    def __init__(self) -> None: ...
