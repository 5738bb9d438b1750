"""Every objective in the loss: cached as uncached, with any relevance; pairs, angles, and mixed labels."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from scipy.stats import spearmanr
from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss
from sentence_transformers.util import pairwise_angle_sim

from st_rankloss import RankingLoss, RankingTrainer, ViewsCollator
from st_rankloss.augmentations import DropWords
from st_rankloss.losses import CachedRankingLoss, EmbeddingMixup, angle_sim
from st_rankloss.losses.parts import LossParts
from st_rankloss.objectives import (
    MVDHEL,
    CoSENT,
    MVInfoNCE,
    OverPairs,
    RankNContrast,
    RegressionCompatible,
    SoftSpearman,
)
from st_rankloss.relevance import Classes, Lists, Numeric, Pairs, Vectors, Views
from st_rankloss.relevance.matrix import RelevanceMatrix
from tests.losses.test_mixing import mixed
from tests.models import Passing, cached_tolerance, columns_of, random_columns, tiny_bert, word_model
from tests.objectives.test_contracts import TABLE, Case, name_of
from tests.test_trainer import DOCUMENTS, QUERIES, TOPICS, WORDS, arguments, trained


def total(loss):
    return loss.total() if isinstance(loss, LossParts) else loss


def task(case: Case):
    """A relevance, labels and column sizes that give the objective what it reads."""
    if isinstance(case.objective, OverPairs):
        return Pairs(), torch.arange(12).remainder(5).float(), [12, 12]
    if case.labels == "own":
        return Vectors(threshold=-1), torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), [12, 12]
    if case.labels == "views":
        return Views(), {"sample": torch.arange(12) % 4, "keep": torch.ones(12)}, [12]
    if case.labels == "continuous":
        return Numeric(), torch.linspace(0, 1, 12), [12]
    return Classes(), torch.arange(12) % 3, [12]


@pytest.mark.parametrize("case", [case for case in TABLE if not case.draws], ids=name_of)
def test_cached_is_uncached_for_every_objective(case):
    relevance, labels, sizes = task(case)
    results = []
    for make, options in ((RankingLoss, {"block_size": 5}), (CachedRankingLoss, {"mini_batch_size": 5})):
        embeddings = random_columns(sizes)
        loss = total(
            make(Passing(), objective=case.objective, relevance=relevance, **options)(columns_of(embeddings), labels)
        )
        loss.backward()
        results.append((loss.detach(), *[e.grad for e in embeddings]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=10 * cached_tolerance(), atol=1e-11)
    assert results[0][1].abs().max() > 1e-6, "there is no gradient to compare"


@pytest.mark.parametrize(("ours", "theirs"), [({}, CoSENTLoss), ({"similarity_fct": angle_sim}, AnglELoss)])
def test_cosent_and_angle_are_those_of_sentence_transformers(ours, theirs):
    scores = torch.arange(12).remainder(5).double()
    results = []
    for make in (
        lambda model: RankingLoss(model, objective=OverPairs(CoSENT(20.0)), relevance=Pairs(), **ours),
        lambda model: theirs(model, scale=20.0),
    ):
        embeddings = random_columns([12, 12])
        loss = make(Passing()).compute_loss_from_embeddings(embeddings, scores)
        loss.backward()
        results.append((loss.detach(), *[e.grad for e in embeddings]))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine.double(), other.double(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dimensions", [1, 2, 7, 8])
def test_angles_between_all_are_the_hosts_between_pairs(dimensions):
    torch.manual_seed(0)
    queries, documents = torch.randn(2, 5, dimensions), torch.randn(4, dimensions)
    queries = queries[0]
    wanted = torch.stack([pairwise_angle_sim(queries, d.expand(5, -1)) for d in documents], 1)
    torch.testing.assert_close(angle_sim(queries, documents), wanted)


def test_spearman_over_pairs_sees_the_pairs_and_nothing_else():
    embeddings = random_columns([12, 12])
    scores = torch.arange(12).float()
    loss = RankingLoss(Passing(), objective=OverPairs(SoftSpearman(0.1)), relevance=Pairs())(
        columns_of(embeddings), scores
    )
    cosine = torch.nn.functional.cosine_similarity(*embeddings)
    alone = SoftSpearman(0.1)(cosine[None], scores[None].double())
    torch.testing.assert_close(loss, alone[0])
    ours = torch.autograd.grad(loss, embeddings)
    for mine, direct in zip(ours, torch.autograd.grad(alone, embeddings), strict=True):
        torch.testing.assert_close(mine, direct)


def cosines(model, first, second):
    embeddings = [model.encode(list(t), convert_to_tensor=True, normalize_embeddings=True) for t in (first, second)]
    return embeddings[0] @ embeddings[1].T


@pytest.mark.parametrize("make", [RankingLoss, CachedRankingLoss])
@pytest.mark.parametrize("objective", [SoftSpearman(0.1), CoSENT(10.0), SoftSpearman(0.1) + 0.2 * CoSENT()], ids=repr)
def test_the_trainer_raises_spearman_over_pairs(make, objective, tmp_path):
    partner = torch.randperm(len(TOPICS), generator=torch.Generator().manual_seed(0)).tolist()
    partner = [row if row % 3 else other for row, other in enumerate(partner)]  # most are of one topic
    scores = [float((a == TOPICS[b]) + (a % 2 == TOPICS[b] % 2)) for a, b in zip(TOPICS, partner, strict=True)]
    documents = [DOCUMENTS[row] for row in partner]
    data = Dataset.from_dict({"first": QUERIES, "second": documents, "score": scores})
    model = word_model(WORDS) if make is RankingLoss else tiny_bert(tmp_path / "bert", WORDS)

    def spearman():
        return spearmanr(cosines(model, QUERIES, documents).diagonal().numpy(), scores).statistic

    before = spearman()
    loss = make(model, objective=OverPairs(objective), relevance=Pairs())
    trainer = trained(model, data, loss, tmp_path, learning_rate=0.1 if make is RankingLoss else 1e-3, max_steps=30)
    assert spearman() > before + 0.2
    assert loss.get_config_dict()["objective"].startswith("OverPairs(")
    assert trainer.state.log_history[0]["loss"] > trainer.state.log_history[-2]["loss"]


@pytest.mark.parametrize("objective", [MVInfoNCE(), MVDHEL()], ids=repr)
def test_the_trainer_brings_many_views_together(objective, tmp_path):
    model = word_model(WORDS)
    views = ViewsCollator(model.preprocess, views=[DropWords(0.3)] * 3)
    seen = []

    def relevance_of_views(query, document):
        seen.append(query["sample"])
        return Views()(query, document)

    class Watched(Views):
        def __call__(self, query_labels, document_labels):
            return relevance_of_views(query_labels, document_labels)

    def gap():
        similarity = cosines(model, QUERIES, [" ".join(text.split()[:3]) for text in QUERIES])
        return (similarity.diagonal().mean() - similarity.mean()).item()

    before = gap()
    trainer = RankingTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=30),
        train_dataset=Dataset.from_dict({"text": QUERIES}),
        loss=RankingLoss(model, objective=objective, relevance=Watched()),
        data_collator=views,
    )
    trainer.train()
    assert gap() > before + 0.05
    # All rows under the first view, then all under the second: the n-th row of a sample is its n-th view.
    for sample in seen:
        first, second, third = sample.chunk(3)
        assert torch.equal(first, second)
        assert torch.equal(first, third)


def test_a_square_objective_says_what_it_needs():
    loss = RankingLoss(Passing(), objective=MVInfoNCE(), relevance=Pairs())
    with pytest.raises(ValueError, match="every sample to be a query and a document"):
        loss(columns_of(random_columns([4, 4, 4])))


# --- mixed labels ----------------------------------------------------------------------------------------------------


def test_a_mixture_has_the_relevance_of_its_mixed_label():
    numbers = torch.tensor([0.0, 0.5, 1.0])
    relevance = Numeric("triangle", bandwidth=1.0)
    torch.manual_seed(0)
    matrix = RelevanceMatrix(relevance, numbers, numbers)
    found, relevance_of = mixed(EmbeddingMixup(share=20.0, labels=True), torch.eye(3), matrix)
    expected = 1 - (numbers[:, None] - found[3:] @ numbers).abs()
    torch.testing.assert_close(relevance_of(slice(0, 3))[:, 3:], expected)
    by_grades = found[3:] @ relevance(numbers, numbers)
    assert (expected.T - by_grades).max() > 0.4  # the middle of 0 and 1 is as relevant to 0.5 as can be


@pytest.mark.parametrize(
    ("relevance", "labels"), [(Numeric(), torch.linspace(0, 1, 12)), (Vectors(), torch.rand(12, 3))], ids=["n", "v"]
)
@pytest.mark.parametrize("symmetric", [False, True])
def test_labels_are_mixed_in_training(relevance, labels, symmetric):
    sizes = [12, 12] if symmetric else [12]
    embeddings = random_columns(sizes)
    mixup = EmbeddingMixup(labels=True)
    loss = RankingLoss(Passing(), objective=RankNContrast(), relevance=relevance, symmetric=symmetric, mixup=mixup)
    plain = RankingLoss(Passing(), objective=RankNContrast(), relevance=relevance, symmetric=symmetric)
    torch.manual_seed(0)
    value = loss(columns_of(embeddings), labels)
    value.backward()
    assert value != plain(columns_of(embeddings), labels)
    assert all(e.grad.isfinite().all() and e.grad.norm() > 1e-3 for e in embeddings)


def test_classes_have_no_mixture():
    loss = RankingLoss(Passing(), objective=None, relevance=Classes(), mixup=EmbeddingMixup(labels=True))
    with pytest.raises(ValueError, match="labels=True mixes numbers and vectors, got labels of torch.int64"):
        loss(columns_of(random_columns([6])), torch.arange(6) % 2)


@pytest.mark.parametrize(
    ("objective", "relevance", "sizes", "labels", "message"),
    [
        (OverPairs(CoSENT()), Classes(), [6], torch.arange(6) % 2, r"OverPairs needs .* got columns of \[6\] rows"),
        (
            OverPairs(CoSENT()),
            Lists(),
            [3, 6],
            {"label": torch.rand(3, 2), "list_sizes": torch.tensor([2, 2, 2])},
            "OverPairs needs a column of texts and one of their partners, got lists of documents",
        ),
        (MVInfoNCE(), Pairs(), [4, 4], None, "MVInfoNCE needs every sample .* got 2 columns"),
    ],
)
def test_an_objective_says_which_columns_it_needs_before_the_model_runs(objective, relevance, sizes, labels, message):
    class Never(Passing):
        def forward(self, features):
            raise AssertionError("the model has run")

    loss = RankingLoss(Never(), objective=objective, relevance=relevance)
    with pytest.raises(ValueError, match=message):
        loss(columns_of(random_columns(sizes)), labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": "x"}, r"mixup must be a strategy such as EmbeddingMixup\(\), several of them, or None, got 'x'"),
        ({"similarity_fct": "cos"}, "got 'cos'"),
    ],
)
def test_a_wrong_kind_of_option_is_refused(options, message):
    with pytest.raises(TypeError, match=message):
        RankingLoss(Passing(), **options)


def test_vectors_that_round_above_1_are_as_relevant_as_can_be():
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    assert Vectors()(vectors, vectors).max() == 1
    RankingLoss(Passing(), objective=RegressionCompatible(), relevance=Vectors())(
        columns_of(random_columns([12])), vectors
    )
