"""What each process runs: losses over its share of a batch, and every training of `trainings.py`.

torchrun --standalone --nproc_per_node=2 -m tests.distributed.worker FOLDER
"""

from __future__ import annotations

import datetime
import fnmatch
import gc
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from tests.distributed import gathered, scored
from tests.distributed.trainings import all_runs


def file_of(folder: Path, name: str, rank: int) -> Path:
    """Return where a process writes what a run has found."""
    return folder / f"{name.replace('/', '-')}.{rank}.pt"


def main(folder: Path, pattern: str = "*") -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=120))
    gc.freeze()  # trainers collect garbage, which takes longer than they do if all modules are looked at
    runs = {"gathered": lambda _: gathered.all_deviations(), "scored": lambda _: scored.all_deviations(), **all_runs()}
    for name, run in runs.items():
        if fnmatch.fnmatch(name, pattern):
            try:
                found = run(folder)
            except Exception:  # in all processes alike, or the next run waits in vain and ends this one
                found = traceback.format_exc()
            torch.save(found, file_of(folder, name, dist.get_rank()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
