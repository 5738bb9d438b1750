"""What a run starts from: data that fit, a model, and the losses with their settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sentence_transformers import SentenceTransformer

from st_rankloss.data import PARTS, Part, read, split
from st_rankloss.data.drawing import draw_rows
from st_rankloss.encoders import BUILT_IN, RATES, kind_of, make_encoder
from st_rankloss.experiment.candidates import Candidate, candidates
from st_rankloss.experiment.scores import check_images
from st_rankloss.experiment.settings import Settings
from st_rankloss.experiment.training import Plan
from st_rankloss.inspection import Inspection, inspect, propose_batch_size

LEAST_STEPS = 100
"""Steps of a training by default, however few rows there are."""


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
    parts = {name: cut(parts[name], settings.limit, settings.seed) for name in PARTS}
    train = parts["train"]
    if settings.model in BUILT_IN:  # before a tokenizer looks for texts
        check_images(train, ("text",), settings.model)
    model = make_encoder(settings.model, train.texts() if settings.model == "static" else (), seed=settings.seed)
    check_images(train, model.modalities, settings.model)
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


def cut(part: Part, limit: int | None, seed: int) -> Part:
    """Keep ``limit`` rows at random, their queries and judgements, and the whole corpus."""
    if limit is None or len(part) <= limit:
        return part
    rows = part.dataset.select(draw_rows(len(part), limit, seed))
    note = f"only {limit} of {len(part)} rows are used, drawn at random"
    if part.task != "retrieval":
        return replace(part, dataset=rows, notes=(*part.notes, note))
    kept = dict.fromkeys(rows["query_id"])
    queries, qrels = ({q: mapping[q] for q in kept} for mapping in (part.queries, part.qrels))
    return replace(part, dataset=rows, queries=queries, qrels=qrels, notes=(*part.notes, note))
