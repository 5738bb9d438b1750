"""Images and captions in one space, from image + caption + label: captions for images, and images for captions.

    python examples/image_text.py [--data DATA --image-column image --caption-column name --label-column kind]

Without ``--data``: scikit-learn's handwritten digits as images, with captions such as "a handwritten three"; the label
is the digit. A small CLIP is trained from scratch. Any two of one digit belong together, not only an image and its own
caption. Scores, on test images: nDCG@10 of captions found for images and of images found for captions. The usual loss
is that of CLIP, MultipleNegativesRankingLoss in both directions, for which each image's caption is the only right one.

Test, seed 0 (20 epochs; learning rates, and scales or temperatures, tuned on dev, nine trials for CLIP's loss, six
for A-NDCG): caption for image .790 with CLIP's loss, .830 with A-NDCG; image for caption .996, 1.000. All captions of
a digit are right for its images, which CLIP's loss takes for wrong.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial

import numpy as np
import shared
import torch
from datasets import Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Pictures
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sklearn.datasets import load_digits
from tokenizers import processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from st_rankloss import ANDCGLoss
from st_rankloss.encoders import make_encoder, train_tokenizer
from st_rankloss.functional import ndcg
from st_rankloss.relevance import Classes

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = ("a handwritten {}", "the digit {}", "{}", "somebody wrote a {}", "a small grey {}")

BOTH_WAYS = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}

LOSSES = {
    "CLIP": (lambda model: MultipleNegativesRankingLoss(model, scale=5, **BOTH_WAYS), {"learning_rate": 2e-3}),
    "A-NDCG": (
        lambda model: ANDCGLoss(model, relevance=Classes(), temperature=0.1, symmetric=True),
        {"learning_rate": 1e-3},
    ),
}


def read_digits() -> DatasetDict:
    """Make images and captions of scikit-learn's digits, 8 × 8 pixels, enlarged to 16 × 16."""
    digits = load_digits()
    draw = np.random.default_rng(0)
    images = [Pictures.fromarray((d * 15.9).astype(np.uint8)).convert("RGB").resize((16, 16)) for d in digits.images]
    captions = [draw.choice(CAPTIONS).format(NAMES[digit]) for digit in digits.target]
    features = Features({"image": Image(), "caption": Value("string"), "label": Value("int64")})
    columns = {"image": images, "caption": captions, "label": digits.target.tolist()}
    parts = Dataset.from_dict(columns, features=features).train_test_split(test_size=0.4, seed=0)
    halves = parts["test"].train_test_split(test_size=0.5, seed=0)
    return DatasetDict({"train": parts["train"], "dev": halves["train"], "test": halves["test"]})


def read_images(options: argparse.Namespace) -> DatasetDict:
    """Read images and captions; without labels, images of the same caption belong together."""
    data = DatasetDict({name: part.dataset for name, part in shared.read_parts(options, "image_text").items()})
    if "label" not in data["train"].column_names:
        return DatasetDict({name: part.add_column("label", part["caption"][:]) for name, part in data.items()})
    return shared.labelled(data)


def make_clip(captions: Sequence[str], *, size: int = 16, width: int = 64) -> SentenceTransformer:
    """Make a small CLIP with random weights, and a tokenizer trained on the captions."""
    marks = ["[PAD]", "[BOS]", "[EOS]"]
    tokenizer = train_tokenizer(captions, 1_000, marks)
    pad, begin, end = (tokenizer.token_to_id(mark) for mark in marks)
    tokenizer.post_processor = processors.TemplateProcessing("[BOS] $A [EOS]", None, [("[BOS]", begin), ("[EOS]", end)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", model_max_length=32
    )
    tower = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 4}
    marked = {"pad_token_id": pad, "bos_token_id": begin, "eos_token_id": end}
    config = CLIPConfig(
        projection_dim=width,
        text_config=tower | marked | {"vocab_size": len(fast), "max_position_embeddings": 32},
        vision_config=tower | {"image_size": size, "patch_size": size // 4},
    )
    images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    with tempfile.TemporaryDirectory() as folder:
        CLIPModel(config).save_pretrained(folder)
        CLIPProcessor(image_processor=images, tokenizer=fast).save_pretrained(folder)
        return SentenceTransformer(folder, device="cpu")


def evaluate(model: SentenceTransformer, test: Dataset) -> shared.Scores:
    """Rank captions for images, and images for captions."""
    images, captions = (
        torch.nn.functional.normalize(shared.embed(model, test[name][:]), dim=1) for name in ("image", "caption")
    )
    codes = torch.from_numpy(np.unique(test["label"][:], return_inverse=True)[1])
    similarity, relevance = images @ captions.T, (codes[:, None] == codes).float()
    return {
        "caption for image, nDCG@10": ndcg(similarity, relevance, k=10).nanmean().item(),
        "image for caption, nDCG@10": ndcg(similarity.T, relevance, k=10).nanmean().item(),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, shared.Scores]:
    """Compare the losses."""
    columns = {"image": "image", "caption": "caption", "label": "label"}
    defaults = {"model": "clip", "epochs": 20.0, "batch_size": 64}
    options = shared.parse_options(__doc__, arguments, columns=columns, losses=list(LOSSES), **defaults)
    data = read_images(options) if options.data else read_digits()
    data = shared.number_classes(data)
    captions = data["train"]["caption"][:]
    size = 16 if not options.data else 32
    model = make_clip(captions, size=size) if options.model == "clip" else make_encoder(options.model)
    evaluated = partial(evaluate, test=data[options.split])
    return shared.compare(
        f"{len(data[options.split])} images with captions", model, LOSSES, data["train"], evaluated, options
    )


if __name__ == "__main__":
    main()
