"""The losses for cross-encoders: which pairs are scored, and the objective of their scores by plain loops."""

from __future__ import annotations

import math
import re
import warnings

import pytest
import torch
from torch import nn

from st_rankloss import ApproxNDCG, CachedCrossEncoderRankingLoss, CrossEncoderRankingLoss, SoftmaxCrossEntropy
from st_rankloss.functional import rank_net
from st_rankloss.losses import LossParts
from st_rankloss.objectives import AcrossQueries, CoSENT, Focal, ListNet, OverPairs, Pearson, RankNet, SoftSpearman
from st_rankloss.relevance import UNJUDGED, Classes, Lists, Pairs, Qrels, encode_ids
from tests import oracle, oracle_family
from tests.models import (
    SHAPES,
    PairTable,
    cached_tolerance,
    texts_of,
    tiny_bert,
    tiny_cross_encoder,
    watched,
    without_one_vector,
)

MIXTURE = RankNet(temperature=1.0) + 0.2 * SoftmaxCrossEntropy(temperature=1.0)
BY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=repr)
WORDS = [f"w{i}" for i in range(40)]


def total(loss):
    return loss.total() if isinstance(loss, LossParts) else loss


def value_and_gradient(loss, *args):
    """The loss, and the gradient of each pair's score."""
    value = total(loss(*args))
    loss.model.table.grad = None
    value.backward()
    return value.item(), loss.model.table.grad.clone()


def flat(columns):
    """The queries and the documents of columns of texts, as numbers."""
    documents = columns[1:] or columns
    found = [d for column in documents for row in column for d in (row if isinstance(row, list) else [row])]
    return [int(text) for text in columns[0]], [int(text) for text in found]


def mean_of(function, model, columns, grades, defined):
    """The mean of a loss of one list, by plain loops, over the queries for which it is defined."""
    queries, documents = flat(columns)
    losses = []
    for query, row in zip(queries, grades, strict=True):
        scores = [model.table[query, document].item() for document in documents]
        listed = oracle.judged(scores, row)
        if listed[0] and defined(listed[1]):
            losses.append(function(*listed))
    return sum(losses) / max(len(losses), 1)


@BY_SHAPE
def test_with_all_negatives_every_relevance_has_the_definition(shape):
    model, columns = PairTable(), texts_of(shape)
    cases = [
        (
            RankNet(temperature=1.0),
            lambda s, y: oracle_family.rank_net(s, y, temperature=1.0),
            lambda y: len(set(y)) > 1,
        ),
        (
            ApproxNDCG(temperature=1.0),
            lambda s, y: 1 - oracle.approx_ndcg(s, y, temperature=1.0),
            lambda y: max(y) > min(y),
        ),
    ]
    for objective, function, defined in cases:
        loss = CrossEncoderRankingLoss(model, objective=objective, relevance=shape.relevance, num_negatives=None)
        found = loss(columns, shape.labels).item()
        assert found == pytest.approx(mean_of(function, model, columns, shape.expected, defined), rel=1e-5)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape.sizes) > 1], ids=repr)
def test_without_negatives_only_own_documents_are_ranked(shape):
    columns = texts_of(shape)
    owners = flat_owners(columns)
    grades = [
        [grade if owner == row else math.nan for owner, grade in zip(owners, graded, strict=True)]
        for row, graded in enumerate(shape.expected)
    ]
    model = PairTable()
    loss = CrossEncoderRankingLoss(
        model, objective=RankNet(temperature=1.0), relevance=shape.relevance, num_negatives=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows of one document have nothing to compare
        found = loss(columns, shape.labels).item()
    expected = mean_of(
        lambda s, y: oracle_family.rank_net(s, y, temperature=1.0), model, columns, grades, lambda y: len(set(y)) > 1
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert sorted(pair for batch in model.seen for pair in batch) == sorted(
        (int(columns[0][owner]), document) for owner, document in zip(owners, flat(columns)[1], strict=True)
    )


def flat_owners(columns):
    return [
        row
        for column in columns[1:]
        for row, value in enumerate(column)
        for _ in (value if isinstance(value, list) else [value])
    ]


@BY_SHAPE
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_mini_batches_and_gradient_caching_change_nothing(shape, size):
    columns = texts_of(shape)
    options = {"objective": MIXTURE, "relevance": shape.relevance, "num_negatives": 5 if len(columns) > 1 else None}
    results = []
    for make, mini_batch_size in (
        (CrossEncoderRankingLoss, None),
        (CrossEncoderRankingLoss, size),
        (CachedCrossEncoderRankingLoss, size),
    ):
        torch.manual_seed(1)
        model = PairTable()
        loss = make(model, mini_batch_size=mini_batch_size, **options)
        results.append(value_and_gradient(loss, columns, shape.labels))
        assert mini_batch_size is None or max(map(len, model.seen)) <= mini_batch_size
    (value, gradient), *others = results
    assert gradient.abs().max() > 1e-4, "there is no gradient to compare"
    for found, of_scores in others:
        assert found == pytest.approx(value, rel=1e-12)
        torch.testing.assert_close(of_scores, gradient, rtol=10 * cached_tolerance(), atol=1e-12)


@pytest.mark.parametrize("negatives", [0, 1, 3, 7, 8, 100])
def test_each_query_draws_other_documents_without_replacement(negatives):
    model = PairTable()
    columns = [[str(i) for i in range(9)], [str(9 + i) for i in range(9)]]
    loss = CrossEncoderRankingLoss(model, num_negatives=negatives, objective=RankNet(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss(columns)
    pairs = model.seen[0]
    assert len(set(pairs)) == len(pairs) == 9 * (1 + min(negatives, 8))
    for query in range(9):
        assert (query, 9 + query) in pairs
        assert sum(q == query for q, _ in pairs) == 1 + min(negatives, 8)


def test_draws_are_repeated_by_a_seed_and_differ_without():
    columns = [[str(i) for i in range(9)], [str(9 + i) for i in range(9)]]
    seen = []
    for seed in (3, 3, None):
        if seed is not None:
            torch.manual_seed(seed)
        model = PairTable()
        CrossEncoderRankingLoss(model)(columns)
        seen.append(model.seen)
    assert seen[0] == seen[1] != seen[2]


def test_draws_cover_all_other_documents_alike():
    counts = torch.zeros(6, 12)
    columns = [[str(i) for i in range(6)], [[str(6 + 2 * i), str(7 + 2 * i)] for i in range(6)]]
    for _ in range(300):
        model = PairTable()
        CrossEncoderRankingLoss(model, relevance=Lists(), num_negatives=2)(columns, [torch.tensor([1, 0])] * 6)
        for query, document in model.seen[0]:
            counts[query, document - 6] += 1
    own = torch.arange(6)[:, None] == torch.arange(12) // 2
    assert (counts[own] == 300).all()
    assert counts[~own].min() > 30  # 60 expected
    assert counts[~own].max() < 95


AUTO = [
    ("lists", [["0", "1"], [["2", "3"], ["4"]]], [torch.tensor([1, 0]), torch.tensor([1])], 0),
    ("columns with grades", [["0", "1"], ["2", "3"], ["4", "5"]], torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0),
    ("lists without grades", [["0", "1"], [["2", "3"], ["4"]]], None, 4),
    ("pairs", [["0", "1"], ["2", "3"]], None, 4),
    ("hard negatives", [["0", "1"], ["2", "3"], ["4", "5"]], None, 4),
    ("scored pairs", [["0", "1"], ["2", "3"]], torch.tensor([0.5, 0.1]), 4),
    ("texts", [["0", "1", "2"]], torch.tensor([0, 0, 1]), None),
]


@pytest.mark.parametrize(("columns", "labels", "negatives"), [case[1:] for case in AUTO], ids=[c[0] for c in AUTO])
def test_the_number_of_negatives_follows_from_columns_and_labels(columns, labels, negatives):
    values = []
    for given in ("auto", negatives):
        torch.manual_seed(0)
        model = PairTable()
        CrossEncoderRankingLoss(model, num_negatives=given)(columns, labels)
        values.append(model.seen)
    assert values[0] == values[1]


@pytest.mark.parametrize(
    "objective", [OverPairs(CoSENT()), 0.5 * OverPairs(CoSENT()) + OverPairs(Pearson()), Focal(OverPairs(CoSENT()))]
)
def test_objectives_of_pairs_score_no_others(objective):
    model = PairTable()
    CrossEncoderRankingLoss(model, objective=objective)([["0", "1", "2"], ["3", "4", "5"]], torch.rand(3))
    assert model.seen == [[(0, 3), (1, 4), (2, 5)]]


def test_judgements_grade_drawn_documents_too():
    labels = {"query_ids": encode_ids(["q0", "q1"]), "document_ids": encode_ids(["d0", "d1"])}
    model = PairTable()
    loss = CrossEncoderRankingLoss(
        model,
        objective=RankNet(1.0),
        relevance=Qrels({"q0": {"d0": 1, "d1": 2}, "q1": {"d0": 3}}),
        num_negatives=None,
    )
    found = loss([["0", "1"], ["2", "3"]], labels).item()
    first, second = model.table[0, 2:4], model.table[1, 2:4]
    expected = [oracle.softplus((first[0] - first[1]).item()), oracle.softplus((second[1] - second[0]).item())]
    assert found == pytest.approx(sum(expected) / 2)


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
def test_an_objective_over_all_queries_gets_every_score_in_its_place(make):
    columns, scores = [["0", "1", "2"], ["3", "4", "5"]], torch.tensor([0.9, 0.1, 0.5])
    model = PairTable()
    loss = make(model, objective=OverPairs(SoftSpearman(0.1)), relevance=Pairs(), num_negatives=1)
    found = loss(columns, scores).item()
    own = [model.table[i, 3 + i].item() for i in range(3)]
    assert found == pytest.approx(1 - oracle_family.soft_spearman(own, scores.tolist(), temperature=0.1), rel=1e-5)

    across = make(model, objective=AcrossQueries(RankNet(1.0)), relevance=Pairs(), num_negatives=None)
    listed = [model.table[i, j].item() for i in range(3) for j in range(3, 6)]
    grades = [float(i == j - 3) for i in range(3) for j in range(3, 6)]
    expected = oracle_family.rank_net(listed, grades, temperature=1.0)
    assert across(columns).item() == pytest.approx(expected, rel=1e-6)


def test_queries_are_weighted():
    columns = [["0", "1"], [["2", "3"], ["4", "5"]]]
    grades = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = CrossEncoderRankingLoss(PairTable(), objective=RankNet(1.0))
    first = loss(columns, {"label": grades, "row_weights": torch.tensor([1.0, 0.0])}).item()
    second = loss(columns, {"label": grades, "query_weights": torch.tensor([0.0, 3.0])}).item()
    both = loss(columns, {"label": grades, "query_weights": torch.tensor([1.0, 3.0])}).item()
    assert first != second
    assert both == pytest.approx((first + 3 * second) / 4)


@pytest.mark.parametrize("num_negatives", [0, 2, None])
def test_documents_are_weighted_in_the_list_of_their_query(num_negatives):
    """With documents drawn from the other list, which weigh 1."""
    columns = [["0", "1"], [["2", "3", "6"], ["4", "5"]]]
    grades = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    model, weights = PairTable(), torch.tensor([0.5, 2.0, 1.0, 3.0, 1.0])
    loss = CrossEncoderRankingLoss(model, objective=RankNet(1.0), relevance=Lists(), num_negatives=num_negatives)
    batch = {"label": grades, "list_sizes": torch.tensor([3, 2]), "document_weights": weights}
    torch.manual_seed(0)
    found = loss(columns, batch).item()
    documents, losses = ["2", "3", "6", "4", "5"], []
    if num_negatives in (0, None):
        for query, own in ((0, slice(0, 3)), (1, slice(3, 5))):
            others = documents if num_negatives is None else documents[own]
            scores = [model.table[query, int(d)].item() for d in others]
            row = dict(zip(documents[own], grades[query].tolist(), strict=False))
            weighed = dict(zip(documents[own], weights[own].tolist(), strict=True))
            wanted = rank_net(
                torch.tensor(scores, dtype=torch.float64),
                torch.tensor([row.get(d, 0.0) for d in others], dtype=torch.float64),
                temperature=1.0,
                weights=torch.tensor([weighed.get(d, 1.0) for d in others], dtype=torch.float64),
            )
            losses.append(wanted.item())
        assert found == pytest.approx(sum(losses) / 2, rel=1e-6)
    unweighted = {name: x for name, x in batch.items() if name != "document_weights"}
    torch.manual_seed(0)
    assert found != pytest.approx(loss(columns, unweighted).item(), rel=1e-3)


def test_a_query_without_relevant_documents_is_treated_as_told():
    columns, grades = [["0", "1"], [["2", "3"], ["4", "5"]]], [torch.tensor([1, 0]), torch.tensor([0, 0])]
    values = {
        how: CrossEncoderRankingLoss(PairTable(), objective=RankNet(1.0), no_relevant=how)(columns, grades).item()
        for how in ("skip", "zero")
    }
    assert values["zero"] == pytest.approx(values["skip"] / 2)
    with pytest.raises(ValueError, match="got 1 of 2 without"):
        CrossEncoderRankingLoss(PairTable(), objective=RankNet(1.0), no_relevant="error")(columns, grades)


NOTHING_TO_LEARN = [
    ("one document", [["0"], [["1"]]], [torch.tensor([1])]),
    ("none relevant", [["0"], [["1", "2"]]], [torch.tensor([0, 0])]),
    ("all equally relevant", [["0"], [["1", "2"]]], [torch.tensor([2, 2])]),
    ("all unjudged", [["0"], [["1", "2"]]], [torch.tensor([UNJUDGED, UNJUDGED])]),
    ("one pair", [["0"], ["1"]], None),
    ("one text", [["0"]], torch.tensor([1])),
]


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
@pytest.mark.parametrize(("columns", "labels"), [x[1:] for x in NOTHING_TO_LEARN], ids=[x[0] for x in NOTHING_TO_LEARN])
def test_a_batch_with_nothing_to_learn_warns_and_has_no_gradient(make, columns, labels):
    loss = make(PairTable())
    with pytest.warns(UserWarning, match=r"the loss is 0 and has no gradient\. Score more .* raise num_negatives"):
        value, gradient = value_and_gradient(loss, columns, labels)
    assert value == 0
    assert not gradient.any()


def test_unjudged_documents_have_no_gradient():
    loss = CrossEncoderRankingLoss(PairTable())
    _, gradient = value_and_gradient(loss, [["0"], [["1", "2", "3"]]], [torch.tensor([2.0, UNJUDGED, 0.0])])
    assert gradient[0, 2] == 0
    assert gradient[0, 1] < 0 < gradient[0, 3]


@pytest.mark.parametrize(
    ("columns", "labels", "message"),
    [
        ([["0", "1"], [["2"], ["3"]]], [torch.tensor([1]), torch.tensor([1, 0])], "1 grades, one per document.*row 1"),
        ([["0", "1"], [["2"], ["3"]]], [torch.tensor([1])], "a row for each of the 2 queries, got 1"),
        ([["0", "1"], [["2"], []]], None, "at least one document in each list.*in row 1"),
        ([["0", "1"], [["2"], None]], None, "at least one document in each list.*in row 1"),
        ([["0", "1"], [["2"], [None]]], None, r"each of 'inputs\[1\]' must be a text, got None.*row 1"),
        ([["0", 7], ["2", "3"]], None, r"each of 'inputs\[0\]' must be a text, got 7.*row 1"),
        ([["0", "1"], ["2"]], None, r"at least one row, of all columns, got \[2, 1\]"),
        ([], None, r"at least one row, of all columns, got \[\]"),
        ([["0"], [["1"]], ["2"]], None, "one column of queries, then one of lists"),
        ([["0"], [["1", "2"]]], torch.tensor([[1.0, 0.0, 1.0]]), "as wide as the longest list.*2"),
        ([["0"], [["1", "2"]]], {"list_sizes": torch.tensor([3])}, r"list_sizes must be \[2\].*got \[3\]"),
        ([["0", "1"]], None, "needs labels for a single input column"),
        ([["0", "1"], ["2", "3"]], torch.tensor([1, 0]), "relevance=None is ambiguous"),
        ([["0"], [["1", "2"]]], [torch.tensor([1.0, -1.0])], "-1"),
        ([["0", "1"]], [torch.tensor([1, 0]), torch.tensor([1])], "2 labels, as the first row does.*row 1"),
    ],
)
def test_a_wrong_batch_is_refused_before_the_model_runs(columns, labels, message):
    model = PairTable()
    with pytest.raises(ValueError, match=message):
        CrossEncoderRankingLoss(model)(columns, labels)
    assert not model.seen


def test_a_text_alone_has_no_documents_of_its_own():
    loss = CrossEncoderRankingLoss(PairTable(), num_negatives=0, relevance=Classes())
    with pytest.raises(ValueError, match="num_negatives must be at least 1, or None for all"):
        loss([["0", "1"]], torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_negatives": -1}, ValueError, "num_negatives must be an integer of at least 0, got -1"),
        ({"num_negatives": 1.5}, ValueError, "num_negatives must be an integer of at least 0, got 1.5"),
        ({"mini_batch_size": 0}, ValueError, "mini_batch_size must be an integer of at least 1, got 0"),
        ({"activation_fn": "sigmoid"}, TypeError, "activation_fn must be a function of scores, got 'sigmoid'"),
        ({"activation_fn": nn.Sigmoid}, TypeError, "activation_fn must be a function of scores"),
        ({"no_relevant": "drop"}, ValueError, "no_relevant"),
        ({"objective": RankNet}, TypeError, "got the class RankNet: call it"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(options, error, message):
    for make in (CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss):
        with pytest.raises(error, match=re.escape(message)):
            make(PairTable(), **options)


def test_models_of_other_kinds_are_refused_by_name(tmp_path):
    models = {
        "SentenceTransformer": tiny_bert(tmp_path / "a", WORDS),
        "MultiVectorEncoder": without_one_vector(tmp_path / "b", WORDS)[1],
    }
    for name, model in models.items():
        with pytest.raises(TypeError, match=f"needs a CrossEncoder, got a {name}; for models of embeddings use"):
            CrossEncoderRankingLoss(model)


def test_a_model_of_several_outputs_is_refused(tmp_path):
    model = tiny_cross_encoder(tmp_path, WORDS)
    model.transformers_model.config.num_labels = 3
    with pytest.raises(ValueError, match="needs a CrossEncoder with one output, got num_labels=3"):
        CachedCrossEncoderRankingLoss(model)


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
def test_activation_comes_before_the_objective(make):
    columns, grades = [["0"], [["1", "2", "3"]]], [torch.tensor([2, 1, 0])]
    model = PairTable()
    found = make(model, objective=RankNet(1.0), activation_fn=nn.Sigmoid())(columns, grades).item()
    scores = [oracle.sigmoid(model.table[0, i].item()) for i in (1, 2, 3)]
    assert found == pytest.approx(oracle_family.rank_net(scores, [2.0, 1.0, 0.0], temperature=1.0))


def test_scores_that_are_not_finite_are_refused():
    model = PairTable()
    with torch.no_grad():
        model.table[0, 2] = torch.nan
    with pytest.raises(ValueError, match="scores must be finite"):
        CrossEncoderRankingLoss(model)([["0"], [["1", "2"]]], [torch.tensor([1, 0])])


def test_a_mixture_returns_its_terms_by_name():
    columns, grades = [["0"], [["1", "2"]]], [torch.tensor([1, 0])]
    parts = CrossEncoderRankingLoss(PairTable(), objective=MIXTURE)(columns, grades)
    assert list(parts) == ["RankNet", "SoftmaxCrossEntropy"]
    cached = CachedCrossEncoderRankingLoss(PairTable(), objective=MIXTURE)(columns, grades)
    assert cached.item() == pytest.approx(parts.item())


@pytest.mark.parametrize("make", [CrossEncoderRankingLoss, CachedCrossEncoderRankingLoss])
def test_training_batches_are_observed(make):
    loss = make(PairTable(), objective=RankNet(1.0))
    seen = watched(loss)
    loss([["0", "1"], [["2", "3"], ["4"]]], [torch.tensor([1, 0]), torch.tensor([1])])
    (batch,) = seen
    assert (batch.queries, batch.total, int(batch.learnable), batch.vectors) == (2, 2, 1, None)
    assert batch.similarity_of(slice(0, 1)).tolist() == [[loss.model.table[0, i].item() for i in (2, 3)]]
    assert batch.relevance_of(slice(0, 1)).tolist() == [[1, 0]]
    with torch.no_grad():
        assert loss([["0"], [["2", "3"]]], [torch.tensor([1, 0])]).item() > 0
    assert len(seen) == 1


def test_longest_pairs_come_first_so_that_padding_is_saved():
    model = PairTable(size=1200)
    columns = [["0", "1"], [["2", "1100", "30"], ["1000", "4"]]]
    CrossEncoderRankingLoss(model, mini_batch_size=2)(columns, [torch.tensor([1, 0, 0]), torch.tensor([1, 0])])
    assert model.seen == [[(0, 1100), (1, 1000)], [(0, 30), (0, 2)], [(1, 4)]]


def test_the_model_card_gets_every_setting():
    loss = CachedCrossEncoderRankingLoss(PairTable(), objective=ListNet(1.0), mini_batch_size=8)
    assert loss.get_config_dict() == {
        "objective": repr(ListNet(1.0)),
        "relevance": "chosen by columns and labels",
        "no_relevant": "skip",
        "gather_across_devices": False,
        "num_negatives": "auto",
        "mini_batch_size": 8,
        "activation_fn": "Identity()",
    }
