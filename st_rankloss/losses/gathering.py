"""Gather the batches of all processes into one.

Every process gets the embeddings and labels of the whole batch, in the order in which a single process would hold them,
and ranks its own queries. Shapes are exchanged over gloo on the host, so that no device waits for them; missing rows
and columns are padded for the exchange.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from st_rankloss._host import all_gather, all_gather_with_grad
from st_rankloss.losses.tokens import widen

_LONGEST = 64
"""Length of the message that describes a process's batch; it limits the number of columns and labels."""

_OF_DOCUMENTS = ("document_ids", "document_weights")
"""Labels with one row per document instead of one per row."""


@dataclass(frozen=True)
class Shares:
    """The number of rows of each input column in each process."""

    rows: list[list[int]]
    """By process and column."""
    rank: int = 0

    @property
    def sizes(self) -> list[int]:
        """Total rows of each column over all processes."""
        return [sum(column) for column in zip(*self.rows, strict=True)]

    def first(self, column: int) -> int:
        """Return the index of this process's first row among all rows of a column."""
        return sum(rows[column] for rows in self.rows[: self.rank])

    def gather(self, embeddings: Sequence[Tensor]) -> list[Tensor]:
        """Gather each column's embeddings with gradient: ``(rows, ...)`` to ``(all rows, ...)``."""
        if len(self.rows) == 1:
            return list(embeddings)
        if embeddings[0].dim() == 3:
            most = largest([column.shape[1] for column in embeddings], embeddings[0].device)
            embeddings = [widen(column, tokens) for column, tokens in zip(embeddings, most, strict=True)]
        return [_gather(e, [rows[c] for rows in self.rows], with_grad=True) for c, e in enumerate(embeddings)]

    def sum(self, numbers: Tensor) -> Tensor:
        """Add up a tensor over the processes, without gradient."""
        if len(self.rows) > 1:
            numbers = numbers.clone()
            dist.all_reduce(numbers)
        return numbers


def several_processes() -> bool:
    """Return whether there are other processes to gather from."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def largest(numbers: Sequence[int], device: torch.device) -> list[int]:
    """Return the maximum of each number over all processes.

    Args:
        numbers: The same count in every process.
        device: Where the model is.

    Returns:
        One maximum per number.
    """
    group, where = _host_group(device.type)
    most = torch.tensor(numbers, device=where)
    dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
    found: list[int] = most.tolist()
    return found


def gather_objects(own: Any, device: torch.device) -> list[Any]:
    """Return an object of every process, such as its raw texts, by rank.

    Args:
        own: This process's object.
        device: Where the model is.

    Returns:
        The objects.
    """
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own, group=_host_group(device.type)[0])
    return found


def gather_batch(batch: Mapping[str, Any], sizes: Sequence[int], device: torch.device) -> tuple[dict[str, Any], Shares]:
    """Gather the labels of all processes' batches.

    Args:
        batch: The labels of this process's batch by name, and their kind, see `RankingCollator`.
        sizes: Rows of each of its input columns.
        device: Where the model is.

    Returns:
        The labels of the whole batch, and each process's share of the rows.

    Raises:
        ValueError: If the batches of the processes have different columns or kinds of labels.
    """
    kind = {name: value for name, value in batch.items() if name == "kind"}
    batch = {name: tensor.to(device) for name, tensor in batch.items() if name not in kind}
    pieces = [(name, piece) for name in sorted(batch) for piece in _by_column(name, batch[name], sizes)]
    messages = _exchange(_describe(sizes, pieces, kind), device)
    shares = Shares([message[: len(sizes)] for message in messages], dist.get_rank())

    def extents(place: int) -> tuple[list[int], int]:
        at = len(sizes) + 2 * place
        return [message[at] for message in messages], max(message[at + 1] for message in messages)

    if "label_codes" in batch:
        place = [name for name, _ in pieces].index("label_codes")
        everyone = _gather(batch.pop("label_codes"), extents(place)[0])
        hot = _rename_columns(batch["label"], pieces[place][1], everyone)
        pieces = [(name, hot if name == "label" else piece) for name, piece in pieces]

    gathered: dict[str, list[Tensor]] = {}
    for place, (name, piece) in enumerate(pieces):
        if name in batch:
            rows, width = extents(place)
            gathered.setdefault(name, []).append(_gather(_widen(piece, width), rows))
    whole = {name: torch.cat(parts) for name, parts in gathered.items()}
    if "sample" in whole:  # each process numbers the rows of its own batch
        rank = torch.arange(len(shares.rows)).repeat_interleave(torch.tensor([rows[0] for rows in shares.rows]))
        whole["sample"] = whole["sample"] + shares.sizes[0] * rank.to(device, non_blocking=True)
    return whole | kind, shares


def _by_column(name: str, tensor: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """Split what each document has by column if there are several, so that each column's rows stay together."""
    return tensor.split(list(sizes[1:])) if name in _OF_DOCUMENTS and len(sizes) > 2 else [tensor]


def _describe(sizes: Sequence[int], pieces: Sequence[tuple[str, Tensor]], kind: Mapping[str, str]) -> list[int]:
    """Describe a batch: rows of each column, then rows and width of each label, and last a checksum of the rest."""
    kinds = [(name, str(piece.dtype), piece.dim()) for name, piece in pieces]
    numbers = list(sizes)
    for _, piece in pieces:
        numbers += [len(piece), piece.shape[1] if piece.dim() > 1 else 1]
    padding = [0] * (_LONGEST - 1 - len(numbers))
    return [*numbers, *padding, zlib.crc32(repr((len(sizes), kinds, kind)).encode())]


def _exchange(message: list[int], device: torch.device) -> list[list[int]]:
    """Send a message to all processes and return theirs."""
    if len(message) > _LONGEST:
        raise ValueError(f"gather_across_devices=True takes at most {_LONGEST // 2} columns and labels in a batch.")
    group, where = _host_group(device.type)
    own = torch.tensor(message, device=where)
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own, group=group)
    messages = [theirs.tolist() for theirs in everyone]
    if any(theirs[-1] != message[-1] for theirs in messages):
        raise ValueError(
            "gather_across_devices=True needs batches of the same columns and kinds of labels in all processes, "
            "got different ones: with several datasets, processes may have drawn from different ones."
        )
    return messages


@functools.lru_cache(maxsize=1)
def _host_group(device: str) -> tuple[dist.ProcessGroup | None, str]:
    """Return the process group for messages on the host, created at first use, and the device of its tensors."""
    if device == "cpu":
        return None, "cpu"
    if dist.is_gloo_available():
        return dist.new_group(backend="gloo"), "cpu"
    return None, device  # the host then waits for the device


def _widen(tensor: Tensor, width: int) -> Tensor:
    """Pad the columns of a label matrix with the empty value of its type: NaN, -1 or False."""
    if tensor.dim() < 2 or tensor.shape[1] >= width:
        return tensor
    nothing = float("nan") if tensor.is_floating_point() else False if tensor.dtype == torch.bool else -1
    wide = tensor.new_full((len(tensor), width, *tensor.shape[2:]), nothing)
    wide[:, : tensor.shape[1]] = tensor
    return wide


def _gather(tensor: Tensor, rows: Sequence[int], *, with_grad: bool = False) -> Tensor:
    """Concatenate the tensors of all processes, with ``rows[rank]`` rows each."""
    most = max(rows)
    if len(tensor) < most:
        tensor = F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, most - len(tensor)])
    whole: Tensor = (all_gather_with_grad if with_grad else all_gather)(tensor.contiguous())
    if min(rows) == most:
        return whole
    return torch.cat([theirs[:n] for theirs, n in zip(whole.split(most), rows, strict=True)])


def _rename_columns(hot: Tensor, codes: Tensor, everyone: Tensor) -> Tensor:
    """Move the columns of a multi-hot matrix from ``codes`` to their first place in ``everyone``."""
    same = everyone[:, None] == everyone
    first = ~same.tril(-1).any(1)
    place = (codes[:, None] == everyone) & first
    return hot @ place.to(hot.dtype)
