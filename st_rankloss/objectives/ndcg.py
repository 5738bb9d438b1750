"""Objectives for NDCG."""

from __future__ import annotations

from st_rankloss.functional.ndcg import approx_ndcg
from st_rankloss.objectives.base import Configured


class ApproxNDCG(Configured):
    """1 - `approx_ndcg`: the A-NDCG objective.

    In a batch, leave out the cutoff ``k``: ranks in a batch are not ranks in a corpus.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7]])
        >>> ApproxNDCG(temperature=0.1)(similarity, torch.tensor([[1.0, 0.0, 0.5]]))
        tensor([0.0504])

    Over every sample of a batch, this is the loss of Gu (2021), arXiv 2103.15093.
    """

    @approx_ndcg.settings
    def __init__(self) -> None: ...
