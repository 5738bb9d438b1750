"""Objectives made of others, and temperatures in spreads."""

from __future__ import annotations

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import CoSENTLoss
from torch.nn import functional as F

from st_rankloss import objectives as o
from st_rankloss.functional import soft_spearman
from tests import oracle_family
from tests.objectives.test_contracts import KENDALL, SPEARMAN

NAN = math.nan


def batch():
    torch.manual_seed(0)
    similarity = torch.rand(5, 6, dtype=torch.float64)
    relevance = (torch.rand(5, 6, dtype=torch.float64) * 3).floor()
    relevance[0, 2] = NAN
    return similarity, relevance


# --- one list of a batch ---------------------------------------------------------------------------------------------


def test_over_pairs_is_the_objective_of_the_diagonal():
    similarity, relevance = batch()
    diagonal = (similarity.diagonal(), relevance.diagonal())
    value = o.OverPairs(o.SoftSpearman(0.1))(similarity, relevance)
    torch.testing.assert_close(value, (1 - soft_spearman(*diagonal, temperature=0.1)).expand(5))
    changed = similarity + torch.rand(5, 6) * (1 - torch.eye(5, 6))
    assert torch.equal(o.OverPairs(o.SoftSpearman(0.1))(changed, relevance), value)


def test_over_pairs_of_cosent_is_sentence_transformers_loss():
    torch.manual_seed(0)
    first, second = torch.randn(2, 16, 8)
    scores = (torch.rand(16) * 5).round()
    theirs = CoSENTLoss(None, scale=10.0).compute_loss_from_embeddings([first, second], scores)
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    ours = o.OverPairs(o.CoSENT(10.0))(similarity, torch.diag(scores))
    torch.testing.assert_close(ours, theirs.expand(16))


def test_across_queries_is_the_objective_of_one_list():
    similarity, relevance = batch()
    value = o.AcrossQueries(o.MannWhitney())(similarity, relevance)
    torch.testing.assert_close(value, o.MannWhitney()(similarity.reshape(1, -1), relevance.reshape(1, -1)).expand(5))


@pytest.mark.parametrize("wrapper", [o.OverPairs, o.AcrossQueries])
def test_a_mixture_within_keeps_its_terms(wrapper):
    similarity, relevance = batch()
    name = wrapper.__name__
    objective = wrapper(o.SoftSpearman() + 0.2 * o.CoSENT())
    parts = objective.parts(similarity, relevance)
    assert list(parts) == [f"{name}(SoftSpearman)", f"{name}(CoSENT)"]
    both = wrapper(o.SoftSpearman())(similarity, relevance) + 0.2 * wrapper(o.CoSENT())(similarity, relevance)
    torch.testing.assert_close(objective(similarity, relevance), both)
    mixed = o.SupCon() + objective
    assert not mixed.separable
    assert list(mixed.parts(similarity, relevance)) == ["SupCon", *parts]


@pytest.mark.parametrize("wrapper", [o.OverPairs, o.AcrossQueries])
def test_without_anything_to_order_no_query_is_defined(wrapper):
    similarity, _ = batch()
    nothing = torch.ones(5, 6)
    objective = wrapper(o.SoftSpearman())
    assert objective.defined(nothing).tolist() == [False] * 5
    assert objective(similarity, nothing).eq(0).all()
    assert objective.defined(batch()[1]).tolist() == [True] * 5


def test_over_pairs_refuses_mixed_documents_which_it_would_not_read():
    objective = o.OverPairs(o.SoftSpearman())
    objective.check_columns([4, 4])
    with pytest.raises(ValueError, match="OverPairs reads the pairs of a batch only, and mixup adds none"):
        objective.check_columns([4, 4], mixed=True)
    with pytest.raises(ValueError, match="OverPairs reads the pairs of a batch only"):
        (o.SupCon() + 0.5 * objective).check_columns([4, 4], mixed=True)


def test_pairs_need_a_document_for_each_query():
    with pytest.raises(ValueError, match=r"OverPairs needs a document for each query, got similarity of \(3, 2\)"):
        o.OverPairs(o.SoftSpearman())(torch.rand(3, 2), torch.rand(3, 2))


@pytest.mark.parametrize(
    "objective", [o.SoftSpearman(), o.SoftKendall(), o.Pearson(), o.CoSENT(), o.RankKL(0.1, 0.1), o.RankNet()], ids=repr
)
def test_over_pairs_raises_the_correlation_of_pairs(objective):
    torch.manual_seed(0)
    scores = torch.rand(200)
    shared = torch.randn(200, 16)
    first = torch.cat([shared, torch.randn(200, 16)], 1)
    second = torch.cat(
        [scores[:, None] * shared + (1 - scores[:, None]) * torch.randn(200, 16), torch.randn(200, 16)], 1
    )
    weights = torch.randn(32, 12).div(6).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=0.03)

    def similarity():
        return F.normalize(first @ weights, dim=1) @ F.normalize(second @ weights, dim=1).T

    def score():
        metric = KENDALL if isinstance(objective, o.SoftKendall) else SPEARMAN
        return float(metric(similarity().detach().diagonal().double(), scores.double()))

    before = score()
    for _ in range(30):
        optimizer.zero_grad()
        o.OverPairs(objective)(similarity(), torch.diag(scores)).mean().backward()
        optimizer.step()
    assert score() > before + 0.1


# --- noise, weights ------------------------------------------------------------------------------------------------


def test_perturbed_is_the_mean_over_noise():
    """Gumbel's noise at a small scale leaves the loss, and at a larger one smooths it."""
    similarity, relevance = batch()
    plain = o.ApproxNDCG()(similarity, relevance)
    torch.manual_seed(0)
    near = o.Perturbed(o.ApproxNDCG(), noise=1e-9, samples=2)
    torch.testing.assert_close(near(similarity, relevance), plain, rtol=1e-5, atol=1e-5)
    far = o.Perturbed(o.ApproxNDCG(), noise=1e6, samples=400)(similarity, relevance)
    one_draw = torch.stack([o.ApproxNDCG()(torch.rand(5, 6).double() * 1e6, relevance) for _ in range(400)]).mean(0)
    assert (far - one_draw).abs().max() < 0.05  # any order is then as likely
    assert list(near.parts(similarity, relevance)) == ["Perturbed(ApproxNDCG)"]


def test_focal_weighs_by_the_likelihood_and_not_by_its_gradient():
    similarity, relevance = batch()
    similarity.requires_grad_()
    plain = o.SoftmaxCrossEntropy(0.3)(similarity, relevance)
    weight = (1 - (-plain.detach()).exp()) ** 2
    focal = o.Focal(o.SoftmaxCrossEntropy(0.3), gamma=2)(similarity, relevance)
    torch.testing.assert_close(focal, weight * plain)
    torch.testing.assert_close(
        torch.autograd.grad(focal.sum(), similarity, retain_graph=True)[0],
        torch.autograd.grad((weight * plain).sum(), similarity)[0],
    )
    unchanged = o.Focal(o.SoftmaxCrossEntropy(0.3), gamma=0)(similarity, relevance)
    torch.testing.assert_close(unchanged, plain)


@pytest.mark.parametrize("wrapper", [o.OverPairs, o.AcrossQueries, o.Perturbed, o.Focal])
def test_only_objectives_are_wrapped(wrapper):
    with pytest.raises(TypeError, match="objective must be an Objective, got 'ndcg'"):
        wrapper("ndcg")


@pytest.mark.parametrize("wrapper", [o.Perturbed, o.Focal])
def test_wrappers_of_whole_batches_read_whole_batches(wrapper):
    assert wrapper(o.ApproxNDCG()).separable
    assert not wrapper(o.OverPairs(o.SoftSpearman())).separable


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: o.Perturbed(o.ApproxNDCG(), noise=0), "noise must be a finite number above 0, got 0"),
        (lambda: o.Perturbed(o.ApproxNDCG(), samples=0), "samples must be an integer of at least 1.*got 0"),
        (lambda: o.Focal(o.SupCon(), gamma=-1), "gamma must be a finite number of at least 0, got -1"),
    ],
)
def test_a_wrong_setting_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- automatic temperatures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [o.ApproxNDCG, o.SoftSpearman, o.SupCon, o.RankNet, o.SmoothAP])
def test_an_automatic_temperature_is_a_share_of_the_querys_spread(kind):
    similarity, relevance = batch()
    value = kind("auto")(similarity, relevance)
    for q in range(5):
        judged = ~relevance[q].isnan()
        temperature = kind.spreads * similarity[q][judged].std(correction=0).item()
        torch.testing.assert_close(value[q], kind(temperature)(similarity[q : q + 1], relevance[q : q + 1])[0])


@pytest.mark.parametrize("kind", [o.ApproxNDCG, o.SoftSpearman, o.SupCon])
def test_an_automatic_temperature_is_a_constant(kind):
    """Its gradient is that at a given temperature: the spread is not differentiated."""
    similarity, relevance = batch()
    row, grades = similarity[1:2].requires_grad_(), relevance[1:2]
    automatic = torch.autograd.grad(kind("auto")(row, grades).sum(), row)[0]
    given = torch.autograd.grad(kind(kind.spreads * row.std(correction=0).item())(row, grades).sum(), row)[0]
    torch.testing.assert_close(automatic, given)


def test_an_automatic_temperature_does_not_see_the_scale():
    similarity, relevance = batch()
    objective = o.ApproxNDCG("auto")
    torch.testing.assert_close(objective(1000 * similarity - 3, relevance), objective(similarity, relevance))


@pytest.mark.parametrize("kind", [o.SupAP, o.PSL, o.SoftmaxAtK, o.TripletAlignment, o.RegressionCompatible])
def test_where_other_settings_are_in_units_of_similarity_there_is_no_automatic_temperature(kind):
    with pytest.raises(ValueError, match="temperature must be a number here, .* got 'auto'"):
        kind(temperature="auto")


@pytest.mark.parametrize("value", [0.1, 0.5, -0.3, 0.0])
def test_an_automatic_temperature_is_not_blown_up_by_rounding(value):
    tied = torch.full((1, 7), value, requires_grad=True)
    relevance = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]])
    (gradient,) = torch.autograd.grad(o.ApproxNDCG("auto")(tied, relevance).sum(), tied)
    assert gradient.norm() < 1e4


def test_focal_weighs_each_term_of_a_mixture_by_itself():
    similarity, relevance = batch()
    mixed = o.Focal(0.1 * o.InfoNCE(1.0) + o.SupCon(1.0))
    apart = 0.1 * o.Focal(o.InfoNCE(1.0)) + o.Focal(o.SupCon(1.0))
    assert mixed.parts(similarity, relevance).keys() == apart.parts(similarity, relevance).keys()
    torch.testing.assert_close(mixed(similarity, relevance), apart(similarity, relevance))


def test_cosent_is_that_of_the_loops_whatever_is_unjudged():
    similarity, relevance = batch()
    for scale in (1e-9, 1.0, 20.0):
        values = o.CoSENT(scale)(similarity, relevance)
        for s, y, value in zip(similarity.tolist(), relevance.tolist(), values.tolist(), strict=True):
            judged = [(a, b) for a, b in zip(s, y, strict=True) if not math.isnan(b)]
            wanted = oracle_family.cosent([a for a, _ in judged], [b for _, b in judged], scale=scale)
            assert value == pytest.approx(wanted, rel=1e-9)


def trust_by_loops(similarity, relevance, margin, softness):
    rows = []
    for s, y in zip(similarity.tolist(), relevance.tolist(), strict=True):
        relevant = [a for a, b in zip(s, y, strict=True) if b > 0]
        best = max(relevant, default=0.0)
        rows.append(
            [
                1.0 if b > 0 or not relevant else 1 / (1 + math.exp((a - best - margin) / softness))
                for a, b in zip(s, y, strict=True)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("objective", [o.SoftmaxCrossEntropy(0.1), o.ApproxNDCG(), o.RankNet() + o.InfoNCE()], ids=repr)
@pytest.mark.parametrize("seed", range(5))
def test_likely_false_negatives_weigh_less_by_how_far_they_exceed_the_best_relevant_document(objective, seed):
    draw = torch.Generator().manual_seed(seed)
    similarity = torch.rand(6, 9, generator=draw, dtype=torch.float64).requires_grad_()
    relevance = torch.randint(0, 3, (6, 9), generator=draw).double() * (torch.rand(6, 9, generator=draw) < 0.4)
    relevance[0] = 0
    own = torch.rand(6, 9, generator=draw, dtype=torch.float64)
    trust = trust_by_loops(similarity, relevance, 0.2, 0.1)
    for weights, factor in ((None, 1), (own, own)):
        found = o.FalseNegatives(objective, margin=0.2, softness=0.1)(similarity, relevance, weights)
        wanted = objective(similarity, relevance, trust * factor)
        torch.testing.assert_close(found, wanted)
        (gradient,) = torch.autograd.grad(found.sum(), similarity)
        (expected,) = torch.autograd.grad(wanted.sum(), similarity)
        torch.testing.assert_close(gradient, expected)


def test_a_false_negative_far_above_is_as_good_as_left_out():
    similarity = torch.tensor([[0.3, 0.9, 0.1]]).requires_grad_()
    found = o.FalseNegatives(o.SoftmaxCrossEntropy(0.1), margin=0.1, softness=0.001)
    (gradient,) = torch.autograd.grad(found(similarity, torch.tensor([[1.0, 0.0, 0.0]])).sum(), similarity)
    without = o.SoftmaxCrossEntropy(0.1)(similarity, torch.tensor([[1.0, torch.nan, 0.0]]))
    (expected,) = torch.autograd.grad(without.sum(), similarity)
    torch.testing.assert_close(gradient, expected)


def test_false_negatives_need_an_objective_that_takes_weights():
    with pytest.raises(ValueError, match="objective must take weights of documents, got CustomObjective"):
        o.FalseNegatives(o.as_objective(lambda similarity, relevance: similarity.sum(-1)))


@pytest.mark.parametrize("inner", [o.CWCL(), o.SetInformation(), 0.5 * o.ListNet() + o.MVDHEL(), o.Focal(o.CWCL())])
@pytest.mark.parametrize("wrapper", [o.OverPairs, o.AcrossQueries])
def test_one_list_has_no_own_documents_to_compare_with(wrapper, inner):
    with pytest.raises(ValueError, match=f"^{wrapper.__name__} needs an objective of lists, got "):
        wrapper(inner)
