"""Tokenizers of small encoders: one trained on the texts at hand, and a pretrained one cut down to them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers


def make_tokenizer(texts: Sequence[str], vocabulary: int, special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Train a byte-pair tokenizer, which always learns the same vocabulary: WordPiece breaks ties at random."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer()
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), to_bytes])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def trim(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokenizer:
    """Remove from a WordPiece vocabulary what these texts do not use; they are tokenized as before.

    Longest-match tokenization picks the same pieces from any vocabulary that has them all, and unused rows of a static
    model get no gradient: a smaller model learns the same, faster.
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
