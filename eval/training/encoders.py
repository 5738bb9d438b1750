"""Encoders by name, small enough for a CPU; any other name is a model's folder or its id on the hub."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from eval.names import check_name
from eval.plans.learning_rates import ENCODERS
from eval.tasks.data import Data, Samples
from eval.training.tokenizers import trim
from st_rankloss import encoders


class RememberingStatic(StaticEmbedding):
    """A static model that tokenizes no text twice per process: all runs of a comparison read the same texts."""

    memory: dict[str, list[int]]

    def preprocess(self, inputs: list[str], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Tokenize new texts, and lay all out in one row."""
        texts = [f"{prompt}{text}" for text in inputs] if prompt else list(inputs)
        new = list(dict.fromkeys(text for text in texts if text not in self.memory))
        for text, encoding in zip(new, self.tokenizer.encode_batch(new, add_special_tokens=False), strict=True):
            self.memory[text] = encoding.ids
        rows = [self.memory[text] for text in texts]
        offsets = np.cumsum([0] + [len(row) for row in rows[:-1]])
        return {"input_ids": torch.tensor([i for row in rows for i in row]), "offsets": torch.from_numpy(offsets)}


def make_encoder(name: str, data: Sequence[Data], seed: int) -> SentenceTransformer:
    """Make an untrained encoder.

    Args:
        name: One of `ENCODERS`, a folder, or an id on the hub.
        data: The training data, and the data to score if they are others: their texts give a vocabulary.
        seed: Seed of random weights.

    Returns:
        The model, on the CPU unless there is a GPU.

    Raises:
        ValueError: If the name is unknown, with the closest names.
    """
    set_seed(seed)
    known: dict[str, Callable[[Sequence[Data], int], SentenceTransformer]] = {
        "static": _static,
        "static-minilm": _static_minilm,
        "minilm": _minilm,
        "minilm-2": _minilm_of_two_layers,
        "bert": _bert,
        "clip": _clip,
    }
    if name not in known and not Path(name).exists() and "/" not in name:
        check_name(name, ENCODERS, "encoder (nor is it a folder or an id on the hub)")
    try:
        model = known[name](data, seed) if name in known else SentenceTransformer(name)
    except OSError as error:
        raise ValueError(f"the encoder {name!r} cannot be loaded: {error}") from error
    model.model_card_data.set_widget_examples = lambda dataset: None  # they take a second, and fail on images alone
    return model


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


def _static(data: Sequence[Data], seed: int) -> SentenceTransformer:
    texts = _train_texts(data)
    key = ("static", _digest(texts))
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = encoders.train_tokenizer(texts, 8_000)
    return _remembering(_TOKENIZERS[key], key, embedding_dim=256)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _static_minilm(data: Sequence[Data], seed: int) -> SentenceTransformer:
    texts = [text for each in data for text in each.texts()]
    key = ("static-minilm", _digest(texts))
    full = encoders.make_encoder("static-minilm", seed=seed, device="cpu")[0]
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = trim(Tokenizer.from_str(full.tokenizer.to_str()), texts)
    vocabulary = _TOKENIZERS[key].get_vocab()
    places = [full.tokenizer.token_to_id(token) for token in sorted(vocabulary, key=lambda token: vocabulary[token])]
    words = full.embedding.weight.detach()[places]
    return _remembering(_TOKENIZERS[key], key, embedding_weights=words.clone().numpy())


def _minilm(data: Sequence[Data], seed: int) -> SentenceTransformer:
    model = encoders.make_encoder("minilm", seed=seed)
    model.max_seq_length = 64
    return model


def _minilm_of_two_layers(data: Sequence[Data], seed: int) -> SentenceTransformer:
    model = _minilm(data, seed)
    transformer = model[0].auto_model
    transformer.encoder.layer = transformer.encoder.layer[:2]
    transformer.config.num_hidden_layers = 2
    return model


def _bert(data: Sequence[Data], seed: int) -> SentenceTransformer:
    """Make a BERT of two layers and 128 dimensions from scratch."""
    texts = _train_texts(data)
    key = ("bert", _digest(texts))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = encoders.train_tokenizer(texts, 8_000, names.values())
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_TOKENIZERS[key], model_max_length=64, **names)
    set_seed(seed)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, **sizes
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=64)
    return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), "mean")])


def _clip(data: Sequence[Data], seed: int) -> SentenceTransformer:
    from eval.training.clip import make_clip  # noisy without torchvision

    return make_clip(getattr(data[0].parts.get("train"), "captions", None) or ["image"])
