"""From a user's data to a trained, evaluated, saved model and a report."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import platform
import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from transformers import set_seed

from st_rankloss._models import model_fingerprint
from st_rankloss.data import PARTS, Part, lists, read, split
from st_rankloss.data.part import notes_of
from st_rankloss.encoders import RATES, encoding_batch, kind_of, make_encoder
from st_rankloss.experiment import tuning
from st_rankloss.experiment.candidates import Candidate, Setting, candidates
from st_rankloss.experiment.files import save_model, write, write_json
from st_rankloss.experiment.scores import Scores, score
from st_rankloss.experiment.settings import Settings
from st_rankloss.experiment.training import Plan, fit, last_checkpoint, remove_checkpoints, seconds_until
from st_rankloss.functional.checks import NotFiniteError
from st_rankloss.inspection import Inspection, inspect, propose_batch_size
from st_rankloss.inspection.findings import merged

logger = logging.getLogger(__name__)

LEAST_STEPS = 100
"""Steps of a training by default, however few rows there are."""

MOST_CURVE = 500
"""Queries or rows of dev that a learning curve is measured on."""

PACKAGES = ("st_rankloss", "sentence-transformers", "transformers", "torch")
"""Packages whose versions determine a run."""

Report = Callable[[str], None]
"""Called with a line of text at each stage."""


@dataclass(frozen=True)
class Trained:
    """What became of a loss.

    Args:
        name: ``usual`` or ``recipe``.
        title: Name in tables.
        why: Why this loss.
        learning_rate: Learning rate of the final training.
        setting: Settings of the loss.
        trials: Number of trials of the tuning.
        curve: Step and main metric on dev during training.
        seconds: Duration of the final training.
        dev: Mean of each metric on dev.
        test: Scores on test.
    """

    name: str
    title: str
    why: str
    learning_rate: float
    setting: Setting
    trials: int
    curve: list[tuple[int, float]]
    seconds: float
    dev: dict[str, float]
    test: Scores


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Args:
        settings: Its settings.
        inspection: What was found in the data.
        plan: The arguments of each training; the learning rates are those of the losses.
        sizes: Rows of each part.
        before: Scores on test of the model before training.
        before_dev: Mean of each metric on dev before training.
        losses: The usual loss and the recipe.
        best: Name of the loss whose model is better on dev, and saved; the recipe if they are equal.
        notes: What the readers left out, converted or assumed.
    """

    settings: Settings
    inspection: Inspection
    plan: Plan
    sizes: dict[str, int]
    before: Scores
    before_dev: dict[str, float]
    losses: tuple[Trained, ...]
    best: str
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Which loss is better on dev, and whether training made the model better, in plain words."""
        main = self.before.main
        before, after = self.before_dev[main], [trained.dev[main] for trained in self.losses]
        title = next(trained.title for trained in self.losses if trained.name == self.best)
        start = "Equal on dev" if len(set(after)) == 1 else f"Better on dev: {title}"
        scores = ", ".join(f"{trained.title} {value:.4f}" for trained, value in zip(self.losses, after, strict=True))
        found = f"{start} ({main}: {scores}, before training {before:.4f})."
        if max(after) > before:
            return found
        return f"{found} Neither loss beats the model before training: use that one, or tune."


@dataclass(frozen=True)
class Prepared:
    """Data, model and losses of a run, before anything is trained.

    Args:
        settings: The settings.
        parts: The parts by name: train, dev and test.
        inspection: What was found in the data.
        model: The model before training.
        losses: The losses to compare.
        plan: The arguments of each training.
    """

    settings: Settings
    parts: Mapping[str, Part]
    inspection: Inspection
    model: SentenceTransformer
    losses: tuple[Candidate, ...]
    plan: Plan


def prepare(settings: Settings, *, seconds_between_checkpoints: float = 30.0) -> Prepared:
    """Read and split the data, inspect it, and choose losses and arguments.

    Args:
        settings: The settings.
        seconds_between_checkpoints: See `Plan`.

    Returns:
        Everything that a training needs.

    Raises:
        ValueError: If the data cannot be read, or are unfit for training; the message lists every error.
        ImportError: If the model needs an extra that is not installed.
    """
    parts = split(read(settings.data, task=settings.task, **settings.read), seed=settings.seed)
    parts = {name: _cut(parts[name], settings.limit, settings.seed) for name in PARTS}
    train = parts["train"]
    model = make_encoder(settings.model, train.texts() if settings.model == "static" else (), seed=settings.seed)
    if "image" in train.input_columns and "image" not in model.modalities:
        raise ValueError(
            f"{settings.data} holds images, and the model {settings.model!r} reads only {', '.join(model.modalities)}: "
            "name a model of images, such as sentence-transformers/clip-ViT-B-32."
        )
    model.model_card_data.set_widget_examples = lambda dataset: None  # they take seconds, and print
    inspection = inspect(parts, model=model)
    errors = [f"- {finding.message}" for finding in inspection.findings if finding.severity == "error"]
    if errors:
        raise ValueError(f"{settings.data} is unfit for training:\n" + "\n".join(errors))
    documents = settings.documents if train.task == "retrieval" else 1
    batch_size = settings.batch_size or propose_batch_size(len(train), kind_of(model), documents)[0]
    plan = Plan(
        steps=_count_steps(len(train), batch_size, settings.epochs),
        batch_size=batch_size,
        learning_rate=settings.learning_rate or RATES[kind_of(model)],
        seed=settings.seed,
        report_to=settings.report_to,
        seconds_between_checkpoints=seconds_between_checkpoints,
    )
    return Prepared(settings, parts, inspection, model, candidates(train, model, settings.recipe), plan)


def _count_steps(rows: int, batch_size: int, epochs: float | None) -> int:
    steps = math.ceil((epochs or 3) * rows / batch_size)
    return steps if epochs else max(steps, LEAST_STEPS)


def _cut(part: Part, limit: int | None, seed: int) -> Part:
    """Keep ``limit`` rows at random, their queries and judgements, and the whole corpus.

    Neither the first rows nor evenly spaced ones would do: files are sorted by class, or alternate between classes.
    """
    if limit is None or len(part) <= limit:
        return part
    rows = part.dataset.select(sorted(random.Random(seed).sample(range(len(part)), limit)))
    note = f"only {limit} of {len(part)} rows are used, drawn at random"
    if part.task != "retrieval":
        return replace(part, dataset=rows, notes=(*part.notes, note))
    kept = dict.fromkeys(rows["query_id"])
    queries, qrels = ({q: mapping[q] for q in kept} for mapping in (part.queries, part.qrels))
    return replace(part, dataset=rows, queries=queries, qrels=qrels, notes=(*part.notes, note))


def train(
    settings: Settings,
    output: str | Path,
    *,
    seconds_between_checkpoints: float = 30.0,
    overwrite: bool = False,
    report: Report = logger.info,
) -> Result:
    """Train a task's usual loss and the recipe, evaluate both, and save the model that is better on dev.

    The folder gets ``model``, ``config.yaml``, which repeats the run, and ``results.json``. A process that was killed
    continues if it is started again with the same settings, data, model and versions: each finished trial and each
    loss that is trained and scored is kept, and a training continues from its last checkpoint, with the same final
    parameters. Files of loggers are in the loss's folder in ``losses``.

    Args:
        settings: The settings.
        output: Folder of everything that is written.
        seconds_between_checkpoints: Time after which the next step is saved, at least 0.
        overwrite: Whether to delete another run in the folder; other files stay.
        report: Called with a line of text at each stage.

    Returns:
        The result.

    Raises:
        ValueError: As `prepare`, and if the folder holds other files, or a run with other settings, data, model or
            versions; with ``overwrite``, if that run holds the data or the model of this one.
    """
    folder = Path(output)
    prepared = prepare(settings, seconds_between_checkpoints=seconds_between_checkpoints)
    _claim(folder, prepared, overwrite)
    for note in notes_of(prepared.parts.values()):
        report(note)
    for finding, names in merged(prepared.inspection.findings):
        if finding.severity == "warning":
            report(f"warning ({names}): {finding.message}")
    before_dev, before = _score_before(prepared, folder, report)
    losses = tuple(_train_one(prepared, candidate, folder, report) for candidate in prepared.losses)
    best = max(losses, key=lambda trained: (trained.dev[before.main], trained.name == "recipe"))
    save_model(SentenceTransformer(str(folder / "losses" / best.name / "model"), device="cpu"), folder / "model")
    result = Result(
        settings,
        prepared.inspection,
        prepared.plan,
        {name: len(part) for name, part in prepared.parts.items()},
        before,
        before_dev,
        losses,
        best.name,
        notes_of(prepared.parts.values()),
    )
    write_json(folder / "results.json", _summary(result))
    return result


def _claim(folder: Path, prepared: Prepared, overwrite: bool) -> None:
    """Make a folder that of this run, if it is not; raise ValueError if it holds another run or other files.

    A process may be killed between the two files that do so: config.yaml alone is a run that has not begun.
    """
    config, settings, own = folder / "config.yaml", prepared.settings, _identity(prepared)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the output.")
    if names := {path.name for path in folder.glob("*")} - {"config.yaml.part", "data.json.part"}:
        changed = _changed(folder, settings, own, begun=names != {"config.yaml"})
        if overwrite:
            _delete_run(folder, settings)
        elif changed:
            raise ValueError(
                f"{folder} holds another run ({'; '.join(changed)}): choose another output folder, or delete the old "
                "run with --overwrite."
            )
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite or not config.exists():
        settings.save(config)
    write_json(folder / "data.json", own)


def _identity(prepared: Prepared) -> dict[str, str]:
    """Return what determines a run beside its settings."""
    found = {"data": fingerprint(prepared.parts), "model": model_fingerprint(prepared.model)}
    return found | {name: version(name) for name in PACKAGES}


def _changed(folder: Path, settings: Settings, own: dict[str, str], *, begun: bool) -> list[str]:
    """Say what has changed since the run in a folder; raise ValueError if it holds anything but a run."""
    try:
        given = Settings.load(folder / "config.yaml")
        known = json.loads((folder / "data.json").read_text(encoding="utf-8")) if begun else own
        is_run = known.keys() == own.keys()
    except (OSError, ValueError, TypeError, AttributeError):
        is_run = False
    if not is_run:
        raise ValueError(f"{folder} holds other files: choose an empty output folder.")
    words = {"data": "the data have changed", "model": "the model has changed"}
    return [f"{name}: {old!r}, now {new!r}" for name, (old, new) in given.differences(settings).items()] or [
        words.get(name, f"{name}: {known[name]}, now {value}") for name, value in own.items() if known[name] != value
    ]


def _delete_run(folder: Path, settings: Settings) -> None:
    """Delete what a run has made; raise ValueError if the next one reads any of it."""
    made = [folder / name for name in ("losses", "model", "model.part", "results.json", "report.html")]
    for given in (settings.data, settings.model, *settings.read.values()):
        if isinstance(given, str | Path) and any(Path(given).resolve().is_relative_to(p.resolve()) for p in made):
            raise ValueError(
                f"{given} belongs to the run in {folder}, which --overwrite would delete: choose another output folder."
            )
    for path in made:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def fingerprint(parts: Mapping[str, Part]) -> str:
    """Return a digest of all that parts hold: rows, images, queries, corpus and judgements.

    Args:
        parts: The parts by name, not streaming.

    Returns:
        A hexadecimal number.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, part in parts.items():
        digest.update(repr((name, part.task, part.labels, len(part), len(part.queries), len(part.corpus))).encode())
        has_images = "image" in part.input_columns
        rows = part.dataset.cast_column("image", Image(decode=False)) if has_images else part.dataset
        for batch in rows.iter(1_000):
            for image in batch.pop("image", ()):
                digest.update(image["bytes"] or Path(image["path"]).read_bytes())
            digest.update(repr(batch).encode())
        for entry in chain(part.queries.items(), part.corpus.items(), part.qrels.items()):
            digest.update(repr(entry).encode())
    return digest.hexdigest()


def training_rows(prepared: Prepared, candidate: Candidate) -> Any:
    """Return the rows that a loss trains on: of retrieval, with at most ``documents`` documents in each epoch."""
    part = prepared.parts["train"]
    rows = candidate.rows(part.dataset)
    if part.task == "retrieval":
        return lists(rows, most=prepared.settings.documents, seed=prepared.settings.seed)
    return rows


def _score(model: SentenceTransformer, part: Part, known: Part | None = None) -> Scores:
    return score(model, part, known, batch_size=encoding_batch(model))


def _score_before(prepared: Prepared, folder: Path, report: Report) -> tuple[dict[str, float], Scores]:
    """Score the model before training on dev and on test, or read the scores of an earlier process."""
    done, parts = folder / "losses" / "before.json", prepared.parts
    if not done.exists():
        report(f"Scoring the model before training on dev, {len(parts['dev'])} rows, and test, {len(parts['test'])}.")
        dev, test = (_score(prepared.model, parts[name], parts["train"]) for name in ("dev", "test"))
        write(done, json.dumps({"dev": dev.means, "test": _to_json(test)}))
    content = json.loads(done.read_text(encoding="utf-8"))
    return content["dev"], _from_json(content["test"])


def _train_one(prepared: Prepared, candidate: Candidate, folder: Path, report: Report) -> Trained:
    """Tune, train, score and save one loss, or read the result of an earlier process."""
    own = folder / "losses" / candidate.name
    done = own / "result.json"
    if done.exists():
        report(f"{candidate.title}: already trained.")
        remove_checkpoints(own)
        return _read_trained(done)
    own.mkdir(parents=True, exist_ok=True)
    plan, dev, known = prepared.plan, prepared.parts["dev"], prepared.parts["train"]
    rows, few = training_rows(prepared, candidate), _cut(dev, MOST_CURVE, plan.seed)
    setting, trials = dict(candidate.defaults), 0
    if prepared.settings.tune is not None:
        report(f"{candidate.title}: tuning ({prepared.settings.tune}).")
        tried = tuning.tune(
            partial(_try, prepared, candidate, rows, own / "trial"),
            plan.learning_rate,
            candidate.defaults,
            prepared.settings.tune,
            own / "trials.jsonl",
            seed=plan.seed,
        )
        shutil.rmtree(own / "trial", ignore_errors=True)
        chosen, trials = tuning.best(tried), len(tried)
        setting, plan = chosen.setting, replace(plan, learning_rate=chosen.learning_rate)
    report(f"{candidate.title}: training, {plan.steps} steps of {plan.batch_size} rows.")
    set_seed(plan.seed)
    model, start = copy.deepcopy(prepared.model), time.monotonic() - seconds_until(last_checkpoint(own))
    curve = fit(
        model,
        candidate,
        rows,
        setting,
        plan,
        own,
        evaluate=lambda trained: _score(trained, few).means,
        name=f"{folder.name}-{candidate.name}",
    )
    seconds = time.monotonic() - start
    trained = Trained(
        candidate.name,
        candidate.title,
        candidate.why,
        plan.learning_rate,
        setting,
        trials,
        curve,
        seconds,
        _score(model, dev, known).means,
        _score(model, prepared.parts["test"], known),
    )
    model.model_card_data.set_evaluation_metrics(HeldOutTest(), trained.test.means)
    save_model(model, own / "model")
    _write_trained(done, trained)
    remove_checkpoints(own)
    return trained


class HeldOutTest(SentenceEvaluator):
    """Names the scores on the test part in the model card."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "test"


def _try(
    prepared: Prepared, candidate: Candidate, rows: Any, folder: Path, learning_rate: float, setting: Setting
) -> float:
    """Train a copy with other settings, and return the main metric on dev; -1 if training diverges."""
    set_seed(prepared.plan.seed)
    model = copy.deepcopy(prepared.model)
    plan = replace(prepared.plan, learning_rate=learning_rate, report_to="none", seconds_between_checkpoints=math.inf)
    try:
        fit(model, candidate, rows, setting, plan, folder)
        scores = _score(model, prepared.parts["dev"])
    except NotFiniteError:
        return -1.0
    return scores.means[scores.main]


def _write_trained(path: Path, trained: Trained) -> None:
    content = asdict(trained)
    content["test"] = _to_json(trained.test)
    write(path, json.dumps(content))


def _read_trained(path: Path) -> Trained:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["curve"] = [(step, value) for step, value in content["curve"]]
    return Trained(**{**content, "test": _from_json(content["test"])})


def _to_json(scores: Scores) -> dict[str, Any]:
    values = {m: [None if math.isnan(x) else x for x in row] for m, row in scores.values.items()}
    return {"values": values, "items": list(scores.items), "found": [list(row) for row in scores.found]}


def _from_json(content: dict[str, Any]) -> Scores:
    values = {metric: np.array(row, dtype=np.float64) for metric, row in content["values"].items()}
    return Scores(**{**content, "values": values})


def _summary(result: Result) -> dict[str, Any]:
    return {
        "settings": asdict(result.settings),
        "rows": result.sizes,
        "steps": result.plan.steps,
        "batch_size": result.plan.batch_size,
        "before": result.before.means,
        "before_dev": result.before_dev,
        "losses": [{**asdict(replace(each, test=each.test)), "test": each.test.means} for each in result.losses],
        "best_by_dev": result.best,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions and the hardware that a figure depends on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}, "device": device}
