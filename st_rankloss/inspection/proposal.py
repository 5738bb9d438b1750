"""Settings for a first training: recipe, batch size and learning rate, with reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from st_rankloss import recipes
from st_rankloss.data.part import Part
from st_rankloss.encoders import RATES, kind_of
from st_rankloss.inspection.columns import Look

_USUAL = {"static": 512, "static-minilm": 512, "transformer": 32}
DOCUMENTS = 4
"""Documents of a list to train on at a time, see `st_rankloss.data.lists`."""

_SMALLEST = 8
"""Samplers of classes need two groups of four rows."""


@dataclass(frozen=True)
class Proposal:
    """Settings for a first training.

    Attributes:
        recipe: The recipe, with its ``why``.
        objective: Its objective as text, for the model if there is one.
        task: Name of the recipe's function in `st_rankloss.recipes`.
        sampler: Name of its batch sampler.
        batch_size: For ``per_device_train_batch_size=``.
        learning_rates: Learning rate by kind of encoder; only that of the model if there is one.
        reasons: Why, in plain words.
    """

    recipe: recipes.Recipe = field(repr=False)
    objective: str
    task: str
    sampler: str
    batch_size: int
    learning_rates: dict[str, float]
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {
            "task": self.task,
            "objective": self.objective,
            "relevance": repr(self.recipe.relevance),
            "sampler": self.sampler,
            "batch_size": self.batch_size,
            "learning_rates": self.learning_rates,
            "reasons": list(self.reasons),
        }


def propose(look: Look, model: Any = None) -> Proposal:
    """Propose settings for a part, or raise ValueError if no recipe fits; see `Proposal`."""
    recipe = recipes.for_dataset(look.part, model)
    kind = None if model is None else kind_of(model)
    queries = look.columns.get("query")
    documents = DOCUMENTS if look.task == "retrieval" else 1
    batch_size, why = propose_batch_size(look.rows if queries is None else queries.distinct, kind, documents)
    rates = RATES if kind is None else {kind: RATES[kind]}
    rate = "Tune the learning rate, which matters most."
    if kind in (None, "transformer"):
        rate += " For a transformer try 2e-5 to 3e-4: the less it knows of the task, the higher."
    return Proposal(
        recipe,
        repr(recipe.objective if model is None else recipe.objective_for(model)),
        look.task,
        sampler_name(recipe, look.part),
        batch_size,
        dict(rates),
        (recipe.why, why, rate),
    )


def propose_batch_size(rows: int, kind: str | None = None, documents: int = 1) -> tuple[int, str]:
    """Propose a batch size: a power of two, and the reason.

    Args:
        rows: Number of rows, or of different queries; at least 1.
        kind: Kind of encoder, a key of `RATES`; None if not known yet.
        documents: Documents per row, at least 1: the usual size counts them.

    Returns:
        The batch size, and why: the usual size for the encoder, at most a quarter of the rows, and at least 8 (all
        rows if there are fewer), which samplers need for two classes.

    Raises:
        ValueError: If the kind is unknown.

    Example:
        >>> propose_batch_size(100_000, "static")[0], propose_batch_size(400, "static")[0]
        (512, 64)
        >>> propose_batch_size(100_000, "static", documents=4)[0]
        128
    """
    if kind is not None and kind not in _USUAL:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _USUAL))}, got {kind!r}.")
    usual = 64 if kind is None else _USUAL[kind]
    while documents > 1 and usual > _SMALLEST:
        usual, documents = usual // 2, documents // 2
    size = usual
    while size > max(_SMALLEST, rows / 4):
        size //= 2
    size = max(1, min(size, rows))
    named = "an encoder" if kind is None else f"a {kind} encoder"
    if size == usual:
        return size, f"Batches of {usual} rows are usual for {named}; larger ones help if memory allows."
    return size, f"Batches of {size} rows, less than the usual {usual} for {named}, because there are only {rows:,}."


def sampler_name(recipe: recipes.Recipe, part: Part) -> str:
    """Return the name of a recipe's sampler in `st_rankloss.samplers`, or "random"."""
    if recipe.batch_sampler == "batch_sampler":
        return "random"
    names = {
        "classification": "classes",
        "regression": "numeric",
        "retrieval": "qrels" if recipe_reads_ids(recipe) else "lists",
    }
    return names.get(part.task, part.task)


def recipe_reads_ids(recipe: recipes.Recipe) -> bool:
    """Return whether a recipe looks judgements up by id."""
    return type(recipe.relevance).__name__ == "Qrels"
