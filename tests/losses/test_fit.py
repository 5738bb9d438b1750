"""An objective that cannot learn from a batch's relevance is refused, or warned of once."""

from __future__ import annotations

import warnings

import pytest
import torch

from st_rankloss import RankingLoss
from st_rankloss.losses import HardNegativeMixup, QueryNegativeMixup, SupReMix
from st_rankloss.objectives import (
    MVDHEL,
    AcrossQueries,
    ApproxNDCG,
    InfoNCE,
    ListNet,
    MVInfoNCE,
    SoftSpearman,
    SupCon,
    ThresholdMargin,
    Wasserstein,
)
from st_rankloss.relevance import Classes, Numeric, Vectors, Views
from tests.models import Passing, columns_of, random_columns

CLASSES, NUMBERS = torch.arange(12) % 3, torch.linspace(0, 1, 12)
VIEWS = {"sample": torch.arange(12) % 6, "keep": torch.ones(12)}


class Never(Passing):
    """A model that must not run."""

    def forward(self, features):
        raise AssertionError("the model has run")


@pytest.mark.parametrize("objective", [MVInfoNCE(), MVDHEL(), 0.1 * MVDHEL() + InfoNCE()], ids=repr)
@pytest.mark.parametrize(
    ("relevance", "labels"),
    [(Classes(), CLASSES), (None, CLASSES), (Numeric(), NUMBERS), (Views(Classes()), VIEWS | {"label": CLASSES})],
    ids=["classes", "chosen", "numbers", "labelled_views"],
)
def test_an_objective_of_views_refuses_labels_before_the_model_runs(objective, relevance, labels):
    loss = RankingLoss(Never(), objective=objective, relevance=relevance)
    with pytest.raises(ValueError, match=r"MV\w+\(temperature=0.1\).* needs views of one sample .*ViewsCollator"):
        loss(columns_of(random_columns([12])), labels)


@pytest.mark.parametrize(
    ("relevance", "labels"),
    [(Views(), VIEWS), (None, VIEWS), (lambda a, b: (a[:, None] == b).float(), VIEWS["sample"])],
    ids=["views", "chosen", "function"],
)
def test_an_objective_of_views_takes_views_and_what_only_the_user_knows(relevance, labels):
    loss = RankingLoss(Passing(), objective=MVInfoNCE(), relevance=relevance)
    assert loss(columns_of(random_columns([12])), labels) > 0


def warnings_of(objective, relevance, labels, batches=3):
    loss = RankingLoss(Passing(), objective=objective, relevance=relevance)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(batches):
            loss(columns_of(random_columns([12])), labels)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    "objective", [SupCon(), ApproxNDCG() + 0.1 * SupCon(), AcrossQueries(ThresholdMargin())], ids=repr
)
def test_a_binary_objective_of_relevance_without_zeros_is_warned_of_once(objective):
    (message,) = warnings_of(objective, Numeric(bandwidth=1.0), NUMBERS)
    assert message.startswith(repr(objective))
    assert "almost all documents of this batch have some, so it cannot tell them apart" in message


@pytest.mark.parametrize("mixup", [HardNegativeMixup(4), QueryNegativeMixup(4), SupReMix()], ids=repr)
def test_mixtures_of_irrelevant_documents_are_warned_of_where_there_are_none(mixup):
    def loss(relevance):
        return RankingLoss(Passing(), objective=SoftSpearman(), relevance=relevance, mixup=mixup)

    with pytest.warns(UserWarning, match="mixes documents of relevance 0, but almost all documents") as caught:
        loss(Numeric(bandwidth=1.0))(columns_of(random_columns([12])), NUMBERS)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(Numeric("triangle", bandwidth=0.3))(columns_of(random_columns([12])), NUMBERS)


def test_a_binary_objective_that_learns_nothing_because_all_is_relevant_is_told_so():
    messages = warnings_of(InfoNCE(), Numeric(bandwidth=1.0), NUMBERS, batches=1)
    assert [message.startswith("No query of this batch") for message in messages] == [True, False]
    assert "almost all documents of this batch have some" in messages[1]


@pytest.mark.parametrize(
    ("objective", "relevance", "labels"),
    [
        (SupCon(), Classes(), CLASSES),
        (SupCon(), Numeric("triangle", bandwidth=0.3), NUMBERS),
        (SoftSpearman(), Numeric(bandwidth=1.0), NUMBERS),
        (lambda s, y: s.sum(1), Numeric(bandwidth=1.0), NUMBERS),
        (SupCon(), Vectors(threshold=0.5), torch.eye(3).repeat(4, 1)),
    ],
    ids=["classes", "narrow", "graded", "function", "vectors"],
)
def test_what_tells_documents_apart_is_not_warned_of(objective, relevance, labels):
    assert not warnings_of(objective, relevance, labels)


def test_a_batch_without_a_defined_loss_is_not_the_one_that_is_judged():
    loss = RankingLoss(Passing(), objective=SupCon(), relevance=Classes())
    with pytest.warns(UserWarning, match="No query of this batch") as first:
        loss(columns_of(random_columns([12])), torch.arange(12))
    assert len(first) == 1
    with pytest.warns(UserWarning, match="almost all documents"):
        loss(columns_of(random_columns([12])), torch.zeros(12, dtype=torch.int64))


def test_a_distance_of_distributions_is_warned_of_unless_it_is_mixed():
    with pytest.warns(UserWarning, match="cannot tell its rows apart: add an objective of single lists"):
        RankingLoss(Passing(), objective=2 * Wasserstein())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RankingLoss(Passing(), objective=Wasserstein() + ListNet())
