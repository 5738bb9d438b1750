"""Weights of the training data's rows that change while training, for any loss and objective."""

from __future__ import annotations

from st_rankloss.weighting.base import Seen, Weighting
from st_rankloss.weighting.curriculum import Curriculum, grade_gaps
from st_rankloss.weighting.loss_mixture import LossMixture
from st_rankloss.weighting.neighbours import NeighbourAgreement
from st_rankloss.weighting.self_paced import SelfPaced

__all__ = [
    "Curriculum",
    "LossMixture",
    "NeighbourAgreement",
    "Seen",
    "SelfPaced",
    "Weighting",
    "grade_gaps",
]
