"""Time and peak memory of losses over token embeddings, against sentence-transformers' loss for multi-vector models.

    python -m eval.bench.maxsim --output output/maxsim [--batches 64 256] [--device cuda]

Every contender gets the same token embeddings of queries and documents, of 32 and 128 tokens, and runs forward and
backward. Contenders take turns in one process, so that other load affects them alike; memory is measured in one process
per contender, above the embeddings.

    A-NDCG     ANDCGLoss of the mean MaxSim
    softmax    RankingLoss(SoftmaxCrossEntropy()) of the MaxSim, the same objective as MNRL's
    MNRL       sentence-transformers' MultiVectorMultipleNegativesRankingLoss
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, mean_colbert_scores
from torch import Tensor, nn
from torch.nn import functional as F

from eval.bench.timing import in_own_process, in_turns, medians, parser, save
from eval.machine import PeakMemory
from st_rankloss import ANDCGLoss, RankingLoss
from st_rankloss.losses import pack_tokens
from st_rankloss.objectives import SoftmaxCrossEntropy
from st_rankloss.relevance import Pairs

DIMENSIONS = 128
TOKENS = (32, 128)
"""Tokens per query and document."""


class Embedded(MultiVectorEncoder):
    """A model whose features are its token embeddings."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Return the features."""
        return features


def make_columns(batch: int, device: str) -> list[Tensor]:
    """Make token embeddings of queries, and of documents that resemble their query, of length 1."""
    generator = torch.Generator().manual_seed(0)
    queries, documents = (torch.randn(batch, tokens, DIMENSIONS, generator=generator) for tokens in TOKENS)
    documents[:, : TOKENS[0]] += 0.5 * queries
    return [F.normalize(column, dim=-1).to(device).requires_grad_() for column in (queries, documents)]


def ours(make: Callable[[], RankingLoss], columns: list[Tensor]) -> Tensor:
    """Compute a loss of st_rankloss."""
    packed = [pack_tokens(column, column.new_ones(column.shape[:2])) for column in columns]
    return make().compute_loss_from_embeddings(packed)  # type: ignore[return-value]


def mnrl(columns: list[Tensor]) -> Tensor:
    """Compute sentence-transformers' loss."""
    features = [
        {"token_embeddings": x, "attention_mask": torch.ones(x.shape[:2], dtype=torch.long, device=x.device)}
        for x in columns
    ]
    loss: Tensor = MultiVectorMultipleNegativesRankingLoss(Embedded(), similarity_fct=colbert_scores)(features)
    return loss


CONTENDERS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "A-NDCG": partial(ours, lambda: ANDCGLoss(Embedded(), relevance=Pairs(), similarity_fct=mean_colbert_scores)),
    "softmax": partial(
        ours, lambda: RankingLoss(Embedded(), objective=SoftmaxCrossEntropy(1.0), similarity_fct=colbert_scores)
    ),
    "MNRL": mnrl,
}


def step(name: str, columns: list[Tensor]) -> None:
    """Run a contender forward and backward."""
    for column in columns:
        column.grad = None
    CONTENDERS[name](columns).backward()


def measure_times(batch: int, device: str, repeats: int) -> dict[str, list[float]]:
    """Time all contenders in turns; return their seconds, sorted."""
    columns = make_columns(batch, device)
    return in_turns({name: partial(step, name, columns) for name in CONTENDERS}, device, repeats)


def measure_memory(name: str, batch: int, device: str) -> float | None:
    """Return one contender's peak memory above the embeddings, in MiB."""
    step(name, make_columns(4, device))  # warms up
    columns = make_columns(batch, device)
    peak = PeakMemory(device)
    step(name, columns)
    return peak.megabytes(added=True)


def main() -> None:
    """Measure every case, print a table, and write maxsim.json."""
    made = parser(__doc__, "maxsim", [64, 256])
    made.add_argument("--repeats", type=int, default=3, help="timed turns per contender")
    options = made.parse_args()
    if options.case:
        case = json.loads(options.case)
        print(json.dumps((measure_memory if "name" in case else measure_times)(**case, device=options.device)))
        return
    in_process = partial(in_own_process, "eval.bench.maxsim", options.device)
    records = []
    for batch in options.batches:
        times = in_process(batch=batch, repeats=options.repeats)
        middle = medians(times)
        for name in CONTENDERS:
            megabytes = in_process(batch=batch, name=name)
            ratio = middle[name] / middle["MNRL"]
            records.append(
                {
                    "batch": batch,
                    "contender": name,
                    "seconds": middle[name],
                    "times MNRL": ratio,
                    "megabytes": megabytes,
                }
            )
            print(records[-1])
    machine = save(options, repeats=options.repeats, tokens=TOKENS, records=records)
    table = Table("batch", "contender", "median", "× MNRL's time", "peak", title=f"{DIMENSIONS} dimensions\n{machine}")
    for row in records:
        peak = "unknown" if row["megabytes"] is None else f"{row['megabytes']:.0f} MiB"
        cells = (str(row["batch"]), str(row["contender"]), f"{row['seconds']:.3f} s", f"{row['times MNRL']:.2f}", peak)
        table.add_row(*cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
