"""Strategies of mixing in plain loops: for one query, its mixtures as (embedding, relevance) pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from st_rankloss.losses import (
    ExtrapolatedPositives,
    HardNegativeMixup,
    PositiveMixup,
    QueryNegativeMixup,
    RankMixup,
    SupReMix,
)

NAN = math.nan


@dataclass
class One:
    """A query and what it ranks."""

    query: Tensor
    documents: Tensor
    grades: Sequence[float]
    label: float = NAN
    labels: Sequence[float] = ()

    def pool(self, wanted: Callable[[float], bool]) -> list[int]:
        return [place for place, grade in enumerate(self.grades) if wanted(grade)]

    def hardest_irrelevant(self, count: int | None) -> list[int]:
        similarity = (self.documents @ self.query).tolist()
        ranked = sorted(self.pool(lambda grade: grade == 0), key=lambda place: -similarity[place])
        return sorted(ranked[:count])


def nth(pool: list[int], draw: float) -> int:
    return min(int(draw * len(pool)), len(pool) - 1)


def two_of(pool: list[int], draws: Sequence[float]) -> tuple[int, int]:
    """A document of the pool, and one of the others."""
    place = nth(pool, draws[0])
    others = pool[place + 1 :] + pool[:place]
    return pool[place], others[nth(others, draws[1])] if others else pool[place]


def hard_negatives(one: One, mixing: HardNegativeMixup, draws: Sequence[float]):
    pool = one.hardest_irrelevant(mixing.hardest)
    if not pool:
        return one.query, NAN
    first, second = two_of(pool, draws)
    return (draws[2] * one.documents[first] + (1 - draws[2]) * one.documents[second]).detach(), 0.0


def query_negatives(one: One, mixing: QueryNegativeMixup, draws: Sequence[float]):
    pool = one.hardest_irrelevant(mixing.hardest)
    if not pool:
        return one.query, NAN
    share = mixing.most * draws[2]
    return (share * one.query + (1 - share) * one.documents[pool[nth(pool, draws[0])]]).detach(), 0.0


def rank_mixup(one: One, mixing: RankMixup, draws: Sequence[float]):
    relevant, irrelevant = one.pool(lambda grade: grade > 0), one.hardest_irrelevant(mixing.hardest)
    if not relevant or not irrelevant:
        return one.query, NAN
    if mixing.parent == "query":
        parent, grade = one.query, max(one.grades[place] for place in relevant)
    else:
        place = relevant[nth(relevant, draws[0])]
        parent, grade = one.documents[place], one.grades[place]
    other = one.documents[irrelevant[nth(irrelevant, draws[1])]]
    return draws[2] * parent + (1 - draws[2]) * other, draws[2] * grade


def positives(one: One, mixing: PositiveMixup, draws: Sequence[float]):
    pool = one.pool(lambda grade: grade > 0)
    if len(pool) < 2:
        return one.query, NAN
    first, second = two_of(pool, draws)
    mixed = draws[2] * one.documents[first] + (1 - draws[2]) * one.documents[second]
    return mixed, draws[2] * one.grades[first] + (1 - draws[2]) * one.grades[second]


def extrapolated(one: One, mixing: ExtrapolatedPositives, draws: Sequence[float]):
    pool = one.pool(lambda grade: grade > 0)
    if not pool:
        return one.query, NAN
    place = pool[nth(pool, draws[0])]
    return (1 + draws[2]) * one.documents[place] - draws[2] * one.query, one.grades[place]


def surrounding(one: One, mixing: SupReMix, draws: Sequence[float]):
    """A hard positive of SupReMix."""
    below = [i for i, label in enumerate(one.labels) if one.label - mixing.window < label < one.label]
    above = [i for i, label in enumerate(one.labels) if one.label < label < one.label + mixing.window]
    if not below or not above:
        return one.query, NAN
    first, second = below[nth(below, draws[0])], above[nth(above, draws[1])]
    share = (one.labels[second] - one.label) / (one.labels[second] - one.labels[first])
    return (share * one.documents[first] + (1 - share) * one.documents[second]).detach(), 1.0


ORACLES = {
    HardNegativeMixup: hard_negatives,
    QueryNegativeMixup: query_negatives,
    RankMixup: rank_mixup,
    PositiveMixup: positives,
    ExtrapolatedPositives: extrapolated,
}
