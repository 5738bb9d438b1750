"""One run: train an encoder with a loss, and score it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import platform
import random
import subprocess
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import torch
from datasets import disable_progress_bars
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import nn
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from eval.batches import InOrder, make_rows
from eval.data import Data, Record, load_data
from eval.encoders import make_encoder
from eval.losses import Problem, find
from eval.performance import describe_machine
from eval.reliability import describe_similarities
from eval.significance import encode_items
from eval.tasks import make_task
from st_rankloss import RankingTrainer, ViewsCollator
from st_rankloss.augmentations import CropWords, DropWords, Identity

PACKAGES = ("st_rankloss", "torch", "sentence-transformers", "transformers", "datasets", "mteb", "numpy", "scipy")
BEFORE = "before"
"""Name of the encoder that no loss has trained."""

BM25 = "BM25"
"""Name of mteb's BM25, the baseline of retrieval."""

UNTRAINED = (BEFORE, BM25)

CURVE = 4
"""Points of a learning curve, evenly spaced."""


@dataclass(frozen=True)
class Spec:
    """What one run does; two runs with the same one are the same.

    Args:
        record: The task.
        encoder: Its name.
        loss: Its name in the comparison, or ``before``.
        stage: ``dev`` for tuning, ``test``, or ``ablation``, scored on dev.
        setting: Of the loss.
        learning_rate: Of the encoder.
        seed: Of the weights, if they are random, and of the order.
        folder: Where the data are.
        limit: Rows of each part at most.
        sampler: Of the batches, see `make_rows`.
        augmented: Whether samples of text are also ranked by a view with a part of their words left out.
        ablation: Which one it belongs to.
        value: Its place in the ablation.
        partner: The record that this one is trained or scored on, where it names one.
    """

    record: Record
    encoder: str
    loss: str
    stage: str
    setting: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = 0.0
    seed: int = 0
    folder: Path | None = None
    limit: int | None = None
    sampler: str = "balanced"
    augmented: bool = False
    ablation: str | None = None
    value: float | str | None = None
    partner: Record | None = None

    @property
    def trained(self) -> Record:
        """The record whose training part is used."""
        return self.partner if self.partner and self.record.trained_on else self.record

    @property
    def scored(self) -> Record:
        """The record whose dev and test parts are used."""
        return self.partner if self.partner and self.record.scored_on else self.record

    @property
    def key(self) -> str:
        """A short name of all that decides the result: every field that is not at its default, but the folder."""
        content = _chosen(self, ("folder",)) | {"record": _chosen(self.record, ("licence", "rate"))}
        if self.partner:
            content["partner"] = _chosen(self.partner, ("licence", "rate"))
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """One line for people."""
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        rate = f"lr {self.learning_rate:g}" if self.loss not in UNTRAINED else ""
        parts = [self.record.name, self.encoder, self.loss, setting, rate, f"seed {self.seed}", self.stage]
        return " · ".join(part for part in parts if part)


def _chosen(value: Any, without: tuple[str, ...]) -> dict[str, Any]:
    """Return a dataclass's fields that are not at their default, so that a new field leaves old keys as they are."""
    found = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in without}
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(value)}
    return {name: given for name, given in found.items() if given != defaults[name]}


def run(spec: Spec) -> dict[str, Any]:
    """Train and score; an error is part of what is returned, so that other runs go on.

    Args:
        spec: What to do.

    Returns:
        One line of the results, see ``eval/README.md``.
    """
    line = describe(spec)
    try:
        if spec.loss not in UNTRAINED:
            line["role"] = find(spec.trained, spec.loss).role
        line |= _train_and_score(spec)
    except Exception as error:  # whatever it is, the other runs go on
        logging.getLogger(__name__).debug("%s", traceback.format_exc())
        line |= failed(error)
    return line


def failed(error: BaseException) -> dict[str, Any]:
    """What a line says of a run that failed."""
    return {"status": "failed", "error": f"{type(error).__name__}: {error}"[:500], "scores": {}}


def describe(spec: Spec) -> dict[str, Any]:
    """Return a run's line before it ran: what is known of it already."""
    return {
        "key": spec.key,
        "stage": spec.stage,
        "status": "ok",
        "error": None,
        "task": spec.record.name,
        "kind": spec.record.kind if spec.record.kind != "samples" else spec.record.labels,
        "metric": spec.record.main,
        "trained_on": spec.record.trained_on or None,
        "encoder": spec.encoder,
        "loss": spec.loss,
        "role": BEFORE,
        "setting": dict(spec.setting),
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
        "steps": spec.trained.steps,
        "batch_size": spec.trained.batch_size,
        "ablation": spec.ablation,
        "value": spec.value,
        "versions": versions(),
        "commit": commit(),
        "hardware": describe_machine("cuda" if torch.cuda.is_available() else "cpu").split(";")[0],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _train_and_score(spec: Spec) -> dict[str, Any]:
    data, target = (load_data(record, spec.folder, spec.limit) for record in (spec.trained, spec.scored))
    peak = PeakMemory()
    model = make_encoder(spec.encoder, [data] if target is data else [data, target], spec.seed)
    found: dict[str, Any] = {"curve": None}
    start = time.perf_counter()
    if spec.loss not in UNTRAINED:
        curve = _Curve(spec, target) if spec.stage == "test" and spec.seed == 0 else None
        train(model, spec, data, curve)
        found["curve"] = curve.points if curve else None
    trained = time.perf_counter()
    split = "test" if spec.stage == "test" else "dev"
    found |= evaluate(model, spec, target, split)
    if spec.stage == "test" and spec.loss != BM25:
        found |= describe_similarities(model, target, split, found["scores"])
    seconds = {"train": round(trained - start, 2), "evaluate": round(time.perf_counter() - trained, 2)}
    return found | {"seconds": seconds, "peak_memory_mb": peak.megabytes()}


class _Curve(TrainerCallback):
    """Scores the model on dev, at evenly spaced steps."""

    def __init__(self, spec: Spec, data: Data) -> None:
        self.spec, self.data = spec, data
        self.points: list[tuple[int, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Score at every quarter."""
        quarters = {round(state.max_steps * (i + 1) / CURVE) for i in range(CURVE)}
        if state.global_step in quarters and "dev" in self.data.parts:
            was_training = model.training
            model.eval()
            with _same_randomness():
                scores = evaluate(model, self.spec, self.data, "dev")["scores"]
            model.train(was_training)
            self.points.append((state.global_step, round(scores[self.data.record.main], 5)))


@contextlib.contextmanager
def _same_randomness() -> Iterator[None]:
    """Leave all random generators as they were: mteb seeds them, which must not change a training it looks at."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that mteb seeds
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002


def train(model: SentenceTransformer, spec: Spec, data: Data, curve: TrainerCallback | None = None) -> None:
    """Train a model as a run says, with the standard trainer."""
    record, contender = spec.trained, find(spec.trained, spec.loss)
    set_seed(spec.seed)
    loss: nn.Module = contender.make(model, Problem(data, spec.augmented), **spec.setting)
    rows = make_rows(
        data,
        pairs=contender.pairs,
        seed=spec.seed,
        steps=record.steps,
        batch_size=record.batch_size,
        sampler=spec.sampler,
    )
    views: list[Any] = [DropWords(0.4), CropWords(0.6)] if record.kind == "texts" else [Identity(), DropWords(0.3)]
    collator = ViewsCollator(model.preprocess, views=views) if record.kind == "texts" or spec.augmented else None
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=record.steps,
            per_device_train_batch_size=record.batch_size,
            learning_rate=spec.learning_rate,
            warmup_steps=0.1,
            seed=spec.seed,
            batch_sampler=InOrder,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        kind = RankingTrainer if "documents" in rows.column_names else SentenceTransformerTrainer
        trainer = kind(
            model=model,
            args=args,
            train_dataset=rows,
            loss=loss,
            data_collator=collator,
            callbacks=[curve] if curve else None,
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
    model.eval()


def evaluate(model: SentenceTransformer, spec: Spec, data: Data, split: str) -> dict[str, Any]:
    """Score a model by ``mteb.evaluate``, under a name of its own and without a cache."""
    task = make_task(data, split)
    with _quiet():
        wrapper = (
            mteb.get_model("mteb/baseline-bm25s")
            if spec.loss == BM25
            else named(model, f"local/{spec.encoder}-{spec.loss}".replace(" ", "-"), spec.key)
        )
        result = mteb.evaluate(
            wrapper,
            tasks=[task],
            cache=None,
            encode_kwargs={"batch_size": 256, "show_progress_bar": False},
            show_progress_bar=False,
            co2_tracker=False,
        )
    scores = {name: value for name, value in result[0].scores[split][0].items() if isinstance(value, int | float)}
    scores[data.record.main] = float(task.items.mean())
    kept = {
        name: round(float(value), 6)
        for name, value in scores.items()
        if name == data.record.main or (name in KEPT and (name != "accuracy" or data.record.kind == "samples"))
    }
    return {"scores": kept, "items": encode_items(task.items)}


KEPT = frozenset(
    {"ndcg_at_10", "ndcg_at_100", "mrr_at_10", "recall_at_100", "map", "accuracy", "lrap"}
    | {"probe_spearman", "spearman", "pearson", "cosine_spearman", "cosine_pearson", "i2t_ndcg_at_10", "t2i_ndcg_at_10"}
)
"""Of mteb's many scores, those that are kept."""


def named(model: SentenceTransformer, name: str, revision: str) -> SentenceTransformerEncoderWrapper:
    """Wrap a model for mteb under a name and revision of its own: its cache takes all unnamed models for one."""
    wrapper = SentenceTransformerEncoderWrapper(model)
    modalities = ["text", "image"] if "image" in getattr(model, "modalities", ()) else ["text"]
    update = {"name": name, "revision": revision, "modalities": modalities}
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(update=update)
    return wrapper


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep mteb's remarks off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class PeakMemory:
    """The process's largest resident memory since this object was made; None where the system cannot tell."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def megabytes(self) -> float | None:
        """Return the peak so far."""
        status = Path("/proc/self/status")
        if not status.exists():
            return None
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines() if ":" in line)
        return round(int(lines["VmHWM"].split()[0]) / 1024, 1)


@cache
def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    found = {package.replace("-", "_"): importlib.metadata.version(package) for package in PACKAGES}
    return found | {"python": platform.python_version()}


@cache
def commit() -> str:
    """Return the commit of this copy of the project, with a mark if files are changed; unknown without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def one_thread() -> None:
    """Keep a worker to one core, and quiet: its errors are in the results."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
