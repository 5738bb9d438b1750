"""Losses for cross-encoders over each process's share of a batch, against the whole batch's; `worker.py` runs it."""

from __future__ import annotations

import functools
from unittest import mock

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from st_rankloss import CachedCrossEncoderRankingLoss, CrossEncoderRankingLoss, SoftmaxCrossEntropy
from st_rankloss.objectives import AcrossQueries, RankNet, SoftSpearman
from tests.distributed.gathered import FIRST_SHARE, share_of, total, weighted
from tests.models import SHAPES, PairTable, texts_of

MIXTURE = RankNet(1.0) + 0.2 * SoftmaxCrossEntropy(1.0)
LOSSES = {
    "plain": lambda **options: CrossEncoderRankingLoss(PairTable(), objective=MIXTURE, **options),
    "cached": lambda **options: CachedCrossEncoderRankingLoss(
        PairTable(), objective=MIXTURE, mini_batch_size=4, **options
    ),
    "counting_all": lambda **options: CrossEncoderRankingLoss(
        PairTable(), objective=MIXTURE, no_relevant="zero", mini_batch_size=5, **options
    ),
    "whole_batch": lambda **options: CrossEncoderRankingLoss(
        PairTable(), objective=AcrossQueries(SoftSpearman(1.0)) + RankNet(1.0), **options
    ),
    "cached_whole_batch": lambda **options: CachedCrossEncoderRankingLoss(
        PairTable(), objective=AcrossQueries(SoftSpearman(1.0)), mini_batch_size=4, **options
    ),
}
COMPARED = ("columns_of_documents", "ragged_lists", "ragged_lists_of_judged_documents", "judgements")
"""Shapes whose rows have several documents of their own to compare."""

CASES = {
    f"{shape.name}/{name}/{negatives}": (shape, make, negatives)
    for shape in SHAPES
    for name, make in LOSSES.items()
    for negatives in ((None, 3, 0) if shape.name in COMPARED else (None, 3))
}


def deviations(shape, make, negatives, rank):
    """Largest deviations of this process's loss, averaged over processes, and of the gradient from the whole's."""
    rows = slice(0, FIRST_SHARE) if rank == 0 else slice(FIRST_SHARE, None)
    columns = texts_of(shape)
    batches = [(columns, shape.labels), ([column[rows] for column in columns], share_of(shape, rank)[1])]
    found = []
    for (texts, labels), gather in zip(batches, (False, True), strict=True):
        torch.manual_seed(2)  # the same draws in all processes
        loss = make(relevance=shape.relevance, num_negatives=negatives, gather_across_devices=gather)
        loss.model.table.grad = None
        value = total(loss(texts, labels))
        value.backward()
        found.append(torch.cat([value.detach()[None], loss.model.table.grad.flatten()]))
    whole, mean = found
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    scale = whole[1:].abs().max()
    return {
        "value": (mean - whole)[0].abs().item(),
        "gradient": ((mean - whole)[1:].abs().max() / scale).item(),
        "largest": scale.item(),
    }


def deviations_in_step(rank):
    """As `deviations`, where processes must score the same number of mini-batches, as shards of a model must."""
    found = {}
    shape = next(shape for shape in SHAPES if shape.name == "ragged_lists")
    with mock.patch("st_rankloss.losses.cross_encoder.embeds_in_step", return_value=True):
        for name, make in {"plain": CrossEncoderRankingLoss, "cached": CachedCrossEncoderRankingLoss}.items():
            model = PairTable()
            make = functools.partial(make, model, objective=MIXTURE, mini_batch_size=2)
            case = deviations(shape, make, 0, rank)
            passes = torch.tensor([len(model.seen)])
            everyone = [torch.zeros_like(passes) for _ in range(dist.get_world_size())]
            dist.all_gather(everyone, passes)
            found[f"in_step/{name}"] = case | {"passes": [int(count) for count in everyone]}
    return found


class Distributed(DistributedDataParallel):
    """Sends a buffer in each pass, so that processes wait for one another; has what is asked of the model inside."""

    def __init__(self):
        inner = PairTable()
        inner.register_buffer("sent", torch.zeros(1))
        super().__init__(inner)

    preprocess = property(lambda self: self.module.preprocess)
    table = property(lambda self: self.module.table)


def deviations_of_ddp(rank):
    """As `deviations`, where one process makes more mini-batches of its pairs than the other."""
    shape = next(shape for shape in SHAPES if shape.name == "ragged_lists")
    losses = {"plain": CrossEncoderRankingLoss, "cached": CachedCrossEncoderRankingLoss}
    found = {}
    for name, make in losses.items():
        model = Distributed()
        make = functools.partial(make, model, objective=MIXTURE, mini_batch_size=2)
        found[f"ddp/{name}"] = deviations(shape, make, 0, rank)
    return found


def all_deviations():
    """Return the deviations of this process by case."""
    rank = dist.get_rank()
    found = {name: deviations(*case, rank) for name, case in CASES.items()} | deviations_in_step(rank)
    found |= deviations_of_ddp(rank)
    for shape in SHAPES:
        for name in ("plain", "counting_all", "whole_batch"):
            found[f"{shape.name}/{name}/weighted"] = deviations(weighted(shape), LOSSES[name], None, rank)
    return found
