"""Every loss of sentence-transformers trains by `RankingTrainer` as by the plain trainer, bit by bit."""

from __future__ import annotations

import copy
import gc
import inspect
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import nn
from transformers import set_seed

from st_rankloss import ANDCGLoss, RankingCollator, RankingTrainer
from st_rankloss._host import LOSSES_OF_PAIRS
from tests.models import older, tiny_bert

WORDS = [f"w{i}" for i in range(30)]
ROWS, BATCH, STEPS, DIM = 12, 6, 2, 32

DRAW = random.Random(5)


def texts() -> list[str]:
    return [" ".join(DRAW.choices(WORDS, k=DRAW.randint(2, 6))) for _ in range(ROWS)]


def numbers(*shape: int) -> list[Any]:
    if not shape:
        return [DRAW.random() for _ in range(ROWS)]
    *outer, inner = shape
    rows = [[DRAW.random() for _ in range(inner)] for _ in range(ROWS)]
    return rows if not outer else [[[DRAW.random() for _ in range(inner)] for _ in range(outer[0])] for _ in rows]


FORMS: dict[str, dict[str, list[Any]]] = {
    "text": {"text": texts()},
    "pair": {"anchor": texts(), "positive": texts()},
    "triplet": {"anchor": texts(), "positive": texts(), "negative": texts()},
    "two negatives": {"anchor": texts(), "positive": texts(), "negative_1": texts(), "negative_2": texts()},
    "pair, score": {"sentence1": texts(), "sentence2": texts(), "score": numbers()},
    "pair, 0 or 1": {"sentence1": texts(), "sentence2": texts(), "label": [i % 2 for i in range(ROWS)]},
    "pair, class": {"premise": texts(), "hypothesis": texts(), "label": [i % 3 for i in range(ROWS)]},
    "pair, probabilities": {"premise": texts(), "hypothesis": texts(), "label": numbers(3)},
    "text, class": {"text": texts(), "label": [i % 3 for i in range(ROWS)]},
    "triplet, margin": {"query": texts(), "positive": texts(), "negative": texts(), "score": numbers()},
    "triplet, scores": {"query": texts(), "positive": texts(), "negative": texts(), "scores": numbers(2)},
    "two negatives, margins": {
        "query": texts(), "positive": texts(), "negative_1": texts(), "negative_2": texts(), "label": numbers(2),
    },
    "two negatives, scores": {
        "query": texts(), "positive": texts(), "negative_1": texts(), "negative_2": texts(), "labels": numbers(3),
    },
    "text, vector": {"text": texts(), "label": numbers(DIM)},
    "pair, vector": {"english": texts(), "german": texts(), "label": numbers(DIM)},
    "pair, two vectors": {"english": texts(), "german": texts(), "label": numbers(2, DIM)},
}  # fmt: skip

PAIRS = ("pair", "triplet", "two negatives")


@dataclass(frozen=True)
class Host:
    """A loss of sentence-transformers, and the forms of data that it reads."""

    make: Callable[[Any], nn.Module]
    forms: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


def around(wrapper: Callable[..., nn.Module], loss: type[nn.Module], *args: Any) -> Callable[[Any], nn.Module]:
    return lambda model: wrapper(model, loss(model), *args)


def guided(loss: type[nn.Module]) -> Callable[[Any], nn.Module]:
    return lambda model: loss(model, copy.deepcopy(model).requires_grad_(False))


def autoencoder(model: Any) -> nn.Module:
    return losses.DenoisingAutoEncoderLoss(model, decoder_name_or_path=model[0].auto_model.config.name_or_path)


def softmax(model: Any) -> nn.Module:
    return losses.SoftmaxLoss(model, DIM, 3)


HOSTS = {
    "AdaptiveLayerLoss": [
        Host(around(losses.AdaptiveLayerLoss, losses.MultipleNegativesRankingLoss), PAIRS),
        Host(around(losses.AdaptiveLayerLoss, losses.CoSENTLoss), ("pair, score",)),
    ],
    "AnglELoss": [Host(losses.AnglELoss, ("pair, score", "triplet", "two negatives"))],
    "BatchAllTripletLoss": [Host(losses.BatchAllTripletLoss, ("text, class",))],
    "BatchHardSoftMarginTripletLoss": [Host(losses.BatchHardSoftMarginTripletLoss, ("text, class",))],
    "BatchHardTripletLoss": [Host(losses.BatchHardTripletLoss, ("text, class",))],
    "BatchSemiHardTripletLoss": [
        Host(losses.BatchSemiHardTripletLoss, ("text, class",), {"batch_sampler": "group_by_label"})
    ],
    "CachedGISTEmbedLoss": [Host(guided(losses.CachedGISTEmbedLoss), PAIRS)],
    "CachedMultipleNegativesRankingLoss": [
        Host(partial(losses.CachedMultipleNegativesRankingLoss, mini_batch_size=4), PAIRS)
    ],
    "CachedMultipleNegativesSymmetricRankingLoss": [
        Host(partial(losses.CachedMultipleNegativesSymmetricRankingLoss, mini_batch_size=4), ("pair",))
    ],
    "CoSENTLoss": [Host(losses.CoSENTLoss, ("pair, score",))],
    "ContrastiveLoss": [Host(losses.ContrastiveLoss, ("pair, 0 or 1",))],
    "ContrastiveTensionLoss": [Host(losses.ContrastiveTensionLoss, ("pair",))],
    "ContrastiveTensionLossInBatchNegatives": [Host(losses.ContrastiveTensionLossInBatchNegatives, ("pair",))],
    "CosineSimilarityLoss": [Host(losses.CosineSimilarityLoss, ("pair, score",))],
    "DenoisingAutoEncoderLoss": [Host(autoencoder, ("pair",))],
    "DistillKLDivLoss": [Host(losses.DistillKLDivLoss, ("triplet, scores", "two negatives, scores"))],
    "EmbedDistillLoss": [Host(losses.EmbedDistillLoss, ("text, vector", "pair, vector", "pair, two vectors"))],
    "GISTEmbedLoss": [Host(guided(losses.GISTEmbedLoss), ("pair", "triplet"))],
    "GlobalOrthogonalRegularizationLoss": [Host(losses.GlobalOrthogonalRegularizationLoss, ("text", *PAIRS))],
    "MSELoss": [Host(losses.MSELoss, ("text, vector", "pair, vector", "pair, two vectors"))],
    "MarginMSELoss": [
        Host(
            losses.MarginMSELoss,
            ("triplet, margin", "triplet, scores", "two negatives, margins", "two negatives, scores"),
        )
    ],
    "Matryoshka2dLoss": [
        Host(around(losses.Matryoshka2dLoss, losses.MultipleNegativesRankingLoss, [DIM, 8]), PAIRS),
        Host(around(losses.Matryoshka2dLoss, losses.MSELoss, [DIM, 8]), ("text, vector",)),
    ],
    "MatryoshkaLoss": [
        Host(around(losses.MatryoshkaLoss, losses.MultipleNegativesRankingLoss, [DIM, 8]), PAIRS),
        Host(around(losses.MatryoshkaLoss, losses.CoSENTLoss, [DIM, 8]), ("pair, score",)),
        Host(around(losses.MatryoshkaLoss, losses.MSELoss, [DIM, 8]), ("text, vector",)),
        Host(around(losses.MatryoshkaLoss, losses.MarginMSELoss, [DIM, 8]), ("two negatives, margins",)),
    ],
    "MegaBatchMarginLoss": [Host(partial(losses.MegaBatchMarginLoss, mini_batch_size=3), ("pair",))],
    "MultipleNegativesRankingLoss": [Host(losses.MultipleNegativesRankingLoss, PAIRS)],
    "MultipleNegativesSymmetricRankingLoss": [Host(losses.MultipleNegativesSymmetricRankingLoss, ("pair",))],
    "OnlineContrastiveLoss": [Host(losses.OnlineContrastiveLoss, ("pair, 0 or 1",))],
    "SoftmaxLoss": [Host(softmax, ("pair, class", "pair, probabilities"))],
    "TripletLoss": [Host(losses.TripletLoss, ("triplet",))],
}  # fmt: skip

CASES = {
    f"{name}, {form}" + (f" ({place})" if place else ""): (host, form)
    for name, hosts in HOSTS.items()
    for place, host in enumerate(hosts)
    for form in host.forms
}

# What the host itself cannot train with before 6.2
LATER = {"SoftmaxLoss, pair, probabilities", "torch, MSELoss, text, vector"}


def skip_what_the_host_reads_later(case):
    if case in LATER and older("sentence-transformers", 6, 2):
        pytest.skip("sentence-transformers reads this from 6.2")


def test_every_exported_loss_is_tried():
    exported = {name for name in losses.__all__ if inspect.isclass(getattr(losses, name))}
    assert set(HOSTS) == {name for name in exported if issubclass(getattr(losses, name), nn.Module)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    model = tiny_bert(tmp_path_factory.mktemp("same_trainer") / "bert", WORDS)  # with dropout: the same masks, too
    gc.freeze()  # trainers collect garbage, which takes longer than they do if all modules are looked at
    yield model
    gc.unfreeze()


def train(base, make, dataset, folder, trainer_class=RankingTrainer, collator=None, **options):
    """Train a copy of the model; return the parameters of model and loss, which must have changed."""
    torch.manual_seed(0)
    model = copy.deepcopy(base)
    if isinstance(make, dict):
        loss: Any = {name: one(model) for name, one in make.items()}
        trained = nn.ModuleList([model, *loss.values()])
    else:
        loss = make(model)
        trained = nn.ModuleList([model, loss])
    before = parameters_of(trained)
    args = trainer_class.training_args_class(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": BATCH,
            "max_steps": STEPS,
            "learning_rate": 0.01,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 2,
        }
        | options
    )
    trainer = trainer_class(
        model=model, args=args, train_dataset=dataset, loss=loss, data_collator=collator and collator(model)
    )
    set_seed(2)  # the model card has drawn examples, more of them of some columns
    trainer.train()
    after = parameters_of(trained)
    assert not torch.equal(before, after)
    return after


def parameters_of(module):
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


def ours(model):
    return RankingCollator(model.preprocess)


def theirs(model):
    return SentenceTransformerDataCollator(model.preprocess)


@pytest.mark.parametrize("case", CASES)
def test_a_loss_of_the_host_trains_the_same(base, case, tmp_path):
    skip_what_the_host_reads_later(case)
    host, form = CASES[case]
    dataset = Dataset.from_dict(FORMS[form])
    expected = train(base, host.make, dataset, tmp_path, SentenceTransformerTrainer, **host.arguments)
    assert torch.equal(train(base, host.make, dataset, tmp_path, **host.arguments), expected)
    collator = ours(base)  # an instance, which one trainer after the other gets
    for make in (ours, lambda _: collator, lambda _: collator, theirs):
        assert torch.equal(train(base, host.make, dataset, tmp_path, collator=make, **host.arguments), expected)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("MultipleNegativesRankingLoss, triplet", {"prompts": {"anchor": "w1 w2", "positive": "w3"}}),
        ("MarginMSELoss, two negatives, margins", {"prompts": "w1 w2"}),
        ("CoSENTLoss, pair, score", {"gradient_accumulation_steps": 2, "max_steps": 1}),
        ("MSELoss, text, vector", {"bf16": True}),
        ("MultipleNegativesRankingLoss, pair", {"batch_sampler": "no_duplicates"}),
    ],
    ids=str,
)
def test_options_of_the_arguments_change_nothing(base, case, options, tmp_path):
    host, form = CASES[case]
    dataset = Dataset.from_dict(FORMS[form])
    expected = train(base, host.make, dataset, tmp_path, SentenceTransformerTrainer, **options)
    assert torch.equal(train(base, host.make, dataset, tmp_path, **options), expected)
    assert torch.equal(train(base, host.make, dataset, tmp_path, collator=ours, **options), expected)


@pytest.mark.parametrize(
    "case", ["CoSENTLoss, pair, score", "MSELoss, text, vector", "BatchAllTripletLoss, text, class"]
)
@pytest.mark.parametrize("form_of", ["torch", "streaming"])  # numpy: fails in the model card of either trainer
def test_formats_of_the_dataset_change_nothing(base, case, form_of, tmp_path):
    skip_what_the_host_reads_later(f"{form_of}, {case}")
    host, form = CASES[case]
    dataset = Dataset.from_dict(FORMS[form])
    dataset = dataset.to_iterable_dataset() if form_of == "streaming" else dataset.with_format(form_of)
    expected = train(base, host.make, dataset, tmp_path, SentenceTransformerTrainer)
    assert torch.equal(train(base, host.make, dataset, tmp_path), expected)
    assert torch.equal(train(base, host.make, dataset, tmp_path, collator=ours), expected)


def test_several_datasets_get_each_what_its_loss_reads(base, tmp_path):
    chosen = ["MarginMSELoss, two negatives, margins", "MultipleNegativesRankingLoss, pair", "MSELoss, text, vector"]
    makes = {name: CASES[name][0].make for name in chosen}

    def datasets():
        return DatasetDict({name: Dataset.from_dict(FORMS[CASES[name][1]]) for name in chosen})

    expected = train(base, makes, datasets(), tmp_path, SentenceTransformerTrainer, max_steps=6)
    assert torch.equal(train(base, makes, datasets(), tmp_path, max_steps=6), expected)
    assert torch.equal(train(base, makes, datasets(), tmp_path, max_steps=6, collator=ours), expected)


FIRST, SECOND, THIRD = texts(), texts(), texts()
LISTS = {
    "query": texts(),
    "documents": [[FIRST[row], SECOND[row], THIRD[row]][: 2 + row % 2] for row in range(ROWS)],
    "labels": [[[0, 2, 2], [1, 0, 3], [3, 1, 0], [1, 2, 0]][row % 4][: 2 + row % 2] for row in range(ROWS)],
}
BEST = [
    documents[grades.index(max(grades))] for documents, grades in zip(LISTS["documents"], LISTS["labels"], strict=True)
]


def margin_beside_ours(folder):
    return {
        "distilled": Dataset.from_dict(FORMS["two negatives, margins"]),
        "lists": Dataset.from_dict(LISTS),
    }


def test_a_loss_of_the_host_beside_ours_gets_what_it_reads(base, tmp_path):
    makes = {"distilled": losses.MarginMSELoss, "lists": ANDCGLoss}
    seen = []

    class Watching(losses.MarginMSELoss):
        def forward(self, sentence_features, labels):
            seen.append(labels)
            return super().forward(sentence_features, labels)

    train(base, makes | {"distilled": Watching}, margin_beside_ours(tmp_path), tmp_path, max_steps=4)
    assert [tuple(labels.shape) for labels in seen] == [(BATCH, 2)] * 2


@pytest.mark.parametrize(
    "case",
    [
        name
        for name in CASES
        if name.endswith(", pair") and not name.startswith(("Contrastive", "Denoising", "GlobalOrth"))
    ],
)
def test_losses_of_pairs_get_each_query_with_its_best_document(base, case, tmp_path, caplog):
    host, _ = CASES[case]
    pairs = Dataset.from_dict({"query": LISTS["query"], "documents": BEST})
    expected = train(base, host.make, pairs, tmp_path, SentenceTransformerTrainer)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        found = train(base, host.make, Dataset.from_dict(LISTS), tmp_path)
    assert torch.equal(found, expected)
    said = [record for record in caplog.records if "best document" in record.getMessage()]
    assert len(said) == 1
    assert torch.equal(train(base, host.make, Dataset.from_dict(LISTS), tmp_path, collator=ours), expected)


def test_lists_without_grades_give_their_first_document(base, tmp_path):
    pairs = {"query": LISTS["query"], "documents": [row[0] for row in LISTS["documents"]]}
    make = losses.MultipleNegativesRankingLoss
    expected = train(base, make, Dataset.from_dict(pairs), tmp_path, SentenceTransformerTrainer)
    lists = Dataset.from_dict({name: LISTS[name] for name in ("query", "documents")})
    assert torch.equal(train(base, make, lists, tmp_path), expected)


OF_PAIRS = {loss.__name__ for loss in LOSSES_OF_PAIRS}
WRAPPERS = {"AdaptiveLayerLoss", "Matryoshka2dLoss", "MatryoshkaLoss"}


@pytest.mark.parametrize("name", sorted(set(HOSTS) - OF_PAIRS - WRAPPERS))
@pytest.mark.parametrize("collator", [None, ours], ids=["own", "passed"])
def test_other_losses_of_the_host_refuse_lists_before_the_first_step(base, name, collator, tmp_path):
    embedded = []
    model = copy.deepcopy(base)
    model.register_forward_hook(lambda *_: embedded.append(1))
    with pytest.raises(ValueError, match=f"{name} does not read lists of documents"):
        train(model, HOSTS[name][0].make, Dataset.from_dict(LISTS), tmp_path, collator=collator)
    assert not embedded
