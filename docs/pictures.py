"""Draw the pictures of mathematics.md, from the package's own functions: ``python docs/pictures.py [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.interpolate import BSpline

from st_rankloss.functional import approx_ndcg, soft_rank
from st_rankloss.kernels.grid import ORDER, SPACING, count_nodes

BLUE, ORANGE, GREEN, GREY, PALE = "#0072B2", "#D55E00", "#009E73", "#444444", "#dddddd"
"""Colours that colour-blind readers can distinguish (Okabe and Ito); line styles or markers differ, too."""

STYLE = {
    "svg.hashsalt": "st_rankloss",  # the same file in every run
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",  # a card on dark pages
    "savefig.facecolor": "white",
}

SIMILARITIES = torch.tensor([0.15, 0.25, 0.40, 0.44, 0.62, 0.80])
TEMPERATURE = 0.05


def rank_as_steps() -> Figure:
    """Draw the rank of a document as its similarity changes: steps, and sums of sigmoids."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    places = torch.linspace(0, 1, 501)
    above = (SIMILARITIES[None, :] > places[:, None]).sum(1)
    axes.plot(places, 1 + above, color=GREY, lw=1.2, label="exact rank")
    styles = ((0.01, BLUE, "-"), (0.05, ORANGE, "--"), (0.2, GREEN, "-."))
    for temperature, colour, style in styles:
        axes.plot(places, _rank_at(places, temperature), style, color=colour, lw=2, label=f"soft, τ = {temperature}")
    axes.plot(SIMILARITIES, np.full(len(SIMILARITIES), 0.45), "|", color=GREY, ms=12, mew=2)
    axes.text(0.91, 0.45, "the others", va="center", ha="center", color=GREY)
    axes.set(xlabel="similarity of the document", ylabel="rank", xlim=(0, 1), ylim=(7.3, 0.1), yticks=range(1, 8))
    axes.legend(frameon=False, loc="lower right")
    return figure


def _rank_at(places: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the soft rank of a document at each place among `SIMILARITIES`."""
    lists = torch.cat([places[:, None], SIMILARITIES.expand(len(places), -1)], dim=1)
    return soft_rank(lists, temperature)[:, 0]


def one_list() -> Figure:
    """Draw a list of documents by similarity and grade, and where the gradient moves each."""
    similarity = torch.tensor([0.86, 0.78, 0.72, 0.66, 0.45, 0.40, 0.28, 0.2], requires_grad=True)
    grades = torch.tensor([0.0, 2.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0])
    approx_ndcg(similarity, grades, temperature=TEMPERATURE).backward()
    push = similarity.grad / similarity.grad.abs().max()
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, grade, step in zip(similarity.tolist(), grades.tolist(), push.tolist(), strict=True):
        up = step > 0
        colour = BLUE if up else ORANGE
        axes.plot(place, grade, "^" if grade else "o", color=colour, ms=9)
        if abs(step) > 0.01:
            end = (place + 0.11 * step, grade + 0.28)
            arrow = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "ls": "-" if up else "--"}
            axes.annotate("", end, (place, grade + 0.28), arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})
    axes.plot([], [], "^-", color=BLUE, label="pulled up")
    axes.plot([], [], "o--", color=ORANGE, label="pushed down")
    axes.set(xlabel="similarity, and hence order (best on the right)", ylabel="grade", xlim=(0.1, 1), ylim=(-0.4, 3.7))
    axes.set_yticks([0, 1, 2, 3])
    axes.legend(frameon=False, loc="upper left")
    return figure


def grid() -> Figure:
    """Draw the three steps of the grid: spread, convolve, read back."""
    step = SPACING * TEMPERATURE
    nodes = np.arange(-6, round(1 / step) + 7) * step
    spline = BSpline.basis_element(np.arange(ORDER[torch.float32] + 1.0), extrapolate=False)
    offsets = (nodes[:, None] - SIMILARITIES.numpy()) / step + ORDER[torch.float32] / 2
    shares = np.nan_to_num(spline(offsets)).sum(1)
    everywhere = torch.linspace(0, 1, 401)
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    spread, sums, read = figure.subplots(3, 1, sharex=True)
    spread.vlines(nodes, 0, shares, color=BLUE, lw=3)
    spread.plot(SIMILARITIES, np.full(len(SIMILARITIES), -0.12), "^", color=ORANGE, clip_on=False)
    spread.set(title="1. Spread each document onto its nearest nodes", ylabel="weight", ylim=(-0.2, 1.1))
    at_nodes = torch.from_numpy(nodes).float()
    sums.plot(nodes, _ahead_of(at_nodes), "o", color=BLUE, ms=3.5)
    sums.set(title="2. Convolve the nodes with the sigmoid: documents ahead of each node", ylabel="ahead")
    read.plot(everywhere, _ahead_of(everywhere), color=BLUE, lw=1.2)
    ranks = soft_rank(SIMILARITIES, TEMPERATURE, method="grid")
    read.vlines(SIMILARITIES, 0, ranks - 0.5, color=ORANGE, lw=1, ls=":")
    read.plot(SIMILARITIES, ranks - 0.5, "^", color=ORANGE)
    read.set(
        title="3. Read the sums back at the documents",
        ylabel="ahead",
        xlabel="similarity",
        xlim=(0, 1),
    )
    return figure


def _ahead_of(places: torch.Tensor) -> torch.Tensor:
    """Return the soft number of documents ahead of each place."""
    return _rank_at(places, TEMPERATURE) - 1


def few_relevant() -> Figure:
    """Draw which pairs a query with few relevant documents needs."""
    count, relevant = 24, (3, 10, 17)
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, rows in ((left, range(count)), (right, relevant)):
        axes.add_patch(Rectangle((0, 0), count, count, facecolor="none", edgecolor=GREY))
        for row in rows:
            own = row in relevant
            face, hatch = (BLUE, None) if own else (PALE, "///")
            axes.add_patch(Rectangle((0, row), count, 0.85, facecolor=face, edgecolor="white", hatch=hatch, lw=0))
        axes.set(xlim=(-1, count + 1), ylim=(count + 1, -4), xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
        axes.set_xlabel("documents k to compare with")
        axes.set_ylabel("documents j to rank")
    for k in range(count):
        right.add_patch(Rectangle((k, -2.6), 0.85, 1.3, facecolor=ORANGE))
    right.text(count / 2, -3.1, "e_k, once per document", ha="center", color=ORANGE)
    left.set_title("every pair: D · D")
    right.set_title("relevant rows only: P · D")
    return figure


def operations() -> Figure:
    """Draw the number of operations per batch, from the formulas."""
    batch = 2.0 ** np.arange(7, 17)
    nodes = count_nodes(1 / TEMPERATURE, torch.float32)
    lines: tuple[tuple[str, str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
        ("every pair of every query: B³", GREY, "-", lambda b: b**3),
        ("similarities of 384 dimensions: 384 · B²", GREEN, ":", lambda b: 384 * b**2),
        (f"grid: B · (2pB + M log M), p = 6, M = {nodes}", BLUE, "--", lambda b: _grid_operations(b, nodes)),
        ("7 relevant documents: 7 · B²", ORANGE, "-.", lambda b: 7 * b**2),
    )
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    for label, colour, style, count in lines:
        axes.loglog(batch, count(batch), style, base=2, color=colour, lw=2.2, label=label)
    axes.set_yscale("log", base=10)
    axes.set(xlabel="batch size B", ylabel="operations of one loss", xlim=(batch[0], batch[-1]))
    axes.set_xticks(batch[1::2], [f"{int(b):,}" for b in batch[1::2]])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper left")
    return figure


def _grid_operations(batch: np.ndarray, nodes: int) -> np.ndarray:
    return batch * (2 * ORDER[torch.float32] * batch + nodes * np.log2(nodes))


PICTURES: dict[str, Callable[[], Figure]] = {
    "rank": rank_as_steps,
    "list": one_list,
    "grid": grid,
    "relevant": few_relevant,
    "operations": operations,
}


def draw(folder: Path) -> None:
    """Write all pictures into a folder, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, make in PICTURES.items():
            make().savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
