"""Pairs scored by two processes on gloo against one process with the whole batch."""

from __future__ import annotations

import pytest

from tests.distributed.scored import CASES
from tests.models import SHAPES

WEIGHTED = [f"{shape.name}/{name}/weighted" for shape in SHAPES for name in ("plain", "counting_all", "whole_batch")]


@pytest.mark.parametrize("case", [*CASES, *WEIGHTED])
def test_processes_that_score_their_own_queries_train_as_one(in_processes, case):
    for process in in_processes("scored"):
        found = process[case]
        assert found["largest"] > 1e-4  # there is a gradient to agree with
        assert found["value"] < 1e-12
        assert found["gradient"] < 1e-10


@pytest.mark.parametrize("loss", ["plain", "cached"])
def test_processes_keep_step_where_their_model_needs_it(in_processes, loss):
    for process in in_processes("scored"):
        found = process[f"in_step/{loss}"]
        first, second = found["passes"]
        assert first == second
        assert found["value"] < 1e-12
        assert found["gradient"] < 1e-10


@pytest.mark.parametrize("loss", ["plain", "cached"])
def test_distributed_processes_with_different_numbers_of_mini_batches_train_as_one(in_processes, loss):
    for process in in_processes("scored"):
        found = process[f"ddp/{loss}"]
        assert found["largest"] > 1e-4
        assert found["value"] < 1e-12
        assert found["gradient"] < 1e-10
