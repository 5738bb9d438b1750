"""The largest batch that fits, of given embeddings, for A-NDCG and MNRL: a power of two, in bfloat16 autocast.

The batch doubles until a step, forward and backward, runs out of memory or takes longer than it may.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from eval.bench.contenders import andcg, make_labelled
from eval.bench.gpu.part import Case, autocast, cases, part_parser, run_cases
from eval.bench.timing import Loss, mnrl, seconds_of, step
from eval.machine import PeakMemory

LOSSES: dict[str, Loss] = {"A-NDCG of classes": andcg("classes"), "A-NDCG of pairs": andcg("pairs"), "MNRL": mnrl}
TEMPERATURE = 0.05


def measure(loss: str, device: str, *, first: int, last: int, seconds: float) -> Case:
    """Double the batch until a step fails or takes longer than ``seconds``."""
    relevance = "classes" if loss == "A-NDCG of classes" else "pairs"
    found: Case = {"batch": None, "stopped by": f"the largest batch tried, {last}"}
    batch = first
    while batch <= last:
        try:
            found |= try_batch(LOSSES[loss], relevance, batch, device)
        except torch.OutOfMemoryError:
            return found | {"stopped by": "memory"}
        if found["seconds"] > seconds:
            return found | {"stopped by": f"time, over {seconds:g} s"}
        batch *= 2
    return found


def try_batch(loss: Loss, relevance: str, batch: int, device: str) -> Case:
    """Run one step, and return its time and peak memory."""
    columns, labels = make_labelled(batch, device, relevance)

    def cast(embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
        with autocast("bf16", device):
            return loss(embeddings, labels, temperature)

    peak = PeakMemory(device)
    taken = seconds_of(partial(step, cast, columns, labels, TEMPERATURE), device)
    return {"batch": batch, "seconds": taken, "megabytes": peak.megabytes()}


def main() -> None:
    """Measure every loss."""
    options = part_parser(__doc__).parse_args()
    measured = partial(measure, first=2**13, last=2**20, seconds=8.0)
    if options.quick:
        measured = partial(measure, first=64, last=256, seconds=8.0)
    run_cases(cases(loss=LOSSES), measured, options)


if __name__ == "__main__":
    main()
