"""Losses for sentence-transformers' trainers: thin classes over objectives and relevance."""

from __future__ import annotations

from st_rankloss.losses.andcg import ANDCGLoss
from st_rankloss.losses.cached import CachedANDCGLoss, CachedRankingLoss
from st_rankloss.losses.cached_cross_encoder import CachedCrossEncoderRankingLoss
from st_rankloss.losses.confidence import ConfidenceRankingLoss
from st_rankloss.losses.cross_encoder import CrossEncoderRankingLoss
from st_rankloss.losses.mixup import EmbeddingMixup
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.proxies import ProxyLoss
from st_rankloss.losses.ranking import RankingLoss
from st_rankloss.losses.similarity import angle_sim
from st_rankloss.losses.tokens import pack_tokens

__all__ = [
    "ANDCGLoss",
    "CachedANDCGLoss",
    "CachedCrossEncoderRankingLoss",
    "CachedRankingLoss",
    "ConfidenceRankingLoss",
    "CrossEncoderRankingLoss",
    "EmbeddingMixup",
    "LossParts",
    "ProxyLoss",
    "RankingLoss",
    "angle_sim",
    "pack_tokens",
]
