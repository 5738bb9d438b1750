"""Queries and documents of different dimensions, asymmetric similarities, and columns that share a forward pass."""

from __future__ import annotations

import functools

import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.losses import column_merging_disabled
from sentence_transformers.base.modules import Router
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, mean_colbert_scores
from sentence_transformers.sentence_transformer.losses import AdaptiveLayerLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from sentence_transformers.util import cos_sim, dot_score
from torch import nn

from st_rankloss import ANDCGLoss, CachedRankingLoss, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.relevance import Pairs, Vectors
from tests.losses.test_multi_vector import WORDS, gradient, texts
from tests.losses.test_ranking import plain_cross_entropy, plain_loss
from tests.models import Passing, columns_of, random_columns, tiny_bert, tiny_clip, two_towers
from tests.test_modalities import WORDS as OF_PICTURES
from tests.test_modalities import dataset as pictures

ROWS = 6
MAKES = {"plain": RankingLoss, "cached": functools.partial(CachedRankingLoss, mini_batch_size=4)}
either_loss = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert(folder, WORDS, dropout=0.0)
    return folder


def projection(size, key="sentence_embedding"):
    names = {"module_input_name": key, "module_output_name": key}
    return Dense(32, size, activation_function=nn.Identity(), **names)


def router(bert, sizes, key="sentence_embedding"):
    """The same encoder for queries and documents, each with a projection to its size."""
    pooling = [Pooling(32)] if key == "sentence_embedding" else []
    routes = [[Transformer(str(bert)), *pooling, projection(size, key)] for size in sizes]
    return Router(dict(zip(("query", "document"), routes, strict=True)))


def features_of(model, columns=2):
    shifts = ((0, 3), (1, 3), (5, 7))[:columns]
    tasks = ["query", "document", "document"]
    return [{**model.preprocess(texts(ROWS, *s), task=t), "task": t} for s, t in zip(shifts, tasks, strict=False)]


@pytest.mark.parametrize("similarity_fct", [cos_sim, dot_score], ids=lambda f: f.__name__)
@either_loss
def test_different_sizes_are_refused_by_name(bert, make, similarity_fct):
    model = SentenceTransformer(modules=[router(bert, (16, 8))], device="cpu")
    loss = make(model, relevance=Pairs(), similarity_fct=similarity_fct)
    with pytest.raises(ValueError, match=r"got \[16, 8, 8\] dimensions by column: project .* Dense .* similarity_fct"):
        loss(features_of(model, 3))


@pytest.mark.parametrize("similarity_fct", [colbert_scores, mean_colbert_scores], ids=lambda f: f.__name__)
@either_loss
def test_tokens_of_different_sizes_are_refused_by_name(bert, make, similarity_fct):
    model = MultiVectorEncoder(modules=[router(bert, (16, 8), "token_embeddings")], device="cpu")
    loss = make(model, relevance=Pairs(), similarity_fct=similarity_fct)
    with pytest.raises(ValueError, match=r"got \[16, 8\] dimensions by column: project .* Dense .* similarity_fct"):
        loss(features_of(model))


@either_loss
def test_a_projection_in_the_model_makes_sizes_equal(bert, make):
    routes = [
        [Transformer(str(bert)), Pooling(32), projection(16)],
        [Transformer(str(bert)), Pooling(32), projection(8), Dense(8, 16, activation_function=nn.Identity())],
    ]
    model = SentenceTransformer(modules=[Router(dict(zip(("query", "document"), routes, strict=True)))], device="cpu")
    loss = make(model, relevance=Pairs())
    found = gradient(loss(features_of(model)), model)
    assert found.norm() > 1e-4
    assert all(p.grad is not None for name, p in model.named_parameters() if ".linear." in name)


@pytest.mark.parametrize("symmetric", [False, True])
@either_loss
def test_a_similarity_of_ones_own_compares_sizes_in_both_directions(make, symmetric):
    frozen = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def projected(queries, documents):
        return queries @ frozen @ documents.T

    queries, documents = random_columns([ROWS, ROWS])[0], random_columns([ROWS, ROWS], dim=5)[1]
    loss = make(
        Passing(), objective=SoftmaxCrossEntropy(1.0), relevance=Pairs(), similarity_fct=projected, symmetric=symmetric
    )
    found = loss(columns_of([queries, documents]))
    rows = [[float(q == d) for d in range(ROWS)] for q in range(ROWS)]
    of_query = functools.partial(plain_cross_entropy, temperature=1.0)
    wanted = plain_loss([queries, documents], rows, projected, of_query)
    if symmetric:
        back = plain_loss([documents, queries], rows, lambda d, q: projected(q, d).T, of_query)
        wanted = (wanted + back) / 2
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    wanted.backward()
    expected = [queries.grad, documents.grad]
    queries.grad = documents.grad = None
    found.backward()
    for mine, other in zip((queries.grad, documents.grad), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
        assert other.abs().max() > 1e-3


def test_columns_of_documents_of_different_sizes_are_refused_whatever_the_similarity():
    embeddings = [random_columns([3], dim=n)[0] for n in (4, 5, 6)]
    with pytest.raises(ValueError, match=r"got \[4, 5, 6\] dimensions by column"):
        RankingLoss(Passing(), similarity_fct=lambda q, d: q @ q.new_ones(4, d.shape[1]) @ d.T)(columns_of(embeddings))


@pytest.mark.parametrize("dimensions", [2, 50])
def test_vectors_as_labels_may_have_any_dimension(dimensions):
    embeddings = random_columns([ROWS])
    targets = torch.randn(ROWS, dimensions, generator=torch.Generator().manual_seed(1))
    loss = ANDCGLoss(Passing(), relevance=Vectors())(columns_of(embeddings), targets)
    loss.backward()
    assert embeddings[0].grad.abs().max() > 1e-4


# --- one pass for several columns ------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A model that counts its passes."""

    def __init__(self, model):
        super().__init__()
        self.module, self.passes = model, 0

    def forward(self, *args, **kwargs):
        self.passes += 1
        return self.module(*args, **kwargs)


def assert_merged_is_apart(model, features_of, **options):
    """Compare three columns in two passes with three in three."""
    counting = Counting(model)
    loss = RankingLoss(counting, **({"objective": SoftmaxCrossEntropy(0.5), "relevance": Pairs()} | options))
    together = loss(features_of())
    assert counting.passes == 2
    wanted = gradient(together, model)
    with column_merging_disabled():
        apart = loss(features_of())
    assert counting.passes == 5
    assert apart.item() == pytest.approx(together.item(), rel=1e-5)
    found = gradient(apart, model)
    assert wanted.norm() > 1e-5
    assert (found - wanted).norm() <= 2e-5 * wanted.norm()


def test_single_vectors_of_several_columns_come_from_one_pass(bert):
    model = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(32)], device="cpu")
    assert_merged_is_apart(model, lambda: features_of(model, 3))


def test_documents_of_a_router_come_from_one_pass(bert):
    model = SentenceTransformer(modules=[router(bert, (8, 8))], device="cpu")
    assert_merged_is_apart(model, lambda: features_of(model, 3))


def test_tokens_of_a_router_come_from_one_pass(bert):
    model = MultiVectorEncoder(modules=[router(bert, (8, 8), "token_embeddings")], device="cpu")
    assert_merged_is_apart(model, lambda: features_of(model, 3))


@pytest.mark.parametrize("make", [tiny_clip, two_towers])
def test_images_of_several_columns_are_embedded_as_in_passes_of_their_own(make, tmp_path):
    torch.manual_seed(0)
    model = make(tmp_path, OF_PICTURES).eval()
    rows = pictures(12, 0)
    columns = [rows["caption"][:ROWS], rows["image"][:ROWS], rows["image"][ROWS:]]
    names = ["text", "image", "image"] if make is two_towers else [None] * 3

    def features_of():
        made = [dict(model.preprocess(list(c), task=n)) for c, n in zip(columns, names, strict=True)]
        return [f | ({"task": n} if n else {}) for f, n in zip(made, names, strict=True)]

    loss = RankingLoss(model, objective=SoftmaxCrossEntropy(0.5), relevance=Pairs())
    together = loss(features_of())
    wanted = gradient(together, model)
    with column_merging_disabled():
        apart = loss(features_of())
    assert apart.item() == pytest.approx(together.item(), rel=1e-5)
    assert wanted.norm() > 1e-5
    assert (gradient(apart, model) - wanted).norm() <= 2e-5 * wanted.norm()
    embeddings = [model(f)["sentence_embedding"] for f in features_of()]
    alone = loss.compute_loss_from_embeddings(embeddings)
    assert alone.item() == pytest.approx(together.item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:AdaptiveLayerLoss is not compatible")
def test_layers_of_three_columns_are_those_of_passes_of_their_own(bert):
    model = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(32)], device="cpu")
    found = []
    for disabled in (False, True):
        inner = ANDCGLoss(model, relevance=Pairs())
        loss = AdaptiveLayerLoss(model, inner, n_layers_per_step=-1, kl_div_weight=0.3)
        if disabled:
            with column_merging_disabled():
                value = loss(features_of(model, 3), None)
        else:
            value = loss(features_of(model, 3), None)
        found.append((value.item(), gradient(value, model)))
    (together, wanted), (apart, alone) = found
    assert together == pytest.approx(apart, rel=1e-5)
    assert (wanted - alone).norm() <= 1e-5 * wanted.norm()


def test_a_truncated_loss_of_three_columns_is_the_sum_over_sizes(bert):
    model = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(32)], device="cpu")
    inner = ANDCGLoss(model, relevance=Pairs())
    value = MatryoshkaLoss(model, inner, [32, 8], [1.0, 0.5])(features_of(model, 3), None)
    embeddings = [model(f)["sentence_embedding"] for f in features_of(model, 3)]
    wanted = sum(
        weight * inner.compute_loss_from_embeddings([e[:, :size] for e in embeddings])
        for size, weight in ((32, 1.0), (8, 0.5))
    )
    assert value.item() == pytest.approx(wanted.item(), rel=1e-5)
    expected = gradient(wanted, model)
    assert (gradient(value, model) - expected).norm() <= 1e-5 * expected.norm()
