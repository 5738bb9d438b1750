"""Time and peak memory of the A-NDCG loss against the direct formula and against MNRL, from embeddings.

    python -m eval.bench.performance --output output/performance [--device cuda]

Every contender gets the same embeddings, two columns of a batch in classes of eight, and runs forward and backward.
Contenders take turns in one process per batch size and temperature, so that other load affects them alike; memory is
measured in one process per contender, above the embeddings.

    st_rankloss   ANDCGLoss(relevance=Classes()): every query ranks every document of the batch
    direct        the formula as written, with autograd: a (batch, batch, batch) tensor
    MNRL          sentence-transformers' MultipleNegativesRankingLoss, a softmax cross-entropy
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from eval.bench.contenders import andcg, direct
from eval.bench.timing import (
    DIMENSIONS,
    Loss,
    in_own_process,
    in_turns,
    make_batch,
    medians,
    mnrl,
    parser,
    save,
    step,
)
from eval.machine import PeakMemory

DIRECT_BYTES = 8.5
"""Approximate memory of the direct formula per entry of batch³, forward and backward."""

Result = dict[str, Any]


CONTENDERS: dict[str, Loss] = {"st_rankloss": andcg("classes"), "direct": direct, "MNRL": mnrl}


def measure_times(names: list[str], batch: int, temperature: float, device: str, repeats: int) -> Result:
    """Time contenders in turns; return their seconds, sorted."""
    columns, labels = make_batch(batch, device)
    return in_turns({n: partial(step, CONTENDERS[n], columns, labels, temperature) for n in names}, device, repeats)


def measure_memory(name: str, batch: int, temperature: float, device: str) -> float | None:
    """Return one contender's peak memory above the embeddings, in MiB."""
    step(CONTENDERS[name], *make_batch(16, device), temperature)  # warms up
    columns, labels = make_batch(batch, device)
    for column in columns:
        column.grad = torch.zeros_like(column)
    peak = PeakMemory(device)
    step(CONTENDERS[name], columns, labels, temperature)
    return peak.megabytes(added=True)


def available_bytes(device: str) -> int:
    """Return the free memory."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Measure every case, one record per contender."""
    in_process = partial(in_own_process, "eval.bench.performance", options.device)
    for temperature in options.temperatures:
        for batch in options.batches:
            names = list(CONTENDERS)
            if DIRECT_BYTES * batch**3 > 0.8 * available_bytes(options.device):
                names.remove("direct")
            case = {"batch": batch, "temperature": temperature}
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
    for heading in ("batch", "τ", "contender", "median", "fastest-slowest", "× MNRL's time", "peak"):
        table.add_column(heading, justify="right")
    for record in records:
        table.add_row(
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
        print(f"{record['batch']:>6} τ={record['temperature']:<5g}{record['contender']:<12}{record['seconds']:.4f} s")
    machine = save(options, repeats=options.repeats, records=records)
    Console(width=140).print(lay_out(records, machine))


if __name__ == "__main__":
    main()
