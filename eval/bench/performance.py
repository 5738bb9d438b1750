"""Time and peak memory of the A-NDCG loss against the direct formula, MNRL and a softmax, from embeddings.

    python -m eval.bench.performance --output output/performance [--relevances classes numeric pairs] [--device cuda]

Measure your own machine with `make bench`: the table names its processor and number of threads. Compare the column
"× MNRL's time" with other machines, rather than the times.

Every contender gets the same embeddings, two columns of a batch in classes of eight, and runs forward and backward.
Contenders take turns in one process per relevance, batch size and temperature, so that other load affects them alike;
memory is measured in one process per contender, above the embeddings.

    st_rankloss   ANDCGLoss: every query ranks every document of the batch. Relevant are the documents of its class
                  (``classes``), most of them, graded by the distance of random numbers (``numeric``), or its row's own
                  (``pairs``, as MNRL)
    direct        the formula as written, with autograd: a (batch, batch, batch) tensor; for classes
    MNRL          sentence-transformers' MultipleNegativesRankingLoss, a softmax cross-entropy
    softmax       a softmax cross-entropy of given similarities, without any matrix product
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from eval.bench.contenders import RELEVANCES, andcg, direct, given_similarity, make_labelled, softmax
from eval.bench.timing import DIMENSIONS, Loss, in_own_process, in_turns, medians, mnrl, parser, save, step
from eval.machine import PeakMemory

DIRECT_BYTES = 8.5
"""Approximate memory of the direct formula per entry of batch³, forward and backward."""

Result = dict[str, Any]
Step = Callable[[], None]

CONTENDERS = ("st_rankloss", "direct", "MNRL", "softmax")


def make_step(name: str, relevance: str, batch: int, temperature: float, device: str) -> tuple[Step, list[Tensor]]:
    """Make a contender's forward and backward on a batch, and what it differentiates."""
    columns, labels = make_labelled(batch, device, relevance)
    if name == "softmax":
        columns = given_similarity(columns)
    losses: dict[str, Loss] = {"st_rankloss": andcg(relevance), "direct": direct, "MNRL": mnrl, "softmax": softmax}
    return partial(step, losses[name], columns, labels, temperature), columns


def measure_times(names: list[str], repeats: int, device: str, **case: Any) -> Result:
    """Time contenders in turns; return their seconds, sorted."""
    return in_turns({name: make_step(name, device=device, **case)[0] for name in names}, device, repeats)


def measure_memory(name: str, device: str, **case: Any) -> float | None:
    """Return one contender's peak memory above the embeddings, in MiB."""
    make_step(name, device=device, **case | {"batch": 16})[0]()  # warms up
    action, columns = make_step(name, device=device, **case)
    for column in columns:
        column.grad = torch.zeros_like(column)
    peak = PeakMemory(device)
    action()
    return peak.megabytes(added=True)


def available_bytes(device: str) -> int:
    """Return the free memory."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def contenders(relevance: str, batch: int, device: str) -> list[str]:
    """Name the contenders of a case: the direct formula only where it fits into the free memory."""
    fits = DIRECT_BYTES * batch**3 <= 0.8 * available_bytes(device)
    return [name for name in CONTENDERS if name != "direct" or (fits and relevance == "classes")]


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Measure every case, one record per contender."""
    in_process = partial(in_own_process, "eval.bench.performance", options.device)
    for relevance, temperature, batch in product(options.relevances, options.temperatures, options.batches):
        names = contenders(relevance, batch, options.device)
        case = {"relevance": relevance, "batch": batch, "temperature": temperature}
        times = in_process(names=names, repeats=options.repeats, **case)
        middle = medians(times)
        for name in names:
            yield {
                "contender": name,
                **case,
                "seconds": middle[name],
                "fastest": times[name][0],
                "slowest": times[name][-1],
                "times MNRL": middle[name] / middle["MNRL"],
                "megabytes": in_process(name=name, **case),
            }


def lay_out(records: list[Result], machine: str) -> Table:
    """Make a table of the records."""
    table = Table(title=f"Forward + backward of the loss, {DIMENSIONS} dimensions\n{machine}")
    for heading in ("relevance", "batch", "τ", "contender", "median", "fastest-slowest", "× MNRL's time", "peak"):
        table.add_column(heading, justify="right")
    for record in records:
        table.add_row(
            record["relevance"],
            str(record["batch"]),
            f"{record['temperature']:g}",
            record["contender"],
            f"{1000 * record['seconds']:.1f} ms",
            f"{1000 * record['fastest']:.1f}-{1000 * record['slowest']:.1f}",
            f"{record['times MNRL']:.2f}",
            "unknown" if record["megabytes"] is None else f"{record['megabytes']:.0f} MiB",
        )
    return table


def main() -> None:
    """Measure every case, print a table, and write performance.json."""
    made = parser(__doc__, "performance", [256, 512, 1024, 2048, 4096, 8192])
    made.add_argument("--relevances", nargs="+", choices=[*RELEVANCES], default=["classes"])
    made.add_argument("--temperatures", type=float, nargs="+", default=[0.01, 0.05])
    made.add_argument("--repeats", type=int, default=5, help="timed turns per contender")
    options = made.parse_args()
    if options.case:
        case = json.loads(options.case)
        print(json.dumps((measure_memory if "name" in case else measure_times)(**case, device=options.device)))
        return
    records: list[Result] = []
    for record in measure(options):
        records.append(record)
        case = f"{record['relevance']:<8}{record['batch']:>6} τ={record['temperature']:<5g}{record['contender']:<12}"
        print(f"{case}{record['seconds']:.4f} s", flush=True)
    machine = save(options, repeats=options.repeats, records=records)
    Console(width=140).print(lay_out(records, machine))


if __name__ == "__main__":
    main()
