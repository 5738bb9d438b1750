"""Which ranking loss wins, where, and by how much: trained and scored alike on real tasks.

  python -m eval tasks                              tasks, their losses, and encoders
  python -m eval tune    --tasks stsb --data DIR    each loss's learning rate and settings, on dev
  python -m eval compare --tasks stsb --data DIR    each loss at its best setting or its defaults, on test, five seeds
  python -m eval ablate  --data DIR                 one setting at a time, on dev
  python -m eval report RESULTS.jsonl               tables, intervals and figures, as Markdown and one HTML page
  python -m eval evaluate MODEL --tasks NFCorpus    any model on any task, local or mteb's

`tune`, `compare` and `ablate` add a line to --output when a run ends and skip runs that it has: after an interruption,
start them again. The task `documentation` needs no data. eval/README.md has the protocol.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from eval.protocols import PROTOCOLS

os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PROTOCOL = "settings and learning rate chosen on dev, the learning rate alone, or nothing"
DEFAULT_OUTPUT = Path("output/eval/runs.jsonl")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    tasks = commands.add_parser("tasks", help="list tasks, encoders and losses")
    _data_options(tasks)

    for name, text in (("tune", "tune on dev"), ("compare", "compare on test"), ("ablate", "vary one setting")):
        command = commands.add_parser(name, help=text)
        _data_options(command)
        _run_options(command)
        if name != "ablate":
            command.add_argument("--tasks", nargs="+", default=["documentation"], help="see `python -m eval tasks`")
            command.add_argument("--encoders", nargs="+", default=["static"], help="names, folders or ids on the hub")
            command.add_argument("--losses", nargs="+", default=[], help="default: every loss of a task")
            command.add_argument("--steps", type=positive, help="training steps; default: the record's")
            command.add_argument("--protocol", choices=PROTOCOLS, default="tuned", help=PROTOCOL)
            command.add_argument("--batch-size", type=positive, help="rows per step; default: the record's")
        if name == "tune":
            command.add_argument("--trials", type=positive, default=9, help="per loss; TPE chooses fewer than 9")
        if name == "compare":
            command.add_argument("--seeds", type=positive, default=5, help="number of seeds")
        if name == "ablate":
            command.add_argument("--ablations", nargs="+", default=[], help="default: all")
            command.add_argument("--seeds", type=positive, default=3, help="number of seeds")

    report = commands.add_parser("report", help="write tables and figures of results")
    report.add_argument("results", nargs="+", type=Path, help="files of results")
    report.add_argument("--output", type=Path, default=Path("output/eval/report"), help="folder")
    report.add_argument("--mixed", action="store_true", help="accept runs of different versions")

    evaluate = commands.add_parser("evaluate", help="score one model")
    evaluate.add_argument("model", help="a folder, an id on the hub, or an encoder's name")
    evaluate.add_argument("--tasks", nargs="+", required=True, help="local records, or mteb's tasks and benchmarks")
    evaluate.add_argument("--split", choices=["dev", "test"], default="test", help="split of local records")
    evaluate.add_argument("--name", help="name of the model in results; default: local/FOLDER")
    evaluate.add_argument("--faiss", action="store_true", help="search through faiss in retrieval tasks")
    evaluate.add_argument("--output", type=Path, default=Path("output/eval/mteb"), help="folder for mteb's results")
    _data_options(evaluate)
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="folder of the records' files; not for `documentation`")
    parser.add_argument("--records", nargs="+", type=Path, default=[], help="YAML files of your own records")
    parser.add_argument("--limit", type=positive, help="maximum number of rows or queries per part")


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="file of results, one line per run")
    jobs = max(1, (os.cpu_count() or 2) // 2)
    parser.add_argument("--jobs", type=positive, default=jobs, help="processes, each on one core")
    parser.add_argument("--dry-run", action="store_true", help="list runs and their estimated time, but run nothing")
    parser.add_argument("--mixed", action="store_true", help="add to a file with runs of other versions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; wrong input ends with one line that says what is wrong."""
    options = parse_options(arguments)
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    from eval import commands

    try:
        getattr(commands, options.command)(options)
    except (ValueError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
