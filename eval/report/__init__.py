"""The report of a comparison: one Markdown and one HTML page with figures, from files of results.

`reading` reads runs, `comparing` groups them, `significance` and `hierarchy` judge them, and `duels` chooses the
opponents of the recipe. `overview`, `protocols`, `task`, `ablations` and `what_was_run` each make a part of the page
from `blocks`, `cells` and `figures`; `markdown` and `webpage` write the blocks out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from eval.report.ablations import ablations
from eval.report.blocks import Block, Contents, Heading, Link, Paragraph, Picture, flatten
from eval.report.comparing import choose, compare
from eval.report.duels import against_usual, overall
from eval.report.markdown import to_markdown
from eval.report.overview import overview
from eval.report.protocols import mean_over_tasks, protocols
from eval.report.reading import Runs, read_runs
from eval.report.task import describe_tasks
from eval.report.webpage import to_html
from eval.report.what_was_run import describe_runs, failures, method

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
    names = _write_pictures([block for block in flatten(blocks) if isinstance(block, Picture)], folder)
    (folder / "report.html").write_text(to_html(TITLE, blocks), encoding="utf-8")
    path = folder / "report.md"
    path.write_text(to_markdown(blocks, names), encoding="utf-8")
    return path


def _make_blocks(runs: Runs) -> list[Block]:
    """Make the whole page."""
    comparisons = compare(runs.runs)
    duels = against_usual(comparisons)
    means = overall(duels)
    blocks = [
        *overview(comparisons, duels, means),
        *mean_over_tasks(duels, means),
        *protocols(comparisons, duels),
        *describe_tasks(comparisons),
        *ablations(runs.runs),
        *method(comparisons),
        *describe_runs(runs.runs, comparisons),
        *failures(runs.runs),
    ]
    sections = [Link(block.text) for block in blocks if isinstance(block, Heading) and block.level == 2]
    notes = [Paragraph(f"Note: {note}") for note in runs.notes]
    return [Heading(1, TITLE), Contents(sections), *notes, *blocks]


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
