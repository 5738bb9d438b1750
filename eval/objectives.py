"""Time of every objective in the loss, against MNRL, and of sums over pairs on the grid against all pairs.

    python -m eval.objectives --output output/objectives [--batches 256 1024] [--device cuda]

Every objective gets the batch of `performance.py`: two columns in classes of eight, which a hierarchy of two levels
grades 1, 0.5 and 0. Objectives take turns with MNRL in one process, forward and backward, from embeddings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from eval.performance import describe_machine, make_batch, mnrl, run_once, synchronise
from st_rankloss import RankingLoss, objectives
from st_rankloss.functional import mann_whitney, rank_net, soft_kendall
from st_rankloss.objectives import Configured, Objective
from st_rankloss.relevance import Hierarchy

QUADRATIC = {"NeuralNDCG", "GroCo"}
"""They take D² memory a query: only small batches."""

SQUARE = {"ContextualSimilarity", "SetInformation", "MVInfoNCE", "MVDHEL"}
"""They take one column of samples."""

Timed = dict[str, float]


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


def time_objective(objective: Objective, batch: int, device: str, repeats: int, *, square: bool) -> Timed:
    """Time one objective and MNRL in turns: median seconds of each."""
    columns, labels = make_batch(batch, device)

    def ours(embeddings: list[Tensor], labels: Tensor, temperature: float) -> Tensor:
        loss = RankingLoss(nn.Identity(), objective, grades)
        value = loss.compute_loss_from_embeddings(embeddings[:1] if square else embeddings, labels)
        assert isinstance(value, Tensor)
        return value

    times: dict[str, list[float]] = {"objective": [], "MNRL": []}
    for turn in range(repeats + 1):
        for name, loss in (("objective", ours), ("MNRL", mnrl)):
            seconds = run_once(loss, columns, labels, 0.05)
            if turn:  # the first turn warms up
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def time_pairs(device: str, repeats: int) -> list[dict[str, object]]:
    """Time sums over the pairs of 64 lists, half of whose documents are above the lowest grade, by method."""
    records: list[dict[str, object]] = []
    for documents in (256, 1024, 4096):
        generator = torch.Generator().manual_seed(0)
        similarity = (0.3 * torch.randn(64, documents, generator=generator)).to(device).requires_grad_()
        relevance = (torch.randint(0, 6, (64, documents), generator=generator) - 2).clamp_min(0).float().to(device)
        for name, function, all_pairs in (
            ("mann_whitney", mann_whitney, "relevant"),
            ("rank_net", rank_net, "dense"),
            ("soft_kendall", soft_kendall, "dense"),
        ):
            seconds: dict[str, list[float]] = {"grid": [], all_pairs: []}
            for turn in range(repeats + 1):
                for method, times in seconds.items():
                    synchronise(similarity)
                    start = time.perf_counter()
                    value = function(similarity, relevance, temperature=0.05, method=method).sum()
                    torch.autograd.grad(value, similarity)
                    synchronise(similarity)
                    if turn:
                        times.append(time.perf_counter() - start)
            grid, pairs = (statistics.median(times) for times in seconds.values())
            records.append({"function": name, "documents": documents, "grid": grid, "pairs": pairs})
    return records


def main() -> None:
    """Measure, print tables and write objectives.json."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/objectives"), help="folder for results")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--most-quadratic", type=int, default=256, help="largest batch of NeuralNDCG and GroCo")
    parser.add_argument("--repeats", type=int, default=3, help="timed turns of each contender")
    options = parser.parse_args()
    machine = describe_machine(options.device)
    console = Console(width=120)
    table = Table("objective", *(f"batch {batch}: seconds, × MNRL" for batch in options.batches), title=machine)
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
    console.print(table)
    pairs = time_pairs(options.device, options.repeats)
    by_method = Table("function", "documents", "on the grid", "all pairs", "ratio", title="64 lists of five grades")
    for record in pairs:
        grid, dense = float(str(record["grid"])), float(str(record["pairs"]))
        by_method.add_row(
            str(record["function"]), str(record["documents"]), f"{grid:.4f} s", f"{dense:.4f} s", f"{dense / grid:.0f}"
        )
    console.print(by_method)
    options.output.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine, "repeats": options.repeats, "objectives": records, "pairs": pairs}
    (options.output / "objectives.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
