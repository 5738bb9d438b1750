"""Losses of sentence-transformers for the other kinds of models train by our trainers as by theirs, bit by bit."""

from __future__ import annotations

import gc
import inspect
import logging
import random
from functools import partial

import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoderTrainer, MultiVectorEncoderTrainer, SparseEncoderTrainer
from sentence_transformers.cross_encoder import losses as cross
from sentence_transformers.multi_vector_encoder import losses as multi
from sentence_transformers.sparse_encoder import losses as sparse
from torch import nn

from st_rankloss import (
    CrossEncoderRankingCollator,
    CrossEncoderRankingTrainer,
    MultiVectorEncoderRankingTrainer,
    RankingCollator,
    SparseEncoderRankingTrainer,
)
from st_rankloss._host import LOSSES_OF_LISTS, LOSSES_OF_PAIRS
from tests.models import tiny_cross_encoder, tiny_csr, tiny_multi_vector, tiny_splade
from tests.test_same_trainer import BEST, FORMS, LISTS, PAIRS, ROWS, WORDS, Host, train

DRAW = random.Random(7)
NESTED = {**LISTS, "labels": [[float(grade) for grade in grades] for grades in LISTS["labels"]]}
SPARSE_VECTORS = FORMS["pair"] | {"label": [[DRAW.random() for _ in range(len(WORDS) + 2)] for _ in range(ROWS)]}
FORMS = FORMS | {"lists": LISTS, "lists of floats": NESTED, "pair, sparse vector": SPARSE_VECTORS}


def splade(wrapper, loss, **options):
    return lambda model: wrapper(model, loss(model), document_regularizer_weight=0.1, **options)


SPARSE = {
    "CSRLoss": Host(lambda model: sparse.CSRLoss(model), ("pair", "triplet")),
    "CachedSpladeLoss": Host(
        splade(sparse.CachedSpladeLoss, sparse.SparseMultipleNegativesRankingLoss, mini_batch_size=4), PAIRS
    ),
    "SparseAnglELoss": Host(splade(sparse.SpladeLoss, sparse.SparseAnglELoss), ("pair, score",)),
    "SparseCoSENTLoss": Host(splade(sparse.SpladeLoss, sparse.SparseCoSENTLoss), ("pair, score",)),
    "SparseCosineSimilarityLoss": Host(splade(sparse.SpladeLoss, sparse.SparseCosineSimilarityLoss), ("pair, score",)),
    "SparseDistillKLDivLoss": Host(
        splade(sparse.SpladeLoss, sparse.SparseDistillKLDivLoss), ("two negatives, scores",)
    ),
    "SparseMSELoss": Host(sparse.SparseMSELoss, ("pair, sparse vector",)),
    "SparseMarginMSELoss": Host(
        splade(sparse.SpladeLoss, sparse.SparseMarginMSELoss), ("triplet, margin", "two negatives, margins")
    ),
    "SparseMultipleNegativesRankingLoss": Host(
        splade(sparse.SpladeLoss, sparse.SparseMultipleNegativesRankingLoss), PAIRS
    ),
    "SparseTripletLoss": Host(splade(sparse.SpladeLoss, sparse.SparseTripletLoss), ("triplet",)),
    "SpladeLoss": Host(
        splade(sparse.SpladeLoss, sparse.SparseMultipleNegativesRankingLoss, query_regularizer_weight=0.1), PAIRS
    ),
}
MULTI_VECTOR = {
    "CachedMultiVectorMultipleNegativesRankingLoss": Host(
        partial(multi.CachedMultiVectorMultipleNegativesRankingLoss, mini_batch_size=4), PAIRS
    ),
    "MultiVectorDistillKLDivLoss": Host(multi.MultiVectorDistillKLDivLoss, ("two negatives, scores",)),
    "MultiVectorMarginMSELoss": Host(multi.MultiVectorMarginMSELoss, ("triplet, margin",)),
    "MultiVectorMultipleNegativesRankingLoss": Host(multi.MultiVectorMultipleNegativesRankingLoss, PAIRS),
}
CROSS_ENCODER = {
    "ADRMSELoss": Host(cross.ADRMSELoss, ("lists", "lists of floats")),
    "BinaryCrossEntropyLoss": Host(cross.BinaryCrossEntropyLoss, ("pair, score", "pair, 0 or 1")),
    "CachedMultipleNegativesRankingLoss": Host(
        partial(cross.CachedMultipleNegativesRankingLoss, mini_batch_size=4), ("pair", "triplet")
    ),
    "CrossEntropyLoss": Host(cross.CrossEntropyLoss, ("pair, class",)),
    "LambdaLoss": Host(cross.LambdaLoss, ("lists", "lists of floats")),
    "ListMLELoss": Host(cross.ListMLELoss, ("lists",)),
    "ListNetLoss": Host(cross.ListNetLoss, ("lists", "lists of floats")),
    "MSELoss": Host(cross.MSELoss, ("pair, score",)),
    "MarginMSELoss": Host(cross.MarginMSELoss, ("triplet, margin",)),
    "MultipleNegativesRankingLoss": Host(cross.MultipleNegativesRankingLoss, ("pair", "triplet")),
    "PListMLELoss": Host(cross.PListMLELoss, ("lists",)),
    "RankNetLoss": Host(cross.RankNetLoss, ("lists",)),
}
COMPONENTS = {"CSRReconstructionLoss", "FlopsLoss"}  # which other losses call
WEIGHTS = {name for name in cross.__all__ if name.endswith(("Scheme", "Weight"))}

KINDS = {
    "sparse": (SPARSE, SparseEncoderTrainer, SparseEncoderRankingTrainer),
    "multi-vector": (MULTI_VECTOR, MultiVectorEncoderTrainer, MultiVectorEncoderRankingTrainer),
    "cross-encoder": (CROSS_ENCODER, CrossEncoderTrainer, CrossEncoderRankingTrainer),
}
CASES = [(kind, name, form) for kind, (hosts, *_) in KINDS.items() for name in hosts for form in hosts[name].forms]
BY_PAIRS = {loss.__name__ for loss in LOSSES_OF_PAIRS} | {"SpladeLoss", "CachedSpladeLoss", "CSRLoss"}
BY_LISTS = {name for name in CROSS_ENCODER if issubclass(getattr(cross, name), LOSSES_OF_LISTS)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The model that a loss trains, by kind of model and name of the loss; with dropout: the same masks, too."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("kinds")
    models = {
        "sparse": tiny_splade(folder / "splade", WORDS),
        "multi-vector": tiny_multi_vector(folder / "multi", WORDS, dropout=0.1, skipped=1),
        "cross-encoder": tiny_cross_encoder(folder / "cross", WORDS, dropout=0.1),
        "CSRLoss": tiny_csr(folder / "csr", WORDS),
        "CrossEntropyLoss": tiny_cross_encoder(folder / "classes", WORDS, labels=3),
    }
    gc.freeze()
    yield lambda kind, name: models.get(name, models[kind])
    gc.unfreeze()


def ours(model):
    kind = CrossEncoderRankingCollator if "CrossEncoder" in type(model).__name__ else RankingCollator
    return kind(model.preprocess)


def test_every_exported_loss_is_tried():
    for module, hosts in ((sparse, SPARSE), (multi, MULTI_VECTOR), (cross, CROSS_ENCODER)):
        exported = {name for name in module.__all__ if inspect.isclass(getattr(module, name))}
        of_losses = {name for name in exported if issubclass(getattr(module, name), nn.Module)}
        assert set(hosts) == of_losses - COMPONENTS - WEIGHTS


@pytest.mark.parametrize(("kind", "name", "form"), CASES, ids=lambda value: value)
def test_a_loss_of_the_host_trains_the_same(base, kind, name, form, tmp_path):
    hosts, theirs, trainer = KINDS[kind]
    model, make, dataset = base(kind, name), hosts[name].make, Dataset.from_dict(FORMS[form])
    expected = train(model, make, dataset, tmp_path, theirs)
    assert torch.equal(train(model, make, dataset, tmp_path, trainer), expected)
    assert torch.equal(train(model, make, dataset, tmp_path, trainer, collator=ours), expected)


@pytest.mark.parametrize(
    ("kind", "name", "form", "options"),
    [
        ("multi-vector", "MultiVectorMultipleNegativesRankingLoss", "triplet", {"prompts": {"anchor": "w1 w2"}}),
        ("multi-vector", "MultiVectorMultipleNegativesRankingLoss", "pair", {"max_length": {"document": 3}}),
        (
            "multi-vector",
            "MultiVectorMultipleNegativesRankingLoss",
            "pair",
            {"router_mapping": {"anchor": "document", "positive": "query"}},
        ),
        ("cross-encoder", "LambdaLoss", "lists", {"prompts": "w1 w2"}),
        ("cross-encoder", "BinaryCrossEntropyLoss", "pair, score", {"gradient_accumulation_steps": 2, "max_steps": 1}),
        ("sparse", "SpladeLoss", "pair", {"batch_sampler": "no_duplicates"}),
    ],
    ids=str,
)
def test_options_of_the_arguments_change_nothing(base, kind, name, form, options, tmp_path):
    hosts, theirs, trainer = KINDS[kind]
    model, make, dataset = base(kind, name), hosts[name].make, Dataset.from_dict(FORMS[form])
    expected = train(model, make, dataset, tmp_path, theirs, **options)
    assert torch.equal(train(model, make, dataset, tmp_path, trainer, **options), expected)
    assert torch.equal(train(model, make, dataset, tmp_path, trainer, collator=ours, **options), expected)
    if "batch_sampler" not in options and "gradient_accumulation_steps" not in options:
        assert not torch.equal(train(model, make, dataset, tmp_path, theirs), expected)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (hosts, *_) in KINDS.items() for name in hosts if name in BY_PAIRS]
)
def test_losses_of_pairs_get_each_query_with_its_best_document(base, kind, name, tmp_path, caplog):
    hosts, theirs, trainer = KINDS[kind]
    model, make = base(kind, name), hosts[name].make
    pairs = Dataset.from_dict({"query": LISTS["query"], "documents": BEST})
    expected = train(model, make, pairs, tmp_path, theirs)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        found = train(model, make, Dataset.from_dict(LISTS), tmp_path, trainer)
    assert torch.equal(found, expected)
    assert caplog.text.count("it gets the best document of each list in 'documents'") == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, (hosts, *_) in KINDS.items() for name in hosts if name not in BY_PAIRS | BY_LISTS],
)
def test_other_losses_of_the_host_refuse_lists_before_the_first_step(base, kind, name, tmp_path):
    hosts, _, trainer = KINDS[kind]
    remedy = "CrossEncoderRankingLoss" if kind == "cross-encoder" else "RankingLoss"
    with pytest.raises(ValueError, match=f"{name} does not read lists of documents.* use a {remedy}"):
        train(base(kind, name), hosts[name].make, Dataset.from_dict(LISTS), tmp_path, trainer)


def test_a_cross_encoder_loss_of_another_library_gets_lists_as_from_the_host(base, tmp_path):
    class Own(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.loss = model, cross.ListNetLoss(model)

        def forward(self, *args, **options):
            return self.loss(*args, **options)

    model, dataset = base("cross-encoder", ""), Dataset.from_dict(LISTS)
    expected = train(model, Own, dataset, tmp_path, CrossEncoderTrainer)
    assert torch.equal(train(model, Own, dataset, tmp_path, CrossEncoderRankingTrainer), expected)


def test_a_cross_encoder_trains_on_a_stream_row_by_row(base, tmp_path):
    seen = []

    class Watching(cross.LambdaLoss):
        def forward(self, inputs, labels, **options):
            seen.extend(zip(*inputs, [grades.tolist() for grades in labels], strict=True))
            return super().forward(inputs, labels, **options)

    stream = Dataset.from_dict(LISTS).to_iterable_dataset()
    train(base("cross-encoder", ""), Watching, stream, tmp_path, CrossEncoderRankingTrainer)
    assert seen == list(zip(LISTS["query"], LISTS["documents"], LISTS["labels"], strict=True))


def test_ids_and_weights_do_not_reach_a_loss_of_the_host(base, tmp_path, caplog):
    model, make = base("cross-encoder", ""), cross.LambdaLoss
    beside = {"query_id": [f"q{i}" for i in range(ROWS)], "weight": [2.0] * ROWS}
    beside["document_ids"] = [[f"d{i}" for i, _ in enumerate(row)] for row in LISTS["documents"]]
    expected = train(model, make, Dataset.from_dict(LISTS), tmp_path, CrossEncoderTrainer)
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        found = train(model, make, Dataset.from_dict(LISTS | beside), tmp_path, CrossEncoderRankingTrainer)
    assert torch.equal(found, expected)
    assert "LambdaLoss does not read weights: it ignores ['weight']" in caplog.text
