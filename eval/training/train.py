"""Training an encoder with a loss by the standard trainer, and its learning curve."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed

from eval.plans.contenders import Problem
from eval.plans.losses import find
from eval.results import Spec
from eval.tasks.data import Data
from eval.training.batches import InOrder, make_rows
from eval.training.scoring import evaluate
from st_rankloss import RankingTrainer, ViewsCollator
from st_rankloss.augmentations import CropWords, DropWords, Identity

CURVE = 4
"""Points of a learning curve, evenly spaced."""


def train(model: SentenceTransformer, spec: Spec, data: Data, curve: TrainerCallback | None = None) -> None:
    """Train a model as specified."""
    record, contender = spec.trained, find(spec.trained, spec.loss)
    set_seed(spec.seed)
    loss: nn.Module = contender.make(model, Problem(data, spec.augmented), **spec.setting)
    budget = {"steps": record.steps, "batch_size": record.batch_size}
    rows = make_rows(data, pairs=contender.pairs, seed=spec.seed, sampler=spec.sampler, **budget)
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


class Curve(TrainerCallback):
    """Scores a model on dev at evenly spaced steps of its training."""

    def __init__(self, spec: Spec, data: Data) -> None:
        self.spec, self.data = spec, data
        self.points: list[tuple[int, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Score after each quarter of the steps."""
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
    """Restore all random generators: mteb seeds them, which must not change the training."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that mteb seeds
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
