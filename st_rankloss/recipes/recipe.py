"""A recipe: objective, relevance and batches of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from st_rankloss._models import scores_pairs
from st_rankloss.losses import CachedCrossEncoderRankingLoss, CachedRankingLoss, CrossEncoderRankingLoss, RankingLoss
from st_rankloss.losses.base import GradedLoss
from st_rankloss.objectives import Objective
from st_rankloss.relevance import Relevance


@dataclass(frozen=True)
class Recipe:
    """The training settings of a task.

    Args:
        objective: The objective to optimise, or a function that makes it for a model, or for None: the recipes choose
            a temperature for the model, see `default_temperature`.
        relevance: The relevance that reads the labels.
        batch_sampler: For ``batch_sampler=`` of the training arguments; groups rows into batches, at random by default.
        options: Other arguments for the loss.
        why: Why `for_dataset` chose these settings; empty otherwise.
    """

    objective: Objective | Callable[[Any], Objective]
    relevance: Relevance
    batch_sampler: Any = "batch_sampler"
    options: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    def objective_for(self, model: Any = None) -> Objective:
        """Return the objective for a model; None means one of static embeddings."""
        return self.objective if isinstance(self.objective, Objective) else self.objective(model)

    def loss(self, model: Any, **options: Any) -> GradedLoss:
        """Build the loss for a model: a `RankingLoss`, or a `CrossEncoderRankingLoss`, with their ``options``."""
        return self._build(CrossEncoderRankingLoss if scores_pairs(model) else RankingLoss, model, options)

    def cached_loss(self, model: Any, **options: Any) -> GradedLoss:
        """Build the loss for batches of any size: the cached form of `loss`, with its ``options``."""
        return self._build(CachedCrossEncoderRankingLoss if scores_pairs(model) else CachedRankingLoss, model, options)

    def __call__(self, given: Any, /, **settings: Any) -> NoReturn:
        """Raise TypeError, because trainers call what they take for a loss or a batch sampler."""
        raise TypeError(
            "a recipe is neither a loss nor a batch sampler: pass recipe.loss(model) as the loss, and "
            "recipe.batch_sampler as batch_sampler of the training arguments."
        )

    def _build(self, kind: Callable[..., GradedLoss], model: Any, options: Mapping[str, Any]) -> GradedLoss:
        if scores_pairs(model) and self.options:
            names = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
            raise ValueError(f"a CrossEncoder cannot be trained by this recipe, which sets {names}: choose another.")
        options = {"objective": self.objective_for(model), "relevance": self.relevance, **self.options, **options}
        return kind(model, **options)
