"""Images and captions: one model or two towers, labels across modalities, the trainer and collator of the host."""

from __future__ import annotations

import random

import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures
from PIL import ImageDraw
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from st_rankloss import ANDCGLoss
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.relevance import Classes
from tests import oracle
from tests.models import tiny_clip, two_towers

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 230)}
SHAPES = ("disc", "box")
KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
WORDS = [*COLOURS, *SHAPES, "a", "one", "picture", "of"]


def picture(colour, shape, draw):
    image = Pictures.new("RGB", (16, 16), (draw.randrange(40),) * 3)
    left, top = draw.randrange(5), draw.randrange(5)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "disc" else pen.rectangle)((left, top, left + 10, top + 10), fill=COLOURS[colour])
    return image


def caption(colour, shape, draw):
    return " ".join([draw.choice(["a", "one", "picture of"]), colour, shape])


def dataset(rows, seed):
    draw = random.Random(seed)
    kinds = [KINDS[i % len(KINDS)] for i in range(rows)]
    return Dataset.from_dict(
        {
            "image": [picture(*kind, draw) for kind in kinds],
            "caption": [caption(*kind, draw) for kind in kinds],
            "label": [KINDS.index(kind) for kind in kinds],
        },
        features=Features({"image": Image(), "caption": Value("string"), "label": Value("int64")}),
    )


def ndcg_both_ways(model, rows):
    """Mean NDCG of captions for images and of images for captions."""
    images, captions = (
        model.encode(rows[name], convert_to_tensor=True, normalize_embeddings=True) for name in ("image", "caption")
    )
    relevance = [[float(a == b) for b in rows["label"]] for a in rows["label"]]
    similarity = (images @ captions.T).tolist()
    ways = (similarity, [list(column) for column in zip(*similarity, strict=True)])
    return [sum(oracle.ndcg(s, y) for s, y in zip(way, relevance, strict=True)) / len(relevance) for way in ways]


@pytest.mark.parametrize("make", [tiny_clip, two_towers])
@pytest.mark.parametrize(
    "loss_of",
    [ANDCGLoss, lambda *args, **options: CachedANDCGLoss(*args, mini_batch_size=12, **options)],
    ids=["plain", "cached"],
)
def test_labels_order_captions_for_images_and_images_for_captions(make, loss_of, tmp_path):
    torch.manual_seed(1)
    model = make(tmp_path / "model", WORDS)
    train, test = dataset(96, 0), dataset(24, 1)
    before = ndcg_both_ways(model, test)
    args = SentenceTransformerTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=24,
        num_train_epochs=10,
        learning_rate=2e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        router_mapping={"image": "image", "caption": "text"} if make is two_towers else {},
    )
    loss = loss_of(model, relevance=Classes(), symmetric=True)
    SentenceTransformerTrainer(model=model, args=args, train_dataset=train, loss=loss).train()
    after = ndcg_both_ways(model, test)
    assert all(later > sooner + 0.1 for later, sooner in zip(after, before, strict=True))
    model.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert ndcg_both_ways(again, test) == pytest.approx(after, abs=1e-6)
