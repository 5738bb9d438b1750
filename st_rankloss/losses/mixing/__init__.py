"""Strategies of mixing embeddings and relevance, for ``RankingLoss(mixup=...)``: one, or several in order.

=====================  =================================  ========================================  ================
strategy               mixes                              relevance                                 known as
=====================  =================================  ========================================  ================
EmbeddingMixup         two documents, for all queries     mixture of both, or of the mixed label    mixup
QueryMixup             two queries                        mixture of both rows                      i-Mix
CrossModalMixup        the query and document of a row    the document's                            m²-Mix
HardNegativeMixup      two hard negatives                 0                                         MoCHi, KaLM
QueryNegativeMixup     query and hard negative            0                                         MoCHi
RankMixup              positive (or query) and negative   share of the positive                     RankMixup, Metrix
PositiveMixup          two positives                      mixture of both                           SiMix
ExtrapolatedPositives  a positive away from the query     the positive's                            Zhu et al. 2021
SupReMix               numbers around the query's,        equal label; 0                            SupReMix
                       query and negative
=====================  =================================  ========================================  ================
"""

from __future__ import annotations

from st_rankloss.losses.mixing.base import Mixing, Sides, as_mixings
from st_rankloss.losses.mixing.cross_modal import CrossModalMixup
from st_rankloss.losses.mixing.documents import EmbeddingMixup
from st_rankloss.losses.mixing.extrapolation import ExtrapolatedPositives
from st_rankloss.losses.mixing.hard_negatives import HardNegativeMixup, QueryNegativeMixup
from st_rankloss.losses.mixing.own import Mixtures, OwnMixing, Ranked
from st_rankloss.losses.mixing.positives import PositiveMixup
from st_rankloss.losses.mixing.queries import QueryMixup
from st_rankloss.losses.mixing.rank import RankMixup
from st_rankloss.losses.mixing.supremix import SupReMix

__all__ = [
    "CrossModalMixup",
    "EmbeddingMixup",
    "ExtrapolatedPositives",
    "HardNegativeMixup",
    "Mixing",
    "Mixtures",
    "OwnMixing",
    "PositiveMixup",
    "QueryMixup",
    "QueryNegativeMixup",
    "RankMixup",
    "Ranked",
    "Sides",
    "SupReMix",
    "as_mixings",
]
