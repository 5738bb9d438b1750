"""Relevance from the label of each sample: classes, paths, label sets, numbers, vectors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.checks import check_choice
from st_rankloss.labels import NO_CODE
from st_rankloss.relevance.base import Batch, Labels, Relevance, label_of, leave_out_unlabelled


def warn_of_unlabelled(unlabelled: Tensor) -> None:
    """Warn if rows have no label (CPU only; Python's default filter shows the warning once)."""
    if unlabelled.device.type == "cpu" and unlabelled.any():
        warnings.warn(
            "Some rows have no label (None, NaN, an empty string, or -1 as a class): they are unjudged, so they "
            "are neither ranked nor used as queries.",
            stacklevel=2,
        )


@dataclass(frozen=True)
class Classes(Relevance):
    """1 between samples of the same class, else 0.

    Labels: integers, shape ``(B,)``; strings through `RankingCollator`. A sample labelled -1 (or None, through
    `RankingCollator`) is unjudged.

    Example:
        >>> Classes()(torch.tensor([3, 5]), torch.tensor([5, 3, 3]))
        tensor([[0.0000, 1.0000, 1.0000],
                [1.0000, 0.0000, 0.0000]])
    """

    reads: ClassVar[tuple[str, ...]] = ("class",)

    def __call__(self, query_labels: Tensor, document_labels: Tensor) -> Tensor:
        """Compare classes: ``(Q,)`` and ``(D,)`` to ``(Q, D)``."""
        same = torch.empty(len(query_labels), len(document_labels), device=query_labels.device, dtype=torch.float32)
        torch.eq(query_labels[:, None], document_labels, out=same)
        return leave_out_unlabelled(same, query_labels == NO_CODE, document_labels == NO_CODE)

    def check(self, label: Tensor) -> None:
        """Raise ValueError unless there is one integer per sample."""
        if label.dim() != 1 or label.is_floating_point():
            raise ValueError(
                f"Classes() reads one integer class for each row, got {label.dtype} of shape {tuple(label.shape)}."
            )
        warn_of_unlabelled(label == NO_CODE)


@dataclass(frozen=True)
class Hierarchy(Relevance):
    """The total weight of the top levels that two samples share.

    Labels: one code per level, coarse to fine, integers of shape ``(B, levels)``; lists of strings through
    `RankingCollator`. A level counts only if all coarser ones match; -1 means "none at this level" and matches nothing.
    A sample with -1 at its coarsest level is unjudged.

    Args:
        weights: Weight of each level, above 0, coarse to fine; None means 1 each.

    Raises:
        ValueError: If a weight is not a finite number above 0.

    Example:
        >>> animals = torch.tensor([[0, 0], [0, 1], [1, 0]])  # mammal/cat, mammal/dog, bird/owl
        >>> Hierarchy()(animals[:1], animals)
        tensor([[2.0000, 1.0000, 0.0000]])
    """

    reads: ClassVar[tuple[str, ...]] = ("path",)
    weights: tuple[float, ...] | None = None

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        if weights is not None:
            if not len(weights) or not all(math.isfinite(w) and w > 0 for w in weights):
                raise ValueError(f"weights must be finite numbers above 0, one per level, got {weights!r}.")
            weights = tuple(weights)
        object.__setattr__(self, "weights", weights)

    def __call__(self, query_labels: Tensor, document_labels: Tensor) -> Tensor:
        """Compare paths: ``(Q, levels)`` and ``(D, levels)`` to ``(Q, D)``."""
        self._check_form(query_labels)
        weights = self.weights or (1.0,) * query_labels.shape[1]
        relevance = torch.zeros(len(query_labels), len(document_labels), device=query_labels.device)
        shared: Tensor | None = None
        for weight, query, document in zip(weights, query_labels.T, document_labels.T, strict=True):
            same = (query[:, None] == document) & (query != NO_CODE)[:, None]
            shared = same if shared is None else shared & same
            relevance.add_(shared, alpha=weight)
        return leave_out_unlabelled(relevance, query_labels[:, 0] == NO_CODE, document_labels[:, 0] == NO_CODE)

    def check(self, label: Tensor) -> None:
        """Raise ValueError unless there is one integer per sample and level."""
        self._check_form(label)
        if label.device.type == "cpu" and ((label[:, :-1] == NO_CODE) & (label[:, 1:] != NO_CODE)).any():
            raise ValueError(f"{self!r} reads paths without gaps, got a level below a missing one (-1).")
        warn_of_unlabelled(label[:, 0] == NO_CODE)

    def _check_form(self, label: Tensor) -> None:
        if label.dim() != 2 or label.is_floating_point() or not label.shape[1]:
            raise ValueError(
                f"{self!r} reads one integer per row and level, shape (rows, levels), "
                f"got {label.dtype} of shape {tuple(label.shape)}."
            )
        if self.weights is not None and len(self.weights) != label.shape[1]:
            raise ValueError(f"{self!r} has {len(self.weights)} weights, but the labels have {label.shape[1]} levels.")


_SETS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "jaccard": lambda both, query, document: both / (query + document - both),
    "cosine": lambda both, query, document: both / (query * document).sqrt(),
    "overlap": lambda both, query, document: both / torch.minimum(query, document),
    "dice": lambda both, query, document: 2 * both / (query + document),
}


class MultiLabel(Relevance):
    """The agreement of two label sets, in [0, 1]; 0 if either is empty.

    With A and B the sets and |·| their total weight: ``"jaccard"`` |A∩B| / |A∪B|, ``"cosine"``
    |A∩B| / √(|A||B|), ``"overlap"`` |A∩B| / min(|A|, |B|), ``"dice"`` 2|A∩B| / (|A| + |B|).

    Labels: multi-hot, shape ``(B, labels)``, 0 or 1, all NaN for an unlabelled row, which is unjudged; lists of strings
    or class ids through `RankingCollator`. Numbers in between are probabilities of membership, and agree by the
    expected sizes of the sets, so that doubtful labels agree less than sure ones, even with themselves.

    Args:
        agreement: One of the names above.
        idf: Weight of each label, at least 0, shape ``(labels,)``, so that sharing a rare label counts more;
            None means 1 each. Weights need `RankingCollator` with all label names, to fix the order of the columns.

    Raises:
        ValueError: If ``agreement`` is unknown or a weight is negative or not finite.

    Example:
        >>> labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1]])
        >>> MultiLabel("jaccard")(labels[:1], labels)
        tensor([[1.0000, 0.5000, 0.0000]])
    """

    reads: ClassVar[tuple[str, ...]] = ("multi_label",)

    def __init__(self, agreement: str = "jaccard", *, idf: Sequence[float] | Tensor | None = None) -> None:
        check_choice(agreement, _SETS, "agreement")
        self.agreement = agreement
        self.idf = None if idf is None else torch.as_tensor(idf, dtype=torch.float32)
        if self.idf is not None and not (self.idf.dim() == 1 and ((self.idf >= 0) & self.idf.isfinite()).all()):
            raise ValueError(f"idf must be a finite weight of at least 0 per label, got {idf!r}.")

    def __call__(self, query_labels: Tensor, document_labels: Tensor) -> Tensor:
        """Compare label sets: ``(Q, labels)`` and ``(D, labels)`` to ``(Q, D)``."""
        self._check_form(query_labels)
        query, document = query_labels.float(), document_labels.float()
        weights = 1 if self.idf is None else self.idf.to(query.device, non_blocking=True)
        weighted = query * weights
        both = weighted @ document.T
        sizes = weighted.sum(1)[:, None], (document * weights).sum(1)
        return torch.where(both > 0, _SETS[self.agreement](both, *sizes), both)  # 0, or NaN if a label is missing

    def check(self, label: Tensor) -> None:
        """Raise ValueError unless the labels are multi-hot, with one column per weight."""
        self._check_form(label)
        if label.device.type == "cpu" and label.dtype != torch.bool:
            wrong = label[(label < 0) | (label > 1)]
            if len(wrong):
                raise ValueError(f"{self!r} reads labels in [0, 1], got {wrong[0].item()!r}.")
            warn_of_unlabelled(label.isnan().any(1))

    def _check_form(self, label: Tensor) -> None:
        if label.dim() != 2:
            raise ValueError(f"{self!r} reads multi-hot labels, shape (rows, labels), got {tuple(label.shape)}.")
        if self.idf is not None and len(self.idf) != label.shape[1]:
            raise ValueError(
                f"{self!r} has {len(self.idf)} weights, but there are {label.shape[1]} labels; sets of names need "
                "RankingCollator(label_names=...), which fixes their order."
            )

    def __repr__(self) -> str:
        idf = "" if self.idf is None else f", idf=<{len(self.idf)} weights>"
        return f"MultiLabel({self.agreement!r}{idf})"


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda distance: torch.exp(-0.5 * distance.square()),
    "laplace": lambda distance: torch.exp(-distance),
    "triangle": lambda distance: (1 - distance).clamp_min(0),
}


@dataclass(frozen=True)
class Numeric(Relevance):
    """The closeness of two numbers, in [0, 1]: a kernel of their distance divided by a bandwidth.

    ``"gaussian"`` exp(-x²/2), ``"laplace"`` exp(-x), ``"triangle"`` max(0, 1 - x), where x is the distance in
    bandwidths, Euclidean over several targets. A wide bandwidth makes every document somewhat relevant and every order
    good; narrow it if the loss starts low.

    Labels: finite numbers, shape ``(B,)``, or ``(B, targets)``; a sample with NaN is unjudged.

    Args:
        kernel: One of the names above.
        bandwidth: Above 0, in units of the labels, one for all targets or one per target; None means a quarter of each
            target's standard deviation over the documents.

    Raises:
        ValueError: If ``kernel`` is unknown or a bandwidth is not a finite number above 0.

    Example:
        >>> Numeric("triangle", bandwidth=2.0)(torch.tensor([1.0]), torch.tensor([1.0, 2.0, 9.0]))
        tensor([[1.0000, 0.5000, 0.0000]])
    """

    reads: ClassVar[tuple[str, ...]] = ("numbers",)
    kernel: str = "gaussian"
    bandwidth: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_choice(self.kernel, _KERNELS, "kernel")
        if self.bandwidth is not None:
            given = [self.bandwidth] if isinstance(self.bandwidth, int | float) else list(self.bandwidth)
            if not given or not all(math.isfinite(b) and b > 0 for b in given):
                raise ValueError(f"bandwidth must be finite and above 0, got {self.bandwidth!r}.")

    def __call__(self, query_labels: Labels, document_labels: Labels) -> Tensor:
        """Compare numbers: ``(Q,)`` and ``(D,)``, or ``(Q, targets)`` and ``(D, targets)``, to ``(Q, D)``."""
        if isinstance(query_labels, dict) and isinstance(document_labels, dict):  # from `pair`
            query, document = query_labels["bandwidths"], document_labels["bandwidths"]
        else:
            query, document = self._in_bandwidths(query_labels, document_labels)
        # Exact distances: matrix products would make unequal numbers equal.
        distance: Tensor = torch.cdist(query, document, compute_mode="donot_use_mm_for_euclid_dist")
        return _KERNELS[self.kernel](distance.float())

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Scale the batch's labels once for all blocks."""
        query, document = self._in_bandwidths(*super().pair(batch, sizes))
        return {"bandwidths": query}, {"bandwidths": document}

    def _in_bandwidths(self, query_labels: Any, document_labels: Any) -> tuple[Tensor, Tensor]:
        work = torch.float32 if document_labels.device.type == "mps" else torch.float64
        query, document = (x.to(work).reshape(len(x), -1) for x in (query_labels, document_labels))
        middle = document.nanmean(dim=0).nan_to_num()
        if self.bandwidth is None:
            width = 0.25 * (document - middle).square().nanmean(dim=0).sqrt()
            width = torch.where(width > 0, width, 1)
        else:
            width = torch.tensor(self.bandwidth, dtype=work).to(query.device, non_blocking=True)
        # Centred and in float64, since one outlier would cost all other numbers their precision.
        return (query - middle) / width, (document - middle) / width

    def check(self, label: Tensor) -> None:
        """Raise ValueError unless there is a finite number or NaN per sample and target."""
        if label.dim() not in (1, 2):
            raise ValueError(f"{self!r} reads shape (rows,) or (rows, targets), got {tuple(label.shape)}.")
        targets = 1 if label.dim() == 1 else label.shape[1]
        if isinstance(self.bandwidth, tuple | list) and len(self.bandwidth) != targets:
            raise ValueError(f"{self!r} has {len(self.bandwidth)} bandwidths, but there are {targets} targets.")
        if label.device.type == "cpu" and label.is_floating_point():
            if label.isinf().any():
                raise ValueError(f"{self!r} reads finite numbers, got {label[label.isinf()][0].item()!r}.")
            warn_of_unlabelled(label.isnan())


@dataclass(frozen=True)
class Vectors(Relevance):
    """The cosine of label vectors or a teacher's embeddings above a threshold, in [0, 1].

    Relevance is max(0, (cos - threshold) / (1 - threshold)) ** power. Raise either if all vectors are somewhat similar,
    which would make every order good. A threshold of -1 is (cos + 1) / 2, the weights of `CWCL`.

    Labels: one vector per row for all its columns, shape ``(B, dimensions)``, or one per input column, ``(B, columns,
    dimensions)``, as `add_embeddings` makes from two or more columns. All NaN means unjudged. With MatryoshkaLoss,
    vectors must come through `RankingCollator`: it would truncate a plain label tensor as wide as the embeddings.

    Args:
        threshold: Largest cosine with relevance 0, in [-1, 1).
        power: Exponent, above 0; above 1 sharpens.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-1.0, 0.0]])
        >>> Vectors()(vectors[:1], vectors)
        tensor([[1.0000, 0.6000, 0.0000]])
    """

    reads: ClassVar[tuple[str, ...]] = ("numbers",)
    threshold: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        if not -1 <= self.threshold < 1:
            raise ValueError(f"threshold must be in [-1, 1), got {self.threshold!r}.")
        if not (math.isfinite(self.power) and self.power > 0):
            raise ValueError(f"power must be a finite number above 0, got {self.power!r}.")

    def __call__(self, query_labels: Tensor, document_labels: Tensor) -> Tensor:
        """Compare vectors: ``(Q, dimensions)`` and ``(D, dimensions)`` to ``(Q, D)``."""
        cosine = F.normalize(query_labels.float(), dim=1) @ F.normalize(document_labels.float(), dim=1).T
        return ((cosine - self.threshold) / (1 - self.threshold)).clamp(0, 1).pow(self.power)

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Give queries and documents their own vectors, or their row's if it has only one."""
        label = label_of(batch, self)
        if label is None or label.dim() < 3:
            return super().pair(batch, sizes)
        self.check(label)
        if any(size != len(label) for size in sizes) or label.shape[1] != len(sizes):
            raise ValueError(
                f"{self!r} reads one vector per input of each column, shape (rows, columns, dimensions), got "
                f"shape {tuple(label.shape)} for columns of {list(sizes)} rows."
            )
        query, *documents = label.unbind(1)
        return query, torch.cat(documents) if documents else query

    def check(self, label: Tensor) -> None:
        """Raise ValueError unless there is a vector per sample, or per input of a sample."""
        if label.dim() not in (2, 3) or not label.is_floating_point():
            raise ValueError(
                f"{self!r} reads floating vectors, shape (rows, dimensions) or (rows, columns, dimensions), got "
                f"{label.dtype} of shape {tuple(label.shape)}."
            )
        warn_of_unlabelled(label.flatten(1).isnan().any(1))
