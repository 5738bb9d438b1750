"""Train on your data: the task's usual loss and the recipe, compared, and the better model saved.

    st-rankloss train beir-folder --model static-minilm --output output
    st-rankloss train ratings.csv --model minilm --tune 10m --output output
    st-rankloss train --config output/config.yaml --output again

The data are split by query into train, dev and test parts unless they come so. The output folder gets the model that is
better on dev, a report, all scores and a configuration file that repeats the run. After a kill, the same command
continues where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from st_rankloss._extras import require
from st_rankloss.cli.options import add_data, reading, show_notes
from st_rankloss.experiment import Prepared, Settings, make_table, prepare, train, write_report
from st_rankloss.experiment.run import training_rows
from st_rankloss.experiment.settings import read_budget
from st_rankloss.experiment.training import fit


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; those that are left out keep the defaults of `Settings`."""
    add_data(parser, optional=True)
    parser.add_argument("--output", type=Path, help="folder of the model, the report and the scores")
    parser.add_argument(
        "--config", type=Path, help="configuration file; other options win over it, each NAME of --read by itself"
    )
    parser.add_argument("--model", help="static (the default), static-minilm, minilm, a folder or an id on the hub")
    parser.add_argument("--recipe", help="auto, the recipe for the data (default), or an objective such as ApproxNDCG")
    parser.add_argument("--tune", metavar="BUDGET", help="time for each loss, such as 10m, or a number of trials")
    parser.add_argument("--epochs", type=float, help="passes over the training rows (default: 3, at least 100 steps)")
    parser.add_argument("--batch-size", type=int, help="rows per step (default: by encoder and rows)")
    parser.add_argument("--learning-rate", type=float, help="default: by encoder")
    parser.add_argument("--documents", type=int, help="most documents per query and step (default: 4)")
    parser.add_argument("--limit", type=int, help="most rows or queries per part")
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--report-to", help="loggers: tensorboard, wandb, trackio, ...")
    parser.add_argument("--checkpoint-seconds", type=float, default=30, help="time between checkpoints (default: 30)")
    parser.add_argument("--overwrite", action="store_true", help="delete another run in the output folder")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done and how long it would take")


def run(options: argparse.Namespace, console: Console) -> int:
    """Train, and show the table."""
    settings = read_settings(options)
    if options.dry_run:
        _show_plan(prepare(settings), console)
        return 0
    if options.output is None:
        raise ValueError("--output must name a folder.")
    require("matplotlib.figure", "cli", purpose="the report")
    if settings.tune is not None:
        require("optuna", "cli", purpose="tuning")
    result = train(
        settings,
        options.output,
        seconds_between_checkpoints=options.checkpoint_seconds,
        overwrite=options.overwrite,
        report=console.print,
    )
    write_report(result, options.output / "report.html")
    console.print(make_table(result))
    best = next(trained.title for trained in result.losses if trained.name == result.best)
    console.print(f"{result.verdict} Saved in {options.output}, the model of {best}:")
    console.print("model, report.html, results.json, config.yaml")
    return 0


def read_settings(options: argparse.Namespace) -> Settings:
    """Read the settings from the configuration file, if any, and the command line, which wins.

    Args:
        options: The parsed options.

    Returns:
        The settings.

    Raises:
        ValueError: If there are no data, or a setting is invalid.
    """
    names = [f.name for f in fields(Settings) if f.name != "read"]
    given: dict[str, Any] = {name: value for name in names if (value := getattr(options, name)) is not None}
    if found := reading(options):
        given["read"] = found
    if options.config is not None:
        return Settings.load(options.config, **given)
    if "data" not in given:
        raise ValueError("DATA is missing: name a file, a folder or an id, or pass --config FILE.")
    return Settings(**given)


def _show_plan(prepared: Prepared, console: Console) -> None:
    """Show parts, losses and arguments, and estimate the time from three steps of each loss."""
    console.print(prepared.inspection)
    show_notes(prepared.parts.values(), console)
    parts = ", ".join(f"{len(part)} {name}" for name, part in prepared.parts.items())
    table = Table(title=f"{parts} rows; {prepared.plan.steps} steps of {prepared.plan.batch_size} rows per training")
    for heading in ("loss", "learning rate", "settings", "seconds per training", "why"):
        table.add_column(heading)
    total = 0.0
    for candidate in prepared.losses:
        seconds = _estimate(prepared, candidate)
        total += seconds + _tuning_seconds(prepared.settings.tune, seconds)
        setting = ", ".join(f"{name} {value:g}" for name, value in candidate.defaults.items())
        table.add_row(
            candidate.title, f"{prepared.plan.learning_rate:g}", setting, f"about {seconds:.0f}", candidate.why
        )
    console.print(table)
    documents = len(prepared.parts["test"].corpus)
    encoded = f"the {documents} documents of the corpus" if documents else "its rows"
    console.print(
        f"About {total:.0f} seconds of training; each evaluation encodes {encoded} on top. Nothing was written."
    )


def _estimate(prepared: Prepared, candidate: Any, steps: int = 3) -> float:
    """Estimate the seconds of a training from a few steps, without the first, which is slow."""
    rows = training_rows(prepared, candidate)
    marks = []
    for count in (1, 1 + steps):
        with tempfile.TemporaryDirectory() as folder:
            plan = replace(prepared.plan, steps=count, report_to="none", seconds_between_checkpoints=math.inf)
            start = time.monotonic()
            fit(copy.deepcopy(prepared.model), candidate, rows, dict(candidate.defaults), plan, Path(folder) / "x")
            marks.append(time.monotonic() - start)
    return max(marks[1] - marks[0], 0.0) / steps * prepared.plan.steps + marks[0]


def _tuning_seconds(tune: str | None, seconds: float) -> float:
    if tune is None:
        return 0.0
    budget, trials = read_budget(tune)
    return max(budget, seconds) if budget is not None else (trials or 0) * seconds
