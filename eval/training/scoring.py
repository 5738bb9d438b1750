"""Scoring a model on a task by ``mteb.evaluate``."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import mteb
from sentence_transformers import SentenceTransformer

from eval.results import BM25, Spec, encode_items
from eval.tasks.data import Data
from eval.tasks.mteb_tasks import make_task
from st_rankloss.mteb_tasks import named


def evaluate(model: SentenceTransformer, spec: Spec, data: Data, split: str) -> dict[str, Any]:
    """Return the ``scores`` and ``items`` of a model, without a cache; for BM25, of mteb's BM25 instead."""
    task = make_task(data, split)
    with _quiet():
        name = f"local/{spec.encoder}-{spec.loss}".replace(" ", "-")
        bm25 = spec.loss == BM25
        mteb.evaluate(
            mteb.get_model("mteb/baseline-bm25s") if bm25 else named(model, name, spec.key),
            tasks=[task],
            cache=None,
            encode_kwargs={"batch_size": 256, "show_progress_bar": False},
            show_progress_bar=False,
            co2_tracker=False,
        )
    return {"scores": {name: round(value, 6) for name, value in task.kept.items()}, "items": encode_items(task.items)}


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
