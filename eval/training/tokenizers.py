"""A pretrained tokenizer, cut down to the texts at hand."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer


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
