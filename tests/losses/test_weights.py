"""Weights of queries: the mean over queries becomes the weighted mean, against plain loops."""

from __future__ import annotations

import pytest
import torch

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.functional import approx_ndcg, cosent
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.objectives import (
    AcrossQueries,
    ContextualSimilarity,
    CoSENT,
    ListNet,
    MannWhitney,
    OverPairs,
    SetInformation,
    SharedNegatives,
    Wasserstein,
)
from st_rankloss.relevance import Classes, Lists, Pairs
from tests.models import SHAPES, Passing, cached_tolerance, columns_of, random_columns, watched

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=repr)
several_columns = pytest.mark.parametrize("shape", [s for s in SHAPES if len(s.sizes) > 1], ids=repr)
MAKERS = {"plain": ANDCGLoss, "cached": lambda model, **options: CachedANDCGLoss(model, mini_batch_size=3, **options)}


def draw(count, seed=0):
    """Weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = 3 * torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.where(torch.rand(count, generator=generator) < 0.3, 0, weights)


def labelled(shape, **weights):
    labels = shape.labels
    batch = dict(labels) if isinstance(labels, dict) else {} if labels is None else {"label": labels}
    return batch | weights


def run(loss, embeddings, batch):
    """The value and the gradients of a loss."""
    own = [e.detach().clone().requires_grad_() for e in embeddings]
    value = loss(columns_of(own), batch)
    value.backward()
    return [value.detach(), *(torch.zeros_like(e) if e.grad is None else e.grad for e in own)]


def same(found, wanted, tolerance=1e-12):
    return all((a - b).abs().max() <= tolerance * max(1, b.abs().max()) for a, b in zip(found, wanted, strict=True))


def mean_by_loops(loss, embeddings, batch, weights, *, count_all=False):
    """The weighted mean of each query's own loss."""
    (seen,) = watch_matrix(loss, embeddings, batch)
    total = weight = 0.0
    relevance = seen.relevance_of(slice(0, len(embeddings[0]))).double()
    for query, grades in enumerate(relevance.split(1)):
        defined = bool(loss.objective.defined(grades))
        cosine = torch.nn.functional.cosine_similarity(embeddings[0][query], torch.cat(embeddings[1:] or embeddings))
        value = approx_ndcg(cosine[None], grades, temperature=0.05)[0]
        if defined:
            total = total + weights[query] * (1 - value)
        if count_all or defined:
            weight += weights[query]
    return total / weight if weight else torch.zeros(())


def watch_matrix(loss, embeddings, batch):
    batches = watched(loss)
    loss(columns_of(embeddings), batch)
    return batches


@pytest.mark.parametrize("no_relevant", ["skip", "zero"])
@every_shape
def test_the_loss_is_the_weighted_mean_over_queries(shape, no_relevant):
    embeddings, weights = random_columns(shape.sizes), draw(shape.sizes[0])
    loss = ANDCGLoss(Passing(), relevance=shape.relevance, no_relevant=no_relevant)
    plain = ANDCGLoss(Passing(), relevance=shape.relevance, check_embeddings=False)
    wanted = mean_by_loops(plain, embeddings, labelled(shape), weights, count_all=no_relevant == "zero")
    assert loss(columns_of(embeddings), labelled(shape, query_weights=weights)).item() == pytest.approx(
        wanted.item(), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("name", MAKERS)
@every_shape
def test_equal_weights_change_nothing(shape, name):
    loss, embeddings = MAKERS[name](Passing(), relevance=shape.relevance), random_columns(shape.sizes)
    weighted = run(loss, embeddings, labelled(shape, row_weights=torch.full(shape.sizes[:1], 2.5)))
    assert same(weighted, run(loss, embeddings, labelled(shape)))


@every_shape
def test_weights_of_1_are_equal_to_the_last_bit(shape):
    loss, embeddings = ANDCGLoss(Passing(), relevance=shape.relevance), random_columns(shape.sizes)
    weighted = run(loss, embeddings, labelled(shape, row_weights=torch.ones(shape.sizes[0])))
    for found, wanted in zip(weighted, run(loss, embeddings, labelled(shape)), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("objective", [ApproxNDCG(), SoftmaxCrossEntropy()], ids=repr)
def test_a_weight_of_0_leaves_the_query_out(objective):
    queries, documents = random_columns([5, 9])
    loss = RankingLoss(Passing(), objective=objective, relevance=lambda q, d: (q[:, None] == d).double())
    labels = torch.tensor([0, 1, 2, 0, 1]), torch.arange(9) % 3
    relevance = _Two(*labels)
    loss = RankingLoss(Passing(), objective=objective, relevance=relevance)
    found = run(loss, [queries, documents], {"query_weights": torch.tensor([1.0, 0, 1, 0, 1])})
    relevance.queries = labels[0][::2]
    wanted = run(loss, [queries[::2], documents], {})
    assert torch.equal(found[1][1::2], torch.zeros_like(found[1][1::2]))
    assert same([found[0], found[1][::2], found[2]], wanted)


def test_a_doubled_weight_is_a_doubled_query():
    queries, documents = random_columns([5, 9])
    relevance = _Two(torch.tensor([0, 1, 2, 0, 1]), torch.arange(9) % 3)
    loss = ANDCGLoss(Passing(), relevance=relevance)
    found = run(loss, [queries, documents], {"query_weights": torch.tensor([1.0, 2, 1, 1, 1])})
    relevance.queries = torch.tensor([0, 1, 2, 0, 1, 1])
    wanted = run(loss, [torch.cat([queries, queries[1:2]]), documents], {})
    twice = wanted[1][:5].clone()
    twice[1] += wanted[1][5]
    assert same(found, [wanted[0], twice, wanted[2]])


class _Two(Pairs):
    """Any number of queries and of documents, each of a class."""

    def __init__(self, queries, documents):
        super().__init__()
        self.queries, self.documents = queries, documents

    def pair(self, batch, sizes):
        return self.queries, self.documents

    def __call__(self, queries, documents):
        return (queries[:, None] == documents).double()


@every_shape
def test_cached_losses_weight_alike(shape):
    embeddings, batch = random_columns(shape.sizes), labelled(shape, query_weights=draw(shape.sizes[0]))
    plain, cached = (run(make(Passing(), relevance=shape.relevance), embeddings, batch) for make in MAKERS.values())
    assert same(cached, plain, max(cached_tolerance(), 1e-12))


def test_blocks_of_queries_get_their_own_weights():
    embeddings = random_columns([40, 40])
    batch = {"label": torch.arange(40) % 5, "query_weights": draw(40)}
    whole, in_blocks = (
        run(ANDCGLoss(Passing(), relevance=Classes(), block_size=size), embeddings, batch) for size in (40, 7)
    )
    assert same(in_blocks, whole)


def test_weights_of_row_and_query_multiply():
    embeddings, rows, queries = random_columns([12, 12]), draw(12, 1), draw(12, 2)
    loss = ANDCGLoss(Passing())
    both = loss(columns_of(embeddings), {"row_weights": rows, "query_weights": queries})
    assert torch.equal(both, loss(columns_of(embeddings), {"query_weights": rows * queries}))


@several_columns
def test_documents_weigh_as_queries_of_the_other_direction(shape):
    embeddings, count = random_columns(shape.sizes), sum(shape.sizes[1:])
    weights = {"query_weights": draw(shape.sizes[0]), "document_weights": draw(count, 1)}
    there = ANDCGLoss(Passing(), relevance=shape.relevance)
    both = ANDCGLoss(Passing(), relevance=shape.relevance, symmetric=True)
    other = dict(weights, document_weights=torch.ones(count))
    # The second direction is what is left, and depends on the documents' weights alone.
    back, plain = (
        2 * both(columns_of(embeddings), labelled(shape, **each))
        - there(columns_of(embeddings), labelled(shape, **each))
        for each in (weights, other)
    )
    unweighted = there(columns_of(embeddings), labelled(shape))
    assert (2 * both(columns_of(embeddings), labelled(shape)) - unweighted).item() == pytest.approx(plain.item())
    assert plain == 0 or abs(back - plain) > 1e-6


def test_symmetric_pairs_weigh_as_the_transposed_batch():
    embeddings, weights = random_columns([12, 12]), draw(12)
    there = ANDCGLoss(Passing())
    forth = there(columns_of(embeddings), {"query_weights": weights})
    back = there(columns_of(embeddings[::-1]), {"query_weights": weights})
    both = ANDCGLoss(Passing(), symmetric=True)
    found = both(columns_of(embeddings), {"row_weights": weights})
    assert found.item() == pytest.approx(((forth + back) / 2).item(), rel=1e-12)


def test_the_weight_of_a_row_weighs_its_documents_too_if_symmetric():
    embeddings, sizes = random_columns([3, 6]), torch.tensor([1, 3, 2])
    batch = {"list_sizes": sizes, "label": torch.tensor([[1.0, 0, 0], [0, 1, 2], [1, 0, 0]])}
    rows = torch.tensor([1.0, 0.5, 2.0])
    loss = ANDCGLoss(Passing(), relevance=Lists(), symmetric=True)
    found = loss(columns_of(embeddings), batch | {"row_weights": rows})
    spread = {"query_weights": rows, "document_weights": torch.tensor([1.0, 0.5, 0.5, 0.5, 2.0, 2.0])}
    other = loss(columns_of(embeddings), batch | spread)
    there = ANDCGLoss(Passing(), relevance=Lists())
    in_lists = there(columns_of(embeddings), batch | spread) - there(
        columns_of(embeddings), batch | {"row_weights": rows}
    )
    assert found.item() == pytest.approx((other - in_lists / 2).item(), rel=1e-9)


def test_gradients_of_weighted_queries_are_exact():
    embeddings = random_columns([6, 6], dim=3)
    batch = {"label": torch.arange(6) % 2, "query_weights": draw(6), "document_weights": draw(6, 1)}
    loss = ANDCGLoss(Passing(), relevance=Classes(), symmetric=True, temperature=0.5)
    assert torch.autograd.gradcheck(lambda *columns: loss(columns_of(columns), batch), embeddings)


def test_diagnostics_count_queries_whatever_their_weights():
    loss = ANDCGLoss(Passing(), relevance=Classes())
    (batch,) = watch_matrix(
        loss, random_columns([4, 4]), {"label": torch.tensor([0, 0, 1, 1]), "row_weights": torch.tensor([0.0, 5, 7, 1])}
    )
    assert batch.learnable == batch.total == 4


def test_a_batch_without_weight_has_no_loss():
    found = run(ANDCGLoss(Passing()), random_columns([4, 4]), {"row_weights": torch.zeros(4)})
    assert not any(each.any() for each in found)


@pytest.mark.parametrize("name", MAKERS)
@every_shape
def test_documents_weigh_in_the_list_of_their_query(shape, name):
    """And in all lists, if every sample is a query and a document."""
    embeddings, queries = random_columns(shape.sizes), shape.sizes[0]
    count = sum(shape.sizes[1:] or shape.sizes)
    weights, alone = draw(count, 4), len(shape.sizes) == 1
    loss = MAKERS[name](Passing(), relevance=shape.relevance)
    found = run(loss, embeddings, labelled(shape, document_weights=weights))
    sizes = shape.labels["list_sizes"] if isinstance(shape.labels, dict) and "list_sizes" in shape.labels else None
    owner = torch.arange(queries).repeat(len(shape.sizes) - 1) if sizes is None else None
    owner = torch.repeat_interleave(torch.arange(queries), sizes) if owner is None else owner

    (seen,) = watch_matrix(loss, embeddings, labelled(shape))
    own = [e.detach().clone().requires_grad_() for e in embeddings]
    losses, relevance = [], seen.relevance_of(slice(0, queries)).double()
    for query, grades in enumerate(relevance.split(1)):
        in_list = weights if alone else torch.where(owner == query, weights, 1)
        grades = grades.masked_fill(in_list == 0, torch.nan)
        if bool(loss.objective.defined(grades)):
            documents = torch.nn.functional.normalize(torch.cat(own[1:] or own), dim=1)
            cosine = torch.nn.functional.normalize(own[0][query], dim=0) @ documents.T
            losses.append(1 - approx_ndcg(cosine[None], grades, temperature=0.05, weights=in_list[None])[0])
    wanted = torch.stack(losses).mean() if losses else sum(e.sum() for e in own) * 0
    wanted.backward()
    gradients = [torch.zeros_like(e) if e.grad is None else e.grad for e in own]
    assert same(found, [wanted.detach(), *gradients], max(cached_tolerance(), 1e-9) if name == "cached" else 1e-9)


def test_a_document_of_weight_0_is_not_in_its_list():
    queries, documents = random_columns([3, 6])
    batch = {"list_sizes": torch.tensor([2, 2, 2]), "label": torch.tensor([[2.0, 1], [0, 1], [1, 0]])}
    loss = ANDCGLoss(Passing(), relevance=Lists())
    found = loss(columns_of([queries, documents]), batch | {"document_weights": torch.tensor([1.0, 0, 1, 1, 1, 1])})
    batch["label"][0, 1] = torch.nan
    assert found.item() == pytest.approx(loss(columns_of([queries, documents]), batch).item(), rel=1e-12)


def test_pairs_that_are_one_list_have_the_weights_of_their_rows():
    embeddings, scores = random_columns([8, 8]), torch.arange(8) % 4.0
    rows = torch.tensor([1.0, 2, 0, 1, 3, 1, 1, 1])
    loss = RankingLoss(Passing(), objective=OverPairs(CoSENT()))
    found = loss(columns_of(embeddings), {"label": scores, "row_weights": rows})
    cosine = torch.nn.functional.cosine_similarity(*embeddings)
    assert found.item() == pytest.approx(cosent(cosine, scores.double(), weights=rows.double()).item(), rel=1e-9)


@pytest.mark.parametrize("name", ["row_weights", "document_weights"])
def test_pairs_that_are_one_list_weigh_in_both_directions(name):
    """Both directions rank the same pairs, so symmetric=True changes nothing."""
    embeddings, weights = random_columns([8, 8]), torch.tensor([1.0, 2, 0, 1, 3, 1, 1, 1])
    batch = {"label": torch.arange(8) % 4.0, name: weights}
    there, both = (RankingLoss(Passing(), objective=OverPairs(CoSENT()), symmetric=s) for s in (False, True))
    assert same(run(both, embeddings, batch), run(there, embeddings, batch))


def test_documents_of_all_lists_weigh_as_queries_of_the_other_direction():
    """The loss of the way back is that of the transposed batch, whose queries have the weights of its documents."""
    embeddings, weights = random_columns([6, 6]), torch.tensor([1.0, 2, 0, 1, 3, 1])
    there, both = (RankingLoss(Passing(), objective=AcrossQueries(MannWhitney()), symmetric=s) for s in (False, True))
    forth = there(columns_of(embeddings), {"document_weights": weights})
    back = there(columns_of(embeddings[::-1]), {"query_weights": weights})
    found = both(columns_of(embeddings), {"document_weights": weights})
    assert found.item() == pytest.approx(((forth + back) / 2).item(), rel=1e-12)


def test_weights_that_an_objective_does_not_take_are_refused():
    loss = RankingLoss(Passing(), objective=lambda s, y: s.sum(-1), relevance=Classes())
    with pytest.raises(ValueError, match="the objective takes no weights of documents: give it an argument `weights`"):
        loss(columns_of(random_columns([4])), {"label": torch.arange(4) % 2, "document_weights": torch.ones(4)})


def test_weights_of_whole_samples_are_reported():
    loss = RankingLoss(Passing(), objective=ContextualSimilarity(), relevance=Classes())
    batch = {"label": torch.arange(4) % 2}
    with pytest.warns(
        UserWarning, match="Weights have no effect on terms of an objective whose loss is that of the whole batch"
    ):
        found = loss(columns_of(random_columns([4])), batch | {"row_weights": torch.tensor([1.0, 2, 3, 4])})
    assert found.item() == pytest.approx(loss(columns_of(random_columns([4])), batch).item())


@pytest.mark.parametrize(
    ("objective", "weighs"),
    [
        (Wasserstein(0.5, 0.5), False),
        (Wasserstein(0.5, 0.5) + ListNet(), False),
        (SetInformation("log_det"), False),
        (SetInformation(), True),
        (AcrossQueries(MannWhitney()), True),
    ],
)
def test_weights_of_queries_change_the_loss_or_are_reported(objective, weighs, recwarn):
    loss = RankingLoss(Passing(), objective=objective, relevance=Classes())
    batch = {"label": torch.arange(6) % 3}
    run(loss, random_columns([6]), batch | {"row_weights": torch.tensor([5.0, 1, 1, 1, 1, 1])})
    assert any("Weights have no effect" in str(warning.message) for warning in recwarn) is not weighs


@pytest.mark.parametrize(("name", "count"), [("row_weights", 3), ("query_weights", 5), ("document_weights", 4)])
def test_weights_of_another_number_are_refused(name, count):
    embeddings = random_columns([4, 4, 4])
    wanted = 8 if name == "document_weights" else 4
    with pytest.raises(ValueError, match=rf"{name} must have the shape \({wanted},\), got \({count},\)"):
        ANDCGLoss(Passing())(columns_of(embeddings), {name: torch.ones(count)})


@pytest.mark.parametrize("name", ["row_weights", "query_weights", "document_weights"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 0 and finite, got {value}"):
        ANDCGLoss(Passing())(columns_of(random_columns([3, 3])), {name: torch.tensor([1.0, value, 1])})


@pytest.mark.parametrize("objective", [ApproxNDCG(), SharedNegatives(), AcrossQueries(MannWhitney())], ids=repr)
def test_a_query_of_weight_0_needs_no_relevant_document(objective):
    embeddings = random_columns([4, 4])
    batch = {"label": torch.tensor([0.0, 1, 1, 1]), "query_weights": torch.tensor([0.0, 1, 1, 1])}
    strict, skipping = (
        RankingLoss(Passing(), objective=objective, relevance=Pairs(), no_relevant=each) for each in ("error", "skip")
    )
    assert same(run(strict, embeddings, batch), run(skipping, embeddings, batch))
    with pytest.raises(
        ValueError, match="got 4 of 4 without" if isinstance(objective, AcrossQueries) else "got 1 of 4"
    ):
        strict(
            columns_of(embeddings),
            {"document_weights": torch.zeros(4)}
            if isinstance(objective, AcrossQueries)
            else {"label": batch["label"], "query_weights": torch.ones(4)},
        )
