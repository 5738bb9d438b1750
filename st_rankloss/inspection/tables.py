"""An inspection for the terminal: facts as tables, findings as paragraphs, the proposal as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from st_rankloss.inspection.facts import Facts
from st_rankloss.inspection.findings import merged

if TYPE_CHECKING:
    from st_rankloss.inspection.inspecting import Inspection

_WIDEST = 100
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def tables_of(inspection: Inspection) -> RenderableType:
    """Return everything that an inspection found, for rich; at most 100 columns wide."""
    facts = [part for facts in inspection.facts for part in _facts(facts)]
    return Constrain(Group(*facts, *_findings(inspection), *_proposal(inspection)), _WIDEST)


def _heading(text: str) -> Padding:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


def _table(*names: str) -> Table:
    return Table(*names, box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")


def _facts(facts: Facts) -> list[RenderableType]:
    found: list[RenderableType] = [_heading(title_of(facts)), _columns(facts)]
    if facts.labels:
        found.append(Text("Labels: " + ", ".join(f"{name} ({count:,})" for name, count in facts.labels.items())))
    if facts.documents:
        found.append(Text("Documents per query (min, quartiles, max): " + ", ".join(f"{n:g}" for n in facts.documents)))
    if facts.shares:
        found += _shares(facts)
    return found


def title_of(facts: Facts) -> str:
    """Return the heading of a part: its name, task and sizes."""
    title = f"{facts.part}: {facts.rows:,} rows, task {facts.task}"
    if facts.judgements:
        title += f", {facts.queries:,} queries, {facts.corpus:,} documents, {facts.judgements:,} judgements by id"
    return title


def _columns(facts: Facts) -> Table:
    gaps = any(column.missing for column in facts.columns)
    table = _table("column", "treated as", *["missing"] * gaps, "different", "characters (min, median, max)")
    for column in facts.columns:
        lengths = "" if column.lengths is None else ", ".join(f"{length:,}" for length in column.lengths)
        missing = [f"{column.missing:,}"] if gaps else []
        table.add_row(Text(column.name), column.kind, *missing, f"{column.distinct:,}", lengths)
    return table


def _shares(facts: Facts) -> list[RenderableType]:
    sizes = sorted({size for shares in facts.shares.values() for size in shares})
    if all(share == 1 for shares in facts.shares.values() for share in shares.values()):
        return [Text(f"All rows have something to rank in batches of {sizes[0]} to {sizes[-1]:,} rows.")]
    table = _table("batches", *map(str, sizes))
    for name, shares in facts.shares.items():
        table.add_row(name, *(f"{shares[size]:.0%}" if size in shares else "-" for size in sizes))
    return [Text("Share of rows with something to rank, by batch size:"), table]


def _findings(inspection: Inspection) -> list[RenderableType]:
    found: list[RenderableType] = [_heading("Findings")]
    for finding, parts in merged(inspection.findings):
        severity = Text(finding.severity, style=_STYLES[finding.severity])
        text = Text.assemble(severity, f" {parts}: ", (finding.name, "bold"), f". {finding.message}")
        found.append(Padding(text, (0, 0, 1, 0)))
    return found if inspection.findings else [*found, Text("None.")]


def _proposal(inspection: Inspection) -> list[RenderableType]:
    heading, proposal = _heading("Proposal"), inspection.proposal
    if proposal is None:
        return [heading, Text("None: correct the errors first.")]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("recipe", f"recipes.{proposal.task}")
    table.add_row("relevance", Text(repr(proposal.recipe.relevance)))
    table.add_row("sampler", proposal.sampler)
    table.add_row("batch size", str(proposal.batch_size))
    rates = (f"{rate:g} ({kind})" for kind, rate in proposal.learning_rates.items())
    table.add_row("learning rate", ", ".join(rates))
    table.add_row("why", Text("\n".join(proposal.reasons)))
    return [heading, table]
