"""Masks that are true everywhere, which no pass over memory needs to read."""

from __future__ import annotations

import torch
from torch import Tensor


def everywhere(like: Tensor) -> Tensor:
    """Return a mask of the shape of ``like`` that is true everywhere, a view of one value.

    Example:
        >>> mask = everywhere(torch.zeros(2, 3))
        >>> mask.shape, is_everywhere(mask), is_everywhere(mask.clone())
        (torch.Size([2, 3]), True, False)
    """
    return torch.ones((), dtype=torch.bool, device=like.device).expand(like.shape)


def is_everywhere(mask: Tensor) -> bool:
    """Return whether a mask on a CPU is a view of one true value; False means unknown."""
    return mask.device.type == "cpu" and mask.numel() > 0 and not any(mask.stride()) and bool(mask[(0,) * mask.dim()])


def count(mask: Tensor) -> Tensor:
    """Return how often a mask is true in its last dimension: ``(..., D)`` to ``(...)``, int64."""
    if is_everywhere(mask):
        return mask.new_full(mask.shape[:-1], mask.shape[-1], dtype=torch.long)
    return mask.sum(-1)
