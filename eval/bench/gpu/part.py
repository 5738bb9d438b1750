"""Cases of a part, each of which is written when it ends, so that nothing is lost if the part is stopped."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

Case = dict[str, Any]

PRECISIONS = ("float32", "tf32", "bf16")
"""Of matrix products: float32; the same inputs rounded to TF32; autocast to bfloat16."""


def part_parser(doc: str | None) -> argparse.ArgumentParser:
    """Make the command line of a part, as the command for all parts calls it."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, required=True, help="file of results, JSON lines")
    made.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    made.add_argument("--quick", action="store_true", help="tiny sizes, to try the command")
    return made


def read(path: Path) -> list[Case]:
    """Return the results of a part so far."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def cases(**values: Iterable[Any]) -> list[Case]:
    """Return every combination, of which the first named varies slowest."""
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def run_cases(wanted: list[Case], measure: Callable[..., Case], options: argparse.Namespace) -> None:
    """Measure what the file of results does not have yet; a case that does not fit in memory is recorded as such.

    After any other error a GPU may be unusable, so the case is recorded and the error raised: the part, started again,
    goes on with the next.
    """
    done = [{key: record.get(key) for key in wanted[0]} for record in read(options.output)]
    for case in wanted:
        if case in done:
            continue
        try:
            record = measure(**case, device=options.device)
        except torch.OutOfMemoryError:
            record = {"error": "out of memory"}
        except Exception as error:
            write(options.output, case | {"error": f"{type(error).__name__}: {error}"})
            raise
        write(options.output, case | record)
        if options.device == "cuda":
            torch.cuda.empty_cache()


def write(path: Path, record: Case) -> None:
    """Append a result to a file, and print it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(record, flush=True)


def set_precision(precision: str) -> None:
    """Choose how matrix products of float32 are computed."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def autocast(precision: str, device: str) -> torch.autocast:
    """Return the context in which users train at a precision of `PRECISIONS`."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
