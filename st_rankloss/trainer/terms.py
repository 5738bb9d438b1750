"""The terms of losses that a trainer logs, which processes gather one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def with_terms_of_all(own: Mapping[str, Tensor], device: Any) -> dict[str, Tensor]:
    """Return sums of terms, with 0 for those that only other processes have, in the same order in all processes.

    Without them, processes that have drawn from different datasets would gather different tensors, and wait for each
    other forever.

    Args:
        own: Sums by name, as far as this process has computed any.
        device: Where missing ones are made.

    Returns:
        The sums, by name.
    """
    types: list[dict[str, torch.dtype]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(types, {name: tensor.dtype for name, tensor in own.items()})
    known = {name: dtype for each in types for name, dtype in each.items()}
    zeros = {name: torch.zeros((), dtype=known[name], device=device) for name in sorted(known)}
    return {name: own[name].to(known[name]) if name in own else zero for name, zero in zeros.items()}
