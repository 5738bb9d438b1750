"""From a user's data to a trained, evaluated, saved model and a report."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from transformers import set_seed

from st_rankloss.data import Part, lists
from st_rankloss.data.part import notes_of
from st_rankloss.encoders import encoding_batch
from st_rankloss.experiment import tuning
from st_rankloss.experiment.candidates import Candidate, Setting
from st_rankloss.experiment.files import save_model, write, write_json
from st_rankloss.experiment.folder import claim, versions
from st_rankloss.experiment.prepared import Prepared, cut, prepare
from st_rankloss.experiment.scores import Scores, score
from st_rankloss.experiment.settings import Settings
from st_rankloss.experiment.training import Plan, fit, last_checkpoint, remove_checkpoints, seconds_until
from st_rankloss.functional.checks import NotFiniteError
from st_rankloss.inspection import Inspection
from st_rankloss.inspection.findings import merged

logger = logging.getLogger(__name__)

MOST_CURVE = 500
"""Queries or rows of dev that a learning curve is measured on."""

DIGITS = 4
"""Digits of scores that are shown, to which they are compared: rounding errors decide nothing."""

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
        before, *after = (round(dev[main], DIGITS) for dev in (self.before_dev, *(each.dev for each in self.losses)))
        title = next(trained.title for trained in self.losses if trained.name == self.best)
        start = "Equal on dev" if len(set(after)) == 1 else f"Better on dev: {title}"
        scores = ", ".join(
            f"{trained.title} {value:.{DIGITS}f}" for trained, value in zip(self.losses, after, strict=True)
        )
        found = f"{start} ({main}: {scores}, before training {before:.{DIGITS}f})."
        if max(after) > before:
            return found
        return f"{found} Neither loss beats the model before training: use that one, or tune."


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
    claim(folder, prepared, overwrite)
    for note in notes_of(prepared.parts.values()):
        report(note)
    for finding, names in merged(prepared.inspection.findings):
        if finding.severity == "warning":
            report(f"warning ({names}): {finding.message}")
    before_dev, before = _score_before(prepared, folder, report)
    losses = tuple(_train_one(prepared, candidate, folder, report) for candidate in prepared.losses)
    best = max(losses, key=lambda trained: (round(trained.dev[before.main], DIGITS), trained.name == "recipe"))
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
    rows, few = training_rows(prepared, candidate), cut(dev, MOST_CURVE, plan.seed)
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
