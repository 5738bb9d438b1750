"""Token embeddings of a column as one tensor, mask included, so that columns are padded, gathered and cached as usual.

The last coordinate is 1 for tokens that count and 0 for others, so that padding with zeros adds tokens that do not
count. Those that do not count are zeros, because some models leave NaN there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def pack_tokens(vectors: Tensor, mask: Tensor) -> Tensor:
    """Join token embeddings and their mask.

    Args:
        vectors: Shape ``(rows, tokens, dimensions)``.
        mask: Which tokens count, ``(rows, tokens)``: bool, or 1 and 0.

    Returns:
        Shape ``(rows, tokens, dimensions + 1)``.

    Example:
        >>> pack_tokens(torch.full((1, 2, 2), 0.5), torch.tensor([[True, False]]))
        tensor([[[0.5000, 0.5000, 1.0000],
                 [0.0000, 0.0000, 0.0000]]])
    """
    counts = mask[..., None].bool()
    return torch.cat([vectors.masked_fill(~counts, 0), counts.to(vectors.dtype)], -1)


def unpack_tokens(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the token embeddings, ``(rows, tokens, dimensions)``, and the mask, ``(rows, tokens)`` bool."""
    return packed[..., :-1], packed[..., -1] > 0


def widen(packed: Tensor, tokens: int) -> Tensor:
    """Pad to a number of tokens with tokens that do not count."""
    return F.pad(packed, (0, 0, 0, tokens - packed.shape[1]))


def concatenate(columns: Sequence[Tensor]) -> Tensor:
    """Concatenate embeddings, one vector per row or packed tokens, row after row."""
    if columns[0].dim() == 3:
        most = max(column.shape[1] for column in columns)
        columns = [widen(column, most) for column in columns]
    return torch.cat(list(columns))
