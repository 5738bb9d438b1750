"""From a user's data to a trained, evaluated, saved model and a report."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from transformers import set_seed

from st_rankloss.data import PARTS, Part, lists, read, split
from st_rankloss.data.part import notes_of
from st_rankloss.encoders import RATES, encoding_batch, kind_of, make_encoder
from st_rankloss.experiment import tuning
from st_rankloss.experiment.candidates import Candidate, Setting, candidates
from st_rankloss.experiment.files import save_model, write, write_json
from st_rankloss.experiment.scores import Scores, score
from st_rankloss.experiment.settings import Settings
from st_rankloss.experiment.training import Plan, fit
from st_rankloss.functional.checks import NotFiniteError
from st_rankloss.inspection import Inspection, inspect, propose_batch_size
from st_rankloss.inspection.findings import merged

logger = logging.getLogger(__name__)

LEAST_STEPS = 100
"""Steps of a training by default, however few rows there are."""

MOST_CURVE = 500
"""Queries or rows of dev that a learning curve is measured on."""

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
        losses: The usual loss and the recipe.
        best: Name of the loss whose model is better on dev, and saved; the recipe if they are equal.
        notes: What the readers left out, converted or assumed.
    """

    settings: Settings
    inspection: Inspection
    plan: Plan
    sizes: dict[str, int]
    before: Scores
    losses: tuple[Trained, ...]
    best: str
    notes: tuple[str, ...]


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
    parts = {name: _cut(parts[name], settings.limit) for name in PARTS}
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


def _cut(part: Part, limit: int | None) -> Part:
    """Keep the first ``limit`` rows, their queries and judgements, and the whole corpus."""
    if limit is None or len(part) <= limit:
        return part
    rows = part.dataset.select(range(limit))
    note = f"only the first {limit} of {len(part)} rows are used"
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
    continues if it is started again with the same settings: each finished trial, training and evaluation is kept, and
    a training continues from its last checkpoint, with the same final parameters.

    Args:
        settings: The settings.
        output: Folder of everything that is written.
        seconds_between_checkpoints: Time after which the next step is saved, at least 0.
        overwrite: Whether to delete another run in the folder.
        report: Called with a line of text at each stage.

    Returns:
        The result.

    Raises:
        ValueError: As `prepare`, and if the folder holds a run with other settings or data.
    """
    folder = Path(output)
    prepared = prepare(settings, seconds_between_checkpoints=seconds_between_checkpoints)
    _claim(folder, prepared, overwrite)
    for note in notes_of(prepared.parts.values()):
        report(note)
    for finding, names in merged(prepared.inspection.findings):
        if finding.severity == "warning":
            report(f"warning ({names}): {finding.message}")
    parts, model = prepared.parts, prepared.model
    report(f"Scoring the model before training on {len(parts['test'])} rows.")
    before = _score(model, parts["test"], parts["train"])
    losses = tuple(_train_one(prepared, candidate, folder, report) for candidate in prepared.losses)
    best = max(losses, key=lambda trained: (trained.dev[before.main], trained.name == "recipe"))
    save_model(SentenceTransformer(str(folder / "losses" / best.name / "model"), device="cpu"), folder / "model")
    result = Result(
        settings,
        prepared.inspection,
        prepared.plan,
        {name: len(part) for name, part in parts.items()},
        before,
        losses,
        best.name,
        notes_of(parts.values()),
    )
    write_json(folder / "results.json", _summary(result))
    return result


def _claim(folder: Path, prepared: Prepared, overwrite: bool) -> None:
    """Write the settings into an empty folder; raise ValueError if the folder holds another run."""
    config, state, settings = folder / "config.yaml", folder / "data.json", prepared.settings
    own = {"fingerprint": fingerprint(prepared.parts)}
    if config.exists() and not overwrite:
        given = Settings.load(config)
        changed = [f"{name}: {old!r}, now {new!r}" for name, (old, new) in given.differences(settings).items()]
        if state.exists() and json.loads(state.read_text(encoding="utf-8")) != own:
            changed.append("the data have changed")
        if changed:
            raise ValueError(
                f"{folder} holds a run with other settings ({'; '.join(changed)}): choose another output folder, or "
                "delete the old run with --overwrite."
            )
    elif folder.exists() and any(folder.iterdir()):
        if not config.exists():
            raise ValueError(f"{folder} holds other files: choose an empty output folder.")
        _delete_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(state, own)
    settings.save(config)


def _delete_run(folder: Path) -> None:
    """Delete what a run writes, and nothing else."""
    for name in ("losses", "model"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("config.yaml", "data.json", "results.json", "report.html"):
        (folder / name).unlink(missing_ok=True)


def fingerprint(parts: Mapping[str, Part], most: int = 10_000) -> str:
    """Return a short hash of the parts' rows; of more than ``most`` rows, of evenly spaced ones."""
    digest = hashlib.blake2b(digest_size=8)
    for name, part in parts.items():
        digest.update(f"{name} {part.task} {len(part)} {part.dataset.column_names}".encode())
        columns = [c for c in part.dataset.column_names if c != "image"]
        rows = part.dataset.select_columns(columns)
        for place in np.linspace(0, len(part) - 1, min(len(part), most)).astype(int).tolist():
            digest.update(repr(rows[place]).encode())
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


def _train_one(prepared: Prepared, candidate: Candidate, folder: Path, report: Report) -> Trained:
    """Tune, train, score and save one loss, or read the result of an earlier process."""
    own = folder / "losses" / candidate.name
    done = own / "result.json"
    if done.exists():
        report(f"{candidate.title}: already trained.")
        return _read_trained(done)
    own.mkdir(parents=True, exist_ok=True)
    plan, dev, known = prepared.plan, prepared.parts["dev"], prepared.parts["train"]
    rows, few = training_rows(prepared, candidate), _cut(dev, MOST_CURVE)
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
        chosen, trials = tuning.best(tried), len(tried)
        setting, plan = chosen.setting, replace(plan, learning_rate=chosen.learning_rate)
    report(f"{candidate.title}: training, {plan.steps} steps of {plan.batch_size} rows.")
    set_seed(plan.seed)
    model, start = copy.deepcopy(prepared.model), time.monotonic()
    curve = fit(
        model,
        candidate,
        rows,
        setting,
        plan,
        own / "checkpoints",
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
    test = content.pop("test")
    values = {metric: np.array(row, dtype=np.float64) for metric, row in test.pop("values").items()}
    content["curve"] = [(step, value) for step, value in content["curve"]]
    return Trained(**content, test=Scores(values, **test))


def _to_json(scores: Scores) -> dict[str, Any]:
    values = {m: [None if math.isnan(x) else x for x in row] for m, row in scores.values.items()}
    return {"values": values, "items": list(scores.items), "found": [list(row) for row in scores.found]}


def _summary(result: Result) -> dict[str, Any]:
    return {
        "settings": asdict(result.settings),
        "rows": result.sizes,
        "steps": result.plan.steps,
        "batch_size": result.plan.batch_size,
        "before": result.before.means,
        "losses": [{**asdict(replace(each, test=each.test)), "test": each.test.means} for each in result.losses],
        "best_by_dev": result.best,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions and the hardware that a figure depends on."""
    packages = ("st_rankloss", "sentence-transformers", "transformers", "torch")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"python": platform.python_version(), **{name: version(name) for name in packages}, "device": device}
