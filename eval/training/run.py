"""One run: train an encoder with a loss, and score it."""

from __future__ import annotations

import logging
import time
import traceback
import warnings
from dataclasses import replace
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from eval.machine import PeakMemory
from eval.plans.losses import find
from eval.results import BEFORE, BM25, UNTRAINED, Run, Spec
from eval.tasks.data import load_data
from eval.tasks.reliability import reliability
from eval.training.encoders import make_encoder
from eval.training.scoring import evaluate
from eval.training.train import train


def run(spec: Spec) -> Run:
    """Train and score; an error becomes part of the result, so that other runs continue."""
    role = BEFORE
    started = Run.of(spec)
    try:
        if spec.loss not in UNTRAINED:
            role = find(spec.trained, spec.loss).role
        return replace(started, role=role, **_train_and_score(spec))
    except Exception as error:  # whatever it is, other runs continue
        logging.getLogger(__name__).debug("%s", traceback.format_exc())
        return Run.failure(spec, error, role=role, started=started.started)


def _train_and_score(spec: Spec) -> dict[str, Any]:
    data, target = (load_data(record, spec.folder, spec.limit) for record in (spec.trained, spec.scored))
    peak = PeakMemory()
    model = make_encoder(spec.encoder, [data] if target is data else [data, target], spec.seed)
    start = time.perf_counter()
    if spec.loss not in UNTRAINED:
        train(model, spec, data)
    trained = time.perf_counter()
    split = "test" if spec.stage == "test" else "dev"
    found = evaluate(model, spec, target, split)
    if spec.stage == "test" and spec.loss != BM25:
        found["scores"] |= reliability(model, target, split)
    seconds = {"train": round(trained - start, 2), "evaluate": round(time.perf_counter() - trained, 2)}
    return found | {"seconds": seconds, "peak_memory_mb": peak.megabytes()}


def one_thread() -> None:
    """Limit a worker to one core and keep it quiet: its errors are in the results."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
