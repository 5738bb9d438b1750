"""Losses over each process's share of a batch, against the whole batch's; `worker.py` runs it."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
import torch.distributed as dist

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingCollator, RankingLoss, SoftmaxCrossEntropy, ViewsCollator
from st_rankloss.losses import (
    CachedANDCGLoss,
    CachedRankingLoss,
    CrossModalMixup,
    EmbeddingMixup,
    ExtrapolatedPositives,
    HardNegativeMixup,
    PositiveMixup,
    QueryNegativeMixup,
    RankMixup,
)
from st_rankloss.losses.tokens import widen
from st_rankloss.objectives import MVDHEL, AcrossQueries, SoftSpearman
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Views
from tests.models import SHAPES, Passing, PassingTokens, columns_of, random_columns, random_tokens, token_columns_of

FIRST_SHARE = 7
"""Rows of the first process, of twelve: the second has fewer."""


def seeded(mixup):
    """Make a loss whose mixtures of documents are drawn alike in each process."""

    def make(relevance, **options):
        torch.manual_seed(4)
        return ANDCGLoss(Passing(), relevance=relevance, mixup=mixup, **options)

    return make


def drawn_alike(mixing):
    """A strategy with the same draws for all queries."""

    class Alike(type(mixing)):
        def draw(self, queries):
            draws = torch.linspace(0.05, 0.95, self.count * 3, dtype=queries.dtype).reshape(-1, 3)
            return draws.expand(len(queries), *draws.shape)

    return Alike(**vars(mixing))


OWN = [
    drawn_alike(mixing)
    for mixing in (HardNegativeMixup(3), QueryNegativeMixup(3), RankMixup(), PositiveMixup(), ExtrapolatedPositives())
]

LOSSES = {
    "plain": lambda relevance, **options: ANDCGLoss(Passing(), relevance=relevance, **options),
    "mixture": lambda relevance, **options: RankingLoss(
        Passing(), objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy(), relevance=relevance, **options
    ),
    "counting_all": lambda relevance, **options: ANDCGLoss(
        Passing(), relevance=relevance, no_relevant="zero", **options
    ),
    "cached": lambda relevance, **options: CachedANDCGLoss(
        Passing(), relevance=relevance, mini_batch_size=4, **options
    ),
    "cached_mixture": lambda relevance, **options: CachedRankingLoss(
        Passing(),
        objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy(),
        relevance=relevance,
        mini_batch_size=4,
        **options,
    ),
    "whole_batch": lambda relevance, **options: RankingLoss(
        Passing(), objective=AcrossQueries(SoftSpearman()) + ApproxNDCG(), relevance=relevance, **options
    ),
    "cached_whole_batch": lambda relevance, **options: CachedRankingLoss(
        Passing(), objective=AcrossQueries(SoftSpearman()), relevance=relevance, mini_batch_size=4, **options
    ),
    "whole_batch_symmetric": lambda relevance, **options: RankingLoss(
        Passing(), objective=AcrossQueries(SoftSpearman()), relevance=relevance, symmetric=True, **options
    ),
    "symmetric": lambda relevance, **options: ANDCGLoss(
        Passing(), relevance=relevance, symmetric=True, no_relevant="zero", block_size=3, **options
    ),
    "cached_symmetric": lambda relevance, **options: CachedANDCGLoss(
        Passing(), relevance=relevance, symmetric=True, mini_batch_size=5, **options
    ),
    "mixed": seeded(EmbeddingMixup(0.5)),
    "mixed_symmetric": functools.partial(seeded(EmbeddingMixup(0.5)), symmetric=True),
    "own_mixtures": lambda relevance, **options: ANDCGLoss(Passing(), relevance=relevance, mixup=OWN, **options),
    "own_mixtures_symmetric": lambda relevance, **options: CachedANDCGLoss(
        Passing(), relevance=relevance, mixup=OWN, symmetric=True, mini_batch_size=5, block_size=3, **options
    ),
    "mixed_pairs_symmetric": functools.partial(seeded(CrossModalMixup()), symmetric=True),
}


def fits(name, shape):
    """Return whether a loss can read the columns of a shape."""
    lists = isinstance(shape.labels, dict) and "list_sizes" in shape.labels
    return len(shape.sizes) > 1 and not ("pairs" in name and lists) if "symmetric" in name else True


TOKENS = {
    "tokens": lambda relevance, **options: ANDCGLoss(PassingTokens(), relevance=relevance, **options),
    "tokens_cached": lambda relevance, **options: CachedANDCGLoss(
        PassingTokens(), relevance=relevance, mini_batch_size=4, **options
    ),
    "tokens_whole_batch": lambda relevance, **options: RankingLoss(
        PassingTokens(), objective=AcrossQueries(SoftSpearman()) + ApproxNDCG(), relevance=relevance, **options
    ),
    "tokens_symmetric": lambda relevance, **options: ANDCGLoss(
        PassingTokens(), relevance=relevance, symmetric=True, block_size=3, **options
    ),
}
"""Losses over token embeddings, of which each process has another number for a row."""

WEIGHTED = ("plain", "counting_all", "symmetric", "cached_symmetric", "whole_batch")
OF_DOCUMENTS = {"document_ids", "document_weights"}


def share_of(shape, rank):
    """Rows of each column that a process holds, as slices, and its labels as its own collator would make them."""
    rows = slice(0, FIRST_SHARE) if rank == 0 else slice(FIRST_SHARE, None)
    labels = shape.labels
    columns = [rows] * len(shape.sizes)
    if isinstance(labels, dict):
        labels = {name: tensor[rows] for name, tensor in labels.items() if name not in OF_DOCUMENTS}
        if "list_sizes" in labels:
            cut = int(shape.labels["list_sizes"][:FIRST_SHARE].sum())
            columns[1] = slice(0, cut) if rank == 0 else slice(cut, None)
        for name in OF_DOCUMENTS & shape.labels.keys():
            parts = shape.labels[name].split(shape.sizes[1:])
            labels[name] = torch.cat([part[own] for part, own in zip(parts, columns[1:], strict=True)])
        if "list_sizes" in labels and "label" in labels:  # no wider than its own longest list
            labels["label"] = labels["label"][:, : labels["list_sizes"].max()]
    elif labels is not None:
        labels = labels[rows]
    return columns, labels


def weighted(shape):
    """A shape whose rows, queries and documents have weights."""
    labels = shape.labels if isinstance(shape.labels, dict) else {} if shape.labels is None else {"label": shape.labels}
    draw = torch.Generator().manual_seed(6)
    counts = {"row_weights": shape.sizes[0], "query_weights": shape.sizes[0], "document_weights": sum(shape.sizes[1:])}
    weights = {name: torch.rand(n, generator=draw, dtype=torch.float64) for name, n in counts.items() if n}
    return replace(shape, labels=labels | weights)


# Datasets whose label tensors have other columns in each process: other names, deeper paths, longer lists.
SETS = [list(names) for names in ("ab", "b", "", "ca", "bc", "a", "c", "da", "e", "bed", "", "a")]
PATHS = [
    ["x"],
    ["x", "y"],
    [],
    ["z"],
    ["x", "y"],
    ["z"],
    ["x"],
    ["x", "y", "u"],
    ["z", "v"],
    ["x", "y", "u"],
    [],
    ["z"],
]
LENGTHS = [1, 2, 1, 1, 2, 1, 1, 3, 4, 1, 2, 5]
COLLATED = {
    "sets": ([{"label": label} for label in SETS], MultiLabel(), "auto"),
    "paths": ([{"label": label} for label in PATHS], Hierarchy(), "path"),
    "lists": ([{"label": [float(i % 3) for i in range(n)]} for n in LENGTHS], Lists(), "auto"),
    "views": ([{} for _ in LENGTHS], Views(), "views"),
    "labelled_views": ([{"label": i % 3} for i in range(12)], Views(Classes()), "views"),
    "many_views": ([{} for _ in LENGTHS], Views(), "views"),
}


def look_up(numbers, **_):
    """Stand in for a model's preprocessing: the embedding of each number."""
    table = torch.randn(100, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return {"input_ids": table[torch.tensor([int(number) for number in numbers])]}


VIEWS = ViewsCollator(look_up, views=[str, lambda number: str(int(number) + 40)], keep=[1.0, 0.4])


def collated(rows, kind):
    """The columns and the labels that a collator makes of rows."""
    collator = RankingCollator(preprocess_fn=look_up, label_kind=kind) if kind != "views" else VIEWS
    batch = collator([dict(row) for row in rows])
    names = [key for key in batch if key.endswith("_input_ids")]
    return [batch[name].requires_grad_() for name in names], batch["label"]


def deviations_of_collated(rows, relevance, kind, rank, make):
    """As `deviations`, for rows that each process collates by itself."""
    rows = [{"text": str(i), **row} for i, row in enumerate(rows)]
    if isinstance(relevance, Lists):
        rows = [row | {"documents": [str(20 + 6 * i + j) for j in range(LENGTHS[i])]} for i, row in enumerate(rows)]
    share = rows[:FIRST_SHARE] if rank == 0 else rows[FIRST_SHARE:]
    (whole, labels), (own, own_labels) = collated(rows, kind), collated(share, kind)
    starts = [0, 0] if rank == 0 else [FIRST_SHARE, sum(LENGTHS[:FIRST_SHARE])]
    places = [slice(start, start + len(e)) for start, e in zip(starts, own, strict=False)]
    if kind == "views":  # all rows under the first view, then all under the second
        first = torch.arange(starts[0], starts[0] + len(share))
        places = [torch.cat([first, first + len(rows)])]
    return compare(make, relevance, (whole, labels), (own, own_labels), places)


def many_views(relevance, **options):
    """A loss that tells views by their place among those of their sample."""
    return RankingLoss(Passing(), objective=MVDHEL(), relevance=relevance, **options)


def total(loss):
    return loss.total() if hasattr(loss, "total") else loss


def deviations(shape, make, rank):
    """Deviations of the loss of a shape's batch."""
    whole = random_columns(shape.sizes)
    places, labels = share_of(shape, rank)
    own = [e.detach()[rows].clone().requires_grad_() for e, rows in zip(whole, places, strict=True)]
    return compare(make, shape.relevance, (whole, shape.labels), (own, labels), places)


def deviations_of_tokens(shape, make, rank):
    """As `deviations`, for token embeddings that each process pads to a width of its own."""
    whole = random_tokens(shape.sizes)
    places, labels = share_of(shape, rank)
    own = [
        widen(e.detach()[rows], e.shape[1] + (1 + place if rank else 0)).clone().requires_grad_()
        for place, (e, rows) in enumerate(zip(whole, places, strict=True))
    ]
    return compare(make, shape.relevance, (whole, shape.labels), (own, labels), places, token_columns_of)


def compare(make, relevance, whole, own, places, features_of=columns_of):
    """Largest deviations of this process's loss, averaged over processes, and of its gradients from the whole's."""
    expected = total(make(relevance)(features_of(whole[0]), whole[1]))
    expected.backward()
    loss = total(make(relevance, gather_across_devices=True)(features_of(own[0]), own[1]))
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    scale = max(e.grad.abs().max() for e in whole[0])
    gradients = [
        (mine.grad[:, : e.shape[1]] / dist.get_world_size() - e.grad[rows]).abs().max() / scale
        for mine, e, rows in zip(own[0], whole[0], places, strict=True)
    ]
    return {"value": abs(mean - expected).item(), "gradient": max(gradients).item(), "largest": scale.item()}


def all_deviations():
    """Return the deviations of this process by case, and the error of processes with different batches."""
    rank = dist.get_rank()
    found = {}
    for shape in SHAPES:
        for name, make in LOSSES.items():
            if fits(name, shape):
                found[f"{shape.name}/{name}"] = deviations(shape, make, rank)
                if name in WEIGHTED:
                    found[f"{shape.name}/{name}/weighted"] = deviations(weighted(shape), make, rank)
        for name, make in TOKENS.items():
            if fits(name, shape):
                found[f"{shape.name}/{name}"] = deviations_of_tokens(shape, make, rank)
    for name, (rows, relevance, kind) in COLLATED.items():
        make = LOSSES["plain"] if name != "many_views" else many_views
        found[f"collated_{name}"] = deviations_of_collated(rows, relevance, kind, rank, make)
    try:  # a class a row in one process, two in the other
        labels = torch.zeros(4, dtype=torch.long) if rank == 0 else torch.zeros(4, 2, dtype=torch.long)
        ANDCGLoss(Passing(), gather_across_devices=True)(columns_of([torch.randn(4, 3)]), labels)
    except ValueError as error:
        found["refusal"] = str(error)
    return found
