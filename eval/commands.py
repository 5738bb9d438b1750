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

from eval import report as reports
from eval.machine import versions
from eval.names import check_name
from eval.plans import ablations
from eval.plans.comparison import Choice, plan_tests, with_budget
from eval.plans.learning_rates import ENCODERS
from eval.plans.losses import contenders
from eval.plans.tuning import Tuning
from eval.results import ResultsFile, Spec
from eval.tasks.data import load_data
from eval.tasks.mteb_tasks import make_task
from eval.tasks.records import Record, load_records
from eval.tasks.standard import named_tasks, standard_tasks
from eval.training.encoders import make_encoder
from eval.training.workers import Executor, estimate_seconds
from st_rankloss.mteb_tasks import named


def tasks(options: argparse.Namespace) -> None:
    """List tasks with their losses, and encoders."""
    table = Table("task", "kind", "metrics", "licence", "losses", title="Tasks", show_lines=True)
    for record in load_records(options.records).values():
        losses = "" if record.trained_on else ", ".join(contenders(record))
        table.add_row(record.name, record.labels or record.kind, record.main, record.licence, losses)
    console = Console()
    console.print(table)
    console.print(f"Encoders: {', '.join(ENCODERS)}; or any folder, or id on the hub.")


def tune(options: argparse.Namespace) -> None:
    """Tune every loss on dev."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    choice, results = _choice(options, trials=options.trials, protocol=options.protocol), _results(options)
    groups = list(choice.groups())
    planned = [Tuning(choice, *group) for group in groups]
    specs = [tuning.ask()[0] for tuning in planned for _ in range(tuning.left)]
    _read(choice.records, choice.known, options)
    if _announce(specs, results, options):
        Executor(results, options.jobs).tune_all([Tuning(choice, *group) for group in groups])


def compare(options: argparse.Namespace) -> None:
    """Compare every loss on test, as the protocol says."""
    choice, results = _choice(options, seeds=options.seeds, protocol=options.protocol), _results(options)
    specs = plan_tests(choice, results.runs.values())
    _read(choice.records, choice.known, options)
    if _announce(specs, results, options):
        Executor(results, options.jobs).run_all(specs)


def ablate(options: argparse.Namespace) -> None:
    """Vary one setting at a time."""
    results, records = _results(options), load_records(options.records)
    given = {"seeds": options.seeds, "folder": options.data, "limit": options.limit}
    specs = ablations.plan(options.ablations, records, results.runs.values(), **given)
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
    data = [load_data(record, options.data, options.limit) for record in local]
    ours = [task for one in data for task in (make_task(one, options.split), *standard_tasks(one, options.split))]
    theirs = named_tasks([name for name in options.tasks if name not in known])
    if not data and options.model in ENCODERS:
        raise ValueError(f"the encoder {options.model!r} is made from a record's texts: name one in --tasks.")
    model = make_encoder(options.model, data, 0)
    wrapper = named(model, options.name or f"local/{Path(options.model).name}", _fingerprint(model))
    searcher: Any = wrapper
    if options.faiss:
        searcher = SearchEncoderWrapper(wrapper, index_backend=FaissSearchIndex(wrapper))
        meta = wrapper.mteb_model_meta
        searcher.mteb_model_meta = meta.model_copy(update={"name": f"{meta.name}-faiss"})
    table = Table("task", "main score", "value", title=f"{options.model}, {options.split} of local tasks")
    for task in [*ours, *theirs]:
        searches = options.faiss and isinstance(task, mteb.abstasks.AbsTaskRetrieval)
        found = mteb.evaluate(
            searcher if searches else wrapper,
            tasks=[task],
            cache=mteb.ResultCache(options.output),
            encode_kwargs={"batch_size": 64, "show_progress_bar": False},
            overwrite_strategy="always" if task in ours else "only-missing",
            co2_tracker=False,
        )
        table.add_row(task.metadata.name, task.metadata.main_score, f"{found[0].get_score():.4f}")
    Console().print(table)


def _choice(options: argparse.Namespace, **fields: Any) -> Choice:
    known = load_records(options.records)
    for name in options.tasks:
        check_name(name, known, "task")
    records = [with_budget(known[name], options.steps, options.batch_size) for name in options.tasks]
    for other in {record.trained_on for record in records} - {""}:
        known[other] = with_budget(known[other], options.steps, options.batch_size)
    for encoder in options.encoders:
        if encoder not in ENCODERS and not Path(encoder).exists() and "/" not in encoder:
            check_name(encoder, ENCODERS, "encoder (nor is it a folder or an id on the hub)")
    return Choice(records, options.encoders, options.losses, options.data, options.limit, known=known, **fields)


def _results(options: argparse.Namespace) -> ResultsFile:
    return ResultsFile(options.output, versions(), mixed=options.mixed)


def _read(records: Sequence[Record], known: Mapping[str, Record], options: argparse.Namespace) -> None:
    """Read the data of all tasks, so that errors in them appear before anything runs."""
    for record in records:
        for name in filter(None, (record.name, record.trained_on, record.scored_on)):
            if known[name].files:
                assert load_data(known[name], options.data, options.limit).parts


def _announce(specs: list[Spec], results: ResultsFile, options: argparse.Namespace) -> bool:
    """Print what is left to run, and return whether to run it."""
    left = [spec for spec in specs if not results.has(spec.key)]
    seconds = estimate_seconds(left, results.runs, options.jobs)
    duration = f"{seconds / 3600:.1f} hours" if seconds > 5_400 else f"{seconds / 60:.0f} minutes"
    Console().print(
        f"{len(specs)} runs, {len(specs) - len(left)} of them done; about {duration} on {options.jobs} process(es), "
        f"results in {options.output}."
    )
    if options.dry_run:
        for spec in left:
            print(f"  {spec.title}")
    return not options.dry_run


def _fingerprint(model: Any) -> str:
    """Hash all files of a model, weights, tokenizer and settings, so that mteb's cache never confuses two models."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, create_model_card=False)
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
