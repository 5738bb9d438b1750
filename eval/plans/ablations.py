"""Ablations: one setting at a time around each loss's best trial on dev, scored on dev."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.names import check_name
from eval.plans.comparison import best_trials
from eval.results import Run, Spec
from eval.tasks.records import Record

BUDGET = ("steps", "batch_size")
"""Fields of the record."""

OF_RUN = ("sampler", "augmented")
"""Fields of the run; everything else is an argument of the loss."""


@dataclass(frozen=True)
class Ablation:
    """A setting that is varied, on one task.

    Args:
        name: Name of the ablation.
        task: Name of the task.
        encoder: Name of the encoder.
        losses: Names of the losses.
        changes: Fields that change, by the value in the table.
    """

    name: str
    task: str
    encoder: str
    losses: Sequence[str]
    changes: Mapping[float | str, Mapping[str, Any]]


Changes = dict[float | str, dict[str, Any]]


def _vary(name: str, values: Iterable[Any], **others: Any) -> Changes:
    return {value: {name: value, **others} for value in values}


TEMPERATURES = _vary("temperature", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5))
SIZES = _vary("batch_size", (64, 256, 1024, 4096, 8192), steps=20)
GAINS: Changes = {name: {"gain": name} for name in ("linear", "exponential")}
CUTOFFS: Changes = {"none": {"k": None}, "10": {"k": 10}, "30": {"k": 30}, "100": {"k": 100}}
WEIGHTS = _vary("weight", (0.01, 0.05, 0.2, 1.0, 5.0))
SAMPLERS: Changes = {name: {"sampler": name} for name in ("balanced", "random")}
VIEWS: Changes = {"off": {}, "on": {"augmented": True}}
MINILM = "static-minilm"

ABLATIONS = (
    Ablation("temperature", "nfcorpus", MINILM, ("A-NDCG exp", "softmax exp"), TEMPERATURES),
    Ablation("temperature", "clinc150", MINILM, ("A-NDCG", "SupCon", "softmax"), TEMPERATURES),
    Ablation("temperature", "stsb", MINILM, ("SoftSpearman", "RankNet"), TEMPERATURES),
    Ablation("temperature", "goemotions", MINILM, ("A-NDCG", "softmax"), TEMPERATURES),
    Ablation("gain", "nfcorpus", MINILM, ("A-NDCG",), GAINS),
    Ablation("gain", "clinc150", MINILM, ("A-NDCG",), GAINS),
    Ablation("k", "nfcorpus", MINILM, ("A-NDCG exp",), CUTOFFS),
    Ablation("mixture weight", "nfcorpus", MINILM, ("recipe",), WEIGHTS),
    Ablation("mixture weight", "clinc150", MINILM, ("recipe",), WEIGHTS),
    Ablation("mixture weight", "stsb", MINILM, ("recipe",), WEIGHTS),
    Ablation("batch size, 20 steps", "goemotions", MINILM, ("A-NDCG", "SupCon"), SIZES),
    Ablation("sampler", "clinc150", MINILM, ("A-NDCG", "SupCon"), SAMPLERS),
    Ablation("sampler", "goemotions", MINILM, ("A-NDCG", "SupCon"), SAMPLERS),
    Ablation("sampler", "emobank", MINILM, ("A-NDCG", "RankNContrast"), SAMPLERS),
    Ablation("augmentation", "clinc150", MINILM, ("A-NDCG",), VIEWS),
    Ablation("augmentation", "banking77", MINILM, ("A-NDCG binary",), VIEWS),
)


def plan(
    names: Sequence[str],
    records: Mapping[str, Record],
    runs: Iterable[Run],
    *,
    seeds: int,
    folder: Path | None,
    limit: int | None = None,
) -> list[Spec]:
    """Plan the named ablations, or all, around each loss's best trial on dev; losses without a trial are left out.

    Raises:
        ValueError: If an ablation is unknown, or none of its losses has been tuned.
    """
    known = sorted({ablation.name for ablation in ABLATIONS})
    for name in names:
        check_name(name, known, "ablation")
    best = best_trials(runs)
    specs = []
    for ablation in ABLATIONS:
        for loss in ablation.losses if not names or ablation.name in names else ():
            trial = best.get((ablation.task, ablation.encoder, loss))
            if trial is not None:
                specs += [
                    _spec(ablation, records[ablation.task], trial, value, seed=seed, folder=folder, limit=limit)
                    for value in ablation.changes
                    for seed in range(seeds)
                ]
    if not specs:
        raise ValueError("no loss of these ablations has been tuned: run `python -m eval tune` with the same --output.")
    return specs


def _spec(ablation: Ablation, record: Record, trial: Run, value: Any, **fields: Any) -> Spec:
    changes = ablation.changes[value]
    budget, of_run = ({name: changes[name] for name in names if name in changes} for names in (BUDGET, OF_RUN))
    of_loss = {name: given for name, given in changes.items() if name not in (*BUDGET, *OF_RUN)}
    return Spec(
        replace(record, **budget),
        ablation.encoder,
        trial.loss,
        "ablation",
        {**trial.setting, **of_loss},
        trial.learning_rate,
        ablation=ablation.name,
        value=value,
        **of_run,
        **fields,
    )
