"""RankingLoss against a plain computation with the whole (Q, D) matrices, and the contract of every batch."""

from __future__ import annotations

import functools
import json
import math
import warnings

import pytest
import torch
from sentence_transformers.base.losses import column_merging_disabled
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import cos_sim, dot_score, euclidean_sim
from torch import Tensor

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.functional import approx_ndcg
from st_rankloss.relevance import (
    UNJUDGED,
    Classes,
    Hierarchy,
    Lists,
    MultiLabel,
    Numeric,
    Pairs,
    Qrels,
    Relevance,
    Vectors,
)
from tests import oracle
from tests.models import SHAPES, Passing, Rows, Shape, columns_of, random_columns, same_class, watched

NAN = math.nan
BY_NAME = {shape.name: shape for shape in SHAPES}


def negative_manhattan(queries: Tensor, documents: Tensor) -> Tensor:
    """A similarity that the package does not know."""
    return -(queries[:, None] - documents).abs().sum(-1)


SIMILARITIES = [cos_sim, dot_score, euclidean_sim, negative_manhattan]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=repr)
every_similarity = pytest.mark.parametrize("similarity_fct", SIMILARITIES, ids=lambda f: f.__name__)


def cosines(queries: Tensor, documents: Tensor) -> Tensor:
    return (queries / queries.norm(dim=1, keepdim=True)) @ (documents / documents.norm(dim=1, keepdim=True)).T


def dots(queries: Tensor, documents: Tensor) -> Tensor:
    return queries @ documents.T


def negative_distances(queries: Tensor, documents: Tensor) -> Tensor:
    # The small number only keeps the slope finite where a text meets itself.
    return -((queries[:, None] - documents).square().sum(-1) + 1e-30).sqrt()


PLAIN_SIMILARITY = {
    cos_sim: cosines,
    dot_score: dots,
    euclidean_sim: negative_distances,
    negative_manhattan: negative_manhattan,
}


def plain_ndcg_loss(similarity: Tensor, relevance: list[float], temperature=0.05, gain="linear", k=None) -> Tensor:
    """1 - NDCG of one query by the definition, with autograd; None where every order of its documents is as good."""
    judged = [d for d, y in enumerate(relevance) if not math.isnan(y)]
    ideal = oracle.ideal_dcg([relevance[d] for d in judged], gain=gain, k=k)
    s = similarity[judged]
    gains = s.new_tensor([oracle.gain_of(relevance[d], gain) for d in judged])
    if len(gains.unique()) < 2:
        return None
    ranks = 0.5 + torch.sigmoid((s[None, :] - s[:, None]) / temperature).sum(1)
    factors = 1 / torch.log2(1 + ranks)
    if k is not None:
        factors = factors * torch.sigmoid(k + 0.5 - ranks)
    return 1 - (gains * factors).sum() / ideal


def plain_cross_entropy(similarity: Tensor, relevance: list[float], temperature=0.05) -> Tensor:
    """Cross-entropy of one query by the definition; None where it has no gain, or a single document."""
    judged = [d for d, y in enumerate(relevance) if not math.isnan(y)]
    gains = similarity.new_tensor([relevance[d] for d in judged])
    if gains.sum() == 0 or len(judged) < 2:
        return None
    return -(gains / gains.sum() * torch.log_softmax(similarity[judged] / temperature, 0)).sum()


def plain_loss(embeddings: list[Tensor], relevance: Rows, similarity_fct=cosines, of_query=plain_ndcg_loss) -> Tensor:
    """The mean over the queries that have a loss, 0 if there is none, from the whole matrix of similarities."""
    documents = torch.cat(embeddings[1:]) if len(embeddings) > 1 else embeddings[0]
    similarity = similarity_fct(embeddings[0], documents)
    losses = [of_query(s, y) for s, y in zip(similarity, relevance, strict=True)]
    defined = [loss for loss in losses if loss is not None]
    return torch.stack(defined).mean() if defined else 0 * similarity.sum()


def gradients(loss: Tensor, embeddings: list[Tensor]) -> list[Tensor]:
    """The gradients of a loss, which must not all be 0."""
    found = torch.autograd.grad(loss, embeddings, retain_graph=True)
    assert sum(g.abs().sum() for g in found) > 1e-4, "the gradient is 0: nothing would be tested"
    return found


def agree(loss, plain, embeddings: list[Tensor], tolerance: float) -> None:
    """Assert that value and gradients agree; gradients relative to the largest entry."""
    total = loss.total() if isinstance(loss, dict) else loss
    assert total.item() == pytest.approx(plain.item(), rel=tolerance, abs=tolerance)
    expected = gradients(plain, embeddings)
    scale = max(g.abs().max() for g in expected)
    for found, wanted in zip(gradients(total, embeddings), expected, strict=True):
        assert (found - wanted).abs().max() <= tolerance * scale


def tolerance_of(shape: Shape) -> float:
    """Relevance is float32: where that cannot hold the plain values exactly, results cannot agree exactly."""
    expected = torch.tensor(shape.expected, dtype=torch.float64).nan_to_num(-1)
    return 1e-9 if torch.equal(expected, expected.float().double()) else 5e-6


# Value and gradient of every dataset shape.


@every_similarity
@every_shape
def test_value_and_gradient_are_those_of_the_whole_matrix(shape, similarity_fct):
    embeddings = random_columns(shape.sizes)
    loss = ANDCGLoss(Passing(), relevance=shape.relevance, temperature=0.3, similarity_fct=similarity_fct)
    plain = plain_loss(
        embeddings,
        shape.expected,
        PLAIN_SIMILARITY[similarity_fct],
        lambda s, y: plain_ndcg_loss(s, y, temperature=0.3),
    )
    agree(loss(columns_of(embeddings), shape.labels), plain, embeddings, tolerance_of(shape))


@every_shape
def test_the_value_is_one_minus_the_mean_of_the_plain_loops(shape):
    embeddings = random_columns(shape.sizes)
    with torch.no_grad():
        similarity = cosines(embeddings[0], torch.cat(embeddings[1:]) if len(embeddings) > 1 else embeddings[0])
        loss = ANDCGLoss(Passing(), relevance=shape.relevance)(columns_of(embeddings), shape.labels)
    values = [
        oracle.approx_ndcg(s, y, temperature=0.05)
        for s, y in zip(similarity.tolist(), shape.expected, strict=True)
        if len({grade for grade in y if not math.isnan(grade)}) > 1
    ]
    assert loss.item() == pytest.approx(1 - sum(values) / len(values), rel=1e-6)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.chosen], ids=repr)
def test_the_chosen_relevance_gives_the_loss_of_the_named_one(shape):
    embeddings = random_columns(shape.sizes)
    chosen = ANDCGLoss(Passing())(columns_of(embeddings), shape.labels)
    named = ANDCGLoss(Passing(), relevance=shape.relevance)(columns_of(embeddings), shape.labels)
    assert chosen.item() == named.item() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every_shape
def test_float32_agrees_with_the_plain_double_computation(shape, dtype):
    embeddings = random_columns(shape.sizes, dtype=dtype)
    double = [e.detach().double().requires_grad_() for e in embeddings]
    loss = RankingLoss(Passing(), relevance=shape.relevance)(columns_of(embeddings), shape.labels)
    plain = plain_loss(double, shape.expected)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    expected = gradients(plain, double)
    scale = max(g.abs().max() for g in expected)
    for found, wanted in zip(gradients(loss, embeddings), expected, strict=True):
        assert found.dtype == dtype
        assert (found - wanted).abs().max() <= 2e-5 * scale


@every_similarity
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape.sizes) > 1], ids=repr)
def test_the_symmetric_loss_is_the_mean_of_both_directions(shape, similarity_fct):
    embeddings = random_columns(shape.sizes)
    similarity = PLAIN_SIMILARITY[similarity_fct]
    of_documents = [list(column) for column in zip(*shape.expected, strict=True)]
    queries, documents = embeddings[0], torch.cat(embeddings[1:])
    plain = plain_loss([queries, documents], shape.expected, similarity) / 2
    plain = plain + plain_loss([documents, queries], of_documents, similarity) / 2
    loss = ANDCGLoss(Passing(), relevance=shape.relevance, similarity_fct=similarity_fct, symmetric=True)
    agree(loss(columns_of(embeddings), shape.labels), plain, embeddings, tolerance_of(shape))


@pytest.mark.parametrize("options", [{"gain": "exponential"}, {"k": 3}, {"temperature": 0.01}, {}], ids=str)
@pytest.mark.parametrize("name", ["levels", "columns_of_documents", "ragged_lists", "judgements"])
def test_the_options_of_a_ndcg_reach_the_objective(name, options):
    shape = BY_NAME[name]
    embeddings = random_columns(shape.sizes)
    plain = plain_loss(embeddings, shape.expected, of_query=lambda s, y: plain_ndcg_loss(s, y, **options))
    agree(
        ANDCGLoss(Passing(), relevance=shape.relevance, **options)(columns_of(embeddings), shape.labels),
        plain,
        embeddings,
        1e-8,
    )


@every_shape
def test_cross_entropy_is_that_of_the_whole_matrix(shape):
    embeddings = random_columns(shape.sizes)
    loss = RankingLoss(Passing(), objective=SoftmaxCrossEntropy(), relevance=shape.relevance)(
        columns_of(embeddings), shape.labels
    )
    agree(loss, plain_loss(embeddings, shape.expected, of_query=plain_cross_entropy), embeddings, tolerance_of(shape))


@every_shape
def test_a_mixture_is_the_weighted_sum_of_its_terms(shape):
    embeddings = random_columns(shape.sizes)
    loss = RankingLoss(
        Passing(), objective=2 * ApproxNDCG() + 0.2 * SoftmaxCrossEntropy(0.1), relevance=shape.relevance
    )
    parts = loss(columns_of(embeddings), shape.labels)

    def term(s, y, place):
        """A term of one query: 0 where only the other term is defined."""
        terms = [plain_ndcg_loss(s, y), plain_cross_entropy(s, y, temperature=0.1)]
        return None if terms == [None, None] else terms[place] if terms[place] is not None else 0 * s.sum()

    ndcg, cross_entropy = (
        weight * plain_loss(embeddings, shape.expected, of_query=functools.partial(term, place=place))
        for place, weight in enumerate((2, 0.2))
    )
    assert {n: p.item() for n, p in parts.items()} == pytest.approx(
        {"ApproxNDCG": ndcg.item(), "SoftmaxCrossEntropy": cross_entropy.item()}, rel=1e-5
    )
    agree(parts, ndcg + cross_entropy, embeddings, tolerance_of(shape))


def test_a_plain_function_serves_as_an_objective():
    def half_distance(similarity, relevance):
        return 0.5 * (similarity - relevance).square().mean(-1)

    shape = BY_NAME["two_columns_with_a_class"]
    embeddings = random_columns(shape.sizes)
    loss = RankingLoss(Passing(), objective=half_distance, relevance=Classes(), block_size=5)(
        columns_of(embeddings), shape.labels
    )
    similarity = cosines(*embeddings)
    relevance = torch.tensor(shape.expected, dtype=torch.float64)
    agree(loss, 0.5 * (similarity - relevance).square().mean(), embeddings, 1e-9)


def test_a_function_that_is_nan_without_relevance_leaves_those_queries_out_as_the_functional_form_does():
    embeddings = random_columns([6, 6])
    scores = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0, 3.0])
    by_function = RankingLoss(Passing(), objective=lambda s, y: 1 - approx_ndcg(s, y), relevance=Pairs())
    agree(
        by_function(columns_of(embeddings), scores),
        ANDCGLoss(Passing(), relevance=Pairs())(columns_of(embeddings), scores),
        embeddings,
        1e-9,
    )


def test_a_plain_function_serves_as_a_relevance():
    shape = BY_NAME["two_columns_with_a_class"]
    embeddings = random_columns(shape.sizes)
    loss = ANDCGLoss(Passing(), relevance=lambda q, d: 3 * (q[:, None] == d), block_size=5)
    plain = plain_loss(embeddings, [[3 * y for y in row] for row in shape.expected])
    agree(loss(columns_of(embeddings), shape.labels), plain, embeddings, 1e-9)


def test_cross_entropy_on_pairs_is_multiple_negatives_ranking():
    for sizes in ([9, 9], [9, 9, 9]):
        embeddings = random_columns(sizes)
        ours = RankingLoss(Passing(), objective=SoftmaxCrossEntropy(1 / 20), relevance=Pairs())(columns_of(embeddings))
        theirs = MultipleNegativesRankingLoss(Passing()).compute_loss_from_embeddings(embeddings, None)
        agree(ours, theirs, embeddings, 1e-9)


# Blocks.


@pytest.mark.parametrize("block_size", [1, 7, 64, 5000])
@pytest.mark.parametrize("similarity_fct", [cos_sim, negative_manhattan], ids=lambda f: f.__name__)
@every_shape
def test_the_block_size_changes_neither_value_nor_gradient(shape, similarity_fct, block_size):
    options = {"similarity_fct": similarity_fct, "symmetric": len(shape.sizes) > 1}
    embeddings = random_columns(shape.sizes)
    whole = ANDCGLoss(Passing(), relevance=shape.relevance, **options)(columns_of(embeddings), shape.labels)
    loss = ANDCGLoss(Passing(), relevance=shape.relevance, block_size=block_size, **options)
    agree(loss(columns_of(embeddings), shape.labels), whole, embeddings, tolerance_of(shape))


def test_the_block_size_changes_nothing_on_a_batch_of_several_hundred():
    draw = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 40, (300,), generator=draw)
    embeddings = random_columns([300], dtype=torch.float32)
    whole = ANDCGLoss(Passing(), relevance=Classes(), block_size=5000)(columns_of(embeddings), classes)
    for block_size in (1, 7, 64, None):
        loss = ANDCGLoss(Passing(), relevance=Classes(), block_size=block_size)
        agree(loss(columns_of(embeddings), classes), whole, embeddings, 2e-5)


@pytest.mark.parametrize(
    ("rows", "options"),
    [(300, {"block_size": 32}), (300, {"block_size": 32, "symmetric": True}), (2000, {})],
    ids=["block_of_32", "symmetric", "default_block"],
)
def test_the_whole_matrix_never_exists(rows, options):
    asked = []

    def recording(function):
        def call(queries, documents):
            asked.append(len(queries) * len(documents))
            return function(queries, documents)

        return call

    embeddings = random_columns([rows, rows], dtype=torch.float32)
    loss = ANDCGLoss(Passing(), relevance=recording(Classes()), similarity_fct=recording(cos_sim), **options)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
        value = loss(columns_of(embeddings), torch.arange(rows) // 4)
    gradients(value, embeddings)
    largest = 32 * rows if options else rows * rows / 3
    assert max(asked) <= largest
    assert sum(asked) == (4 if "symmetric" in options else 2) * rows * rows  # each pair once, in both matrices
    assert 0 < max(kept) <= max(largest, 6 * 32 * rows)


def test_only_the_embeddings_gradients_are_kept_until_backward():
    rows = 400
    embeddings = random_columns([rows, rows], dtype=torch.float32)
    value = ANDCGLoss(Passing(), relevance=Classes(), block_size=16)(columns_of(embeddings), torch.arange(rows) // 4)
    node, kept = value.grad_fn, 0
    nodes = [node]
    while nodes:
        node = nodes.pop()
        kept += sum(x.numel() for x in getattr(node, "saved_tensors", ()) if x is not None)
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    assert 0 < kept <= 8 * rows * 8


# A sample does not rank itself.


def test_a_sample_is_not_in_its_own_list():
    classes = BY_NAME["classes"].labels
    embeddings = random_columns([12])

    def raised_on_itself(queries, documents):
        return cos_sim(queries, documents) + 5 * (queries[:, None] == documents).all(-1)

    def high_grade_for_itself(queries, documents):
        return (queries[:, None] == documents).double()

    plain = ANDCGLoss(Passing(), relevance=Classes(), block_size=5)(columns_of(embeddings), classes)
    raised = ANDCGLoss(Passing(), relevance=high_grade_for_itself, similarity_fct=raised_on_itself, block_size=5)
    agree(raised(columns_of(embeddings), classes), plain, embeddings, 1e-9)


def test_the_grade_of_a_sample_for_itself_does_not_matter():
    numbers = torch.arange(9.0)
    embeddings = random_columns([9])

    def nearness(queries, documents, itself):
        gap = (queries[:, None] - documents).abs()
        return torch.where(gap == 0, itself, 1 / (1 + gap))

    losses = [
        ANDCGLoss(Passing(), relevance=lambda q, d, itself=itself: nearness(q, d, itself), block_size=4)(
            columns_of(embeddings), numbers
        )
        for itself in (0.0, 1.0, 50.0, NAN)
    ]
    for loss in losses[1:]:
        agree(loss, losses[0], embeddings, 1e-12)


def test_another_sample_with_the_same_text_is_in_the_list():
    (column,) = random_columns([6])
    twins = torch.cat([column, column[:1]])
    classes = torch.tensor([0, 1, 1, 2, 2, 3, 0])
    relevance = [
        [NAN if q == d else same_class(a, b) for d, b in enumerate(classes.tolist())]
        for q, a in enumerate(classes.tolist())
    ]
    loss = ANDCGLoss(Passing(), relevance=Classes())([{"input_ids": twins}], classes)
    agree(loss, plain_loss([twins], relevance), [column], 1e-9)


def test_with_two_columns_the_diagonal_counts():
    embeddings = random_columns([5, 5])
    loss = ANDCGLoss(Passing(), relevance=Classes())(columns_of(embeddings), torch.arange(5))
    agree(loss, plain_loss(embeddings, [[float(q == d) for d in range(5)] for q in range(5)]), embeddings, 1e-9)


# Queries without relevance.

SOME_SCORES = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("block_size", [None, 1, 2])
def test_skip_leaves_queries_without_relevance_out_of_the_mean(block_size):
    embeddings = random_columns([6, 6])
    loss = ANDCGLoss(Passing(), relevance=Pairs(), block_size=block_size)
    batches = watched(loss)
    relevance = [[s if q == d else 0.0 for d in range(6)] for q, s in enumerate(SOME_SCORES.tolist())]
    agree(loss(columns_of(embeddings), SOME_SCORES), plain_loss(embeddings, relevance), embeddings, 1e-9)
    assert batches[0].learnable.item() / batches[0].total == 0.5


def test_zero_counts_queries_without_relevance_with_a_loss_of_zero():
    embeddings = random_columns([6, 6])
    skipped = ANDCGLoss(Passing(), relevance=Pairs())(columns_of(embeddings), SOME_SCORES)
    counted = ANDCGLoss(Passing(), relevance=Pairs(), no_relevant="zero")(columns_of(embeddings), SOME_SCORES)
    agree(counted, skipped * 3 / 6, embeddings, 1e-9)


@pytest.mark.parametrize("symmetric", [False, True])
def test_error_refuses_queries_without_relevance_and_counts_them(symmetric):
    loss = ANDCGLoss(Passing(), relevance=Pairs(), no_relevant="error", symmetric=symmetric)
    expected = "no_relevant='error', got " + ("6 of 12" if symmetric else "3 of 6") + " without"
    with pytest.raises(ValueError, match=expected):
        loss(columns_of(random_columns([6, 6])), SOME_SCORES)
    assert loss(columns_of(random_columns([6, 6])), SOME_SCORES + 1) > 0


def test_a_query_without_relevance_gets_no_gradient_of_its_own():
    embeddings = random_columns([6, 6])
    loss = ANDCGLoss(Passing(), relevance=Pairs())(columns_of(embeddings), SOME_SCORES)
    of_queries, of_documents = gradients(loss, embeddings)
    assert of_queries.abs().sum(1).gt(0).tolist() == SOME_SCORES.gt(0).tolist()
    assert of_documents.abs().sum(1).gt(0).all()


def test_a_query_whose_grades_have_no_gain_counts_as_one_without_relevance():
    embeddings = random_columns([6, 6])
    scores = torch.tensor([1.0, 3.0, 1.0, 3.0, 3.0, 1.0])
    only_high = ANDCGLoss(Passing(), relevance=Pairs(), gain=lambda y: (y - 1).clamp_min(0))(
        columns_of(embeddings), scores
    )
    agree(
        only_high, ANDCGLoss(Passing(), relevance=Pairs())(columns_of(embeddings), (scores - 1) / 2), embeddings, 1e-9
    )


EMPTY_BATCHES = {
    "one_column": ([5], torch.arange(5), Classes()),
    "one_sample": ([1], torch.zeros(1, dtype=torch.int64), Classes()),
    "pairs": ([5, 5], torch.zeros(5), Pairs()),
    "lists": ([2, 3], {"label": torch.tensor([[0.0, NAN], [0.0, 0.0]]), "list_sizes": torch.tensor([1, 2])}, Lists()),
    "all_unjudged": ([2, 2, 2], torch.full((2, 2), NAN), Lists(off_diagonal=UNJUDGED)),
    "empty_sets": ([5], torch.zeros(5, 3, dtype=torch.bool), MultiLabel()),
    "no_judgement": (
        [2, 2],
        {"query_ids": torch.tensor([1, 2]), "document_ids": torch.tensor([3, 4])},
        Qrels({"q": {"d": 1}}),
    ),
}


@pytest.mark.filterwarnings("ignore:No query of this batch")
@pytest.mark.parametrize(
    "objective", [ApproxNDCG(), SoftmaxCrossEntropy(), ApproxNDCG() + SoftmaxCrossEntropy()], ids=str
)
@pytest.mark.parametrize("similarity_fct", [cos_sim, negative_manhattan], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", EMPTY_BATCHES)
def test_a_batch_without_relevance_gives_zero_connected_to_the_graph(name, similarity_fct, objective):
    sizes, labels, relevance = EMPTY_BATCHES[name]
    embeddings = random_columns(sizes)
    for block_size in (None, 2):
        loss = RankingLoss(
            Passing(), objective=objective, relevance=relevance, similarity_fct=similarity_fct, block_size=block_size
        )
        batches = watched(loss)
        value = loss(columns_of(embeddings), labels)
        total = value.total() if isinstance(value, dict) else value
        assert total.item() == 0
        assert total.requires_grad
        assert batches[0].learnable.item() == 0
        value.backward()
        for column in embeddings:
            assert column.grad is not None
            assert not column.grad.any()  # also false for NaN


def test_a_batch_without_relevance_warns():
    with pytest.warns(UserWarning, match="No query of this batch has a relevant document"):
        ANDCGLoss(Passing(), relevance=Classes())(columns_of(random_columns([4])), torch.arange(4))


def test_batches_without_relevance_warn_once_under_the_usual_filters():
    loss = ANDCGLoss(Passing(), relevance=Classes())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            loss(columns_of(random_columns([4])), torch.arange(4))
    assert len(caught) == 1


def test_a_batch_with_relevance_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ANDCGLoss(Passing(), relevance=Pairs())(columns_of(random_columns([4, 4])))


# Modes, graphs and accumulation.


def test_without_gradients_the_value_is_the_same_and_no_graph_is_made():
    shape = BY_NAME["ragged_lists"]
    embeddings = random_columns(shape.sizes)
    loss = ANDCGLoss(Passing(), relevance=shape.relevance)
    with_graph = loss(columns_of(embeddings), shape.labels)
    with torch.no_grad():
        without = loss(columns_of(embeddings), shape.labels)
    evaluated = loss.eval()(columns_of([e.detach() for e in embeddings]), shape.labels)
    assert with_graph.requires_grad
    assert not without.requires_grad
    assert not evaluated.requires_grad
    assert with_graph.item() == pytest.approx(without.item(), rel=1e-12)
    assert without.item() == evaluated.item()


@pytest.mark.parametrize("similarity_fct", [cos_sim, negative_manhattan], ids=lambda f: f.__name__)
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_column_changes_nothing_for_the_other(frozen, similarity_fct):
    embeddings = random_columns([7, 7])
    loss = ANDCGLoss(Passing(), relevance=Pairs(), similarity_fct=similarity_fct)
    both = gradients(loss(columns_of(embeddings)), embeddings)
    embeddings[frozen] = embeddings[frozen].detach()
    (alone,) = gradients(loss(columns_of(embeddings)), [embeddings[1 - frozen]])
    torch.testing.assert_close(alone, both[1 - frozen])


@pytest.mark.parametrize("objective", [ApproxNDCG(), ApproxNDCG() + SoftmaxCrossEntropy()], ids=["plain", "mixture"])
def test_a_factor_of_the_loss_is_a_factor_of_the_gradient(objective):
    embeddings = random_columns([7, 7])
    loss = RankingLoss(Passing(), objective=objective, relevance=Pairs())

    def gradient_of(factor):
        for column in embeddings:
            column.grad = None
        (loss(columns_of(embeddings)) * factor).backward()
        return torch.cat([column.grad for column in embeddings])

    assert gradient_of(1).abs().max() > 1e-4
    torch.testing.assert_close(gradient_of(3), 3 * gradient_of(1))
    torch.testing.assert_close(gradient_of(0.25), 0.25 * gradient_of(1))


def test_gradients_of_several_batches_accumulate():
    embeddings = random_columns([7, 7])
    loss = ANDCGLoss(Passing(), relevance=Pairs())
    loss(columns_of(embeddings)).backward()
    once = embeddings[0].grad.clone()
    loss(columns_of(embeddings)).backward()
    assert once.abs().max() > 1e-4
    torch.testing.assert_close(embeddings[0].grad, 2 * once)


def test_columns_of_documents_share_one_pass_and_alone_the_model_writes_into_their_features():
    embeddings = random_columns([4, 4, 4])
    features, model = columns_of(embeddings), Passing()
    loss = ANDCGLoss(model)
    merged = loss(features)
    assert model.calls == 2
    with column_merging_disabled():
        alone = loss(features)
    assert model.calls == 5
    assert [set(column) for column in features] == [{"input_ids", "sentence_embedding"}] * 3
    assert alone.item() == merged.item() == loss(features).item()


def test_embeddings_alone_give_the_same_loss():
    shape = BY_NAME["ragged_lists"]
    embeddings = random_columns(shape.sizes)
    model = Passing()
    loss = ANDCGLoss(model, relevance=shape.relevance)
    direct = loss.compute_loss_from_embeddings(embeddings, shape.labels)
    assert model.calls == 0
    assert direct.item() == loss(columns_of(embeddings), shape.labels).item()


def test_the_features_may_come_from_an_iterator():
    embeddings = random_columns([4, 4])
    loss = ANDCGLoss(Passing())
    assert loss(iter(columns_of(embeddings))).item() == loss(columns_of(embeddings)).item()


@pytest.mark.usefixtures("deterministic")
@every_shape
def test_under_deterministic_algorithms_value_and_gradient_stay(shape):
    embeddings = random_columns(shape.sizes)
    loss = ANDCGLoss(Passing(), relevance=shape.relevance, block_size=5)(columns_of(embeddings), shape.labels)
    agree(loss, plain_loss(embeddings, shape.expected), embeddings, tolerance_of(shape))


@pytest.mark.parametrize("similarity_fct", [cos_sim, negative_manhattan], ids=lambda f: f.__name__)
def test_embeddings_need_not_be_contiguous(similarity_fct):
    wide = [e.detach().T.contiguous().requires_grad_() for e in random_columns([9, 9])]
    loss = ANDCGLoss(Passing(), similarity_fct=similarity_fct)
    expected = loss(columns_of([e.T.contiguous() for e in wide]))
    agree(loss(columns_of([e.T for e in wide])), expected, wide, 1e-12)


def test_labels_may_come_by_name_or_plain():
    shape = BY_NAME["levels"]
    embeddings = random_columns(shape.sizes)
    loss = ANDCGLoss(Passing(), relevance=shape.relevance)
    plain, named = (loss(columns_of(embeddings), labels) for labels in (shape.labels, {"label": shape.labels}))
    assert plain.item() == named.item()


def test_the_tensors_of_a_relevance_function_are_not_written_to():
    teacher = torch.rand(9, 9).requires_grad_()
    before = teacher.detach().clone()
    embeddings = random_columns([9])
    loss = ANDCGLoss(Passing(), relevance=lambda q, d: teacher[q][:, d] if len(q) < 9 else teacher)
    value = loss(columns_of(embeddings), torch.arange(9))
    gradients(value, embeddings)
    assert torch.equal(teacher, before)
    assert teacher.grad is None


def test_a_relevance_of_ones_own_may_return_a_tensor_that_it_keeps():
    class Teacher(Relevance):
        def __init__(self):
            self.grades = torch.ones(1, 1).expand(9, 9)

        def __call__(self, queries, documents):
            return self.grades[: len(queries)]

    relevance = Teacher()
    embeddings = random_columns([9])
    loss = ANDCGLoss(Passing(), relevance=relevance, block_size=9)(columns_of(embeddings), torch.arange(9))
    assert torch.isfinite(loss)
    assert torch.equal(relevance.grades, torch.ones(9, 9))


# The card.


@pytest.mark.parametrize(
    "loss",
    [
        RankingLoss(Passing()),
        RankingLoss(
            Passing(),
            objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy(),
            relevance=Qrels({"q": {"d": 1}}),
            symmetric=True,
        ),
        RankingLoss(
            Passing(),
            objective=lambda s, y: s.sum(1),
            relevance=lambda q, d: q @ d.T,
            similarity_fct=lambda q, d: q @ d.T,
        ),
        ANDCGLoss(Passing(), relevance=MultiLabel("dice", idf=[1.0, 2.0]), gain=torch.square),
        ANDCGLoss(Passing(), relevance=Hierarchy((1, 2.0))),
        ANDCGLoss(Passing(), relevance=Numeric(bandwidth=(1.0, 2.0))),
        ANDCGLoss(Passing(), relevance=Vectors()),
        ANDCGLoss(Passing(), relevance=Pairs(UNJUDGED)),
    ],
    ids=lambda loss: loss.get_config_dict()["relevance"],
)
def test_the_settings_go_to_json_and_name_objective_and_relevance(loss):
    config = json.loads(json.dumps(loss.get_config_dict()))
    assert {"objective", "relevance", "similarity_fct", "symmetric", "no_relevant"} <= set(config)
    assert config["objective"] == repr(loss.objective)
    assert "Gu, Lifeng" in loss.citation


def test_the_default_objective_is_approximate_ndcg():
    assert RankingLoss(Passing()).objective == ApproxNDCG()
    assert ANDCGLoss(Passing(), temperature=0.1, gain="exponential", k=4).objective == ApproxNDCG(
        temperature=0.1, gain="exponential", k=4
    )


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block_size must be an integer of at least 1 or None, got 0"),
        ({"block_size": -3}, "block_size .* at least 1 .* got -3"),
        ({"block_size": 2.5}, "block_size .* got 2.5"),
        ({"block_size": True}, "block_size .* got True"),
        ({"no_relevant": "drop"}, "no_relevant must be one of 'skip', 'zero', 'error', got 'drop'"),
        ({"temperature": 0}, "temperature must be a finite number above 0, got 0"),
        ({"temperature": -0.1}, "temperature must be .* got -0.1"),
        ({"temperature": math.inf}, "temperature must be .* got inf"),
        ({"temperature": NAN}, "temperature must be .* got nan"),
        ({"k": 0}, "k must be an integer of at least 1 or None, got 0"),
        ({"k": -1}, "k must be .* got -1"),
        ({"gain": "cubic"}, "gain must be one of .* got 'cubic'"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_with_its_name_rule_and_value(options, message):
    with pytest.raises(ValueError, match=message):
        ANDCGLoss(Passing(), **options)


def test_what_is_no_function_is_refused_as_objective_and_relevance():
    with pytest.raises(TypeError, match="objective must be a function of .*got 'ndcg'"):
        RankingLoss(Passing(), objective="ndcg")
    with pytest.raises(TypeError, match="relevance must be a function of .*got 'classes'"):
        RankingLoss(Passing(), relevance="classes")


BAD_BATCHES = {
    "no_label_for_one_column": (None, [4], None, "needs labels for a single input column.*label, labels, score"),
    "no_label_for_classes": (Classes(), [4], None, r"Classes\(\) needs label, .* lacks.*column called label"),
    "no_label_for_numbers": (Numeric(), [4, 4], None, "Numeric.* needs label, "),
    "no_label_for_lists": (Lists(), [4, 4, 4], None, "Lists.* needs labels for documents in columns"),
    "too_few_labels": (Classes(), [4], torch.arange(3), r"labels must have a row for each of the 4 .*\(3,\)"),
    "scalar_label": (Classes(), [4], torch.tensor(1), r"labels must have a row for each of the 4 .*\(\)"),
    "float_classes": (Classes(), [4], torch.rand(4), r"Classes\(\) reads one integer class .*float32 of shape \(4,\)"),
    "matrix_of_classes": (Classes(), [4], torch.zeros(4, 2).long(), r"Classes\(\) reads .*\(4, 2\)"),
    "classes_as_levels": (Hierarchy(), [4], torch.arange(4), r"reads one integer per row and level.*\(4,\)"),
    "float_levels": (Hierarchy(), [4], torch.rand(4, 2), r"reads one integer .*float32 of shape \(4, 2\)"),
    "wrong_weights": (Hierarchy([1, 1]), [4], torch.zeros(4, 3).long(), "has 2 weights, but the labels have 3 levels"),
    "flat_label_sets": (MultiLabel(), [4], torch.arange(4), r"reads multi-hot labels.*got \(4,\)"),
    "wrong_idf": (MultiLabel(idf=[1.0]), [4], torch.zeros(4, 2), "has 1 weights, but there are 2 labels"),
    "negative_labels": (MultiLabel(), [4], torch.full((4, 2), -1.0), r"labels in \[0, 1\], got -1.0"),
    "labels_above_one": (MultiLabel(), [4], torch.full((4, 2), 2.0), r"labels in \[0, 1\], got 2.0"),
    "cube_of_numbers": (Numeric(), [4], torch.rand(4, 2, 2), r"reads shape \(rows,\) or .*got \(4, 2, 2\)"),
    "wrong_bandwidths": (Numeric(bandwidth=(1.0, 2.0)), [4], torch.rand(4), "has 2 bandwidths, but there are 1"),
    "number_inf": (Numeric(), [4], torch.tensor([1.0, math.inf, 1, 1]), "reads finite numbers, got inf"),
    "flat_vectors": (Vectors(), [4], torch.rand(4), r"reads floating vectors.*\(4,\)"),
    "integer_vectors": (Vectors(), [4], torch.zeros(4, 2).long(), "reads floating vectors.*int64"),
    "pairs_of_one_column": (Pairs(), [4], None, "needs a column of queries and at least one of documents"),
    "pairs_of_lists": (Pairs(), [4, 6], None, r"\[4, 6\] rows; for lists of documents use Lists"),
    "wide_pairs": (Pairs(), [4, 4], torch.rand(4, 3), r"reads labels of shape \(4,\) or \(4, 1\), got \(4, 3\)"),
    "negative_score": (Pairs(), [4, 4], torch.tensor([1, 1, -0.5, 1]), "relevance must be at least 0.*got -0.5"),
    "infinite_score": (Pairs(), [4, 4], torch.tensor([1, 1, math.inf, 1]), "relevance must be at least 0.*got inf"),
    "negative_grade": (Lists(), [2, 2, 2], torch.tensor([[1.0, -1], [0, 0]]), "relevance must be at least 0.*-1.0"),
    "narrow_grades": (
        Lists(),
        [4, 4, 4],
        torch.rand(4, 3),
        r"one label per document column, shape \(4, 2\).*\(4, 3\)",
    ),
    "lists_without_collator": (Lists(), [4, 9], torch.rand(4, 3), "use RankingCollator"),
    "classes_of_lists": (Classes(), [4, 9], torch.arange(4), "needs one document per row .*Lists"),
    "no_ids": (Qrels({"q": {"d": 1}}), [4, 4], None, "needs query_ids, which this batch lacks: use RankingTrainer"),
    "no_document_ids": (Qrels({"q": {"d": 1}}), [4, 4], {"query_ids": torch.arange(4)}, "needs document_ids"),
    "few_document_ids": (
        Qrels({"q": {"d": 1}}),
        [4, 4],
        {"query_ids": torch.arange(4), "document_ids": torch.arange(3)},
        r"document ids must have a row for each of the 4 inputs, got shape \(3,\)",
    ),
    "ids_without_judgements": (
        None,
        [4, 4],
        {"query_ids": torch.arange(4), "document_ids": torch.arange(4)},
        r"pass relevance=Qrels\(qrels\)",
    ),
    "ambiguous_integers": (None, [4, 4], torch.arange(4), r"relevance=None is ambiguous for 2 .*int64 of shape \(4,\)"),
    "ambiguous_matrix": (
        None,
        [4],
        torch.rand(4, 2),
        r"relevance=None is ambiguous .*float32 of shape \(4, 2\).*Vectors",
    ),
    "empty_column": (None, [4, 0], None, r"at least one input in each column, got columns of \[4, 0\]"),
    "list_sizes_that_do_not_add_up": (
        Lists(),
        [2, 5],
        {"list_sizes": torch.tensor([2, 2])},
        "list",
    ),
    "list_sizes_of_other_rows": (Lists(), [3, 4], {"list_sizes": torch.tensor([2, 2])}, "2 list sizes"),
    "grades_narrower_than_the_lists": (
        Lists(),
        [2, 5],
        {"list_sizes": torch.tensor([2, 3]), "label": torch.ones(2, 2)},
        "grades|labels",
    ),
    "one_grade_for_a_list": (
        Lists(),
        [2, 5],
        {"list_sizes": torch.tensor([2, 3]), "label": torch.ones(2)},
        "grades|labels",
    ),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_wrong_batch_is_refused_before_the_model_runs(name):
    relevance, sizes, labels, message = BAD_BATCHES[name]
    model = Passing()
    loss = ANDCGLoss(model, relevance=relevance)
    with pytest.raises(ValueError, match=message):
        loss(columns_of(random_columns(sizes)), labels)
    assert model.calls == 0


def test_a_symmetric_loss_of_one_column_is_refused_before_the_model_runs():
    model = Passing()
    with pytest.raises(ValueError, match="symmetric=True needs a column of queries and one of documents"):
        ANDCGLoss(model, relevance=Classes(), symmetric=True)(columns_of(random_columns([4])), torch.arange(4))
    assert model.calls == 0


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("column", [0, 1])
def test_embeddings_that_are_not_finite_are_refused_with_the_likely_cause(column, bad):
    embeddings = [e.detach().clone() for e in random_columns([4, 4])]
    embeddings[column][2, 3] = bad
    with pytest.raises(ValueError, match=f"embeddings must be finite, got {bad}.*learning rate.*float16"):
        ANDCGLoss(Passing())(columns_of(embeddings))


def test_a_relevance_function_of_the_wrong_shape_is_refused():
    loss = ANDCGLoss(Passing(), relevance=lambda q, d: torch.ones(len(q)))
    with pytest.raises(ValueError, match=r"must return shape \(4, 4\), got \(4,\)"):
        loss(columns_of(random_columns([4])), torch.arange(4))


def test_a_relevance_function_with_negative_values_is_refused():
    loss = ANDCGLoss(Passing(), relevance=lambda q, d: -torch.ones(len(q), len(d)))
    with pytest.raises(ValueError, match="relevance must be at least 0.*got -1.0"):
        loss(columns_of(random_columns([4])), torch.arange(4))


def test_an_objective_function_of_the_wrong_shape_is_refused():
    loss = RankingLoss(Passing(), objective=lambda s, y: s)
    with pytest.raises(ValueError, match=r"one loss for each query, shape \(4,\), got shape \(4, 4\)"):
        loss(columns_of(random_columns([4, 4])))
