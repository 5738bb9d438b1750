"""The trainers of sentence-transformers, with collators that read lists, labels of any kind, ids and weights."""

from __future__ import annotations

from st_rankloss.trainer.graded import GradedTrainer
from st_rankloss.trainer.trainers import (
    TRAINERS,
    CrossEncoderRankingTrainer,
    MultiVectorEncoderRankingTrainer,
    RankingTrainer,
    SparseEncoderRankingTrainer,
)

__all__ = [
    "TRAINERS",
    "CrossEncoderRankingTrainer",
    "GradedTrainer",
    "MultiVectorEncoderRankingTrainer",
    "RankingTrainer",
    "SparseEncoderRankingTrainer",
]
