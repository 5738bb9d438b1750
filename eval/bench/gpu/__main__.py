"""Everything that needs a GPU, in eight minutes, with the packages that are installed: ``make gpu``.

    python -m eval.bench.gpu --output output/gpu [--parts tests tables steps largest] [--device cpu --quick]

    tests     the tests marked ``gpu``
    tables    time and memory of A-NDCG and MNRL, batches of 1,024 to 32,768, by relevance and precision
    steps     training steps of an encoder of MiniLM's size, and the loss's share of them
    largest   the largest batch that fits

Each part has its own process and time, so that neither an error nor a slow case costs the others. Its results are in
``<part>.jsonl``, a line per case as it ends; when all are done, ``gpu.json`` has everything with the name of the
machine, and ``gpu.png`` shows the tables. A part whose process dies goes on with its next case. Needed are torch,
sentence-transformers, transformers, scipy and rich, and pytest for the tests; there is nothing to install, and
what else is missing is skipped by name. With ``--device cpu --quick`` the command can be tried without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from eval.bench.gpu.figure import draw
from eval.bench.gpu.part import Case, read
from eval.bench.gpu.tests import ROOT
from eval.bench.timing import machine_of

SECONDS = {"tests": 110.0, "tables": 170.0, "steps": 90.0, "largest": 70.0}
"""The time of each part, seven minutes and twenty seconds in all."""


def run_part(part: str, options: argparse.Namespace) -> str:
    """Run a part until it is done or its time is over, again after an error; return how it ended."""
    path = options.output / f"{part}.jsonl"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"eval.bench.gpu.{part}", "--output", str(path.resolve())]
    command += ["--device", options.device, *["--quick"] * options.quick]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    end = time.monotonic() + SECONDS[part]
    while True:
        before = len(read(path))
        with (options.output / f"{part}.log").open("a", encoding="utf-8") as log:
            try:
                left = end - time.monotonic()
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=left, check=False
                )
            except subprocess.TimeoutExpired:
                return f"stopped after {SECONDS[part]:g} s"
        if not done.returncode:
            return "done"
        if len(read(path)) == before:
            return f"failed, see {part}.log"


def summarize(results: dict[str, list[Case]], console: Console, machine: str) -> None:
    """Print what was measured."""
    outcomes = Counter(record["outcome"] for record in results.get("tests", []))
    console.print(machine, "tests: " + (", ".join(f"{n} {kind}" for kind, n in outcomes.items()) or "none"), sep="\n")
    headings = ("batch", "relevance", "precision", "A-NDCG", "MNRL", "× MNRL", "peak", "MNRL's", "methods")
    table = Table(*headings, title="forward and backward of the loss")
    for record in results.get("tables", []):
        table.add_row(str(record["batch"]), record["relevance"], record["precision"], *_cells(record))
    console.print(table)
    for part in ("steps", "largest"):
        for record in results.get(part, []):
            console.print(part, record)


def _cells(record: Case) -> list[str]:
    if "error" in record:
        return [str(record["error"])[:40]]
    times = [f"{1000 * record['seconds'][name]:.2f} ms" for name in ("A-NDCG", "MNRL")]
    peaks = [f"{record['megabytes'][name] or 0:.0f} MiB" for name in ("A-NDCG", "MNRL")]
    return [*times, f"{record['times MNRL']:.2f}", *peaks, " ".join(record["methods"])]


def parse() -> argparse.Namespace:
    """Read the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=Path("output/gpu"), help="folder for results")
    made.add_argument("--parts", nargs="+", choices=[*SECONDS], default=[*SECONDS])
    made.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    made.add_argument("--quick", action="store_true", help="tiny sizes, to try the command")
    return made.parse_args()


def main() -> None:
    """Run the parts in turn, and write what they found after each."""
    options = parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU; to try the command without one: --device cpu --quick")
    options.output.mkdir(parents=True, exist_ok=True)
    machine = machine_of(options.device)
    ended: dict[str, str] = {}
    results: dict[str, Any] = {}
    for part in options.parts:
        start = time.monotonic()
        ended[part] = f"{run_part(part, options)} ({time.monotonic() - start:.0f} s)"
        results[part] = read(options.output / f"{part}.jsonl")
        print(f"{part}: {ended[part]}, {len(results[part])} results", flush=True)
        content = json.dumps({"machine": machine, "ended": ended, **results}, indent=1)
        (options.output / "gpu.json").write_text(content, encoding="utf-8")
    summarize(results, Console(width=150), machine)
    print(draw(results.get("tables", []), machine, options.output / "gpu.png"))


if __name__ == "__main__":
    main()
