"""Evaluate a model with graded metrics, on your data or on tasks of mteb.

    st-rankloss evaluate output/model beir-folder
    st-rankloss evaluate minilm ratings.csv STSBenchmark --download --output results

Your data are scored by the metrics of ``st-rankloss train``, with 95 % intervals. With ``--output``, and for tasks of
mteb, mteb scores them too and writes its results files, each named after its data, in a folder per model: models of the
same name have folders of their own.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from st_rankloss._extras import require
from st_rankloss._models import model_fingerprint
from st_rankloss.cli.options import add_embeddings, add_part, add_reading, pick, reading, show_notes
from st_rankloss.data import Part, read
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
    add_part(parser, "test")
    parser.add_argument("--output", type=Path, help="folder of mteb's results files")
    parser.add_argument("--batch-size", type=int, help="inputs encoded at a time")
    add_embeddings(parser)


@dataclass(frozen=True)
class _Set:
    """A part to score: its source, its name, and the training part beside it, if there is one."""

    data: str
    name: str
    part: Part
    train: Part | None
    alone: bool


def run(options: argparse.Namespace, console: Console) -> int:
    """Read everything, score it, and show a table per set."""
    if options.batch_size is not None and options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    if options.embeddings and len(options.data) > 1:
        raise ValueError(f"--embeddings is a folder for one DATA, got {len(options.data)}: evaluate one at a time.")
    model = make_encoder(options.model)
    size = options.batch_size or encoding_batch(model)
    sets: list[_Set] = []
    tasks: list[Any] = []
    for data in options.data:
        if (task := _standard_task(data, options)) is not None:
            tasks.append(task)
            continue
        sets.append(_read_set(data, options))
        if options.output and (task := _own_task(sets[-1], console)) is not None:
            tasks.append(task)
    encoder = None
    if tasks:
        encoder = named(model, f"local/{Path(options.model).resolve().name}", model_fingerprint(model)[:12])
    if options.output:
        _check_files(encoder, tasks, options.output)
    for each in sets:
        _show_scores(model, each, options.embeddings, size, console)
    if tasks:
        _run_mteb(encoder, tasks, options.output, size, console)
    return 0


def _standard_task(name: str, options: argparse.Namespace) -> Any:
    """Return one of mteb's tasks; None if there is none of that name, or mteb is not installed."""
    if options.embeddings or Path(name).exists():
        return None
    try:
        task = require("mteb", "mteb", purpose="the tasks of mteb").get_task(name)
    except (ImportError, KeyError):
        return None
    if not options.download:
        raise ValueError(f"{name} is a task of mteb, whose data are downloaded: pass --download to allow that.")
    if options.part is not None:
        raise ValueError(f"{name} is a task of mteb, which has parts of its own: leave out --part.")
    return task


def _read_set(data: str, options: argparse.Namespace) -> _Set:
    parts = read(data, task=options.task, **reading(options))
    name = pick(parts, data, options.part, "test")
    return _Set(data, name, parts[name], parts.get("train") if name != "train" else None, len(parts) == 1)


def _own_task(given: _Set, console: Console) -> Any:
    """Make a task of mteb; say so and return None if mteb had nothing to learn from."""
    if given.train is None and given.part.task in LEARNING:
        remedy = "mteb learns from a training part: pass a folder with files train and test"
        console.print(f"{given.data}: no results file; {remedy}.")
        return None
    level = lowest_grade(given.part) if given.part.task == "retrieval" else 1
    split = "test" if given.alone else given.name
    return mteb_task(given.part, _task_name(given.data), train=given.train, split=split, relevance_level=level)


def _task_name(data: str) -> str:
    """Return the name of a file without its ending, or that of a folder or an id."""
    path = Path(os.path.abspath(data))
    return Path(path.name.removesuffix(".gz")).stem if path.is_file() else path.name


def _check_files(encoder: Any, tasks: Sequence[Any], output: Path) -> None:
    """Raise ValueError if nothing would be written, or the results of other data would be overwritten."""
    if not tasks:
        raise ValueError(
            "--output would stay empty: mteb learns labels from a training part. Pass a folder with files train and "
            "test, or leave out --output."
        )
    for name, count in Counter(task.metadata.name for task in tasks).items():
        if count > 1:
            raise ValueError(
                f"--output would hold one file {name}.json for {count} DATA: rename them, or evaluate one at a time, "
                "each with a folder of its own."
            )
    cache = require("mteb", "mteb", purpose="results files").ResultCache(str(output))
    for task in tasks:
        old = cache.load_task_result(task.metadata.name, encoder.mteb_model_meta)
        if old is not None and old.dataset_revision != task.metadata.revision:
            path = cache.get_task_result_path(task.metadata.name, encoder.mteb_model_meta)
            raise ValueError(f"{path} holds the results of other data: choose another --output, or delete the file.")


def _show_scores(model: SentenceTransformer, given: _Set, embeddings: Path | None, size: int, console: Console) -> None:
    show_notes([given.part], console)
    scores = score(model, given.part, given.train, batch_size=size, corpus_embeddings=embeddings)
    table = Table(title=f"{given.data}, part {given.name}: {len(scores.items)} items, 95 % intervals")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for metric, values in scores.values.items():
        table.add_row(metric, str(estimate_mean(values)))
    console.print(table)


def _run_mteb(encoder: Any, tasks: Sequence[Any], output: Path | None, size: int, console: Console) -> None:
    mteb = require("mteb", "mteb", purpose="the tasks of mteb")
    results = mteb.evaluate(
        encoder,
        tasks=tasks,
        cache=mteb.ResultCache(str(output)) if output else None,
        overwrite_strategy="always",
        encode_kwargs={"batch_size": size, "show_progress_bar": False},
        show_progress_bar=console.is_terminal,
        co2_tracker=False,
    )
    for result in results:
        console.print(f"{result.task_name}: {result.get_score():.4f}")
    if output:
        console.print(f"Results files: {output}")
