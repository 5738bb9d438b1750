"""Time of the soft ranks of all documents, forward and backward, against torchsort's.

    python -m eval.bench.ranks --output output/ranks [--documents 4096] [--device cuda]

    st_rankloss   soft_rank: a sum of sigmoids per document, on a grid
    torchsort l2  torchsort's soft_rank, another operator: a projection onto the permutahedron, whose values and
                  gradients differ. Skipped if torchsort is not installed: ``pip install torchsort`` needs a C++
                  compiler, and ``--no-build-isolation`` to build against the torch that is installed

Both get the same similarities, 64 lists, and the same gradient of the ranks. They take turns in one process.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from eval.bench.timing import in_turns, medians, parser, save
from st_rankloss.functional import soft_rank

LISTS = 64

Rank = Callable[[Tensor, float], Tensor]


def contenders() -> dict[str, Rank]:
    """Return the soft ranks whose packages are installed, by name; 1 is the rank of the most similar document."""
    found: dict[str, Rank] = {"st_rankloss": soft_rank}
    if importlib.util.find_spec("torchsort"):
        theirs = importlib.import_module("torchsort").soft_rank
        found["torchsort l2"] = lambda similarity, temperature: theirs(
            -similarity, regularization="l2", regularization_strength=temperature
        )
    return found


def differentiate(rank: Rank, similarity: Tensor, temperature: float, upstream: Tensor) -> Tensor:
    """Rank, and pull a gradient of the ranks back to the similarities."""
    return torch.autograd.grad(rank(similarity, temperature), similarity, upstream)[0]


def measure(documents: int, temperature: float, device: str, repeats: int) -> list[dict[str, object]]:
    """Time all contenders in turns, one record each."""
    generator = torch.Generator().manual_seed(0)
    similarity, upstream = (torch.randn(LISTS, documents, generator=generator).to(device) for _ in range(2))
    similarity = (0.3 * similarity).requires_grad_()
    actions = {
        name: partial(differentiate, rank, similarity, temperature, upstream) for name, rank in contenders().items()
    }
    times = medians(in_turns(actions, device, repeats))
    case = {"documents": documents, "temperature": temperature}
    return [{"contender": name, **case, "seconds": seconds} for name, seconds in times.items()]


def main() -> None:
    """Measure every case, print a table and write ranks.json."""
    made = parser(__doc__, "ranks", [])
    made.add_argument("--documents", type=int, nargs="+", default=[1024, 4096], help="documents per list")
    made.add_argument("--temperatures", type=float, nargs="+", default=[0.05, 0.01])
    made.add_argument("--repeats", type=int, default=5, help="timed turns per contender")
    options = made.parse_args()
    if "torchsort l2" not in contenders():
        print("torchsort is not installed: skipped")
    records: list[dict[str, object]] = []
    for documents in options.documents:
        for temperature in options.temperatures:
            records += measure(documents, temperature, options.device, options.repeats)
    machine = save(options, lists=LISTS, repeats=options.repeats, records=records)
    table = Table("documents", "τ", "contender", "median", title=f"Soft ranks of {LISTS} lists\n{machine}")
    for record in records:
        cells = (str(record["documents"]), f"{record['temperature']:g}", str(record["contender"]))
        table.add_row(*cells, f"{1000 * float(str(record['seconds'])):.1f} ms")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
