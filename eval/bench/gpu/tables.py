"""Time and peak memory of A-NDCG and of MNRL on given embeddings, forward and backward, by batch, relevance, precision.

Both take turns in one process. The largest batches come last, so that what runs out of time is the slowest.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from eval.bench.contenders import RELEVANCES, andcg, make_labelled
from eval.bench.gpu.methods import used_methods
from eval.bench.gpu.part import PRECISIONS, Case, autocast, cases, part_parser, run_cases, set_precision
from eval.bench.timing import Loss, in_turns, medians, mnrl, seconds_of, step
from eval.machine import PeakMemory

BATCHES = [2**n for n in range(10, 16)]
TEMPERATURE = 0.05
REPEATS = 5

SLOW = 1.0
"""Seconds of a first step, which also compiles kernels, above which steps are timed once."""


def measure(batch: int, relevance: str, precision: str, device: str) -> Case:
    """Time both losses in turns, then measure the memory of each."""
    set_precision(precision)
    columns, labels = make_labelled(batch, device, relevance)

    def cast(loss: Loss, embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
        with autocast(precision, device):
            return loss(embeddings, labels, temperature)

    losses = {"A-NDCG": andcg(relevance), "MNRL": mnrl}
    actions = {name: partial(step, partial(cast, loss), columns, labels, TEMPERATURE) for name, loss in losses.items()}
    with used_methods() as methods:
        first = seconds_of(actions["A-NDCG"], device)
    seconds = medians(in_turns(actions, device, REPEATS if first < SLOW else 1))
    memory: dict[str, float | None] = {}
    for name, action in actions.items():
        for column in columns:
            column.grad = None
        peak = PeakMemory(device)
        action()
        memory[name] = peak.megabytes(added=True)
    ratio = seconds["A-NDCG"] / seconds["MNRL"]
    return {"seconds": seconds, "megabytes": memory, "times MNRL": ratio, "methods": sorted(methods)}


def main() -> None:
    """Measure every case."""
    options = part_parser(__doc__).parse_args()
    batches = [64, 128] if options.quick else BATCHES
    wanted = cases(batch=batches, precision=PRECISIONS, relevance=RELEVANCES)
    if options.device == "cpu":
        wanted = [case for case in wanted if case["precision"] != "tf32"]
    torch.manual_seed(0)
    run_cases(wanted, measure, options)


if __name__ == "__main__":
    main()
