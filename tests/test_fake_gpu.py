"""No loss waits for a GPU or mixes devices, and a batch of 32,768 fits: on a device without data, see `fake_gpu`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

from tests.fake_gpu import BATCHES, CASES, DEVICE
from tests.models import SHAPES

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_DummyBackendModule"), reason="this PyTorch cannot register a device of Python"
)


@pytest.fixture(scope="module")
def found():
    """What a process of its own finds, which alone knows the device."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.fake_gpu"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


@pytest.mark.slow
def test_every_objective_relevance_and_loss_computes_its_gradient_without_waiting(found):
    assert found["cases"] == len(CASES) > 800
    for shape in SHAPES:  # each relevance with some objective of its own, beside the mixture
        assert any(name[0].isdigit() and name.endswith(f", {shape}") for name in CASES)
    assert not found["errors"], json.dumps(found["errors"], indent=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_a_large_batch_takes_less_than_10_gigabytes(name, found):
    assert 1e9 < found["peaks"][name] < 10e9


@pytest.mark.slow
@pytest.mark.parametrize("wait", ["item", "nonzero", "to_the_host", "from_the_host", "mixed_devices"])
def test_what_would_wait_is_noticed(wait, found):
    assert found["noticed"][wait], f"{wait} on {DEVICE} went unnoticed"
