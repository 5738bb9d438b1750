"""How losses use a weighting: rows by number, and the weights of their queries and documents."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from st_rankloss._models import embeds_tokens, scores_pairs
from st_rankloss.objectives import Objective
from st_rankloss.weighting import Weighting

ROW_NUMBERS = "row_numbers"
"""The name of the rows' numbers in a batch, see `RankingCollator`."""


def check_weighting(weighting: Any, model: Any, objective: Objective) -> None:
    """Raise TypeError or ValueError for a weighting that cannot learn from a model or an objective."""
    if weighting is None:
        return
    if not isinstance(weighting, Weighting):
        raise TypeError(f"weighting must be a Weighting, such as SelfPaced(), or None, got {weighting!r}.")
    name = type(weighting).__name__
    if weighting.needs_vectors and (embeds_tokens(model) or scores_pairs(model)):
        raise ValueError(f"{name} needs a model of one vector per input, got a {type(model).__name__}.")
    if weighting.learns_from_losses and objective.one_loss:
        raise ValueError(
            f"{name} needs an objective with a loss for each query, got {objective!r}, whose loss is that of the whole "
            "batch."
        )


def check_numbered(rows: Tensor | None, count: int) -> Tensor:
    """Return the numbers of a batch's rows; raise ValueError unless there are ``count``."""
    if rows is None or rows.shape != (count,):
        raise ValueError(
            "a loss with a weighting needs the numbers of its rows in the training data, which this batch lacks: train "
            "with RankingTrainer (for a CrossEncoder CrossEncoderRankingTrainer, and so on)."
        )
    return rows


def weigh_rows(batch: dict[str, Any], weights: Tensor, *, alone: bool, in_lists: bool) -> None:
    """Multiply a batch's weights of rows by those of a weighting, and of documents if they are the rows.

    Args:
        batch: Labels by name; changed in place.
        weights: The weight of each row.
        alone: Whether the batch has one column, so that each row is a document too.
        in_lists: Whether the objective takes weights of documents.

    Example:
        >>> import torch
        >>> batch = {}
        >>> weigh_rows(batch, torch.tensor([1.0, 0.5]), alone=True, in_lists=True)
        >>> batch
        {'row_weights': tensor([1.0000, 0.5000]), 'document_weights': tensor([1.0000, 0.5000])}
    """
    for name in ("row_weights", "document_weights") if alone and in_lists else ("row_weights",):
        batch[name] = weights * batch[name] if name in batch else weights
