"""Time of every objective in the loss, against MNRL, and of sums over pairs on the grid against all pairs.

    python -m eval.bench.objectives --output output/objectives [--batches 256 1024] [--device cuda]

Every objective gets the batch of `eval.bench.performance`, which a hierarchy of two levels grades 1, 0.5 and 0.
Objectives take turns with MNRL in one process, forward and backward, from embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from eval.bench.timing import NO_MODEL, in_turns, make_batch, medians, mnrl, parser, save, step
from st_rankloss import RankingLoss, objectives
from st_rankloss.functional import mann_whitney, rank_net, soft_kendall
from st_rankloss.objectives import Configured, Objective
from st_rankloss.relevance import Hierarchy

QUADRATIC = {"NeuralNDCG", "GroCo"}
"""They take D² memory per query: only small batches."""

SQUARE = {"ContextualSimilarity", "SetInformation", "MVInfoNCE", "MVDHEL"}
"""They take one column of samples."""

PAIRS = {mann_whitney: "relevant", rank_net: "dense", soft_kendall: "dense"}
"""Sums over pairs, with the name of their method that visits all pairs."""


def contenders() -> dict[str, Objective]:
    """Return every objective that is a loss of lists, by name."""
    kinds = {name: getattr(objectives, name) for name in objectives.__all__}
    return {
        name: kind()
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Configured) and kind is not Configured
    }


def grades(query_labels: Tensor, document_labels: Tensor) -> Tensor:
    """Grade the batch's classes: 1 in one class, 0.5 in one of eight neighbouring classes, else 0."""
    paths = [torch.stack([labels // 8, labels], 1) for labels in (query_labels, document_labels)]
    return Hierarchy()(*paths) / 2


def time_objective(objective: Objective, batch: int, device: str, repeats: int, *, square: bool) -> dict[str, float]:
    """Time one objective and MNRL in turns: median seconds of each."""
    columns, labels = make_batch(batch, device)

    def ours(embeddings: list[Tensor], labels: Tensor | None, temperature: float) -> Tensor:
        loss = RankingLoss(NO_MODEL, objective=objective, relevance=grades)
        value = loss.compute_loss_from_embeddings(embeddings[:1] if square else embeddings, labels)
        assert isinstance(value, Tensor)
        return value

    losses = {"objective": ours, "MNRL": mnrl}
    actions = {name: partial(step, loss, columns, labels, 0.05) for name, loss in losses.items()}
    return medians(in_turns(actions, device, repeats))


def sum_pairs(function: Callable[..., Tensor], similarity: Tensor, relevance: Tensor, method: str) -> None:
    """Sum over pairs, forward and backward."""
    torch.autograd.grad(function(similarity, relevance, temperature=0.05, method=method).sum(), similarity)


def time_pairs(device: str, repeats: int) -> list[dict[str, object]]:
    """Time sums over the pairs of 64 lists, half of whose documents are above the lowest grade, by method."""
    records: list[dict[str, object]] = []
    for documents in (256, 1024, 4096):
        generator = torch.Generator().manual_seed(0)
        similarity = (0.3 * torch.randn(64, documents, generator=generator)).to(device).requires_grad_()
        relevance = (torch.randint(0, 6, (64, documents), generator=generator) - 2).clamp_min(0).float().to(device)
        for function, all_pairs in PAIRS.items():
            summed = partial(sum_pairs, function, similarity, relevance)
            times = medians(in_turns({m: partial(summed, m) for m in ("grid", all_pairs)}, device, repeats))
            record = {"grid": times["grid"], "pairs": times[all_pairs]}
            records.append({"function": function.__name__, "documents": documents, **record})
    return records


def main() -> None:
    """Measure, print tables and write objectives.json."""
    made = parser(__doc__, "objectives", [256, 1024])
    made.add_argument("--most-quadratic", type=int, default=256, help="largest batch of NeuralNDCG and GroCo")
    made.add_argument("--repeats", type=int, default=3, help="timed turns per contender")
    options = made.parse_args()
    table = Table("objective", *(f"batch {batch}: seconds, × MNRL" for batch in options.batches))
    records: list[dict[str, object]] = []
    for name, objective in contenders().items():
        cells = []
        for batch in options.batches:
            if name in QUADRATIC and batch > options.most_quadratic:
                cells.append("-")
                continue
            timed = time_objective(objective, batch, options.device, options.repeats, square=name in SQUARE)
            records.append({"objective": name, "batch": batch, **timed})
            cells.append(f"{timed['objective']:.4f}, {timed['objective'] / timed['MNRL']:.1f}")
        table.add_row(name, *cells)
        print(name, *cells)
    pairs = time_pairs(options.device, options.repeats)
    by_method = Table("function", "documents", "on the grid", "all pairs", "ratio", title="64 lists of five grades")
    for record in pairs:
        grid, dense = float(str(record["grid"])), float(str(record["pairs"]))
        cells = [str(record["function"]), str(record["documents"]), f"{grid:.4f} s", f"{dense:.4f} s"]
        by_method.add_row(*cells, f"{dense / grid:.0f}")
    table.title = save(options, repeats=options.repeats, objectives=records, pairs=pairs)
    console = Console(width=120)
    console.print(table)
    console.print(by_method)


if __name__ == "__main__":
    main()
