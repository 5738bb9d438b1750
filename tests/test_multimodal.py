"""Images, sounds, chats and dicts of modalities, through our collators and each kind of model.

Videos are not tried: every video processor of transformers needs torchvision.
"""

from __future__ import annotations

import copy
import gc
import logging

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, IterableDataset, List, Value
from PIL import Image as Pictures
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss
from torch import nn

from st_rankloss import (
    ANDCGLoss,
    CrossEncoderRankingCollator,
    RankingCollator,
    RankingTrainer,
)
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.losses.base import GradedLoss
from st_rankloss.trainer import TRAINERS
from tests import models as tiny

WORDS = [f"w{i}" for i in range(12)]
MODELS = {
    "clip": tiny.tiny_clip,
    "two towers": tiny.two_towers,
    "sound": tiny.text_and_sound,
    "chat": tiny.tiny_chatting,
    "sparse clip": tiny.tiny_sparse_clip,
    "multi-vector chat": tiny.tiny_multi_vector_chatting,
}
DRAW = np.random.default_rng(3)


def picture():
    return Pictures.fromarray(DRAW.integers(0, 255, (16, 16, 3), dtype=np.uint8))


def sound():
    return {"audio": {"array": DRAW.standard_normal(2000).astype(np.float32), "sampling_rate": 16000}}


def both(text):
    return {"text": text, "image": picture()}


def chat(text):
    parts = [{"type": "image", "image": picture()}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


# Queries and lists of documents, by what they are made of.
TEXTS = ["w1", "w2 w3", "w4"]
TEXT_LISTS = [["w5", "w6 w7"], ["w8"], ["w9 w1", "w2", "w3"]]
IMAGE_LISTS = [[picture(), picture()], [picture()], [picture(), picture(), picture()]]
FORMS = {
    "texts for images": ([picture() for _ in range(3)], TEXT_LISTS),
    "images for texts": (TEXTS, IMAGE_LISTS),
    "images for images": ([picture() for _ in range(3)], IMAGE_LISTS),
    "arrays for texts": (TEXTS, [[np.asarray(image) for image in row] for row in IMAGE_LISTS]),
    "dicts of one modality": ([{"text": text} for text in TEXTS], [[{"image": i} for i in row] for row in IMAGE_LISTS]),
    "sounds for texts": (TEXTS, [[sound(), sound()], [sound()], [sound(), sound(), sound()]]),
    "raw sounds for texts": (
        TEXTS,
        [[sound()["audio"]["array"] for _ in row] for row in TEXT_LISTS],
    ),
    "dicts of both": (TEXTS, [[both(text) for text in row] for row in TEXT_LISTS]),
    "several images in one": (TEXTS, [[{"image": row}] for row in IMAGE_LISTS]),
    "chats": ([chat(text) for text in TEXTS], [[chat(text) for text in row] for row in TEXT_LISTS]),
    "modalities that differ by document": (TEXTS, [["w5", picture()], [both("w8")], [chat("w9"), "w2", picture()]]),
    "modalities that differ by query": (["w1", picture(), both("w2")], TEXT_LISTS),
}
CLIP = ["texts for images", "images for texts", "images for images", "arrays for texts", "dicts of one modality"]
CHAT = [form for form in FORMS if "sounds" not in form]
CASES = [
    *((model, form) for model in ("clip", "sparse clip", "two towers") for form in CLIP),
    *((model, form) for model in ("chat", "multi-vector chat") for form in CHAT),
    *(("sound", form) for form in ("sounds for texts", "raw sounds for texts")),
]
GRADES = [[2, 0], [1], [0, 3, 1]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.manual_seed(0)
    made = {name: make(tmp_path_factory.mktemp("model"), WORDS) for name, make in MODELS.items()}
    gc.freeze()
    yield made
    gc.unfreeze()


def routes(model, form):
    """The routes of the columns, which a router needs."""
    of_queries = "image" if form in ("texts for images", "images for images") else "text"
    of_documents = "audio" if "sounds" in form else "text" if form == "texts for images" else "image"
    return {"query": of_queries, "documents": of_documents} if model in ("sound", "two towers") else {}


def rows_of(form):
    queries, documents = FORMS[form]
    return [
        {"query": query, "documents": row, "labels": grades[: len(row)]}
        for query, row, grades in zip(queries, documents, GRADES, strict=True)
    ]


@pytest.mark.parametrize(("model", "form"), CASES)
def test_lists_become_the_features_that_the_host_makes_of_a_column(models, model, form):
    if form == "several images in one" and tiny.older("sentence-transformers", 6, 2):
        pytest.skip("sentence-transformers reads this from 6.2")
    encoder, mapping = models[model], routes(model, form)
    kind = MultiVectorEncoderDataCollator if model.startswith("multi") else SentenceTransformerDataCollator
    host = kind(encoder.preprocess, router_mapping=mapping)
    rows = rows_of(form)
    flat = [{"query": row["query"], "documents": document} for row in rows for document in row["documents"]]
    expected = {name: value for name, value in host(flat).items() if name.startswith("documents_")}
    expected |= host([{"query": row["query"]} for row in rows])
    batch = RankingCollator(encoder.preprocess, router_mapping=mapping)(rows)
    assert batch.pop("label")["list_sizes"].tolist() == [len(row["documents"]) for row in rows]
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(batch[name], value) if isinstance(value, torch.Tensor) else batch[name] == value


def test_paths_of_images_are_images(models, tmp_path):
    paths = []
    for image in IMAGE_LISTS[2]:
        paths.append(str(tmp_path / f"{len(paths)}.png"))
        image.save(paths[-1])
    collator = RankingCollator(models["clip"].preprocess)
    found, expected = (collator([{"query": "w1", "documents": row}]) for row in (paths, IMAGE_LISTS[2]))
    assert torch.equal(found["documents_pixel_values"], expected["documents_pixel_values"])


def test_columns_of_other_models_than_multi_vector_ones_get_no_task(models):
    batch = RankingCollator(models["chat"].preprocess)(rows_of("chats"))
    assert "query_task" not in batch
    batch = RankingCollator(models["multi-vector chat"].preprocess)(rows_of("chats"))
    assert (batch["query_task"], batch["documents_task"]) == ("query", "document")


# Training


def arguments(folder, trainer=RankingTrainer, **options):
    defaults = {"per_device_train_batch_size": 3, "max_steps": 1, "learning_rate": 0.1, "optim": "sgd", "seed": 2}
    defaults |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    return trainer.training_args_class(str(folder), **defaults | options)


def trained(model, dataset, folder, loss_of=ANDCGLoss, trainer=RankingTrainer, **options):
    """The parameters after one step on one batch."""
    model = copy.deepcopy(model)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    args = arguments(folder, trainer, **options)
    trainer(model=model, args=args, train_dataset=dataset, loss=loss_of(model)).train()
    after = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert not torch.equal(before, after)
    return after


DICTS = [{"text": "w1"}, {"text": "w2", "image": picture()}, {"image": picture()}]
ARROW = {
    "clip": {"query": TEXTS, "documents": IMAGE_LISTS, "labels": GRADES},
    "chat": {"query": TEXTS, "documents": [DICTS[:2], DICTS[2:], DICTS], "labels": GRADES},
}
STORED = {
    "clip": Features({"query": Value("string"), "documents": List(Image()), "labels": List(Value("int64"))}),
    "chat": Features(
        {
            "query": Value("string"),
            "documents": List({"text": Value("string"), "image": Image()}),
            "labels": List(Value("int64")),
        }
    ),
}


@pytest.mark.parametrize("model", ["clip", "chat"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_model_trains_on_lists_as_on_columns_through_the_trainer_of_the_host(models, model, streaming, tmp_path):
    """With two documents each, and a dataset that fills dicts with None."""
    documents = [
        [images[0], images[-1]] for images in (IMAGE_LISTS if model == "clip" else [DICTS[:2], DICTS[1:], DICTS])
    ]
    grades = [[2, 0], [1, 2], [0, 3]]
    dataset = Dataset.from_dict({"query": TEXTS, "documents": documents, "labels": grades}, features=STORED[model])
    dataset = dataset.to_iterable_dataset() if streaming else dataset
    columns = Dataset.from_dict({"query": TEXTS, "labels": grades})
    first, second = zip(*documents, strict=True)
    columns.set_transform(
        lambda batch: {
            "query": batch["query"],
            "first": [first[TEXTS.index(query)] for query in batch["query"]],
            "second": [second[TEXTS.index(query)] for query in batch["query"]],
            "labels": batch["labels"],
        }
    )
    expected = trained(models[model], columns, tmp_path, trainer=SentenceTransformerTrainer)
    assert torch.allclose(trained(models[model], dataset, tmp_path), expected, atol=1e-6)


@pytest.mark.parametrize("model", ["clip", "chat", "sparse clip", "multi-vector chat"])
def test_a_cached_loss_trains_in_mini_batches_as_a_plain_one(models, model, tmp_path):
    if model.endswith("chat") and tiny.older("sentence-transformers", 6, 2):
        pytest.skip("sentence-transformers itself cannot split a batch of which some have images before 6.2")
    name = "chat" if model.endswith("chat") else "clip"
    dataset = Dataset.from_dict(ARROW[name], features=STORED[name])
    trainer = next(kind for kind in TRAINERS if isinstance(models[model], kind.model_class))
    expected = trained(models[model], dataset, tmp_path, trainer=trainer)
    found = trained(models[model], dataset, tmp_path, lambda m: CachedANDCGLoss(m, mini_batch_size=2), trainer)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_model_of_texts_and_sounds_trains_on_lists_of_sounds(models, tmp_path):
    documents = [[{"array": s["audio"]["array"].tolist(), "sampling_rate": 16000} for s in row]
                 for row in FORMS["sounds for texts"][1]]  # fmt: skip
    dataset = Dataset.from_dict({"query": TEXTS, "documents": documents, "labels": GRADES})
    assert torch.isfinite(
        trained(models["sound"], dataset, tmp_path, router_mapping={"query": "text", "documents": "audio"})
    ).all()


class Recording(GradedLoss):
    """A loss that keeps what it gets."""

    def __init__(self, model):
        nn.Module.__init__(self)
        self.model, self.relevance, self.gather_across_devices, self.seen = model, None, False, []

    def get_config_dict(self):
        return {}

    def forward(self, inputs, labels=None, **options):
        self.seen.append(inputs)
        return sum(parameter.sum() for parameter in self.model.parameters()) * 0.0


def test_a_stream_of_images_that_declares_nothing_reaches_the_loss(models, tmp_path):
    rows = rows_of("images for texts")
    stream = IterableDataset.from_generator(lambda: iter(rows))
    model = models["clip"]
    loss = Recording(model)
    RankingTrainer(model=model, args=arguments(tmp_path), train_dataset=stream, loss=loss).train()
    ((queries, documents),) = loss.seen
    assert len(queries["input_ids"]) == 3
    expected = model.preprocess([image for row in IMAGE_LISTS for image in row])["pixel_values"]
    assert torch.equal(documents["pixel_values"], expected)


def test_a_stream_whose_first_row_lacks_a_modality_is_refused(models, tmp_path):
    rows = [{"query": "w1", "documents": [{"text": "w2"}]}, {"query": "w3", "documents": [both("w4")]}]
    stream = IterableDataset.from_generator(lambda: iter(rows))
    made = RankingTrainer(
        model=models["chat"], args=arguments(tmp_path), train_dataset=stream, loss=Recording(models["chat"])
    )
    with pytest.raises(ValueError, match=r"'documents' must hold .*, as in the first row, got .* in row 1: declare"):
        made.train()


def test_cross_encoders_get_images_and_lists_of_images_as_they_are():
    batch = CrossEncoderRankingCollator(None)(rows_of("images for texts"))
    assert batch["query"] == TEXTS
    assert batch["documents"] == IMAGE_LISTS
    assert batch["label"]["list_sizes"].tolist() == [2, 1, 3]


# What is filled, and what is refused


def test_keys_without_a_value_do_not_count(models):
    collator = RankingCollator(models["chat"].preprocess)
    image = picture()
    parts = [{"type": "image", "image": image}, {"type": "text", "text": "w1"}]
    filled = [{"type": "image", "image": image, "text": None}, {"type": "text", "text": "w1", "image": None}]
    for full, gaps in (
        ({"text": "w1"}, {"text": "w1", "image": None}),
        ([{"role": "user", "content": parts}], [{"role": "user", "content": filled, "name": None}]),
    ):
        expected, found = (collator([{"query": "w2", "document": value}]) for value in (full, gaps))
        assert expected.keys() == found.keys()
        assert torch.equal(expected["document_input_ids"], found["document_input_ids"])


def test_an_image_that_datasets_left_encoded_is_decoded(models):
    image = picture()
    encoded = Image().encode_example(image)
    collator = RankingCollator(models["chat"].preprocess)
    for wrap in (lambda x: {"image": x}, lambda x: [{"role": "user", "content": [{"type": "image", "image": x}]}]):
        expected, found = (collator([{"query": "w2", "document": wrap(value)}]) for value in (image, encoded))
        assert torch.equal(expected["document_pixel_values"], found["document_pixel_values"])


@pytest.mark.parametrize("column", ["document", "documents"])
def test_an_input_without_any_modality_is_refused(models, column):
    value = {"text": None, "image": None}
    rows = [{"query": "w1", column: [value] if column == "documents" else value}]
    with pytest.raises(
        ValueError, match=rf"each of '{column}' must be a text, got {{}} \(dict\) for row 0 of the batch; leave it out"
    ):
        RankingCollator(models["chat"].preprocess)(rows)


@pytest.mark.parametrize("model", ["clip", "two towers"])
@pytest.mark.parametrize("value", [["w1", picture()], [{"text": "w1"}, {"image": picture()}]], ids=["plain", "dicts"])
def test_a_column_of_mixed_modalities_is_named_if_the_model_cannot_embed_it(models, model, value):
    collator = RankingCollator(models[model].preprocess)
    message = "column '{}' mixes text and image in one batch, .* use a model with a chat template"
    with pytest.raises(ValueError, match=message.format("documents")):
        collator([{"query": "w2", "documents": value}])
    with pytest.raises(ValueError, match=message.format("document")):
        collator([{"query": "w2", "document": document} for document in value])


def test_losses_of_the_host_are_told_of_lists_of_images(models, tmp_path, caplog):
    dataset, model = Dataset.from_dict(ARROW["clip"], features=STORED["clip"]), models["clip"]
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        found = trained(model, dataset, tmp_path, MultipleNegativesRankingLoss)
    assert "it gets the best document of each list in 'documents'" in caplog.text
    best = [row[int(np.argmax(grades))] for row, grades in zip(IMAGE_LISTS, GRADES, strict=True)]
    pairs = Dataset.from_dict(
        {"query": TEXTS, "documents": best}, features=Features({"query": Value("string"), "documents": Image()})
    )
    expected = trained(model, pairs, tmp_path, MultipleNegativesRankingLoss, SentenceTransformerTrainer)
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="CoSENTLoss does not read lists of documents, got the column 'documents'"):
        trained(model, dataset, tmp_path, CoSENTLoss)
