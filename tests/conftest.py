"""What every test run shares: one thread, fixed seeds, no network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so before any other import

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("st_rankloss", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("st_rankloss")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed the global generators, so that a test's numbers do not depend on the tests before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - code under test may use the global generator


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Make any connection but to a local Unix socket an error."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            raise RuntimeError(f"a test tried to reach the network: {address!r}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        patch.setattr(socket.socket, "connect_ex", guarded)
        yield


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Switch deterministic algorithms on; torch then also fills what ``torch.empty`` returns with NaN."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def cuda() -> torch.device:
    """Return the CUDA device, or skip: the only skip of the suite, for the tests marked ``gpu``."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")
