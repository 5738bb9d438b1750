"""Where the time of the A-NDCG loss goes on this machine, by part, against the least time that it could take.

    python -m eval.bench.profile --output output/profile [--batches 1024 4096] [--relevances classes numeric]

Forward and backward from the embeddings of `eval.bench.performance`. Three tables for each case:

    parts      matrix products; sums over pairs, and the grid by stage; relevance; masks; allocation; the objective
               around its sums; the rest
    kinds      the same time by kind of operator, with the bytes that operators move and how fast
    operators  the longest operators, with the function that called them (in backward: that calls them in forward)

Time outside operators is Python's, dispatch's and compiled kernels': the loss's time without recording, less that of
its operators, which share caches and processors with recording and so may take longer than alone.

"at best" is a roofline: the least time of what any exact loss must do (see `eval.bench.roofline`), at the rates that
this process measures just before. MNRL, and a softmax cross-entropy of given similarities, take turns with the loss.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.bench.contenders import RELEVANCES, andcg, given_similarity, make_labelled, softmax
from eval.bench.operators import Operator, Recorder, Spent, total_by
from eval.bench.roofline import Rates, least_seconds, measure_rates
from eval.bench.timing import CLASS_SIZE, in_turns, medians, mnrl, parser, save, step

RANKED = {"classes": lambda batch: CLASS_SIZE, "numeric": lambda batch: batch, "pairs": lambda batch: 1}
"""Relevant documents per query, at most."""

Result = dict[str, Any]


def part_of(operator: Operator) -> str:
    """Name the part of the loss that an operator belongs to."""
    file, _, function = operator.caller.partition(":")
    if operator.kind == "products" and not file.startswith("kernels/"):
        return "matrix products"
    if file == "kernels/grid.py":
        return f"grid: {function.strip('_<>')}"
    if file.startswith("kernels/"):
        return "pair sums"
    if file.startswith("relevance/"):
        return "relevance"
    if operator.kind in ("masks", "allocation"):
        return operator.kind
    return "objective" if file.startswith(("functional/", "objectives/")) else "everything else"


def measure(relevance: str, batch: int, temperature: float, device: str, repeats: int, rates: Rates) -> Result:
    """Time the loss beside MNRL and a softmax, then record its operators."""
    columns, labels = make_labelled(batch, device, relevance)
    ours = partial(step, andcg(relevance), columns, labels, temperature)
    actions = {
        "A-NDCG": ours,
        "MNRL": partial(step, mnrl, columns, None, temperature),
        "softmax": partial(step, softmax, given_similarity(columns), None, temperature),
    }
    times = medians(in_turns(actions, device, repeats))
    with Recorder(device) as recorder:
        ours()
    return {
        "relevance": relevance,
        "batch": batch,
        "temperature": temperature,
        "seconds": times,
        "at best": least_seconds(batch, RANKED[relevance](batch), rates),
        "outside operators": times["A-NDCG"] - sum(each.seconds for each in recorder.spent.values()),
        "operators": [asdict(operator) | asdict(each) for operator, each in recorder.spent.items()],
    }


def spent_of(result: Result) -> dict[Operator, Spent]:
    """Return the operators of a result."""
    return {
        Operator(each["name"], each["kind"], each["caller"]): Spent(each["calls"], each["seconds"], each["bytes"])
        for each in result["operators"]
    }


def rows_of(spent: dict[str, Spent], total: float) -> Iterator[tuple[str, ...]]:
    """Lay out what was spent under each name."""
    for name, each in spent.items():
        speed = each.bytes / each.seconds / 1e9 if each.seconds else 0.0
        moved = f"{each.bytes / 1e9:.2f}"
        yield name, f"{1e3 * each.seconds:.1f}", f"{each.seconds / total:.0%}", str(each.calls), moved, f"{speed:.1f}"


def lay_out(result: Result, longest: int) -> list[Table]:
    """Make the tables of a case."""
    spent, times = spent_of(result), result["seconds"]
    total, least = times["A-NDCG"], sum(result["at best"].values())
    best = ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in result["at best"].items())
    title = (
        f"{result['relevance']}, batch {result['batch']}, τ {result['temperature']:g}: {1e3 * total:.1f} ms, "
        f"{total / times['MNRL']:.2f} × MNRL, {total / times['softmax']:.2f} × softmax\n"
        f"at best {1e3 * least:.1f} ms ({best}): {total / least:.1f} × that"
    )
    outside = Spent(0, max(0.0, result["outside operators"]), 0)
    top = dict([*total_by(spent, lambda each: f"{each.name} in {each.caller}").items()][:longest])
    sections = {
        "part": total_by(spent, part_of) | {"outside operators": outside},
        "kind": total_by(spent, lambda each: each.kind),
        "operator": top,
    }
    tables: list[Table] = []
    for name, section in sections.items():
        headings = (name, "ms", "share", "calls", "GB moved", "GB/s")
        table = Table(*headings, title=None if tables else title, title_justify="left", min_width=100)
        for row in rows_of(section, total):
            table.add_row(*row)
        tables.append(table)
    return tables


def command_line() -> argparse.ArgumentParser:
    """Make the command line."""
    made = parser(__doc__, "profile", [1024, 4096, 8192])
    made.add_argument("--relevances", nargs="+", choices=[*RELEVANCES], default=["classes", "numeric"])
    made.add_argument("--temperatures", type=float, nargs="+", default=[0.05, 0.01])
    made.add_argument("--repeats", type=int, default=3, help="timed turns per contender")
    made.add_argument("--longest", type=int, default=12, help="number of operators in the last table")
    return made


def main() -> None:
    """Record every case, print its tables, and write profile.json after each."""
    options = command_line().parse_args()
    rates = measure_rates(options.device)
    console = Console(width=120)
    console.print(
        f"copy {rates.bytes / 1e9:.1f} GB/s, products {rates.flops / 1e9:.0f} GFLOP/s, in cache "
        f"{rates.exponentials / 1e9:.2f} · 10⁹ exponentials and {rates.divisions / 1e9:.2f} · 10⁹ divisions per second"
    )
    results: list[Result] = []
    for relevance in options.relevances:
        for batch in options.batches:
            for temperature in options.temperatures:
                results.append(measure(relevance, batch, temperature, options.device, options.repeats, rates))
                machine = save(options, rates=asdict(rates), repeats=options.repeats, records=results)
                for table in lay_out(results[-1], options.longest):
                    console.print(table)
    console.print(machine)


if __name__ == "__main__":
    main()
