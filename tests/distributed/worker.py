"""What each process of `processes` runs: every training of `trainings.py`, with its share of each batch.

torchrun --standalone --nproc_per_node=2 -m tests.distributed.worker FOLDER
"""

from __future__ import annotations

import datetime
import fnmatch
import gc
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests.distributed.trainings import all_runs


def file_of(folder: Path, name: str, rank: int) -> Path:
    """Return where a process writes what a training has found."""
    return folder / "found" / f"{name.replace('/', '-')}.{rank}.pt"


def main(folder: Path, pattern: str = "*") -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=120))
    gc.freeze()  # trainers collect garbage, which takes longer than they do if they look at all modules
    for name, run in all_runs().items():
        if fnmatch.fnmatch(name, pattern):
            found = run(folder)
            torch.save(found, file_of(folder, name, dist.get_rank()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
