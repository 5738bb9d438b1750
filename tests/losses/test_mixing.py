"""Mixtures of embeddings: each is graded by the mixture that made it."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from sentence_transformers.util import cos_sim, dot_score
from torch.nn import functional as F

from st_rankloss import ANDCGLoss, ApproxNDCG, CachedRankingLoss, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.losses import (
    CrossModalMixup,
    EmbeddingMixup,
    ExtrapolatedPositives,
    HardNegativeMixup,
    PositiveMixup,
    QueryMixup,
    QueryNegativeMixup,
    RankMixup,
    SupReMix,
    angle_sim,
)
from st_rankloss.losses.mixing import Mixing, OwnMixing, Ranked, Sides
from st_rankloss.losses.mixing.parents import hardest_of, pick, pick_two
from st_rankloss.objectives import CWCL, CoSENT, Focal, InfoNCE, ListNet, MVInfoNCE, OverPairs, SoftSpearman, SupCon
from st_rankloss.relevance import Classes, Lists, Numeric, Pairs
from st_rankloss.relevance.matrix import RelevanceMatrix
from tests.models import SHAPES, Passing, cached_tolerance, columns_of, random_columns
from tests.oracle_mixing import ORACLES, One, surrounding

NAN = math.nan


def mixed(mixing, documents, relevance_of, queries=None):
    """The documents and the relevance that a strategy returns."""
    queries = documents if queries is None else queries
    sides = mixing(Sides(queries, documents, relevance_of, queries))
    return sides.documents, sides.relevance_of


# --- documents, for all queries --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("documents", "share", "count"), [(1, 1.0, 1), (2, 0.5, 1), (7, 0.5, 4), (64, 2.0, 128)])
def test_a_mixture_has_one_weight_for_embedding_and_relevance(documents, share, count):
    embeddings = torch.eye(documents, dtype=torch.float64)
    grades = torch.rand(5, documents)
    found, relevance_of = mixed(EmbeddingMixup(share), embeddings, lambda rows: grades[rows])
    assert found.shape == (documents + count, documents)
    weights = found[documents:]  # of each document in each mixture
    assert torch.equal(found[:documents], embeddings)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(count, dtype=torch.float64))
    assert ((weights > 0).sum(1) <= 2).all()
    torch.testing.assert_close(relevance_of(slice(0, 5))[:, documents:], grades @ weights.T.float())
    assert torch.equal(relevance_of(slice(2, 4)), relevance_of(slice(0, 5))[2:4])


def test_a_mixture_of_an_unjudged_document_is_unjudged():
    grades = torch.tensor([[1.0, math.nan, 0.0]])
    found, relevance_of = mixed(EmbeddingMixup(share=20.0), torch.eye(3), lambda rows: grades[rows])
    touched = found[:, 1] > 0
    assert touched[3:].any()
    assert not touched[3:].all()
    assert torch.equal(relevance_of(slice(0, 1))[0].isnan(), touched)


def test_alpha_draws_weights_near_a_parent_or_in_the_middle():
    spread = {}
    for alpha in (0.1, 1.0, 20.0):
        found, _ = mixed(EmbeddingMixup(share=400.0, alpha=alpha), torch.eye(10), lambda rows: torch.ones(1, 10))
        spread[alpha] = found[10:].max(1).values.mean().item()
    # The mean of max(w, 1 - w): 0.75 for uniform weights.
    assert spread[0.1] > 0.9
    assert spread[1.0] == pytest.approx(0.75 * 0.9 + 0.1, abs=0.02)  # a tenth of the pairs are a document with itself
    assert spread[20.0] < 0.65


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("objective", [None, SoftmaxCrossEntropy()], ids=["ndcg", "softmax"])
def test_the_loss_ranks_the_batch_and_its_mixtures(shape, objective):
    embeddings = random_columns(shape.sizes)
    torch.manual_seed(5)
    loss = RankingLoss(
        Passing(), objective=objective, relevance=shape.relevance, mixup=EmbeddingMixup(0.7), block_size=5
    )
    found = loss(columns_of(embeddings), shape.labels)

    torch.manual_seed(5)
    documents = torch.cat(embeddings[1:] or embeddings)
    grades = torch.tensor(shape.expected)
    more, relevance_of = mixed(EmbeddingMixup(0.7), F.normalize(documents, dim=-1), lambda rows: grades[rows])
    expected = RankingLoss(
        Passing(), objective=objective, relevance=lambda queries, _: relevance_of(slice(0, len(queries)))
    )
    # As a table of given relevances over two columns: queries, and documents with their mixtures.
    whole = expected._compute(
        [embeddings[0], more],
        expected._pair([len(embeddings[0])] * 2, torch.arange(len(embeddings[0])))._replace(
            query_labels=torch.arange(len(embeddings[0])), document_labels=torch.arange(len(more))
        ),
    )
    assert found.item() == pytest.approx(whole.item(), rel=1e-6)
    gradients = [torch.autograd.grad(x, embeddings, retain_graph=True) for x in (found, whole)]
    for mine, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["share", "alpha"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_numbers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0, got"):
        EmbeddingMixup(**{name: value})


@pytest.mark.parametrize("make", [RankingLoss, CachedRankingLoss])
@pytest.mark.parametrize(
    "objective",
    [
        OverPairs(SoftSpearman()),
        SoftSpearman() + OverPairs(CoSENT()),
        Focal(OverPairs(InfoNCE())),
        0.1 * MVInfoNCE() + InfoNCE(),
    ],
    ids=repr,
)
def test_objectives_that_cannot_use_mixtures_refuse_them_at_construction(make, objective):
    with pytest.raises(ValueError, match="OverPairs .* leave mixup out|MVInfoNCE needs .* without mixup"):
        make(Passing(), objective=objective, mixup=EmbeddingMixup())
    make(Passing(), objective=objective)


def test_an_objective_of_three_columns_may_use_mixtures():
    class OfThree(InfoNCE):
        def check_columns(self, sizes, *, lists=False, mixed=False):
            if len(sizes) < 3:
                raise ValueError("needs three columns")

    RankingLoss(Passing(), objective=OfThree(), mixup=EmbeddingMixup())


# --- mixtures of each query's own ------------------------------------------------------------------------------------

OWN = [
    HardNegativeMixup(5, hardest=3),
    HardNegativeMixup(3, hardest=None),
    QueryNegativeMixup(4, hardest=3),
    QueryNegativeMixup(2, hardest=1, most=1.0),
    RankMixup(3),
    RankMixup(3, alpha=2.0, hardest=2, parent="query"),
    PositiveMixup(3),
    ExtrapolatedPositives(3),
]
every_own = pytest.mark.parametrize("mixing", OWN, ids=repr)
MIXTURES = [
    EmbeddingMixup(0.5),
    QueryMixup(),
    HardNegativeMixup(4, hardest=4),
    QueryNegativeMixup(4, hardest=4),
    RankMixup(),
    PositiveMixup(),
    ExtrapolatedPositives(),
]
every_mixing = pytest.mark.parametrize("mixing", MIXTURES, ids=lambda m: type(m).__name__)


def value_and_gradients(loss, embeddings, labels, seed=7):
    torch.manual_seed(seed)
    value = loss(columns_of(embeddings), labels)
    value = value.total() if isinstance(value, dict) else value
    return value, torch.autograd.grad(value, embeddings)


def by_loops(shape, mixings, objective, embeddings, compare):
    """The mean loss of the queries, each with its documents and its mixtures, one at a time."""
    queries, documents = (compare(e) for e in (embeddings[0], torch.cat(embeddings[1:] or embeddings)))
    torch.manual_seed(7)
    draws = [mixing.draw(queries).tolist() for mixing in mixings]
    losses = []
    for place, (query, grades) in enumerate(zip(queries, shape.expected, strict=True)):
        one = One(query, documents, torch.tensor(grades).tolist())
        made = [
            ORACLES[type(mixing)](one, mixing, draw)
            for mixing, drawn in zip(mixings, draws, strict=True)
            for draw in drawn[place]
        ]
        similarity = torch.cat([documents @ query, torch.stack([compare(mixture) @ query for mixture, _ in made])])
        relevance = torch.tensor([*one.grades, *(grade for _, grade in made)], dtype=torch.float64)
        if objective.defined(relevance[None]).item():
            losses.append(objective(similarity[None], relevance[None])[0])
    return torch.stack(losses).mean()


def unit(embeddings):
    return F.normalize(embeddings, dim=-1)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@every_own
def test_each_query_ranks_its_documents_and_its_own_mixtures(mixing, shape):
    embeddings = random_columns(shape.sizes)
    objective = ApproxNDCG(0.3)
    loss = RankingLoss(Passing(), objective=objective, relevance=shape.relevance, mixup=mixing, block_size=5)
    value, gradients = value_and_gradients(loss, embeddings, shape.labels)
    expected = by_loops(shape, [mixing], objective, embeddings, unit)
    assert value.item() == pytest.approx(expected.item(), rel=5e-6)
    wanted = torch.autograd.grad(expected, embeddings)
    scale = max(g.abs().max() for g in wanted)
    assert scale > 1e-5
    for found, want in zip(gradients, wanted, strict=True):
        assert (found - want).abs().max() <= 5e-6 * scale


@pytest.mark.parametrize(("similarity_fct", "compare"), [(cos_sim, unit), (dot_score, lambda x: x)], ids=["cos", "dot"])
def test_several_strategies_add_all_their_mixtures(similarity_fct, compare):
    shape = SHAPES[3]
    mixings = [HardNegativeMixup(3, hardest=4), RankMixup(2), QueryNegativeMixup(3), ExtrapolatedPositives(2)]
    embeddings = random_columns(shape.sizes)
    for objective in (SoftmaxCrossEntropy(0.5), InfoNCE(0.5), ApproxNDCG(0.3)):
        loss = RankingLoss(
            Passing(), objective=objective, relevance=shape.relevance, mixup=mixings, similarity_fct=similarity_fct
        )
        value, gradients = value_and_gradients(loss, embeddings, shape.labels)
        expected = by_loops(shape, mixings, objective, embeddings, compare)
        assert value.item() == pytest.approx(expected.item(), rel=1e-9)
        for found, want in zip(gradients, torch.autograd.grad(expected, embeddings), strict=True):
            torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-12)


@every_mixing
def test_the_size_of_blocks_changes_nothing(mixing):
    embeddings, labels = random_columns([12, 12]), torch.arange(12) // 3
    results = []
    for block_size in (1, 5, 12):
        loss = RankingLoss(
            Passing(), objective=ApproxNDCG() + InfoNCE(), relevance=Classes(), mixup=mixing, block_size=block_size
        )
        results.append(value_and_gradients(loss, embeddings, labels))
    for value, gradients in results[1:]:
        assert value.item() == pytest.approx(results[0][0].item(), rel=1e-12)
        for found, want in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "mixing",
    [m for m in [*MIXTURES, CrossModalMixup()] if not getattr(m, "detached", False)],
    ids=lambda m: type(m).__name__,
)
def test_gradients_are_those_of_finite_differences(mixing):
    labels = torch.tensor([0, 0, 1, 1])
    loss = RankingLoss(Passing(), objective=ApproxNDCG(0.5), relevance=Classes(), mixup=mixing, symmetric=True)

    def value(*embeddings):
        torch.manual_seed(3)
        return loss(columns_of(embeddings), labels)

    assert torch.autograd.gradcheck(value, tuple(random_columns([4, 4], dim=3)))


@pytest.mark.parametrize("mixing", [HardNegativeMixup(), QueryNegativeMixup(), SupReMix()], ids=repr)
def test_synthetic_negatives_send_their_gradient_to_the_query_alone(mixing):
    """Under a loss of the mixtures alone, documents get none."""

    class OfMixtures(InfoNCE):
        def __call__(self, similarity, relevance):
            return similarity[:, 4:].sum(1)

        def defined(self, relevance):
            return torch.ones(len(relevance), dtype=torch.bool)

    embeddings = random_columns([4, 4])
    labels = torch.tensor([0.0, 1.0, 2.0, 3.0])
    relevance = Numeric("triangle", bandwidth=0.6)
    loss = RankingLoss(Passing(), objective=OfMixtures(), relevance=relevance, mixup=mixing)
    _, (of_queries, of_documents) = value_and_gradients(loss, embeddings, labels)
    assert of_queries.abs().max() > 1e-3
    assert of_documents.abs().max() == 0


@every_mixing
def test_the_cached_loss_mixes_as_the_plain_one_does(mixing):
    embeddings, labels = random_columns([12, 12]), torch.arange(12) // 3
    options = {"objective": ApproxNDCG(0.3), "relevance": Classes(), "mixup": mixing}
    value, gradients = value_and_gradients(RankingLoss(Passing(), **options), embeddings, labels)
    cached = CachedRankingLoss(Passing(), **options, mini_batch_size=5)
    torch.manual_seed(7)
    leaves = [[part.detach().requires_grad_() for part in e.split(5)] for e in embeddings]
    found = cached.calculate_loss(leaves, labels, with_backward=True)
    assert found.item() == pytest.approx(value.item(), rel=1e-12)
    for parts, want in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(torch.cat([p.grad for p in parts]), want, rtol=cached_tolerance(), atol=1e-12)


@pytest.mark.parametrize("mixing", [*MIXTURES, CrossModalMixup()], ids=lambda m: type(m).__name__)
def test_mixtures_are_made_in_float32_under_autocast_and_of_halves(mixing):
    embeddings = random_columns([12, 12], dtype=torch.float32)
    loss = RankingLoss(Passing(), objective=ApproxNDCG(0.3), relevance=Classes(), mixup=mixing)
    labels = torch.arange(12) // 3
    full, full_gradients = value_and_gradients(loss, embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        cast, cast_gradients = value_and_gradients(loss, embeddings, labels)
    assert cast.dtype == torch.float32
    assert cast.item() == full.item()
    for found, want in zip(cast_gradients, full_gradients, strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=0)
    halves = [e.detach().bfloat16().requires_grad_() for e in embeddings]
    floats = [e.detach().float().requires_grad_() for e in halves]
    assert value_and_gradients(loss, halves, labels)[0].item() == value_and_gradients(loss, floats, labels)[0].item()


@pytest.mark.parametrize("mixing", [*MIXTURES, CrossModalMixup()], ids=lambda m: type(m).__name__)
def test_nothing_is_mixed_in_evaluation(mixing):
    embeddings = random_columns([6, 6])
    with torch.no_grad():
        assert ANDCGLoss(Passing(), mixup=mixing)(columns_of(embeddings)) == ANDCGLoss(Passing())(
            columns_of(embeddings)
        )


@every_mixing
def test_mixtures_change_the_loss_in_both_directions(mixing):
    embeddings, labels = random_columns([12, 12]), torch.arange(12) // 3
    make = functools.partial(RankingLoss, Passing(), objective=SoftmaxCrossEntropy(), relevance=Classes())
    plain = {way: value_and_gradients(make(symmetric=way), embeddings, labels)[0].item() for way in (False, True)}
    once, twice = (
        value_and_gradients(make(symmetric=way, mixup=mixing), embeddings, labels)[0].item() for way in (False, True)
    )
    backwards = 2 * twice - once  # the loss is the mean of both directions
    assert abs(once - plain[False]) > 1e-4
    assert abs(backwards - (2 * plain[True] - plain[False])) > 1e-4


def test_whole_batch_objectives_rank_own_mixtures_too():
    from st_rankloss.objectives import AcrossQueries, MannWhitney

    embeddings, labels = random_columns([8, 8]), torch.arange(8) // 2
    make = functools.partial(RankingLoss, Passing(), objective=AcrossQueries(MannWhitney()), relevance=Classes())
    value, gradients = value_and_gradients(make(mixup=QueryNegativeMixup(8)), embeddings, labels)
    assert value > value_and_gradients(make(), embeddings, labels)[0]
    assert all(g.abs().max() > 0 for g in gradients)


# --- parents ---------------------------------------------------------------------------------------------------------


def test_a_pick_is_uniform_over_the_pool():
    pool = torch.tensor([[True, False, True, True], [False, False, False, True]])
    draws = (torch.arange(300) + 0.5)[None].expand(2, -1) / 300
    assert torch.bincount(pick(pool, draws)[0], minlength=4).tolist() == [100, 0, 100, 100]
    assert pick(pool, draws)[1].unique().tolist() == [3]


def test_two_picks_differ_where_they_can():
    torch.manual_seed(0)
    pool = torch.rand(50, 9) < 0.4
    pool[0] = False
    pool[1] = torch.arange(9) == 4
    first, second = pick_two(pool, torch.rand(50, 40), torch.rand(50, 40))
    several = pool.sum(1) > 1
    assert several.sum() > 40
    assert (first != second)[several].all()
    filled = pool.any(1)
    assert pool.gather(1, first)[filled].all()
    assert pool.gather(1, second)[filled].all()
    for row in several.nonzero()[:, 0].tolist():
        if pool[row].sum() == 3:
            assert len(set(zip(first[row].tolist(), second[row].tolist(), strict=True))) == 6  # all ordered pairs


def test_draws_that_round_to_one_stay_in_the_pool():
    pool = torch.ones(1, 1000, dtype=torch.bool)
    assert pick(pool, torch.tensor([[1 - 2**-24]])).item() == 999


def test_the_hardest_are_the_most_similar_of_the_pool():
    torch.manual_seed(0)
    similarity, pool = torch.rand(20, 8), torch.rand(20, 8) < 0.5
    for count in (1, 3, 8, 20, None):
        for row, kept in enumerate(hardest_of(pool, similarity, count)):
            inside = sorted(pool[row].nonzero()[:, 0].tolist(), key=lambda d: -similarity[row, d])
            assert kept.nonzero()[:, 0].tolist() == sorted(inside[:count])


# --- what the strategies promise -------------------------------------------------------------------------------------


def ranked_by(relevance, dim=16, seed=0):
    torch.manual_seed(seed)
    queries, documents = unit(torch.randn(len(relevance), dim)), unit(torch.randn(relevance.shape[1], dim))
    whole = slice(0, len(relevance))
    return Ranked(queries, documents, queries @ documents.T, relevance, None, whole, lambda rows: relevance[rows])


def similarity_of(ranked, mixtures):
    made = unit(mixtures.embeddings(ranked.queries, ranked.documents))
    return torch.einsum("qd,qnd->qn", ranked.queries, made)


def test_normalised_mixtures_of_hard_negatives_are_mostly_harder_than_both_parents():
    """Mixtures of similarities, without normalising, never are."""
    ranked = ranked_by((torch.rand(64, 300) < 0.1).float())
    mixing = HardNegativeMixup(50, hardest=32)
    mixtures = mixing.choose(ranked, mixing.draw(ranked.queries))
    parents = torch.stack([ranked.similarity.gather(1, i) for i in (mixtures.first, mixtures.second)])
    assert (similarity_of(ranked, mixtures) > parents.amax(0)).float().mean() > 0.5
    assert (mixtures.relevance == 0).all()


def test_a_mixture_with_the_query_is_harder_than_its_parent_and_mostly_of_it():
    ranked = ranked_by((torch.rand(32, 60) < 0.1).float())
    mixing = QueryNegativeMixup(40, hardest=10)
    mixtures = mixing.choose(ranked, mixing.draw(ranked.queries))
    assert (similarity_of(ranked, mixtures) >= ranked.similarity.gather(1, mixtures.second) - 1e-6).all()
    assert mixtures.share.max() <= 0.5


def test_an_extrapolated_positive_is_never_more_similar_to_its_query():
    ranked = ranked_by((torch.rand(32, 60) < 0.3).float())
    mixing = ExtrapolatedPositives(40)
    mixtures = mixing.choose(ranked, mixing.draw(ranked.queries))
    assert (similarity_of(ranked, mixtures) <= ranked.similarity.gather(1, mixtures.first) + 1e-6).all()
    assert mixtures.relevance.nan_to_num(1).eq(1).all()


def test_the_mixtures_of_binary_labels_are_ordered_by_their_share():
    relevance = torch.zeros(4, 10)
    relevance[:, :2] = 1
    ranked = ranked_by(relevance)
    mixing = RankMixup(30)
    mixtures = mixing.choose(ranked, mixing.draw(ranked.queries))
    torch.testing.assert_close(mixtures.relevance, mixtures.share)
    assert mixtures.relevance.unique().numel() == 120


@every_own
def test_a_query_without_parents_has_no_mixtures(mixing):
    ranked = ranked_by(torch.tensor([[NAN, NAN, NAN], [NAN, NAN, NAN]]))
    assert mixing.choose(ranked, mixing.draw(ranked.queries)).relevance.isnan().all()


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_supremix_is_its_definition():
    """Ages from 20 to 31, relevant if equal; positives from a window of three years."""
    ages = torch.tensor([20.0, 21, 21, 22, 23, 23, 24, 26, 27, 27, 28, 31])
    mixing = SupReMix(window=3.0, positives=4, negatives=3)
    relevance, objective = Numeric("triangle", bandwidth=1.0), SupCon(0.2)
    (embeddings,) = random_columns([12])
    loss = RankingLoss(Passing(), objective=objective, relevance=relevance, mixup=mixing, block_size=5)
    value, (gradient,) = value_and_gradients(loss, [embeddings], ages)

    documents = unit(embeddings)
    torch.manual_seed(7)
    between = torch.rand(12, 4, 3, dtype=torch.float64).tolist()
    negative = torch.rand(12, 3, 3, dtype=torch.float64)
    both = torch.full((12, 3), 2.0, dtype=torch.float64), torch.full((12, 3), 8.0, dtype=torch.float64)
    negative[..., 2] = torch.distributions.Beta(*both).sample()
    losses = []
    for place, query in enumerate(documents):
        grades = [float(age == ages[place]) for age in ages]
        grades[place] = NAN
        one = One(query, documents, grades, ages[place].item(), ages.tolist())
        made = [surrounding(one, mixing, draw) for draw in between[place]]
        plain = QueryNegativeMixup(3, hardest=None, most=1.0)
        made += [ORACLES[QueryNegativeMixup](one, plain, draw) for draw in negative[place].tolist()]
        similarity = torch.cat([documents @ query, torch.stack([unit(mixture) @ query for mixture, _ in made])])
        relevances = torch.tensor([*grades, *(grade for _, grade in made)], dtype=torch.float64)
        if objective.defined(relevances[None]).item():
            losses.append(objective(similarity[None], relevances[None])[0])
    expected = torch.stack(losses).mean()
    assert len(losses) > 8  # of which six have a document of their age
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, embeddings)[0], rtol=1e-8, atol=1e-12)


def test_a_hard_positive_of_supremix_has_the_label_of_its_query():
    numbers = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bandwidths = {"bandwidths": numbers[:, None]}
    matrix = RelevanceMatrix(Numeric("triangle", bandwidth=1.0), bandwidths, bandwidths, alone=True)
    documents = unit(torch.randn(40, 8, dtype=torch.float64))
    sides = SupReMix(window=0.2)(Sides(documents, documents, matrix, documents))
    rows = slice(0, 40)
    ranked = Ranked(documents, documents, documents @ documents.T, matrix(rows), None, rows, matrix)
    mixtures = sides.own[0].choose(ranked)
    found = ~mixtures.relevance.isnan()
    assert found.float().mean() > 0.8
    one, other = numbers[mixtures.first], numbers[mixtures.second]
    label = mixtures.share * one + (1 - mixtures.share) * other
    torch.testing.assert_close(label[found], numbers[:, None].expand_as(label)[found])
    assert ((one < numbers[:, None]) & (other > numbers[:, None]))[found].all()
    assert (mixtures.relevance[found] == 1).all()
    assert ((numbers[:, None] - one).abs()[found].max() < 0.2) & ((numbers[:, None] - other).abs()[found].max() < 0.2)


@pytest.mark.parametrize(
    ("relevance", "labels", "message"),
    [
        (Classes(), torch.arange(6) % 2, r"one number per input, as Numeric\(\) does, got labels of torch.int64"),
        (Numeric(), torch.rand(6, 2), r"one number per input, .* got labels of torch.float64 of shape \(6, 2\)"),
    ],
    ids=["classes", "two"],
)
def test_supremix_refuses_labels_that_are_not_one_number(relevance, labels, message):
    loss = RankingLoss(Passing(), objective=SupCon(), relevance=relevance, mixup=SupReMix())
    with pytest.raises(ValueError, match=message):
        loss(columns_of(random_columns([6])), labels)


# --- queries ---------------------------------------------------------------------------------------------------------


def test_a_mixed_query_ranks_by_the_mixture_of_both_relevances():
    torch.manual_seed(0)
    queries, grades = torch.eye(40, dtype=torch.float64), torch.rand(40, 9, dtype=torch.float64)
    grades[3, 2] = NAN
    weights = torch.rand(40, dtype=torch.float64)
    sides = QueryMixup(share=0.6)(Sides(queries, torch.eye(9), lambda rows: grades[rows], queries, weights=weights))
    parents = sides.queries  # of each mixed query: the share of each query in it
    replaced = (parents.diagonal() != 1).float().mean()
    assert 0.4 < replaced < 0.8
    torch.testing.assert_close(parents.sum(1), torch.ones(40, dtype=torch.float64))
    assert ((parents > 0).sum(1) <= 2).all()
    relevance = sides.relevance_of(slice(0, 40))
    known = ~relevance.isnan()
    torch.testing.assert_close(relevance[known], (parents @ grades.nan_to_num())[known])
    torch.testing.assert_close(relevance.isnan()[:, 2], parents[:, 3] > 0)
    torch.testing.assert_close(sides.weights, parents @ weights)
    assert torch.equal(sides.relevance_of(slice(5, 9)).nan_to_num(-1), relevance[5:9].nan_to_num(-1))


@pytest.mark.parametrize("no_relevant", ["skip", "zero"])
def test_the_mean_over_mixed_queries_has_their_mixed_weights(no_relevant):
    """So that losses of 1 have a mean of 1."""
    loss = RankingLoss(
        Passing(), objective=lambda s, y: 1 + 0 * s.sum(1), mixup=QueryMixup(share=1.0), no_relevant=no_relevant
    )
    found = loss(columns_of(random_columns([4, 4])), {"query_weights": torch.tensor([1.0, 0, 1, 0])})
    assert found.item() == pytest.approx(1, abs=1e-12)


def test_queries_that_are_not_mixed_stay_to_the_bit():
    torch.manual_seed(0)
    queries, grades = torch.randn(40, 6), torch.rand(40, 9)
    sides = QueryMixup(share=0.3)(Sides(queries, torch.eye(9), lambda rows: grades[rows], queries))
    same = (sides.queries == queries).all(1)
    assert 20 < same.sum() < 38
    assert torch.equal(sides.relevance_of(slice(0, 40))[same], grades[same])


def test_one_query_has_no_partner():
    queries = torch.randn(1, 4)
    sides = QueryMixup(share=1.0)(Sides(queries, torch.eye(4), lambda rows: torch.ones(1, 4)[rows], queries))
    assert torch.equal(sides.queries, queries)


def test_a_mixed_query_of_one_column_ranks_neither_parent():
    embeddings, classes = unit(torch.randn(8, 4)), torch.arange(8) // 2
    matrix = RelevanceMatrix(Classes(), classes, classes, alone=True)
    torch.manual_seed(0)
    sides = QueryMixup(share=1.0)(Sides(embeddings, embeddings, matrix, embeddings))
    assert (sides.relevance_of(slice(0, 8)).isnan().sum(1) == 2).all()


# --- two modalities --------------------------------------------------------------------------------------------------


def test_the_mixture_of_a_pair_is_on_the_arc_between_them_and_unjudged_for_its_query():
    torch.manual_seed(0)
    queries, documents = unit(torch.randn(2, 7, 5, dtype=torch.float64))
    grades = torch.rand(7, 7)
    found, relevance_of = mixed(CrossModalMixup(), documents, lambda rows: grades[rows], queries)
    mixtures = found[7:]
    torch.testing.assert_close(mixtures.norm(dim=1), torch.ones(7, dtype=torch.float64))
    angles = [(mixtures * side).sum(1).acos() for side in (queries, documents)]
    torch.testing.assert_close(angles[0] + angles[1], (queries * documents).sum(1).acos())
    relevance = relevance_of(slice(2, 5))
    assert torch.equal(relevance[:, :7], grades[2:5])
    for row in range(3):
        for pair in range(7):
            if pair == row + 2:
                assert relevance[row, 7 + pair].isnan()
            else:
                assert relevance[row, 7 + pair] == grades[row + 2, pair]


def test_equal_pairs_have_finite_gradients():
    embedding = random_columns([4])[0]
    loss = RankingLoss(Passing(), relevance=Pairs(), mixup=CrossModalMixup(), symmetric=True)
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad(loss(columns_of([embedding, embedding])), embedding)
    assert gradient.isfinite().all()


def test_negatives_of_a_third_column_are_not_mixed_with_queries():
    embeddings = random_columns([4, 4, 4])
    seen = []

    class Watched(InfoNCE):
        def __call__(self, similarity, relevance):
            seen.append(relevance)
            return super().__call__(similarity, relevance)

    RankingLoss(Passing(), objective=Watched(), mixup=CrossModalMixup())(columns_of(embeddings))
    (relevance,) = seen
    assert relevance.shape == (4, 12)
    assert relevance[:, 8:].isnan().equal(torch.eye(4, dtype=torch.bool))


def test_each_column_leaves_out_the_mixtures_of_its_own_rows_if_symmetric():
    embeddings, seen = random_columns([4, 4, 4]), []

    class Watched(InfoNCE):
        def __call__(self, similarity, relevance):
            seen.append(relevance)
            return super().__call__(similarity, relevance)

    for mixup in (CrossModalMixup(), (CrossModalMixup(), QueryMixup())):
        RankingLoss(Passing(), objective=Watched(), mixup=mixup, symmetric=True)(columns_of(embeddings))
    for backwards in (*seen[1:3], *seen[4:]):
        assert backwards.shape == (4, 8)
        assert backwards[:, 4:].diagonal().isnan().all()


@pytest.mark.parametrize(
    ("sizes", "labels", "relevance", "message"),
    [
        ([6], torch.arange(6) % 2, Classes(), r"in a second input column, got columns of \[6\] rows"),
        ([3, 6], {"list_sizes": torch.tensor([2, 2, 2])}, Lists(), "got lists of documents"),
    ],
    ids=["one", "lists"],
)
def test_a_pair_needs_a_document_for_each_query(sizes, labels, relevance, message):
    class Never(Passing):
        def forward(self, features):
            raise AssertionError("the model has run")

    loss = RankingLoss(Never(), relevance=relevance, mixup=CrossModalMixup())
    with pytest.raises(ValueError, match=message):
        loss(columns_of(random_columns(sizes)), labels)


# --- what is refused, and told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixup", ["x", EmbeddingMixup, 3, [EmbeddingMixup(), None]], ids=str)
def test_only_strategies_mix(mixup):
    with pytest.raises(TypeError, match=r"mixup must be a strategy such as EmbeddingMixup\(\)"):
        RankingLoss(Passing(), mixup=mixup)


@pytest.mark.parametrize("mixing", [*OWN, SupReMix()], ids=lambda m: type(m).__name__)
def test_own_mixtures_need_the_cosine_or_the_dot_product(mixing):
    with pytest.raises(ValueError, match=f"{type(mixing).__name__} makes mixtures that .* similarity_fct=angle_sim"):
        RankingLoss(Passing(), mixup=mixing, similarity_fct=angle_sim)


def test_an_arc_needs_the_cosine():
    with pytest.raises(ValueError, match="CrossModalMixup makes mixtures that cos_sim compares, got .*=dot_score"):
        RankingLoss(Passing(), mixup=CrossModalMixup(), similarity_fct=dot_score)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: HardNegativeMixup(0), ValueError, "count must be an integer of at least 1, got 0"),
        (lambda: HardNegativeMixup(hardest=0), ValueError, "hardest must be .*, got 0"),
        (lambda: QueryNegativeMixup(most=1.5), ValueError, r"most must be in \(0, 1\], got 1.5"),
        (lambda: RankMixup(parent="anchor"), ValueError, "parent must be .* got 'anchor'"),
        (lambda: RankMixup(alpha=0.0), ValueError, "alpha must be a finite number above 0, got 0.0"),
        (lambda: PositiveMixup(True), ValueError, "count must be an integer of at least 1, got True"),
        (lambda: ExtrapolatedPositives(alpha="1"), TypeError, "alpha must be .* got '1'"),
        (lambda: QueryMixup(share=0.0), ValueError, r"share must be in \(0, 1\], got 0.0"),
        (lambda: SupReMix(window=NAN), ValueError, "window must be a finite number above 0, got nan"),
        (lambda: CrossModalMixup(-1), ValueError, "alpha must be a finite number above 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("mixup", "message"),
    [
        ([RankMixup(), QueryMixup()], "QueryMixup must come before the strategies that add mixtures for each query"),
        ([EmbeddingMixup(), SupReMix()], "SupReMix reads the labels .* put it before other strategies"),
        ([EmbeddingMixup(), EmbeddingMixup(labels=True)], "labels=True needs .* put it before other strategies"),
    ],
    ids=["queries", "labels", "mixed"],
)
def test_an_order_that_would_read_the_wrong_labels_is_refused(mixup, message):
    loss = RankingLoss(Passing(), objective=SupCon(), relevance=Numeric("triangle"), mixup=mixup)
    with pytest.raises(ValueError, match=message):
        loss(columns_of(random_columns([8])), torch.arange(8.0))


def test_a_strategy_without_a_method_says_which():
    with pytest.raises(TypeError, match=r"Mixing must define __call__"):
        Mixing()(None)
    with pytest.raises(TypeError, match=r"OwnMixing must define choose"):
        OwnMixing().choose(None, None)


def test_the_model_card_tells_of_it():
    assert "mixup" not in ANDCGLoss(Passing()).get_config_dict()
    card = ANDCGLoss(Passing(), mixup=EmbeddingMixup(0.5)).get_config_dict()
    assert card["mixup"] == "EmbeddingMixup(share=0.5, alpha=1.0, labels=False)"
    card = ANDCGLoss(Passing(), mixup=(PositiveMixup(), ExtrapolatedPositives())).get_config_dict()
    assert card["mixup"] == "PositiveMixup(count=4), ExtrapolatedPositives(count=4, alpha=2.0)"


# --- weights of documents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mixing", [m for m in MIXTURES if not isinstance(m, QueryMixup)] + [CrossModalMixup()], ids=repr
)
def test_documents_that_weigh_alike_are_mixed_as_without_weights(mixing):
    embeddings, labels = random_columns([12, 12]), torch.arange(12) // 3
    loss = RankingLoss(Passing(), objective=SoftmaxCrossEntropy(), relevance=Classes(), mixup=mixing)
    plain, gradients = value_and_gradients(loss, embeddings, labels)
    weighted = {"label": labels, "document_weights": torch.ones(12, dtype=torch.float64)}
    value, found = value_and_gradients(loss, embeddings, weighted)
    assert value.item() == pytest.approx(plain.item(), rel=1e-12)
    for mine, want in zip(found, gradients, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-9, atol=1e-12)


@every_own
def test_an_own_mixture_has_the_mixture_of_its_parents_weights(mixing):
    ranked = ranked_by((torch.rand(16, 30) < 0.3).float())
    weights = torch.rand(16, 30)
    weights[:, :10] = 0
    mixtures = mixing.choose(ranked, mixing.draw(ranked.queries))
    found = mixtures.weights(weights)
    for q in range(16):
        for n in range(mixing.count):
            parents = [weights[q, i[q, n]].item() for i in (mixtures.first, mixtures.second) if i is not None]
            share = mixtures.share[q, n].item()
            expected = 0.0 if 0 in parents else share * parents[0] + (1 - share) * parents[-1]
            assert found[q, n].item() == pytest.approx(expected, abs=1e-6)


def test_a_mixed_document_has_the_mixture_of_its_parents_weights_and_none_of_one_left_out():
    torch.manual_seed(0)
    weights = torch.rand(4, 6, dtype=torch.float64)
    weights[:, 0] = 0
    eye = torch.eye(6, dtype=torch.float64)
    sides = Sides(eye, eye, lambda rows: eye[rows], eye, weights_of=lambda rows: weights[rows])
    mixed_sides = EmbeddingMixup(share=5.0)(sides)
    shares = mixed_sides.documents[6:]
    found = mixed_sides.weights_of(slice(0, 4))
    assert torch.equal(found[:, :6], weights)
    expected = torch.where(shares[:, 0] > 0, 0, weights @ shares.T)
    torch.testing.assert_close(found[:, 6:], expected)


def test_mixed_queries_refuse_weights_of_documents():
    loss = RankingLoss(Passing(), relevance=Classes(), mixup=QueryMixup())
    labels = {"label": torch.arange(6) // 2, "document_weights": torch.ones(6)}
    with pytest.raises(ValueError, match="QueryMixup takes no weights of documents: leave one of them out"):
        loss(columns_of(random_columns([6, 6])), labels)


def test_mixed_queries_have_no_document_of_their_own():
    for objective in (CWCL(), ListNet() + CWCL(), Focal(CWCL())):
        with pytest.raises(ValueError, match="CWCL gives every query a document of its own, which a mixed query has"):
            RankingLoss(Passing(), objective=objective, mixup=QueryMixup())
    RankingLoss(Passing(), objective=CWCL(), mixup=EmbeddingMixup())
