"""Evaluate a model with graded metrics, on your data or on tasks of mteb.

    st-rankloss evaluate output/model beir-folder
    st-rankloss evaluate minilm ratings.csv STSBenchmark --download --output results

Your data are scored by the metrics of ``st-rankloss train``, with 95 % intervals. With ``--output``, and for tasks of
mteb, mteb scores them too and writes its results files.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from st_rankloss._extras import require
from st_rankloss.cli.options import PARTS_HELP, add_embeddings, add_reading, pick, reading, show_notes
from st_rankloss.data import read
from st_rankloss.encoders import encoding_batch, make_encoder
from st_rankloss.experiment.intervals import estimate_mean
from st_rankloss.experiment.scores import lowest_grade, score
from st_rankloss.mteb_tasks import mteb_task, named
from st_rankloss.mteb_tasks.task import LEARNING


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a folder, an id on the hub, or minilm")
    parser.add_argument("data", metavar="DATA", nargs="+", help="files and folders, or names of mteb's tasks")
    add_reading(parser)
    parser.add_argument("--part", default="test", help=PARTS_HELP)
    parser.add_argument("--output", type=Path, help="folder of mteb's results files")
    parser.add_argument("--batch-size", type=int, help="inputs encoded at a time")
    add_embeddings(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Score, and show a table per set."""
    if options.batch_size is not None and options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    if options.embeddings and len(options.data) > 1:
        raise ValueError(f"--embeddings is a folder for one DATA, got {len(options.data)}: evaluate one at a time.")
    model = make_encoder(options.model)
    size = options.batch_size or encoding_batch(model)
    tasks = []
    for data in options.data:
        if (
            not options.embeddings
            and not Path(data).exists()
            and (task := _standard_task(data, options.download)) is not None
        ):
            tasks.append(task)
            continue
        parts = read(data, task=options.task, **reading(options))
        part, train = pick(parts, data, options.part), parts.get("train")
        known = None if train is part else train
        show_notes([part], console)
        scores = score(model, part, known, batch_size=size, corpus_embeddings=options.embeddings)
        table = Table(title=f"{data}: {len(scores.items)} items, 95 % intervals")
        table.add_column("metric")
        table.add_column("value", justify="right")
        for metric, values in scores.values.items():
            table.add_row(metric, str(estimate_mean(values)))
        console.print(table)
        if options.output and known is None and part.task in LEARNING:
            remedy = "mteb learns from a training part: pass a folder with files train and test"
            console.print(f"{data}: no results file; {remedy}.", highlight=False)
        elif options.output:
            level = lowest_grade(part) if part.task == "retrieval" else 1
            tasks.append(mteb_task(part, Path(data).name.split(".")[0], train=known, relevance_level=level))
    if tasks:
        _run_mteb(model, options, tasks, size, console)
    return 0


def _standard_task(name: str, download: bool) -> Any:
    """Return one of mteb's tasks; None if there is none of that name, or mteb is not installed."""
    try:
        mteb = require("mteb", "mteb", purpose="the tasks of mteb")
        task = mteb.get_task(name)
    except (ImportError, KeyError):
        return None
    if not download:
        raise ValueError(f"{name} is a task of mteb, whose data are downloaded: pass --download to allow that.")
    return task


def _run_mteb(
    model: SentenceTransformer, options: argparse.Namespace, tasks: list[Any], size: int, console: Console
) -> None:
    mteb = require("mteb", "mteb", purpose="results files")
    cache = mteb.ResultCache(str(options.output)) if options.output else None
    results = mteb.evaluate(
        named(model, f"local/{Path(options.model).resolve().name}", "1"),
        tasks=tasks,
        cache=cache,
        overwrite_strategy="always",
        encode_kwargs={"batch_size": size, "show_progress_bar": False},
        show_progress_bar=console.is_terminal,
        co2_tracker=False,
    )
    for result in results:
        console.print(f"{result.task_name}: {result.get_score():.4f}", highlight=False)
    if options.output:
        console.print(f"Results files: {options.output}", highlight=False)
