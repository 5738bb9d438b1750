"""What every objective promises: one table drives all tests, in which a new objective is by itself."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pickle
from typing import NamedTuple

import pytest
import torch

from st_rankloss import functional as F
from st_rankloss import objectives as o
from st_rankloss.losses.blocks import sum_over_blocks
from st_rankloss.objectives import Configured, Mixture, Objective
from tests.objectives.toy import train

NAN = math.nan


def soft(metric, **settings):
    """An exact metric: a soft one at a temperature of nearly 0."""
    return lambda s, y: metric(s, y, temperature=1e-6, method="dense", **settings)


NDCG = F.ndcg
AP, SPEARMAN, MRR, KENDALL = soft(F.smooth_ap), soft(F.soft_spearman), soft(F.approx_mrr), soft(F.soft_kendall)


def auc(similarity, relevance):
    """The share of pairs (relevant, irrelevant) in order: Kendall's of two grades."""
    return (1 + KENDALL(similarity, (relevance > 0).double().masked_fill(relevance.isnan(), NAN))) / 2


def auc_of_all(similarity, relevance):
    return auc(similarity.reshape(1, -1), relevance.reshape(1, -1))


def recall(similarity, relevance):
    return F.approx_recall(similarity, relevance, k=5, temperature=1e-6, cutoff_temperature=1e-3, method="dense")


def pearson(similarity, relevance):
    return F.pearson(similarity, relevance)


def between_thresholds(similarity, relevance):
    """Minus the distance to the right side of the thresholds."""
    return -F.threshold_margin(similarity.reshape(1, -1), relevance.reshape(1, -1))


class Case(NamedTuple):
    """An objective, the labels it is for, and the metric it is to raise."""

    objective: Objective
    labels: str
    metric: object
    moves_with_a_constant: bool = False
    draws: bool = False
    unbounded_by_order: str = ""
    """Why a perfect order need not be a minimum, if so."""


SPECIAL = [
    Case(o.ApproxNDCG(), "grades", NDCG),
    Case(o.ApproxNDCG("auto", gain="exponential"), "grades", NDCG),
    Case(o.ApproxNDCG(k=10), "grades", NDCG),
    Case(o.SoftSpearman(), "continuous", SPEARMAN),
    Case(o.SoftSpearman("auto"), "grades", SPEARMAN),
    Case(o.SoftKendall(), "grades", KENDALL),
    Case(o.Pearson(), "continuous", pearson),
    Case(o.ApproxRankMSE(), "grades", SPEARMAN),
    Case(o.HierarchicalAP(), "grades", soft(F.hierarchical_ap)),
    Case(o.ApproxMRR(), "binary", MRR),
    Case(o.ApproxRecall(k=5), "binary", recall),
    Case(o.NeuralNDCG(iterations=5), "grades", NDCG),
    Case(o.SoftmaxCrossEntropy(), "grades", NDCG),
    Case(o.SoftmaxCrossEntropy("auto", gain="exponential", poly=1.0), "grades", NDCG),
    Case(o.SupCon(0.1), "binary", AP),
    Case(o.InfoNCE(0.1), "binary", AP),
    Case(o.DCL(0.1), "binary", AP),
    Case(o.DCLW(), "binary", AP, moves_with_a_constant=True),
    Case(o.CWCL(), "own", None),
    Case(o.ListNet(0.1, 0.1), "continuous", SPEARMAN),
    Case(o.ListNet(0.1), "continuous", SPEARMAN),
    Case(o.ListNet(0.1, 0.2, symmetric=True), "continuous", SPEARMAN),
    Case(o.ApproxRecall(k=(3, 5)), "binary", recall),
    Case(o.RankKL(0.1), "continuous", SPEARMAN),
    Case(o.PlackettLuce(0.1), "grades", NDCG),
    Case(o.PlackettLuce(0.1, positions="ndcg"), "grades", NDCG),
    Case(o.PlackettLuce(0.1, positions="confidence"), "grades", NDCG),
    Case(
        o.PRO(0.1),
        "continuous",
        SPEARMAN,
        moves_with_a_constant=True,
        unbounded_by_order="similarities differ in factor",
    ),
    Case(o.RankNContrast(), "continuous", SPEARMAN),
    Case(o.RegressionCompatible(), "binary", AP, moves_with_a_constant=True),
    Case(o.SoftmaxAtK(temperature=0.1), "binary", NDCG, unbounded_by_order="weights rise as documents do"),
    Case(o.PolicyGradient(0.1), "grades", NDCG, draws=True),
    Case(o.RankNet(), "grades", KENDALL),
    Case(o.MannWhitney(), "binary", auc),
    Case(o.RankList(), "grades", KENDALL),
    Case(o.CoSENT(), "grades", KENDALL),
    Case(o.MarginMSE(), "binary", pearson),
    Case(o.TripletAlignment(0.05, margin=0.2), "binary", AP),
    Case(o.MultiSimilarity(), "binary", AP, moves_with_a_constant=True),
    Case(o.Circle(), "binary", AP, moves_with_a_constant=True),
    Case(o.Quadruplet(), "binary", AP),
    Case(o.PartialRanking(positive=2.0), "grades", NDCG),
    Case(o.Margin(o.SupCon(0.1)), "binary", AP),
    Case(o.ThresholdMargin(), "binary", between_thresholds, moves_with_a_constant=True),
    Case(o.Perturbed(o.ApproxNDCG(), samples=2), "grades", NDCG, draws=True),
    Case(o.Focal(o.SoftmaxCrossEntropy(0.1)), "grades", NDCG),
    Case(
        o.FalseNegatives(o.SoftmaxCrossEntropy(0.1)),
        "grades",
        NDCG,
        unbounded_by_order="it forgives the worst mistakes",
    ),
    Case(o.ApproxNDCG() + 0.2 * o.SoftmaxCrossEntropy(0.1), "grades", NDCG),
    Case(o.OverPairs(o.CoSENT()), "grades", KENDALL),
    Case(o.AcrossQueries(o.MannWhitney()), "binary", auc_of_all),
    Case(o.AcrossQueries(o.ThresholdMargin()), "binary", between_thresholds, moves_with_a_constant=True),
    Case(o.Wasserstein(0.1, 0.1), "binary", AP),
    Case(o.SharedNegatives(0.1, whisker=100.0), "binary", AP),
    Case(o.ContextualSimilarity(), "binary", AP, moves_with_a_constant=True),
    Case(o.SetInformation(), "binary", AP, moves_with_a_constant=True),
    Case(o.SetInformation("graph_cut"), "binary", AP),
    Case(o.SetInformation("log_det", regularisation=0.1), "binary", AP, moves_with_a_constant=True),
    Case(o.MVInfoNCE(), "views", MRR),
    Case(o.MVDHEL(), "views", MRR, moves_with_a_constant=True),
]
PLAIN = {"binary": ("binary", AP), "graded": ("grades", NDCG)}
"""The labels and the metric of an objective without a case of its own, by the labels that its function declares."""

TABLE = SPECIAL + [
    Case(kind(), *PLAIN[kind.function.declaration.labels])
    for name in o.__all__
    if hasattr(kind := getattr(o, name), "function") and kind not in {type(case.objective) for case in SPECIAL}
]
SQUARE = (o.ContextualSimilarity, o.SetInformation, o.MVInfoNCE, o.MVDHEL)


def by_list(case):
    return case.objective.separable


def name_of(case):
    return repr(case.objective)[:60]


def cases(*conditions):
    chosen = [case for case in TABLE if all(condition(case) for condition in conditions)]
    return pytest.mark.parametrize("case", chosen, ids=name_of)


def certain(case):
    return not case.draws


def of_lists(case):
    return case.objective.separable and not case.draws


every_case = cases()


def lists(labels: str, queries: int = 4, size: int = 12, seed: int = 0):
    """Similarities and relevance, some unjudged, float64; the first two documents are relevant and not."""
    generator = torch.Generator().manual_seed(seed)
    similarity = 1.6 * torch.rand(queries, size, generator=generator, dtype=torch.float64) - 0.8
    draws = torch.rand(queries, size, generator=generator, dtype=torch.float64)
    relevance = {
        "binary": (draws < 0.4).double(),
        "grades": (3 * draws).floor(),
        "continuous": draws,
        "views": (draws < 0.2).double(),
    }[labels]
    relevance[:, 0], relevance[:, 1] = 1, 0
    relevance[:, 2:][torch.rand(queries, size - 2, generator=generator) < 0.2] = NAN
    return similarity, relevance


def batch(case, seed: int = 0):
    """What the objective takes: lists, or a square batch of samples in three classes."""
    if case.labels == "own":
        similarity, relevance = lists("continuous", 12, 12, seed)
        return similarity, relevance.fill_diagonal_(1)
    if not isinstance(case.objective, SQUARE) and not isinstance(case.objective, o.OverPairs):
        return lists(case.labels, seed=seed)
    similarity = lists("binary", 12, 12, seed)[0]
    similarity = (similarity + similarity.T) / 2
    member = torch.arange(12) % 3
    relevance = (member[:, None] == member).double()
    if isinstance(case.objective, o.OverPairs):
        return similarity, torch.diag(torch.arange(12) % 4).double()
    return similarity.fill_diagonal_(1), relevance.fill_diagonal_(NAN)


def value_and_gradient(objective, similarity, relevance):
    similarity = similarity.detach().clone().requires_grad_()
    value = objective(similarity, relevance)
    return value.detach(), torch.autograd.grad(value.sum(), similarity)[0]


def test_the_table_has_every_objective():
    def within(objective):
        if isinstance(objective, Mixture):
            return {Mixture}.union(*(within(term) for _, term in objective.terms))
        inner = getattr(objective, "objective", None)
        return {type(objective)} | (within(inner) if inner is not None else set())

    tested = set().union(*(within(case.objective) for case in TABLE))
    exported = {getattr(o, name) for name in o.__all__ if isinstance(getattr(o, name), type)}
    assert exported - tested == {Objective, Configured, o.CustomObjective}


def test_the_docstring_has_every_objective():
    for name in o.__all__:
        kind = getattr(o, name)
        if isinstance(kind, type) and kind not in (Objective, Configured, Mixture, o.CustomObjective):
            assert f"`{name}`" in o.__doc__, f"{name} is not in the table"


@every_case
def test_it_is_frozen_has_a_repr_and_settings_that_go_to_json(case):
    objective = case.objective
    assert eval(repr(objective), vars(o)) == objective if not isinstance(objective, Mixture) else True
    assert json.loads(json.dumps(objective.config())) is not None
    assert pickle.loads(pickle.dumps(objective)) == objective
    with pytest.raises(AttributeError):
        objective.temperature = 1.0
    if isinstance(objective, Configured):
        assert hash(objective) == hash(type(objective)(**objective.config()))


@cases(of_lists)
def test_masked_is_removed(case):
    for seed in range(3):
        similarity, relevance = lists(case.labels, queries=1, seed=seed)
        kept = ~relevance[0].isnan()
        whole = value_and_gradient(case.objective, similarity, relevance)
        part = value_and_gradient(case.objective, similarity[:, kept], relevance[:, kept])
        torch.testing.assert_close(whole[0], part[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(whole[1][:, kept], part[1], rtol=1e-8, atol=1e-10)
        assert whole[1][:, ~kept].eq(0).all()
        assert part[1].abs().max() > 1e-6, "nothing to compare"


@cases(of_lists)
def test_what_is_unjudged_may_be_anything(case):
    similarity, relevance = lists(case.labels)
    wanted = value_and_gradient(case.objective, similarity, relevance)
    for anything in (NAN, math.inf, -1e30):
        similarity[relevance.isnan()] = anything
        torch.testing.assert_close(value_and_gradient(case.objective, similarity, relevance), wanted)


@cases(certain)
def test_permuting_documents_permutes_nothing(case):
    torch.manual_seed(0)
    similarity, relevance = batch(case)
    order = torch.randperm(similarity.shape[1])
    rows = order if len(similarity) == len(order) else torch.arange(len(similarity))
    if isinstance(case.objective, o.MVDHEL):  # whose views are told by their order
        order = rows = torch.tensor([1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11, 9])
    value, gradient = value_and_gradient(case.objective, similarity, relevance)
    permuted = value_and_gradient(case.objective, similarity[rows][:, order], relevance[rows][:, order])
    torch.testing.assert_close(permuted[0], value[rows], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(permuted[1], gradient[rows][:, order], rtol=1e-6, atol=1e-8)


@cases(certain)
def test_one_loss_is_declared(case):
    similarity, relevance = batch(case)
    losses = case.objective(similarity, relevance)[case.objective.defined(relevance)]
    assert len(losses) > 1
    assert bool((losses - losses[0]).abs().max() < 1e-12) is case.objective.one_loss


@cases(certain)
def test_a_constant_changes_nothing_unless_there_are_thresholds(case):
    similarity, relevance = batch(case)
    value, gradient = value_and_gradient(case.objective, similarity, relevance)
    moved, moved_gradient = value_and_gradient(case.objective, similarity + 0.1, relevance)
    if case.moves_with_a_constant:
        assert (moved - value).abs().max() > 1e-6
    else:
        torch.testing.assert_close(moved, value, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(moved_gradient, gradient, rtol=1e-5, atol=1e-8)


EXTREMES = {
    "none_relevant": lambda s, y: (s, torch.zeros_like(y)),
    "all_relevant": lambda s, y: (s, torch.ones_like(y)),
    "all_unjudged": lambda s, y: (s, torch.full_like(y, NAN)),
    "all_tied": lambda s, y: (torch.full_like(s, 0.5), y),
    "one_document": lambda s, y: (s[:1, :1], torch.ones_like(y[:1, :1])),
    "one_irrelevant_document": lambda s, y: (s[:1, :1], torch.zeros_like(y[:1, :1])),
    "huge_grades": lambda s, y: (s, 100 * y),
    "far_apart": lambda s, y: (100 * s, y),
    "no_document": lambda s, y: (s[:, :0], y[:, :0]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("case", "extreme"),
    [
        (case, extreme)
        for case, extreme in itertools.product(TABLE, EXTREMES)
        if (case.objective.separable or extreme != "no_document")
        and not (isinstance(case.objective, SQUARE) and extreme == "all_unjudged")
    ],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_no_extreme_gives_nan(case, extreme, dtype):
    objective = case.objective
    similarity, relevance = EXTREMES[extreme](*batch(case))
    if isinstance(objective, o.RegressionCompatible):
        relevance = relevance.clamp_max(1)
    value, gradient = value_and_gradient(objective, similarity.to(dtype), relevance.float())
    defined = objective.defined(relevance.float())
    assert value.shape == defined.shape == similarity.shape[:1]
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert value[~defined].eq(0).all()
    if objective.separable:
        assert gradient[~defined].eq(0).all()


@pytest.mark.parametrize("temperature", [1e-5, 1e-3, 10.0, 1e4])
@cases(lambda case: isinstance(case.objective, Configured) and hasattr(case.objective, "temperature"))
def test_no_temperature_gives_nan(case, temperature):
    objective = dataclasses.replace(case.objective, temperature=temperature)
    for dtype in (torch.float64, torch.float32):
        similarity, relevance = (x.to(dtype) for x in batch(case))
        value, gradient = value_and_gradient(objective, similarity, relevance)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@cases(certain)
def test_half_precision_is_computed_in_float32(case, dtype):
    similarity, relevance = (x.float() for x in batch(case))
    similarity = similarity.to(dtype)
    value = case.objective(similarity, relevance)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, case.objective(similarity.float(), relevance))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(case.objective(similarity.float(), relevance), value)


@cases(certain)
def test_a_label_never_gets_a_gradient(case):
    similarity, relevance = batch(case)
    relevance.requires_grad_()
    similarity.requires_grad_()
    value = case.objective(similarity, relevance).sum()
    assert torch.autograd.grad(value, relevance, allow_unused=True)[0] is None


@cases(of_lists)
def test_gradients_are_those_of_autograd_by_blocks_of_any_size(case):
    torch.manual_seed(0)
    relevance = lists(case.labels, 7, 12)[1]
    queries = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    documents = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for block_size in (1, 3, 7):
        sums = sum_over_blocks(queries, documents, lambda rows: relevance[rows], case.objective, block_size=block_size)
        total = sums.parts.sum()
        results.append((total.detach(), *torch.autograd.grad(total, (queries, documents))))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-9, atol=1e-10)
    similarity = torch.nn.functional.normalize(queries, dim=1) @ torch.nn.functional.normalize(documents, dim=1).T
    direct = case.objective(similarity, relevance).sum()
    torch.testing.assert_close(direct, results[0][0])
    for ours, theirs in zip(results[0][1:], torch.autograd.grad(direct, (queries, documents)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


@cases(lambda case: not case.objective.separable)
def test_what_reads_the_whole_batch_gets_it_whatever_the_block_size(case):
    seen = []

    class Watched(Objective):
        separable = False

        def __call__(self, similarity, relevance):
            seen.append(tuple(similarity.shape))
            return case.objective(similarity, relevance)

        def defined(self, relevance):
            return case.objective.defined(relevance)

    _, relevance = batch(case)
    queries = torch.randn(len(relevance), 5, dtype=torch.float64, requires_grad=True)
    documents = queries if relevance.shape[0] == relevance.shape[1] else torch.randn(relevance.shape[1], 5).double()
    sum_over_blocks(queries, documents, lambda rows: relevance[rows], Watched(), block_size=2)
    assert seen == [tuple(relevance.shape)]


@cases(of_lists, lambda case: not case.unbounded_by_order)
def test_no_order_is_better_than_the_perfect_one(case):
    """Of the same similarities, none given to other documents makes the loss smaller."""
    torch.manual_seed(0)
    for seed in range(5):
        _, relevance = lists(case.labels, queries=1, seed=seed)
        relevance = relevance[:, ~relevance[0].isnan()]
        values = (1.6 * torch.rand(relevance.shape[1], dtype=torch.float64) - 0.8).sort().values
        perfect = torch.empty_like(values)
        perfect[relevance[0].argsort()] = values
        best = case.objective(perfect[None], relevance)
        others = torch.stack([values[torch.randperm(len(values))] for _ in range(200)])
        losses = case.objective(others, relevance.expand(200, -1))
        assert losses.min() >= best - 1e-9
        assert losses.max() > best + 1e-4, "the line above would prove nothing"


@cases(lambda case: not isinstance(case.objective, o.OverPairs | o.CWCL))  # see test_wrappers.py, test_cross_modal.py
def test_it_raises_its_own_metric(case):
    objective, metric = case.objective, case.metric
    before, after = train(objective, case.labels, metric)
    assert after > before + 0.1 * (metric is not NDCG) * min(1 - before, 0.5), (before, after)
    assert after > before + 0.02, (before, after)


@pytest.mark.gpu
@cases(lambda case: "Wasserstein" not in repr(case.objective))  # whose singular values wait for the device
def test_on_a_gpu_it_is_the_same_and_never_waits(case, cuda):
    similarity, relevance = (x.float() for x in batch(case))
    wanted = value_and_gradient(case.objective, similarity, relevance)
    similarity, relevance = similarity.to(cuda), relevance.to(cuda)
    value_and_gradient(case.objective, similarity, relevance)  # constants are built, and cached, on the first call
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = value_and_gradient(case.objective, similarity, relevance)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if not case.draws:
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-5)
