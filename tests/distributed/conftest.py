"""One pair of processes for all tests of the folder, and the same trainings in the test's own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from tests.distributed import trainings, worker

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture(scope="session")
def folder_of_processes(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Run two processes on gloo, once even where pytest has several workers; return where they wrote."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "two_processes"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            trainings.save_base_model(folder)
            command = [*TORCHRUN, "-m", worker.__name__, str(folder)]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            with (folder / "log").open("w", encoding="utf-8") as log:
                subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=900, check=False)
    return folder


@pytest.fixture(scope="session")
def in_processes(folder_of_processes: Path) -> Callable[[str], list[Any]]:
    """What each of two processes has found, by the name of the run."""

    def found(name: str) -> list[Any]:
        files = [worker.file_of(folder_of_processes, name, rank) for rank in (0, 1)]
        if not all(file.exists() for file in files):
            pytest.fail((folder_of_processes / "log").read_text(encoding="utf-8")[-8000:])
        results = [torch.load(file, weights_only=True) for file in files]
        for result in results:
            if isinstance(result, str):
                pytest.fail(result)
        return results

    return found


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What one process finds with the whole batch, by the name of the run."""
    folder = tmp_path_factory.mktemp("one_process")
    trainings.save_base_model(folder)
    runs, known = trainings.all_runs(), {}

    def found(name: str) -> Any:
        if name not in known:
            known[name] = runs[name](folder)
        return known[name]

    return found
