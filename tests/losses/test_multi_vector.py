"""Losses over token embeddings: the objectives on MaxSim as defined, and the losses of sentence-transformers."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.base.losses import column_merging_disabled
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorDistillKLDivLoss,
    MultiVectorMarginMSELoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.scoring import XTRScores, colbert_scores, mean_colbert_scores
from sentence_transformers.sentence_transformer.losses import AdaptiveLayerLoss, Matryoshka2dLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.modules import Transformer
from sentence_transformers.util import cos_sim, dot_score
from torch import nn

from st_rankloss import (
    ANDCGLoss,
    ApproxNDCG,
    CachedANDCGLoss,
    CachedRankingLoss,
    RankingCollator,
    RankingLoss,
    SoftmaxCrossEntropy,
)
from st_rankloss.losses import EmbeddingMixup
from st_rankloss.losses.tokens import concatenate
from st_rankloss.objectives import ListNet, MarginMSE
from st_rankloss.relevance import UNJUDGED, Classes, Lists, Pairs, Qrels, encode_ids
from st_rankloss.relevance.matrix import RelevanceMatrix
from tests.losses.test_objectives import task, total
from tests.losses.test_ranking import plain_cross_entropy, plain_loss, tolerance_of
from tests.models import (
    SHAPES,
    PassingTokens,
    cached_tolerance,
    max_sims,
    random_tokens,
    tiny_bert,
    tiny_colbert,
    token_columns_of,
    watched,
)
from tests.objectives.test_contracts import TABLE, name_of

WORDS = [f"w{i}" for i in range(24)]
ROWS = 6
OF_SIMILARITY = {mean_colbert_scores: max_sims, colbert_scores: functools.partial(max_sims, mean=False)}

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=repr)
either_similarity = pytest.mark.parametrize("similarity_fct", OF_SIMILARITY, ids=lambda f: f.__name__)


def gradients_of(loss, leaves):
    for leaf in leaves:
        leaf.grad = None
    total(loss).backward(retain_graph=True)  # a cached loss sends its gradient back in a hook
    return [leaf.grad for leaf in leaves]


def assert_equal(found, wanted, leaves, rtol=1e-9):
    """Compare values and gradients, of which there must be some."""
    assert total(found).item() == pytest.approx(total(wanted).item(), rel=rtol)
    expected = gradients_of(wanted, leaves)
    scale = max(gradient.abs().max().item() for gradient in expected)
    assert scale > 1e-5
    for mine, other in zip(gradients_of(found, leaves), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=rtol, atol=rtol * scale)


def loss_of(columns, labels, make=RankingLoss, model=None, **options):
    return make(model or PassingTokens(), **options)(token_columns_of(columns), labels)


# --- the definition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in TABLE if not case.draws], ids=name_of)
def test_every_objective_reads_maxsim(case):
    relevance, labels, sizes = task(case)
    columns = random_tokens(sizes)
    found = loss_of(columns, labels, objective=case.objective, relevance=relevance, block_size=5)

    batch = labels if isinstance(labels, dict) else {"label": labels}
    grades = RelevanceMatrix(relevance, *relevance.pair(batch, sizes), 0, alone=len(sizes) == 1)
    grades = grades(slice(0, sizes[0])).double()
    similarity = max_sims(columns[0], columns[-1])
    counts = case.objective.defined(grades)
    each = sum(case.objective.parts(similarity, grades).values())
    assert_equal(found, torch.where(counts, each, 0).sum() / counts.sum(), columns)


@either_similarity
@every_shape
def test_every_relevance_gives_the_loss_of_the_whole_matrix(shape, similarity_fct):
    columns = random_tokens(shape.sizes)
    documents = [concatenate(columns[1:])] if len(columns) > 1 else []
    found = loss_of(columns, shape.labels, ANDCGLoss, relevance=shape.relevance, similarity_fct=similarity_fct)
    wanted = plain_loss([columns[0], *documents], shape.expected, OF_SIMILARITY[similarity_fct])
    assert_equal(found, wanted, columns, tolerance_of(shape))


@either_similarity
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape.sizes) > 1], ids=repr)
def test_symmetric_documents_rank_queries_by_the_transposed_matrix(shape, similarity_fct):
    columns = random_tokens(shape.sizes)
    documents = concatenate(columns[1:])
    options = {"relevance": shape.relevance, "similarity_fct": similarity_fct, "objective": SoftmaxCrossEntropy(0.1)}
    found = loss_of(columns, shape.labels, symmetric=True, block_size=5, **options)
    of_query = functools.partial(plain_cross_entropy, temperature=0.1)
    forth = plain_loss([columns[0], documents], shape.expected, OF_SIMILARITY[similarity_fct], of_query)
    transposed = [list(column) for column in zip(*shape.expected, strict=True)]
    back = plain_loss([documents, columns[0]], transposed, lambda d, q: OF_SIMILARITY[similarity_fct](q, d).T, of_query)
    assert_equal(found, (forth + back) / 2, columns, tolerance_of(shape))


def test_weights_of_queries_give_the_weighted_mean():
    columns = random_tokens([5, 5])
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.5], dtype=torch.float64)
    found = loss_of(columns, {"query_weights": weights}, objective=SoftmaxCrossEntropy(0.1), relevance=Pairs())
    logs = torch.log_softmax(max_sims(*columns) / 0.1, -1).diagonal()
    assert_equal(found, -(weights * logs).sum() / weights.sum(), columns)


def test_a_query_without_relevant_documents_is_skipped_or_counts_zero():
    columns = random_tokens([4, 4])
    scores = torch.tensor([1.0, 0.0, 0.5, 0.0])
    logs = -torch.log_softmax(max_sims(*columns) / 0.05, -1).diagonal()[[0, 2]]
    for no_relevant, count in (("skip", 2), ("zero", 4)):
        found = loss_of(columns, scores, objective=SoftmaxCrossEntropy(), no_relevant=no_relevant)
        assert_equal(found, logs.sum() / count, columns)
    with pytest.raises(ValueError, match="got 2 of 4 without"):
        loss_of(columns, scores, no_relevant="error")


def test_a_document_without_tokens_ranks_last_and_gets_no_gradient():
    columns = random_tokens([3, 4])
    with torch.no_grad():
        columns[1][2, :, -1] = 0
    labels = {"label": torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), "list_sizes": torch.tensor([2, 1, 1])}
    loss = loss_of(columns, labels, objective=SoftmaxCrossEntropy(0.1), relevance=Lists())
    gradients = gradients_of(loss, columns)
    # The only relevant document of the second query has no token: the loss is what it lacks, in temperatures.
    assert loss.item() == pytest.approx(1e9 / max(columns[0][1, :, -1].sum().item(), 1) / 0.1 / 2, rel=1e-6)
    assert gradients[1][2].eq(0).all()
    assert gradients[1][0].abs().max() > 0


def test_the_mask_gets_no_gradient():
    columns = random_tokens([4, 4])
    assert all(g[..., -1].eq(0).all() for g in gradients_of(loss_of(columns, None), columns))


def test_embeddings_alone_give_the_same_loss():
    columns = random_tokens([4, 6])
    labels = {"list_sizes": torch.tensor([2, 1, 2, 1])}
    whole = ANDCGLoss(PassingTokens()).compute_loss_from_embeddings(columns, labels)
    assert_equal(whole, loss_of(columns, labels, ANDCGLoss), columns, rtol=1e-12)


def test_what_observers_see_is_maxsim():
    columns = random_tokens([5, 5])
    loss = ANDCGLoss(PassingTokens())
    batches = watched(loss)
    loss(token_columns_of(columns), None)
    (batch,) = batches
    torch.testing.assert_close(batch.similarity_of(slice(1, 4)), max_sims(*columns)[1:4].detach())
    assert batch.vectors is None


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity_fct", [cos_sim, dot_score], ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", [RankingLoss, ANDCGLoss, CachedRankingLoss, CachedANDCGLoss])
def test_a_similarity_of_single_vectors_is_refused_with_those_that_work(make, similarity_fct):
    with pytest.raises(ValueError, match=f"mean_colbert_scores and colbert_scores .* got {similarity_fct.__name__}"):
        make(PassingTokens(), similarity_fct=similarity_fct)


@either_similarity
def test_maxsim_is_refused_for_single_vectors(similarity_fct, tmp_path):
    with pytest.raises(ValueError, match=f"one vector per input, as cos_sim does, got {similarity_fct.__name__}"):
        RankingLoss(tiny_bert(tmp_path, WORDS), similarity_fct=similarity_fct)


def test_mixtures_of_documents_are_refused():
    with pytest.raises(ValueError, match="mixup mixes one vector per document, got a model that embeds tokens"):
        RankingLoss(PassingTokens(), mixup=EmbeddingMixup())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_are_refused(bad):
    columns = [column.detach() for column in random_tokens([3, 3])]
    columns[1][0, 0, 0] = bad
    with pytest.raises(ValueError, match=f"embeddings must be finite, got {bad}"):
        loss_of(columns, None)
    columns[1][0, 0, -1] = 1
    with pytest.raises(ValueError, match="similarity must be finite"):
        loss_of(columns, None, check_embeddings=False)


def test_tokens_of_different_dimensions_are_refused_by_name():
    columns = [random_tokens([3], dim=4)[0], random_tokens([3], dim=6)[0]]
    with pytest.raises(ValueError, match=r"embeddings of one size, got \[4, 6\] dimensions by column"):
        loss_of(columns, None)


WRAPPERS = {
    "MatryoshkaLoss": lambda model, loss: MatryoshkaLoss(model, loss, [8, 4]),
    "AdaptiveLayerLoss": lambda model, loss: AdaptiveLayerLoss(model, loss),
    "Matryoshka2dLoss": lambda model, loss: Matryoshka2dLoss(model, loss, [8, 4]),
}


@pytest.mark.filterwarnings("ignore:AdaptiveLayerLoss is not compatible")
@pytest.mark.parametrize("make", [RankingLoss, ANDCGLoss, CachedRankingLoss, CachedANDCGLoss])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_that_read_one_vector_are_refused_by_name(colbert, wrapper, make):
    loss = WRAPPERS[wrapper](colbert, make(colbert, relevance=Pairs()))
    with pytest.raises(ValueError, match=f"^{make.__name__} for a MultiVectorEncoder does not work in .*{wrapper}"):
        loss(features_of(colbert), None)


def test_the_model_card_names_the_similarity():
    assert ANDCGLoss(PassingTokens()).get_config_dict()["similarity_fct"] == "mean_colbert_scores"
    assert RankingLoss(PassingTokens(), similarity_fct=XTRScores(8)).get_config_dict()["similarity_fct"]


# --- sentence-transformers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("colbert")


@pytest.fixture(scope="module")
def colbert(folder):
    torch.manual_seed(0)
    return tiny_colbert(folder / "plain", WORDS, dropout=0.0)


def texts(rows, shift=0, step=3):
    return [" ".join(WORDS[(step * row + shift + i) % 24] for i in range(1 + (row + shift) % 4)) for row in range(rows)]


def features_of(model, columns=3, rows=ROWS):
    """Queries, documents and negatives of other lengths, with the tasks that the collator names."""
    shifts = ((0, 3), (1, 3), (5, 7), (2, 5))[:columns]
    found = []
    for place, shift in enumerate(shifts):
        name = "document" if place else "query"
        found.append({**model.preprocess(texts(rows, *shift), task=name), "task": name})
    return found


def gradient(loss, model):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_same_training(ours, theirs, model, labels=None, columns=3, rtol=2e-5, factor=1.0):
    """Compare value and gradient of all parameters, in float32, which the host computes scores in."""
    mine, other = (total(loss(features_of(model, columns), labels)) for loss in (ours, theirs))
    wanted = gradient(other, model)
    found = gradient(mine, model)
    assert wanted.norm() > 1e-4
    assert (factor * found - wanted).norm() <= rtol * wanted.norm()
    return mine.item(), other.item()


@pytest.mark.parametrize("columns", [2, 3, 4])
@either_similarity
def test_softmax_is_multiple_negatives_ranking(colbert, similarity_fct, columns):
    ours = RankingLoss(colbert, objective=SoftmaxCrossEntropy(0.25), relevance=Pairs(), similarity_fct=similarity_fct)
    theirs = MultiVectorMultipleNegativesRankingLoss(colbert, scale=4.0, similarity_fct=similarity_fct)
    mine, other = assert_same_training(ours, theirs, colbert, columns=columns)
    assert mine == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("sizes", [{"mini_batch_size": 2}, {"mini_batch_num_tokens": 7}], ids=str)
def test_cached_softmax_is_cached_multiple_negatives_ranking(colbert, sizes):
    ours = CachedRankingLoss(colbert, SoftmaxCrossEntropy(0.25), Pairs(), similarity_fct=colbert_scores, **sizes)
    theirs = CachedMultiVectorMultipleNegativesRankingLoss(colbert, scale=4.0, **sizes)
    mine, other = assert_same_training(ours, theirs, colbert)
    assert mine == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("make", [RankingLoss, functools.partial(CachedRankingLoss, mini_batch_size=4)])
@pytest.mark.parametrize("top_k", [4, 256])
def test_xtr_scores_serve_as_the_similarity(colbert, top_k, make):
    ours = make(
        colbert, objective=SoftmaxCrossEntropy(0.25), relevance=Pairs(), similarity_fct=XTRScores(top_k), block_size=2
    )
    theirs = MultiVectorMultipleNegativesRankingLoss(colbert, scale=4.0, similarity_fct=XTRScores(top_k))
    mine, other = assert_same_training(ours, theirs, colbert, columns=2)
    assert mine == pytest.approx(other, rel=1e-5)


TEACHER = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(8)) * 2


@pytest.mark.parametrize(("student", "teacher"), [(1.0, 1.0), (0.5, 0.25)])
def test_distillation_of_lists_is_the_distillation_of_sentence_transformers(colbert, student, teacher):
    objective = ListNet(temperature=student, label_temperature=teacher)
    ours = RankingLoss(
        colbert, objective=objective, relevance=Lists(off_diagonal=UNJUDGED), similarity_fct=colbert_scores
    )
    theirs = MultiVectorDistillKLDivLoss(colbert, student_temperature=student, teacher_temperature=teacher)
    mine, other = assert_same_training(ours, theirs, colbert, TEACHER, columns=4, factor=student**2)
    assert student**2 * mine == pytest.approx(other, rel=1e-5)


def test_distillation_of_margins_is_the_margin_mse_of_sentence_transformers(colbert):
    ours = RankingLoss(
        colbert, objective=MarginMSE(), relevance=Lists(off_diagonal=UNJUDGED), similarity_fct=colbert_scores
    )
    theirs = MultiVectorMarginMSELoss(colbert)
    mine, other = assert_same_training(ours, theirs, colbert, TEACHER[:, :2], columns=3)
    assert mine == pytest.approx(other, rel=1e-5)


class Tasks(nn.Module):
    """A model that notes the tasks it is given."""

    def __init__(self, model):
        super().__init__()
        self.module, self.tasks = model, []

    def forward(self, features, **options):
        self.tasks.append((options.get("task"), len(features["input_ids"])))
        return self.module(features, **options)

    def __getitem__(self, place):
        return self.module[place]


def untold(features):
    return [{name: value for name, value in column.items() if name != "task"} for column in features]


@pytest.mark.parametrize("told", [True, False])
def test_the_first_column_is_embedded_as_queries_and_the_others_as_documents(colbert, told):
    features = features_of(colbert) if told else untold(features_of(colbert))
    model = Tasks(colbert)
    RankingLoss(model, relevance=Pairs())(features)
    assert model.tasks == [("query", ROWS), ("document", 2 * ROWS)]  # in one pass
    model.tasks.clear()
    CachedRankingLoss(model, relevance=Pairs(), mini_batch_size=4)(features).backward()
    once = [("query", 4), ("query", 2), *[("document", 4), ("document", 2)] * 2]
    assert model.tasks == 2 * once


@pytest.mark.parametrize("make", [RankingLoss, CachedRankingLoss])
def test_a_column_keeps_the_task_that_it_comes_with(colbert, make):
    features = [column | {"task": "document"} for column in features_of(colbert, columns=2)]
    model = Tasks(colbert)
    make(model, relevance=Pairs())(features)
    assert {task for task, _ in model.tasks} == {"document"}


@pytest.mark.parametrize("make", [RankingLoss, functools.partial(CachedRankingLoss, mini_batch_size=4)])
def test_masks_of_queries_and_documents_are_those_of_the_model(folder, make):
    torch.manual_seed(0)
    model = tiny_colbert(folder / "masked", WORDS, dropout=0.0, skiplist_words=["w4", "w7"])
    model[0].query_expansion = {"strategy": "fixed", "length": 8, "attend": False, "token": "[UNK]"}
    model.prompts = {"query": "w1 ", "document": "w2 "}
    features = [
        {**model.preprocess(texts(ROWS, shift), task=task, prompt=model.prompts[task]), "task": task}
        for shift, task in ((0, "query"), (1, "document"))
    ]
    assert features[0]["input_ids"].shape[1] == 8
    queries, documents = model.encode_query(texts(ROWS, 0)), model.encode_document(texts(ROWS, 1))
    assert {len(query) for query in queries} == {8}  # all tokens of the expansion count
    similarity = [[(query @ document.T).amax(1).sum().item() for document in documents] for query in queries]
    wanted = -torch.log_softmax(torch.tensor(similarity), -1).diagonal().mean().item()
    loss = make(model, objective=SoftmaxCrossEntropy(1.0), relevance=Pairs(), similarity_fct=colbert_scores)
    assert loss([dict(column) for column in features]).item() == pytest.approx(wanted, rel=1e-5)
    theirs = MultiVectorMultipleNegativesRankingLoss(model)([dict(column) for column in features])
    assert theirs.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("make", [RankingLoss, functools.partial(CachedRankingLoss, mini_batch_size=4)])
def test_a_model_without_a_mask_counts_the_tokens_of_the_tokenizer(folder, make):
    colbert = tiny_colbert(folder / "unmasked", WORDS, dropout=0.0)
    model = MultiVectorEncoder(modules=[Transformer(str(folder / "unmasked"))], device="cpu")
    ours = make(model, objective=SoftmaxCrossEntropy(0.25), relevance=Pairs(), similarity_fct=colbert_scores)
    theirs = MultiVectorMultipleNegativesRankingLoss(model, scale=4.0)
    mine, other = assert_same_training(ours, theirs, model)
    assert mine == pytest.approx(other, rel=1e-5)
    assert len(colbert) > len(model)


def test_columns_in_one_pass_are_those_in_passes_of_their_own(colbert):
    loss = ANDCGLoss(colbert, relevance=Pairs())
    together = loss(features_of(colbert))
    wanted = gradient(together, colbert)
    with column_merging_disabled():
        apart = loss(features_of(colbert))
    assert apart.item() == pytest.approx(together.item(), rel=1e-5)
    assert (gradient(apart, colbert) - wanted).norm() <= 1e-5 * wanted.norm()
    assert wanted.norm() > 1e-4


# --- gradient caching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("mini_batch_size", [1, 3, 100])
@every_shape
def test_cached_is_plain_for_every_relevance(shape, mini_batch_size, symmetric):
    if symmetric and len(shape.sizes) == 1:
        return
    columns = random_tokens(shape.sizes)
    options = {"relevance": shape.relevance, "symmetric": symmetric}
    plain = loss_of(columns, shape.labels, ANDCGLoss, **options)
    cached = loss_of(columns, shape.labels, CachedANDCGLoss, mini_batch_size=mini_batch_size, **options)
    assert_equal(cached, plain, columns, rtol=10 * cached_tolerance())


@pytest.mark.parametrize("case", [case for case in TABLE if not case.draws], ids=name_of)
def test_cached_is_plain_for_every_objective(case):
    relevance, labels, sizes = task(case)
    columns = random_tokens(sizes)
    options = {"relevance": relevance, "objective": case.objective}
    cached = loss_of(columns, labels, CachedRankingLoss, mini_batch_size=5, **options)
    assert_equal(cached, loss_of(columns, labels, **options), columns, rtol=10 * cached_tolerance())


def batches(model, columns=3):
    """A batch of every shape of labels that texts come with, by name: features, labels and relevance."""
    lists = [texts(1 + row % 3, row) for row in range(ROWS)]
    grades = [[float((row + place) % 3) for place in range(len(own))] for row, own in enumerate(lists)]
    rows = [
        {"query": query, "documents": own, "labels": given}
        for query, own, given in zip(texts(ROWS), lists, grades, strict=True)
    ]
    collated = RankingCollator(preprocess_fn=model.preprocess)([dict(row) for row in rows])
    ragged = [
        {k.removeprefix(f"{name}_"): v for k, v in collated.items() if k.startswith(f"{name}_")}
        for name in ("query", "documents")
    ]
    ids = {
        "query_ids": encode_ids(f"q{row}" for row in range(ROWS)),
        "document_ids": encode_ids(f"d{row % 4}" for row in range(2 * ROWS)),
    }
    qrels = Qrels({f"q{row}": {f"d{row % 4}": 2, f"d{(row + 1) % 4}": 1} for row in range(ROWS)})
    return {
        "lists": (ragged, collated["label"], Lists()),
        "qrels": (features_of(model), ids, qrels),
        "pairs": (features_of(model, columns), None, Pairs()),
        "classes": (features_of(model, columns=1), torch.arange(ROWS) % 3, Classes()),
    }


@pytest.mark.parametrize("name", ["lists", "qrels", "pairs", "classes"])
@pytest.mark.parametrize(
    "sizes",
    [{"mini_batch_size": 1}, {"mini_batch_size": 3}, {"mini_batch_size": 50}, {"mini_batch_num_tokens": 7}],
    ids=str,
)
def test_an_encoder_gets_the_uncached_gradient(colbert, name, sizes):
    features, labels, relevance = batches(colbert)[name]
    objective = ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()
    plain = total(RankingLoss(colbert, objective=objective, relevance=relevance)(features, labels))
    wanted = gradient(plain, colbert)
    cached = CachedRankingLoss(colbert, objective, relevance, **sizes)(features, labels)
    assert cached.item() == pytest.approx(plain.item(), rel=1e-6)
    assert wanted.norm() > 1e-4
    assert (gradient(cached, colbert) - wanted).norm() <= 2e-6 * wanted.norm()


def test_the_second_pass_draws_the_dropout_of_the_first(folder):
    torch.manual_seed(0)
    model = tiny_colbert(folder / "dropout", WORDS, dropout=0.3)
    found = []
    for make in (RankingLoss, functools.partial(CachedRankingLoss, mini_batch_size=50)):
        torch.manual_seed(3)
        loss = make(model, objective=SoftmaxCrossEntropy(0.25), relevance=Pairs())(features_of(model, columns=2))
        found.append((loss.item(), gradient(loss, model)))
    (plain, wanted), (cached, replayed) = found
    assert cached == pytest.approx(plain, rel=1e-6)
    assert (replayed - wanted).norm() <= 1e-5 * wanted.norm()


def test_evaluation_needs_no_gradient(colbert):
    with torch.no_grad():
        plain = ANDCGLoss(colbert)(features_of(colbert))
        cached = CachedANDCGLoss(colbert, mini_batch_size=4)(features_of(colbert))
    assert not cached.requires_grad
    assert cached.item() == pytest.approx(plain.item(), rel=1e-5)


# --- precision, wrappers, trainer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ANDCGLoss, functools.partial(CachedANDCGLoss, mini_batch_size=4)])
def test_bf16_autocast_gives_nearly_the_loss_and_gradient_of_float32(colbert, make):
    loss = make(colbert, temperature=0.2)
    full = loss(features_of(colbert))
    wanted = gradient(full, colbert)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(features_of(colbert))
    found = gradient(cast, colbert)
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(full.item(), abs=0.02)
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.97


def test_autocast_changes_nothing_once_embeddings_are_there():
    columns = random_tokens([6, 6], dtype=torch.float32)
    full = loss_of(columns, None, ANDCGLoss)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss_of(columns, None, ANDCGLoss)
    assert cast.dtype == torch.float32
    assert_equal(cast, full, columns, rtol=1e-12)


@pytest.mark.parametrize("wrap", [torch.compile, lambda model: Distributed(model)])
def test_the_similarity_of_a_wrapped_model_is_that_of_its_kind(colbert, wrap):
    assert RankingLoss(wrap(colbert)).similarity_fct is mean_colbert_scores


class Distributed(nn.Module):
    """Hides a model as DistributedDataParallel does."""

    def __init__(self, model):
        super().__init__()
        self.module = model

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("make", [ANDCGLoss, functools.partial(CachedANDCGLoss, mini_batch_size=ROWS)])
@pytest.mark.parametrize(
    "wrap",
    [
        Distributed,
        pytest.param(compiled, marks=pytest.mark.slow),
        pytest.param(lambda model: Distributed(compiled(model)), marks=pytest.mark.slow),
    ],
)
def test_a_wrapped_model_trains_as_the_model(colbert, wrap, make):
    plain = make(colbert)(features_of(colbert, columns=2))
    wanted = gradient(plain, colbert)
    loss = make(colbert)
    loss.model = wrap(colbert)  # as the trainer does
    wrapped = loss(features_of(colbert, columns=2))
    assert wrapped.item() == pytest.approx(plain.item(), rel=1e-6)
    assert (gradient(wrapped, colbert) - wanted).norm() <= 1e-5 * wanted.norm()


TOPICS = [row % 6 for row in range(48)]
TRAINED = {
    "pairs": ({}, None),
    "negatives": ({"negative": [f"w{6 + (topic + 1) % 6} w12" for topic in TOPICS]}, None),
    "classes": ({"label": TOPICS}, Classes()),
    "grades": ({"other": [f"w{6 + (t + 2) % 6} w13" for t in TOPICS], "label": [[2.0, 0.0]] * 48}, Lists()),
}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        *itertools.product(("pairs", "classes", "grades"), [ANDCGLoss]),
        ("negatives", functools.partial(CachedANDCGLoss, mini_batch_size=5)),
    ],
)
def test_the_trainer_of_sentence_transformers_lowers_the_loss(name, make, tmp_path):
    more, relevance = TRAINED[name]
    columns = {
        "query": [f"w{topic} w{14 + row % 5}" for row, topic in enumerate(TOPICS)],
        "document": [f"w{6 + topic} w{19 + row % 5}" for row, topic in enumerate(TOPICS)],
    }
    torch.manual_seed(0)
    model = tiny_colbert(tmp_path / "model", WORDS)
    args = MultiVectorEncoderTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=12,
        max_steps=12,
        learning_rate=1e-2,
        logging_steps=4,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    loss = make(model, relevance=relevance)
    data = Dataset.from_dict(columns | more)
    trainer = MultiVectorEncoderTrainer(model=model, args=args, train_dataset=data, eval_dataset=data, loss=loss)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.05


def test_padding_of_a_shape_changes_no_loss():
    shape = next(shape for shape in SHAPES if shape.name == "ragged_lists")
    columns = random_tokens(shape.sizes)
    wide = [nn.functional.pad(column, (0, 0, 0, 4)) for column in columns]
    assert_equal(
        loss_of(wide, shape.labels, ANDCGLoss, relevance=Lists()),
        loss_of(columns, shape.labels, ANDCGLoss, relevance=Lists()),
        columns,
    )
