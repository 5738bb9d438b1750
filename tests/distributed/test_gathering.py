"""Batches gathered over processes: two processes on gloo against one with the whole batch."""

from __future__ import annotations

import pytest

from st_rankloss import ANDCGLoss, RankingLoss
from st_rankloss.losses import CachedANDCGLoss, CachedRankingLoss
from tests.distributed import gathered
from tests.models import SHAPES, Passing, columns_of, random_columns

CASES = [
    f"{shape.name}/{name}"
    for shape in SHAPES
    for name in gathered.LOSSES | gathered.TOKENS
    if gathered.fits(name, shape)
    for name in ([name, f"{name}/weighted"] if name in gathered.WEIGHTED else [name])
] + [f"collated_{name}" for name in gathered.COLLATED]


@pytest.mark.parametrize("case", CASES)
def test_unequal_shares_of_a_batch_train_as_the_whole(in_processes, case):
    for process in in_processes("gathered"):
        found = process[case]
        assert found["largest"] > 1e-4  # there is a gradient to agree with
        assert found["value"] < 1e-12
        assert found["gradient"] < 1e-10


def test_processes_with_different_batches_say_so(in_processes):
    for process in in_processes("gathered"):
        assert "needs batches of the same columns and kinds of labels in all processes" in process["refusal"]


@pytest.mark.parametrize("make", [ANDCGLoss, RankingLoss, CachedANDCGLoss, CachedRankingLoss])
def test_a_lone_process_gathers_from_nobody(make):
    embeddings = random_columns([6, 6])
    plain = make(Passing())(columns_of(embeddings))
    assert make(Passing(), gather_across_devices=True)(columns_of(embeddings)) == plain


def test_model_card_tells_of_gathering():
    assert ANDCGLoss(Passing(), gather_across_devices=True).get_config_dict()["gather_across_devices"] is True
