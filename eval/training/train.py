"""Training an encoder with a loss by the standard trainer."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import PrinterCallback, ProgressCallback, set_seed

from eval.plans.contenders import Problem
from eval.plans.losses import find
from eval.results import Spec
from eval.tasks.data import Data
from eval.training.batches import InOrder, make_rows
from st_rankloss import RankingTrainer, ViewsCollator
from st_rankloss.augmentations import CropWords, DropWords, Identity


def train(model: SentenceTransformer, spec: Spec, data: Data) -> None:
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
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
    model.eval()
