"""What each command of ``python -m eval`` does."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mteb
import optuna
from mteb.models import SearchEncoderWrapper
from mteb.models.search_encoder_index import FaissSearchIndex
from rich.console import Console
from rich.table import Table

from eval import ablations
from eval import report as reports
from eval.compare import Choice, Executor, Tuning, estimate_seconds, plan_tests, with_budget
from eval.data import Record, check_name, load_data, load_records
from eval.encoders import NAMES, make_encoder
from eval.losses import contenders
from eval.results_file import ResultsFile
from eval.runs import Spec, named, versions
from eval.tasks import make_task, named_tasks, standard_tasks


def tasks(options: argparse.Namespace) -> None:
    """List tasks with their losses, and encoders."""
    table = Table(title="Tasks", show_lines=True)
    for heading in ("task", "kind", "metrics", "licence", "losses"):
        table.add_column(heading)
    for record in load_records(options.records).values():
        losses = "" if record.trained_on else ", ".join(contenders(record))
        table.add_row(record.name, record.labels or record.kind, record.main, record.licence, losses)
    console = Console()
    console.print(table)
    console.print(f"Encoders: {', '.join(NAMES)}; or any folder, or id on the hub.")


def _choice(options: argparse.Namespace, **fields: Any) -> Choice:
    known = load_records(options.records)
    for name in options.tasks:
        check_name(name, known, "task")
    records = [with_budget(known[name], options.steps, options.batch_size) for name in options.tasks]
    for other in {record.trained_on for record in records} - {""}:
        known[other] = with_budget(known[other], options.steps, options.batch_size)
    for encoder in options.encoders:
        if encoder not in NAMES and not Path(encoder).exists() and "/" not in encoder:
            check_name(encoder, NAMES, "encoder (nor is it a folder or an id on the hub)")
    return Choice(records, options.encoders, options.losses, options.data, options.limit, known=known, **fields)


def _read(records: Sequence[Record], known: Mapping[str, Record], options: argparse.Namespace) -> None:
    """Read the data of all tasks, so that what is wrong with them is said before anything runs."""
    for record in records:
        for name in filter(None, (record.name, record.trained_on, record.scored_on)):
            if known[name].files:
                assert load_data(known[name], options.data, options.limit).parts


def _announce(specs: list[Spec], results: ResultsFile, options: argparse.Namespace) -> bool:
    left = [spec for spec in specs if not results.has(spec.key)]
    seconds = estimate_seconds(specs, results.lines, options.jobs)
    duration = f"{seconds / 3600:.1f} hours" if seconds > 5_400 else f"{seconds / 60:.0f} minutes"
    Console().print(
        f"{len(specs)} runs, {len(specs) - len(left)} of them done; about {duration} on {options.jobs} process(es), "
        f"results in {options.output}."
    )
    if options.dry_run:
        for spec in left:
            print(f"  {spec.title}")
    return not options.dry_run


def tune(options: argparse.Namespace) -> None:
    """Tune every loss on dev."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    choice, results = (
        _choice(options, trials=options.trials),
        ResultsFile(options.output, versions(), mixed=options.mixed),
    )
    groups = list(choice.groups())
    planned = [Tuning(choice, *group) for group in groups]
    specs = [tuning.ask()[0] for tuning in planned for _ in range(tuning.left)]
    _read(choice.records, choice.known, options)
    if _announce(specs, results, options):
        Executor(results, options.jobs).tune_all([Tuning(choice, *group) for group in groups])


def compare(options: argparse.Namespace) -> None:
    """Compare every loss on test, at its best setting on dev."""
    choice, results = (
        _choice(options, seeds=options.seeds),
        ResultsFile(options.output, versions(), mixed=options.mixed),
    )
    specs = plan_tests(choice, results.lines.values(), untuned=options.untuned)
    _read(choice.records, choice.known, options)
    if _announce(specs, results, options):
        Executor(results, options.jobs).run_all(specs)


def ablate(options: argparse.Namespace) -> None:
    """Vary one setting at a time."""
    results = ResultsFile(options.output, versions(), mixed=options.mixed)
    records = load_records(options.records)
    lines = results.lines.values()
    given = {"seeds": options.seeds, "folder": options.data, "limit": options.limit}
    specs = ablations.plan(options.ablations, records, lines, **given)
    if _announce(specs, results, options):
        Executor(results, options.jobs).run_all(specs)


def report(options: argparse.Namespace) -> None:
    """Write the report."""
    path = reports.write(options.results, options.output, mixed=options.mixed)
    Console().print(f"Written: {path}")


def evaluate(options: argparse.Namespace) -> None:
    """Score one model by ``mteb.evaluate``, with mteb's cache under a name of the model's own."""
    known = load_records(options.records)
    local = [known[known[name].scored_on or name] for name in options.tasks if name in known]
    tasks = [task for record in local for task in _tasks_of(record, options)]
    count = len(tasks)
    tasks += named_tasks([name for name in options.tasks if name not in known])
    data = [load_data(record, options.data, options.limit) for record in local]
    if not data and options.model in NAMES:
        raise ValueError(f"the encoder {options.model!r} is made from a record's texts: name one in --tasks.")
    model = make_encoder(options.model, data, 0)
    wrapper = named(model, options.name or f"local/{Path(options.model).name}", _fingerprint(model))
    searcher: Any = wrapper
    if options.faiss:
        searcher = SearchEncoderWrapper(wrapper, index_backend=FaissSearchIndex(wrapper))
        meta = wrapper.mteb_model_meta
        searcher.mteb_model_meta = meta.model_copy(update={"name": f"{meta.name}-faiss"})
    table = Table(title=f"{options.model}, {options.split} of local tasks")
    for heading in ("task", "main score", "value"):
        table.add_column(heading)
    for place, task in enumerate(tasks):
        searches = options.faiss and isinstance(task, mteb.abstasks.AbsTaskRetrieval)
        found = mteb.evaluate(
            searcher if searches else wrapper,
            tasks=[task],
            cache=mteb.ResultCache(options.output),
            encode_kwargs={"batch_size": 64, "show_progress_bar": False},
            overwrite_strategy="always" if place < count else "only-missing",
            co2_tracker=False,
        )
        table.add_row(task.metadata.name, task.metadata.main_score, f"{found[0].get_score():.4f}")
    Console().print(table)


def _tasks_of(record: Record, options: argparse.Namespace) -> list[Any]:
    data = load_data(record, options.data, options.limit)
    return [make_task(data, options.split), *standard_tasks(data, options.split)]


def _fingerprint(model: Any) -> str:
    """Name a model by all its files: weights, tokenizer and settings, so that mteb's cache takes no two for one."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, create_model_card=False)
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
