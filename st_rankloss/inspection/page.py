"""An inspection as one self-contained page with plots."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from st_rankloss._extras import require
from st_rankloss.inspection.facts import Facts
from st_rankloss.inspection.findings import merged
from st_rankloss.inspection.tables import title_of

if TYPE_CHECKING:
    from st_rankloss.inspection.inspecting import Inspection


def write_page(inspection: Inspection, path: Path) -> Path:
    """Write the page, and return its path."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(["html"]))
    parts = [(title_of(facts), facts, _plots(facts)) for facts in inspection.facts]
    text = environment.get_template("page.html").render(
        parts=parts,
        findings=merged(inspection.findings),
        proposal=inspection.proposal,
    )
    path.write_text(text, encoding="utf-8")
    return path


def _plots(facts: Facts) -> list[str]:
    plots = []
    if facts.labels:
        plots.append(_bars(facts.labels, "Labels", "count"))
    if facts.documents:
        names = ("min", "1/4", "median", "3/4", "max")
        plots.append(_bars(dict(zip(names, facts.documents, strict=True)), "Documents per query", "documents"))
    if facts.shares:
        plots.append(_lines(facts.shares))
    return plots


def _figure() -> Any:
    purpose = "the plots of the page"
    return require("matplotlib.figure", "cli", purpose=purpose).Figure(figsize=(4.5, 3), layout="constrained")


def _bars(values: Mapping[str, float], title: str, unit: str) -> str:
    figure = _figure()
    axes = figure.subplots()
    names = [str(name)[:24].replace("$", r"\$") for name in values]
    axes.barh(range(len(names)), list(values.values()))
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set(title=title, xlabel=unit)
    return to_svg(figure)


def _lines(shares: Mapping[str, Mapping[int, float]]) -> str:
    figure = _figure()
    axes = figure.subplots()
    for name, values in shares.items():
        axes.plot(list(values), list(values.values()), marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set(title="Rows with something to rank", xlabel="batch size", ylabel="share", ylim=(-0.02, 1.02))
    axes.legend()
    return to_svg(figure)


def to_svg(figure: Any) -> str:
    """Draw a figure as an svg element, without the header of a file."""
    drawn = StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
