"""The report of a comparison: one Markdown and one HTML page with figures, from files of results.

`reading` reads runs, `comparing` groups them and `significance` judges them. `what_was_run`, `overview`, `ranks`,
`robustness`, `panels`, `task` and `ablations` each make one part of the page from `blocks`, `cells` and `figures`;
`markdown` and `webpage` write the blocks out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from eval.report.ablations import ablations
from eval.report.blocks import Block, Heading, Paragraph, Picture
from eval.report.comparing import choose, compare
from eval.report.markdown import to_markdown
from eval.report.overview import exceptions, overview
from eval.report.panels import panels
from eval.report.ranks import ranks
from eval.report.reading import Runs, read_runs
from eval.report.robustness import robustness
from eval.report.task import describe_comparison
from eval.report.webpage import to_html
from eval.report.what_was_run import describe_runs, failures

__all__ = ["choose", "compare", "read_runs", "write"]

TITLE = "Comparison of ranking losses"


def write(paths: Sequence[Path], folder: Path, *, mixed: bool = False) -> Path:
    """Write ``report.md`` with its figures in ``plots/``, and ``report.html``, one self-contained page.

    Figures of an earlier report in the same folder are removed.

    Args:
        paths: Files of results.
        folder: Output folder; created if needed.
        mixed: Accept runs of different versions; the report then says so.

    Returns:
        The path of ``report.md``.

    Raises:
        ValueError: If the runs cannot be read, see `read_runs`, or were scored on different queries.
    """
    blocks = _make_blocks(read_runs(paths, mixed))
    names = _write_pictures([block for block in blocks if isinstance(block, Picture)], folder)
    (folder / "report.html").write_text(to_html(TITLE, blocks), encoding="utf-8")
    path = folder / "report.md"
    path.write_text(to_markdown(blocks, names), encoding="utf-8")
    return path


def _make_blocks(runs: Runs) -> list[Block]:
    """Make the whole page."""
    comparisons = compare(runs.runs)
    return [
        Heading(1, TITLE),
        *(Paragraph(f"Note: {note}") for note in runs.notes),
        *describe_runs(runs.runs, comparisons),
        *overview(comparisons),
        *exceptions(comparisons),
        *ranks(comparisons),
        *robustness(comparisons),
        *panels(comparisons),
        *(block for comparison in comparisons for block in describe_comparison(comparison)),
        *ablations(runs.runs),
        *failures(runs.runs),
    ]


def _write_pictures(pictures: Sequence[Picture], folder: Path) -> dict[str, str]:
    """Write figures into ``plots/``, and return their files by caption."""
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for earlier in plots.glob("[0-9]*-*.png"):
        earlier.unlink()
    names = {}
    for number, picture in enumerate(pictures, 1):
        text = re.sub(r"[^A-Za-z0-9]+", "-", picture.caption).strip("-")
        names[picture.caption] = f"plots/{number:02d}-{text}.png"
        (folder / names[picture.caption]).write_bytes(picture.png)
    return names
