"""A small CLIP of images and their captions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from tokenizers import processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from st_rankloss.encoders import train_tokenizer

SIZE = 32  # pixels
WIDTH = 64
MARKS = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]"}

_PIXELS: dict[bytes, torch.Tensor] = {}


def make_clip(captions: Sequence[str]) -> SentenceTransformer:
    """Make a CLIP with random weights and a tokenizer trained on the captions; it prepares no image twice."""
    tokenizer = train_tokenizer(captions, 1_000, list(MARKS.values()))
    ids = {name: tokenizer.token_to_id(mark) for name, mark in MARKS.items()}
    ends = [("[BOS]", ids["bos_token"]), ("[EOS]", ids["eos_token"])]
    tokenizer.post_processor = processors.TemplateProcessing("[BOS] $A [EOS]", None, ends)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **MARKS)
    tower = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = {"vocab_size": len(fast), "max_position_embeddings": 32} | {f"{name}_id": i for name, i in ids.items()}
    config = CLIPConfig(
        projection_dim=WIDTH,
        text_config=tower | words,
        vision_config=tower | {"image_size": SIZE, "patch_size": SIZE // 4},
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    with tempfile.TemporaryDirectory() as folder:
        CLIPModel(config).save_pretrained(folder)
        CLIPProcessor(image_processor=images, tokenizer=fast).save_pretrained(folder)
        model = SentenceTransformer(folder, device="cpu")
    preprocess = model[0].preprocess

    def remembering(inputs: list[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not all(isinstance(image, Image.Image) for image in inputs):
            return dict(preprocess(inputs, *args, **kwargs))
        keys = [image.tobytes() for image in inputs]
        new = {key: image for key, image in zip(keys, inputs, strict=True) if key not in _PIXELS}
        features = dict(preprocess(list(new.values()) or inputs[:1], *args, **kwargs))
        _PIXELS.update(zip(new, features["pixel_values"], strict=False))
        return features | {"pixel_values": torch.stack([_PIXELS[key] for key in keys])}

    model[0].preprocess = remembering
    return model
