"""Batches gathered over processes: two processes on gloo against one with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from st_rankloss import ANDCGLoss, RankingLoss
from st_rankloss.losses import CachedANDCGLoss, CachedRankingLoss
from tests.losses import gathered, trained_in_processes
from tests.models import SHAPES, Passing, columns_of, random_columns

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def run(command, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """What two processes have found of each other's losses."""
    results = tmp_path_factory.mktemp("gathered") / "results.json"
    run([*TORCHRUN, "-m", gathered.__name__], results)
    return json.loads(results.read_text())


CASES = [
    f"{shape.name}/{name}"
    for shape in SHAPES
    for name in gathered.LOSSES
    if "symmetric" not in name or len(shape.sizes) > 1
] + [f"collated_{name}" for name in gathered.COLLATED]


@pytest.mark.parametrize("case", CASES)
def test_unequal_shares_of_a_batch_train_as_the_whole(compared, case):
    for process in compared["deviations"]:
        found = process[case]
        assert found["largest"] > 1e-4  # there is a gradient to agree with
        assert found["value"] < 1e-12
        assert found["gradient"] < 1e-10


def test_processes_with_different_batches_say_so(compared):
    assert "needs batches of the same columns and kinds of labels in all processes" in compared["refusal"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The parameters after a few steps, of one process and of each of two."""
    folder = tmp_path_factory.mktemp("trained")
    run([sys.executable, "-m", trained_in_processes.__name__], folder)
    run([*TORCHRUN, "-m", trained_in_processes.__name__], folder)
    return [torch.load(folder / f"of_{name}.pt") for name in ("1_process_0", "2_process_0", "2_process_1")]


@pytest.mark.parametrize("loss", ["ANDCGLoss", "CachedANDCGLoss"])
@pytest.mark.parametrize("case", trained_in_processes.cases())
def test_two_processes_train_to_the_parameters_of_one(trained, case, loss):
    one, first, second = (parameters[f"{case}/{loss}"] for parameters in trained)
    assert torch.equal(first, second)
    deviation = (one - first).abs().max()
    if case == "apart":  # without gathering, it is other training
        assert deviation > 1e-3
    else:
        assert deviation < 1e-5


@pytest.mark.parametrize("make", [ANDCGLoss, RankingLoss, CachedANDCGLoss, CachedRankingLoss])
def test_a_lone_process_gathers_from_nobody(make):
    embeddings = random_columns([6, 6])
    plain = make(Passing())(columns_of(embeddings))
    assert make(Passing(), gather_across_devices=True)(columns_of(embeddings)) == plain


def test_model_card_tells_of_gathering():
    assert ANDCGLoss(nn.Linear(1, 1), gather_across_devices=True).get_config_dict()["gather_across_devices"] is True
