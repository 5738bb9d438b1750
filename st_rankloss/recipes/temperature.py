"""The temperature of a recipe, whose default depends on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder

from st_rankloss._models import EMBEDDERS, check_encoder, kind_of, scores_pairs, transformers_in
from st_rankloss.objectives import Objective

Temperature = float | str

TEMPERATURES: Mapping[str, tuple[float, float]] = {
    "retrieval": (0.1, 0.03),
    "sts": (0.1, 0.015),
    "classification": (0.1, 0.03),
    "hierarchy": (0.05, 0.03),
    "multi_label": (0.05, 0.015),
    "regression": (0.1, 0.2),
    "self_supervised": (0.1, 0.03),
    "image_text": (0.1, 0.1),
}
"""Default temperatures by task, in units of cosine similarity: for static embeddings, and for transformers."""

TEMPERATURES_OF_KINDS: Mapping[type, Temperature] = {SparseEncoder: "auto", MultiVectorEncoder: 0.03, CrossEncoder: 0.3}
"""Default temperatures of models with other similarities: dot product, mean MaxSim, score. Chosen on search."""


def default_temperature(task: str, model: Any = None) -> Temperature:
    """Return the default temperature of a recipe for a model, chosen on dev splits.

    The cosines of a pretrained transformer lie closer together than those of static embeddings, so that most of its
    temperatures are lower.

    Args:
        task: A key of `TEMPERATURES`: the name of the recipe's function.
        model: The model to train; None means static embeddings.

    Returns:
        The temperature, in units of the model's similarity; ``"auto"`` follows the spread of each query's similarities.

    Raises:
        TypeError: If the model is of an unknown kind.

    Example:
        >>> default_temperature("hierarchy")
        0.05
    """
    kind = kind_to_train(model)
    if kind in TEMPERATURES_OF_KINDS:
        return TEMPERATURES_OF_KINDS[kind]
    return TEMPERATURES[task][bool(transformers_in(model))]


def kind_to_train(model: Any) -> type:
    """Return the kind of a model, or raise TypeError for one that no recipe trains."""
    check_encoder(model, (*EMBEDDERS, CrossEncoder), "A recipe")
    return CrossEncoder if scores_pairs(model) else kind_of(model)


@dataclass(frozen=True)
class AtDefault:
    """An objective that takes the default temperature of a task for the model, once that is known.

    Args:
        task: See `default_temperature`.
        static: The objective for static embeddings.
        make: Makes the objective at a temperature.
    """

    task: str
    static: Objective
    make: Callable[[Temperature], Objective] = field(compare=False)

    def __call__(self, model: Any = None) -> Objective:
        """Return the objective for a model; None means static embeddings."""
        return self.make(default_temperature(self.task, model))

    def __repr__(self) -> str:
        """Name the objective for static embeddings, and the temperature of transformers."""
        temperature = TEMPERATURES[self.task][1]
        return f"<{self.static!r}, for a transformer at temperature {temperature}: see Recipe.objective_for>"


def at_temperature(
    task: str, temperature: Temperature | None, make: Callable[..., Objective], **settings: Any
) -> Objective | AtDefault:
    """Return an objective at a temperature, or at the default of a task for None; bad settings raise at once.

    Args:
        task: See `default_temperature`.
        temperature: The temperature; None leaves it to the model.
        make: Makes the objective, from a temperature and the settings.
        **settings: Other settings of the objective.

    Returns:
        The objective, or a function that makes it for a model.
    """
    if temperature is not None:
        return make(temperature, **settings)
    return AtDefault(task, make(default_temperature(task), **settings), partial(make, **settings))
