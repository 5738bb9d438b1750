"""Batches of views, from rows to a trained model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures
from sentence_transformers import SentenceTransformerTrainingArguments

from st_rankloss import ANDCGLoss, CachedANDCGLoss, RankingCollator, RankingLoss, RankingTrainer, ViewsCollator
from st_rankloss.augmentations import Blur, Crop, CropWords, DropWords, Flip, Identity
from st_rankloss.relevance import Classes, MultiLabel, Views
from tests.models import Passing, tiny_bert, tiny_clip, word_model
from tests.test_modalities import KINDS, picture

WORDS = [f"w{i}" for i in range(60)]


def texts(rows, length=6):
    generator = torch.Generator().manual_seed(2)
    return [" ".join(WORDS[i] for i in torch.randint(60, (length,), generator=generator)) for _ in range(rows)]


def note(texts, prompt=None, **_):
    """Stand in for a model's preprocessing: the texts themselves."""
    return {"input_ids": [f"{prompt or ''}{text}" for text in texts], "modality": "text"}


def arguments(folder, **options):
    return SentenceTransformerTrainingArguments(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 16,
            "max_steps": 30,
            "learning_rate": 0.02,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        | options
    )


def test_every_row_comes_under_every_view():
    collator = ViewsCollator(note, views=[Identity(), str.upper, DropWords(0.5)])
    batch = collator([{"text": "a b c"}, {"text": "d e f"}])
    found = batch["text_input_ids"]
    assert found[:4] == ["a b c", "d e f", "A B C", "D E F"]
    assert set(found[4].split()) <= set("abc")
    assert set(found[5].split()) <= set("def")
    label = batch["label"]
    assert label["sample"].tolist() == [0, 1] * 3
    assert label["keep"].tolist() == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    assert label.keys() == {"sample", "keep"}


def test_labels_come_along_with_the_views():
    collator = ViewsCollator(note, views=[Identity(), str.upper], keep=[1.0, 0.3])
    label = collator([{"text": "a", "label": 4}, {"text": "b", "label": 7}])["label"]
    assert label["label"].tolist() == [4, 7, 4, 7]
    assert label["keep"].tolist() == pytest.approx([1.0, 1.0, 0.3, 0.3])
    label = collator([{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": ["y"]}])["label"]
    assert label["label"].tolist() == [[1, 1], [0, 1]] * 2
    relevance = Views(MultiLabel())
    found = relevance(*relevance.pair(label, [4]))
    assert found[0].tolist() == pytest.approx([1.0, 0.5, 0.3, 0.15])


def test_a_view_of_full_strength_keeps_a_little():
    assert ViewsCollator(note, views=[Identity(), DropWords(1.0)]).keep == [1.0, 0.05]


def test_no_rows():
    assert ViewsCollator(note)([]) == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"views": [Identity()]}, ValueError, "views must be at least two, got 1"),
        ({"views": [Identity(), 3]}, TypeError, "every view must be a function of one value, got 3"),
        ({"keep": [1.0]}, ValueError, "keep must have a number for each of the 2 views, got 1"),
        ({"keep": [1.0, 0.0]}, ValueError, r"keep must be in \(0, 1\], got 0.0"),
        ({"label_kind": "other"}, ValueError, "label_kind must be one of"),
    ],
)
def test_bad_settings(options, error, message):
    with pytest.raises(error, match=message):
        ViewsCollator(note, **options)


@pytest.mark.parametrize("row", [{"a": "x", "b": "y"}, {"a": ["x", "y"]}, {"label": 1}], ids=str)
def test_one_column_of_single_values_is_needed(row):
    with pytest.raises(ValueError, match="ViewsCollator needs one input column of single values, got the columns"):
        ViewsCollator(note)([row])


def test_the_loss_is_that_of_the_definition():
    torch.manual_seed(0)
    embeddings = torch.randn(6, 4, dtype=torch.float64)
    label = {"sample": torch.tensor([0, 1] * 3), "keep": torch.tensor([1.0, 1.0, 0.5, 0.5, 0.2, 0.2])}
    found = RankingLoss(Passing())([{"input_ids": embeddings}], label)
    table = torch.tensor(
        [[label["keep"][d] * (d % 2 == q % 2) if d != q else torch.nan for d in range(6)] for q in range(6)]
    )
    plain = RankingLoss(Passing(), relevance=lambda q, d: table)([{"input_ids": embeddings}], torch.arange(6))
    assert found.item() == pytest.approx(plain.item(), rel=1e-9)


@pytest.mark.parametrize(
    "make", [ANDCGLoss, lambda *args, **options: CachedANDCGLoss(*args, mini_batch_size=10, **options)]
)
def test_training_brings_the_views_of_a_text_together(make, tmp_path):
    torch.manual_seed(0)
    model = tiny_bert(tmp_path / "bert", WORDS)
    rows, drop = texts(32), DropWords(0.4)
    copies = [drop(text) for text in rows]

    def found():
        model.eval()
        a, b = (F.normalize(model.encode(x, convert_to_tensor=True), dim=1) for x in (rows, copies))
        similarity = a @ b.T
        return (similarity.diagonal()[:, None] >= similarity).float().mean().item()

    before = found()
    collator = ViewsCollator(model.preprocess, views=[Identity(), DropWords(0.2), CropWords(0.5)])
    args = arguments(tmp_path, learning_rate=2e-3)
    trainer = RankingTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"text": rows}),
        loss=make(model, relevance=Views()),
        data_collator=collator,
    )
    trainer.train()
    assert found() > before


def test_plain_dropout_makes_two_views(tmp_path):
    """SimCSE: the same text twice, which the encoder's dropout tells apart."""
    torch.manual_seed(0)
    model = tiny_bert(tmp_path / "bert", WORDS).train()
    batch = ViewsCollator(model.preprocess)([{"text": text} for text in texts(8)])
    features = {name.removeprefix("text_"): x for name, x in batch.items() if name.startswith("text_")}
    embeddings = model(dict(features))["sentence_embedding"]
    assert not torch.equal(embeddings[:8], embeddings[8:])
    loss = ANDCGLoss(model)(  # relevance=None finds views
        [features], batch["label"]
    )
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_views_of_labelled_images_train(tmp_path):
    import random

    draw = random.Random(0)
    kinds = [KINDS[i % len(KINDS)] for i in range(36)]
    dataset = Dataset.from_dict(
        {"image": [picture(*kind, draw) for kind in kinds], "label": [i % len(KINDS) for i in range(36)]},
        features=Features({"image": Image(), "label": Value("int64")}),
    )
    torch.manual_seed(0)
    model = tiny_clip(tmp_path / "clip", WORDS)
    collator = ViewsCollator(model.preprocess, views=[Identity(), Crop(0.3), Blur(0.5), Flip(1.0)])
    trainer = RankingTrainer(
        model=model,
        args=arguments(tmp_path, learning_rate=2e-3, logging_steps=1, per_device_train_batch_size=12),
        train_dataset=dataset,
        loss=ANDCGLoss(model, relevance=Views(Classes())),
        data_collator=collator,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.3


@pytest.mark.parametrize("make", [RankingCollator, ViewsCollator])
def test_prompts_of_the_arguments_reach_a_collator_that_was_passed(make, tmp_path):
    model = word_model([*WORDS, "query:"])
    options = {"model": model, "train_dataset": Dataset.from_dict({"text": texts(4)}), "loss": ANDCGLoss(model)}
    collator = make(note)
    args = arguments(tmp_path, prompts={"text": "query: "}, router_mapping={"text": "query"})
    told = RankingTrainer(args=args, data_collator=collator, **options).data_collator
    assert told.router_mapping == {"text": "query"}
    relevance = {} if make is ViewsCollator else {"label": 1}
    assert all(text.startswith("query: ") for text in told([{"text": "w1"} | relevance])["text_input_ids"])
    assert not collator.prompts  # another trainer may have other prompts
    RankingTrainer(args=arguments(tmp_path, prompts={"text": "other: "}), data_collator=collator, **options)

    own = make(note, prompts={"text": "query: "})
    assert RankingTrainer(args=arguments(tmp_path), data_collator=own, **options).data_collator.prompts == own.prompts
    RankingTrainer(args=args, data_collator=own, **options)
    with pytest.raises(ValueError, match="data_collator has other prompts than the training arguments"):
        RankingTrainer(args=args, data_collator=make(note, prompts="other: "), **options)


def test_views_depend_on_the_epoch_and_the_batch_and_leave_the_generator_alone():
    collator = ViewsCollator(word_model(WORDS).preprocess, views=[Identity(), DropWords(0.5)])
    collator.epoch, rows = torch.zeros((), dtype=torch.int64), [{"text": " ".join(WORDS)}]
    seen, before = [], torch.random.get_rng_state()
    for epoch in (0, 1, 0):
        collator.epoch.fill_(epoch)
        seen.append(collator(rows)["text_input_ids"].tolist())
    assert seen[0] == seen[2] != seen[1]
    assert torch.equal(before, torch.random.get_rng_state())
    collator.seed = 1
    assert collator(rows)["text_input_ids"].tolist() != seen[2]


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": text} for text in ("a", "b")],
        [torch.tensor([1.0]), torch.tensor([2.0])],
        [{"array": np.ones(4), "sampling_rate": 8000}, {"array": np.zeros(4), "sampling_rate": 8000}],
        [[{"role": "user", "content": text}] for text in ("a", "b")],
        [Pictures.new("RGB", (4, 4), color) for color in ("red", "blue")],
    ],
    ids=["dict", "tensor", "sound", "chat", "image"],
)
def test_every_batch_draws_for_itself_whatever_its_inputs(rows, monkeypatch):
    drawn = []
    views = [Identity(), lambda value: drawn.append(torch.rand(()).item()) or value]
    monkeypatch.setattr(RankingCollator, "__call__", lambda self, rows: {})
    collator = ViewsCollator(note, views=views, epoch=torch.tensor(0))
    for row in (*rows, rows[0]):
        collator([{"input": row}])
    assert drawn[0] == drawn[2] != drawn[1]
