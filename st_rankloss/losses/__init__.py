"""Losses for sentence-transformers' trainers: any objective, over any relevance, for each kind of model."""

from __future__ import annotations

from st_rankloss.losses.andcg import ANDCGLoss
from st_rankloss.losses.cached import CachedANDCGLoss, CachedRankingLoss
from st_rankloss.losses.cached_cross_encoder import CachedCrossEncoderRankingLoss
from st_rankloss.losses.confidence import ConfidenceRankingLoss
from st_rankloss.losses.cross_encoder import CrossEncoderRankingLoss
from st_rankloss.losses.mixing import (
    CrossModalMixup,
    EmbeddingMixup,
    ExtrapolatedPositives,
    HardNegativeMixup,
    PositiveMixup,
    QueryMixup,
    QueryNegativeMixup,
    RankMixup,
    SupReMix,
)
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
    "CrossModalMixup",
    "EmbeddingMixup",
    "ExtrapolatedPositives",
    "HardNegativeMixup",
    "LossParts",
    "PositiveMixup",
    "ProxyLoss",
    "QueryMixup",
    "QueryNegativeMixup",
    "RankMixup",
    "RankingLoss",
    "SupReMix",
    "angle_sim",
    "pack_tokens",
]
