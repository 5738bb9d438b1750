"""Weights of documents: for every objective, one of weight 2 counts as two copies, and one of weight 0 not at all."""

from __future__ import annotations

import pytest
import torch

from st_rankloss import objectives as o
from st_rankloss.objectives import Configured, CustomObjective
from tests.objectives.test_contracts import NAN, TABLE, batch, certain, lists, name_of, of_lists

WEIGHED = [case for case in TABLE if case.objective.weighs]
every_case = pytest.mark.parametrize("case", WEIGHED, ids=name_of)
without_draws = pytest.mark.parametrize("case", [case for case in WEIGHED if certain(case)], ids=name_of)
whole_lists = pytest.mark.parametrize("case", [case for case in WEIGHED if of_lists(case)], ids=name_of)


def draw(similarity, seed=0, zeros=True):
    """Weights between .2 and 3, some of them 0, but not those of the first two documents."""
    generator = torch.Generator().manual_seed(seed)
    weights = 0.2 + 2.8 * torch.rand(similarity.shape, generator=generator, dtype=similarity.dtype)
    absent = torch.rand(similarity.shape, generator=generator) < 0.2
    absent[:, :2] = not zeros and absent[:, :2]
    if len(similarity) == similarity.shape[1]:
        absent.fill_diagonal_(False)  # pairs, whose list must not lose its grades
    return torch.where(absent & torch.tensor(zeros), 0, weights)


def run(objective, similarity, relevance, weights=None):
    torch.manual_seed(0)
    similarity = similarity.detach().clone().requires_grad_()
    value = objective(similarity, relevance, weights)
    return value.detach(), torch.autograd.grad(value.sum(), similarity)[0]


def agree(found, wanted):
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-7, atol=1e-10)


def test_all_objectives_but_those_of_whole_samples_weigh_documents():
    refused = {type(case.objective) for case in TABLE if not case.objective.weighs}
    square = {k for k in vars(o).values() if isinstance(k, type) and getattr(k, "function", None) is not None}
    square = {kind for kind in square if kind.function.declaration.square}
    assert refused == square


@pytest.mark.parametrize("case", [c for c in TABLE if not c.objective.weighs], ids=name_of)
def test_whole_samples_refuse_weights_by_name(case):
    similarity, relevance = batch(case)
    with pytest.raises(ValueError, match=f"{case.objective.function.__name__} compares whole samples"):
        case.objective(similarity, relevance, torch.ones_like(similarity))


@every_case
def test_a_document_of_weight_0_is_unjudged(case):
    similarity, relevance = batch(case)
    weights = draw(similarity)
    wanted = run(case.objective, similarity, relevance.masked_fill(weights == 0, NAN), weights.clamp_min(0.5))
    found = run(case.objective, similarity, relevance, torch.where(weights > 0, weights.clamp_min(0.5), 0))
    agree(found, wanted)
    assert found[1][weights == 0].eq(0).all()
    assert (weights == 0).any(), "nothing was removed"
    assert found[1].abs().max() > 1e-6, "nothing to compare"


@whole_lists
def test_a_document_of_weight_0_is_removed(case):
    for seed in range(3):
        similarity, relevance = lists(case.labels, queries=1, seed=seed)
        weights = draw(similarity, seed)
        kept = weights[0] > 0
        found = run(case.objective, similarity, relevance, weights)
        wanted = run(case.objective, similarity[:, kept], relevance[:, kept], weights[:, kept])
        agree((found[0], found[1][:, kept]), wanted)


@whole_lists
def test_a_document_of_hardly_any_weight_is_hardly_there(case):
    if isinstance(case.objective, o.GroCo | o.SoftmaxAtK | o.FalseNegatives):
        pytest.skip("it also looks for the first, last or best of whole documents")
    similarity, relevance = lists(case.labels)
    weights = draw(similarity)
    found = run(case.objective, similarity, relevance, weights.clamp_min(1e-30))
    wanted = run(case.objective, similarity, relevance, weights)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-5, atol=1e-6)


@whole_lists
def test_what_has_weight_0_may_be_anything(case):
    similarity, relevance = lists(case.labels)
    weights = draw(similarity)
    wanted = run(case.objective, similarity, relevance, weights)
    for anything in (NAN, torch.inf, -1e30):
        agree(run(case.objective, similarity.masked_fill(weights == 0, anything), relevance, weights), wanted)


@every_case
def test_only_the_ratios_of_the_weights_of_a_list_matter(case):
    similarity, relevance = batch(case)
    weights = draw(similarity)
    one_list = isinstance(case.objective, o.OverPairs | o.AcrossQueries)
    scale = 7.0 if one_list else torch.logspace(-3, 4, len(similarity), dtype=torch.float64)[:, None]
    agree(
        run(case.objective, similarity, relevance, scale * weights), run(case.objective, similarity, relevance, weights)
    )


@every_case
def test_equal_weights_are_no_weights(case):
    similarity, relevance = batch(case)
    agree(
        run(case.objective, similarity, relevance, torch.full_like(similarity, 2.5)),
        run(case.objective, similarity, relevance),
    )


@every_case
def test_weights_change_the_loss(case):
    similarity, relevance = batch(case)
    found, plain = (
        run(case.objective, similarity, relevance, draw(similarity, zeros=False)),
        run(case.objective, similarity, relevance),
    )
    assert (found[1] - plain[1]).abs().max() > 1e-6


@without_draws
def test_gradients_of_weighted_lists_are_exact(case):
    similarity, relevance = batch(case)
    if getattr(case.objective, "temperature", None) == "auto":
        pytest.skip("the spread is a constant in the gradient")
    constant = o.Circle | o.DCLW | o.SoftmaxAtK | o.LambdaLoss | o.Focal | o.FalseNegatives | o.TripletAlignment
    if isinstance(case.objective, constant):
        pytest.skip("its own factors are constants in the gradient")
    weights = draw(similarity)
    similarity = similarity.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: case.objective(s, relevance, weights), similarity)


NOT_COPIES = {
    o.CWCL: "it compares each document with all queries, too",
    o.GroCo: "a sorting network has one wire per document",
    o.PolicyGradient: "copies are drawn one by one, a weighted document once",
    o.Wasserstein: "it compares shares per document, and those of copies are smaller",
    o.SharedNegatives: "its quartiles are those of documents",
}
"""Declared objectives in which a document of weight 2 is not quite two documents."""


@pytest.mark.parametrize(
    "case",
    [c for c in WEIGHED if isinstance(c.objective, Configured) and type(c.objective) not in NOT_COPIES],
    ids=name_of,
)
@pytest.mark.parametrize("seed", range(4))
def test_a_document_of_weight_2_is_two_copies(case, seed):
    """By the body, whose weights are copies: a declared function scales them first."""
    objective, copies = case.objective, torch.tensor([2, 1, 3, 1, 0, 2, 1, 1])
    similarity, relevance = (x[:, :8].contiguous() for x in lists(case.labels, seed=seed))
    relevance[:, 4] = NAN
    settings = objective._settings()
    if settings.get("temperature") == "auto":
        settings["temperature"] = objective.spreads
    body = objective.declaration.body

    def value(similarity, relevance, weights):
        judged = ~relevance.isnan()
        similarity = torch.where(judged, similarity, 0).detach().requires_grad_()
        weights = None if weights is None else torch.where(judged, weights, 0)
        value = body(similarity, relevance.nan_to_num(0), judged, weights, **settings)
        return value.detach(), torch.autograd.grad(value.sum(), similarity)[0]

    pad = int(copies.sum()) - 8  # room for the ranks of the copies
    padded = [torch.nn.functional.pad(x, (0, pad), value=v) for x, v in ((similarity, 0.0), (relevance, NAN))]
    found = value(*padded, torch.nn.functional.pad(copies.double(), (0, pad)).expand(4, -1))
    wanted = value(*(x.repeat_interleave(copies, dim=1) for x in (similarity, relevance)), None)
    owner = torch.arange(8).repeat_interleave(copies)
    summed = torch.zeros(4, 8, dtype=torch.float64).index_add_(1, owner, wanted[1])
    if objective.declaration.learns(relevance.nan_to_num(0), ~relevance.isnan(), **settings).all():
        agree((found[0], found[1][:, :8]), (wanted[0], summed))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.tensor([[1.0, -1.0]]), "weights must be at least 0 and finite, got -1.0"),
        (torch.tensor([[1.0, NAN]]), "weights must be at least 0 and finite, got nan"),
        (torch.tensor([1.0, 1.0]), "weights must have the shape"),
        (torch.tensor([[1, 1]]), "weights must be a floating"),
        (torch.tensor([[1.0, 1.0]], requires_grad=True), "weights are not differentiated"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises((TypeError, ValueError), match=message):
        o.ApproxNDCG()(torch.rand(1, 2), torch.tensor([[1.0, 0.0]]), weights)


def test_a_list_without_weight_has_no_loss():
    value = o.ApproxNDCG()(torch.rand(2, 2, requires_grad=True), torch.eye(2), torch.tensor([[0.0, 0.0], [1, 1]]))
    assert value[0] == 0 < value[1]


@pytest.mark.parametrize("largest", [1e-30, 1e30])
def test_extreme_weights_stay_finite(largest):
    weights = largest * torch.tensor([[1.0, 1e-3, 1.0, 1e-7]])
    for case in WEIGHED:
        if case.objective.separable:
            similarity, relevance = torch.rand(1, 4, requires_grad=True), torch.tensor([[1.0, 0, 0, 1]])
            case.objective(similarity, relevance, weights).sum().backward()
            assert similarity.grad.isfinite().all(), case.objective


def test_an_own_function_gets_weights_if_it_has_the_argument():
    def weighted(similarity, relevance, weights=None):
        return (similarity * (1 if weights is None else weights)).sum(-1)

    similarity, weights = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.5]])
    own = CustomObjective(weighted)
    assert own.weighs
    assert own(similarity, similarity).item() == 3
    assert own(similarity, similarity, weights).item() == 4
    assert not CustomObjective(lambda similarity, relevance: similarity.sum(-1)).weighs
    assert not (own + CustomObjective(lambda similarity, relevance: similarity.sum(-1))).weighs
