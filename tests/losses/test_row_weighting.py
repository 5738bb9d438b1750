"""Losses with a weighting: rows count as queries and documents by their number, and their losses are told."""

from __future__ import annotations

import pytest
import torch

from st_rankloss import ANDCGLoss, ApproxNDCG, CrossEncoderRankingLoss, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.losses import CachedRankingLoss
from st_rankloss.objectives import (
    AcrossQueries,
    CoSENT,
    Focal,
    InfoNCE,
    OverPairs,
    RankNet,
    SoftKendall,
    SoftSpearman,
    SupCon,
    Wasserstein,
)
from st_rankloss.relevance import Classes, Pairs
from st_rankloss.weighting import Curriculum, LossMixture, NeighbourAgreement, SelfPaced, Weighting
from tests.models import PairTable, Passing, PassingTokens, columns_of, random_columns

ROWS = 12
CLASSES = torch.arange(ROWS) % 3
KEPT = torch.tensor([0, 2, 3, 4, 5, 7, 8, 10, 11])
NUMBERS = torch.arange(ROWS).flip(0) + 5
OBJECTIVES = [
    ApproxNDCG(),
    SoftmaxCrossEntropy(),
    InfoNCE(),
    SupCon(),
    RankNet(),
    SoftKendall(),
    ApproxNDCG() + 0.5 * InfoNCE(),
]


class Fixed(Weighting):
    """Weights that do not change, and what was seen."""

    def __init__(self, weights):
        self.weights, self.seen = weights, []

    def see(self, batch):
        self.seen.append(batch)


def leaving_out(rows=ROWS + 5):
    weights = torch.zeros(rows)
    weights[NUMBERS[KEPT]] = 1
    return Fixed(weights)


def run(loss, embeddings, batch):
    own = [e.detach().clone().requires_grad_() for e in embeddings]
    value = loss(columns_of(own), batch)
    value = value.total() if hasattr(value, "total") else value
    value.backward()
    return value.detach(), [e.grad for e in own]


MAKERS = {
    "plain": RankingLoss,
    "in blocks": lambda *args, **options: RankingLoss(*args, block_size=5, **options),
    "cached": lambda *args, **options: CachedRankingLoss(*args, mini_batch_size=5, **options),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_row_of_weight_0_has_no_influence_on_a_batch_of_samples(objective, name):
    (samples,) = random_columns([ROWS])
    options = {"objective": objective, "relevance": Classes()}
    batch = {"label": CLASSES, "row_numbers": NUMBERS}
    value, (gradient,) = run(MAKERS[name](Passing(), weighting=leaving_out(), **options), [samples], batch)
    wanted, (of_kept,) = run(RankingLoss(Passing(), **options), [samples[KEPT]], {"label": CLASSES[KEPT]})
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(gradient[KEPT], of_kept)
    left_out = [row for row in range(ROWS) if row not in KEPT]
    assert torch.equal(gradient[left_out], torch.zeros_like(gradient[left_out]))


@pytest.mark.parametrize("name", MAKERS)
def test_a_row_of_weight_0_is_no_query_but_another_querys_document(name):
    embeddings = random_columns([ROWS, ROWS])
    options = {"objective": SoftmaxCrossEntropy(), "relevance": Pairs()}
    loss = MAKERS[name](Passing(), weighting=leaving_out(), **options)
    value, gradients = run(loss, embeddings, {"row_numbers": NUMBERS})
    weights = torch.zeros(ROWS)
    weights[KEPT] = 1
    wanted, of_weighted = run(RankingLoss(Passing(), **options), embeddings, {"query_weights": weights})
    torch.testing.assert_close(value, wanted)
    for found, expected in zip(gradients, of_weighted, strict=True):
        torch.testing.assert_close(found, expected)


def test_weights_multiply_those_of_the_dataset():
    (samples,) = random_columns([ROWS])
    weights = torch.rand(ROWS + 5, generator=torch.Generator().manual_seed(1))
    own = torch.rand(ROWS, generator=torch.Generator().manual_seed(2))
    options = {"objective": ApproxNDCG(), "relevance": Classes()}
    batch = {"label": CLASSES, "row_numbers": NUMBERS, "row_weights": own, "document_weights": own.sqrt()}
    found = run(RankingLoss(Passing(), weighting=Fixed(weights), **options), [samples], batch)
    each = weights[NUMBERS]
    batch = {"label": CLASSES, "row_weights": each * own, "document_weights": each * own.sqrt()}
    wanted = run(RankingLoss(Passing(), **options), [samples], batch)
    assert found[0] == wanted[0]
    assert torch.equal(found[1][0], wanted[1][0])


@pytest.mark.parametrize("name", MAKERS)
def test_each_row_is_told_its_own_loss(name):
    (samples,) = random_columns([ROWS])
    labels = torch.cat([CLASSES[:-1], torch.tensor([9])])  # the last has no partner
    weighting = Fixed(torch.ones(ROWS + 5))
    objective = ApproxNDCG() + 0.5 * SoftmaxCrossEntropy()
    loss = MAKERS[name](Passing(), objective=objective, relevance=Classes(), weighting=weighting)
    run(loss, [samples], {"label": labels, "row_numbers": NUMBERS})
    (seen,) = weighting.seen
    assert torch.equal(seen.rows, NUMBERS)
    assert torch.equal(seen.labels, labels)
    assert torch.equal(seen.vectors, samples)
    for row in range(ROWS - 1):
        others = [other for other in range(ROWS) if other != row]
        cosine = torch.nn.functional.cosine_similarity(samples[row], samples[others])
        wanted = objective(cosine[None], (labels[others] == labels[row]).double()[None])
        torch.testing.assert_close(seen.losses[row], wanted[0])
    assert seen.losses[-1].isnan()
    assert not seen.losses.requires_grad


def test_a_row_that_does_not_count_is_still_told_its_loss():
    (samples,) = random_columns([ROWS])
    weighting = leaving_out()
    run(
        ANDCGLoss(Passing(), relevance=Classes(), weighting=weighting),
        [samples],
        {"label": CLASSES, "row_numbers": NUMBERS},
    )
    assert not weighting.seen[0].losses.isnan().any()


def test_evaluation_weighs_all_rows_alike_and_tells_nothing():
    (samples,) = random_columns([ROWS])
    weighting = leaving_out()
    loss = ANDCGLoss(Passing(), relevance=Classes(), weighting=weighting)
    plain = ANDCGLoss(Passing(), relevance=Classes())
    with torch.no_grad():
        for batch in ({"label": CLASSES}, {"label": CLASSES, "row_numbers": NUMBERS}):
            assert loss(columns_of([samples]), batch) == plain(columns_of([samples]), {"label": CLASSES})
    assert not weighting.seen


def test_a_cross_encoder_leaves_a_row_of_weight_0_out():
    documents = [[f"{row * 3 + i}" for i in range(3)] for row in range(4)]
    inputs = [[f"{row}" for row in range(4)], documents]
    grades = torch.tensor([[2.0, 1, 0], [0, 1, 0], [1, 0, 3], [0, 0, 2]])
    weighting = Fixed(torch.tensor([1.0, 0, 1, 1]))
    model = PairTable()
    loss = CrossEncoderRankingLoss(model, objective=SoftmaxCrossEntropy(), num_negatives=0, weighting=weighting)
    batch = {"label": grades, "row_numbers": torch.arange(4)}
    value = loss(inputs, batch)
    plain = CrossEncoderRankingLoss(model, objective=SoftmaxCrossEntropy(), num_negatives=0)
    wanted = plain([[x[i] for i in (0, 2, 3)] for x in inputs], {"label": grades[[0, 2, 3]]})
    torch.testing.assert_close(value, wanted)
    assert weighting.seen[0].losses.shape == (4,)
    assert weighting.seen[0].vectors is None


@pytest.mark.parametrize("make", [SelfPaced, LossMixture, NeighbourAgreement, Curriculum], ids=lambda m: m.__name__)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_every_strategy_works_with_any_objective(objective, make):
    (samples,) = random_columns([ROWS])
    weighting = make()
    weighting.prepare(ROWS + 5)
    loss = RankingLoss(Passing(), objective=objective, relevance=Classes(), weighting=weighting)
    for _ in range(3):
        value, (gradient,) = run(loss, [samples], {"label": CLASSES, "row_numbers": NUMBERS})
        weighting.at(0.5)
        weighting.end_epoch()
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_a_batch_without_row_numbers_is_refused_before_the_model_runs():
    model = Passing()
    loss = ANDCGLoss(model, relevance=Classes(), weighting=Fixed(torch.ones(ROWS)))
    with pytest.raises(ValueError, match="needs the numbers of its rows .* train with RankingTrainer"):
        loss(columns_of(random_columns([ROWS])), {"label": CLASSES})
    assert model.calls == 0


def test_neighbours_are_refused_for_labels_that_are_no_classes_before_the_model_runs():
    weighting = NeighbourAgreement()
    weighting.prepare(ROWS + 5)
    model = Passing()
    loss = RankingLoss(model, objective=SoftmaxCrossEntropy(), weighting=weighting)
    with pytest.raises(ValueError, match="needs one column of inputs with one class per row, got 2 columns"):
        loss(columns_of(random_columns([ROWS, ROWS])), {"row_numbers": NUMBERS})
    with pytest.raises(ValueError, match="needs one column of inputs with one class per row, got other labels"):
        loss(columns_of(random_columns([ROWS])), {"row_numbers": NUMBERS, "label": torch.rand(ROWS)})
    assert model.calls == 0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ANDCGLoss(Passing(), weighting=SelfPaced), TypeError, "weighting must be a Weighting, such as"),
        (
            lambda: RankingLoss(Passing(), objective=AcrossQueries(SoftSpearman()), weighting=LossMixture()),
            ValueError,
            "LossMixture needs an objective with a loss for each query, got AcrossQueries",
        ),
        *[
            (
                lambda objective=objective: RankingLoss(Passing(), objective=objective, weighting=SelfPaced()),
                ValueError,
                "SelfPaced needs an objective with a loss for each query",
            )
            for objective in (1.0 * OverPairs(CoSENT()), Focal(OverPairs(CoSENT())), Wasserstein())
        ],
        (
            lambda: ANDCGLoss(PassingTokens(), weighting=NeighbourAgreement()),
            ValueError,
            "NeighbourAgreement needs a model of one vector per input, got a PassingTokens",
        ),
    ],
)
def test_a_weighting_that_cannot_learn_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_model_card_names_the_weighting():
    config = ANDCGLoss(Passing(), weighting=SelfPaced(last=0.7)).get_config_dict()
    assert config["weighting"] == "SelfPaced(first=1.0, last=0.7, pace=0.5, momentum=0.5)"
    assert "weighting" not in ANDCGLoss(Passing()).get_config_dict()
