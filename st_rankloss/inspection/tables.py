"""An inspection as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from st_rankloss.inspection.facts import Facts

if TYPE_CHECKING:
    from st_rankloss.inspection.inspecting import Inspection

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def tables_of(inspection: Inspection) -> Group:
    """Return everything that an inspection found, for rich."""
    parts: list[RenderableType] = [table for facts in inspection.facts for table in _facts(facts)]
    return Group(*parts, _findings(inspection), _proposal(inspection))


def _facts(facts: Facts) -> list[RenderableType]:
    title = f"{facts.part}: {facts.rows:,} rows, task {facts.task}"
    if facts.judgements:
        title += f", {facts.queries:,} queries, {facts.corpus:,} documents, {facts.judgements:,} judgements"
    columns = Table("column", "treated as", "missing", "different", "characters (min, median, max)", title=title)
    for column in facts.columns:
        lengths = "" if column.lengths is None else ", ".join(f"{length:,}" for length in column.lengths)
        columns.add_row(Text(column.name), column.kind, f"{column.missing:,}", f"{column.distinct:,}", lengths)
    found: list[RenderableType] = [columns]
    if facts.labels:
        labels = Table("label", "rows", title="Labels")
        for name, count in facts.labels.items():
            labels.add_row(Text(name), f"{count:,}")
        found.append(labels)
    if facts.documents:
        found.append(Text("Documents per query (min, quartiles, max): " + ", ".join(f"{n:g}" for n in facts.documents)))
    if facts.shares:
        found.append(_shares(facts))
    return found


def _shares(facts: Facts) -> Table:
    sizes = sorted({size for shares in facts.shares.values() for size in shares})
    table = Table("batches", *map(str, sizes), title="Share of rows with something to rank, by batch size")
    for name, shares in facts.shares.items():
        table.add_row(name, *(f"{shares[size]:.0%}" if size in shares else "-" for size in sizes))
    return table


def _findings(inspection: Inspection) -> RenderableType:
    if not inspection.findings:
        return Text("No findings.")
    table = Table("severity", "part", "finding", "what and what to do", title="Findings", show_lines=True)
    for finding in inspection.findings:
        severity = Text(finding.severity, style=_STYLES[finding.severity])
        table.add_row(severity, Text(finding.part), finding.name, Text(finding.message))
    return table


def _proposal(inspection: Inspection) -> RenderableType:
    proposal = inspection.proposal
    if proposal is None:
        return Text("No proposal: mend the errors first.")
    table = Table("setting", "proposal", title="Proposal")
    table.add_row("recipe", f"recipes.{proposal.task}")
    table.add_row("relevance", Text(repr(proposal.recipe.relevance)))
    table.add_row("sampler", proposal.sampler)
    table.add_row("batch size", str(proposal.batch_size))
    rates = (f"{rate:g} ({kind})" for kind, rate in proposal.learning_rates.items())
    table.add_row("learning rate", ", ".join(rates))
    table.add_row("why", Text("\n".join(proposal.reasons)))
    return table
