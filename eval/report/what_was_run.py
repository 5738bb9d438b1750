"""How it was measured, what was run and for how long, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from eval.protocols import MEANING
from eval.report import cells
from eval.report.blocks import Block, Heading, Listing, Paragraph
from eval.report.comparing import Comparison
from eval.report.hierarchy import SCALE
from eval.results import Run

STATISTICS = (
    "Scores are means over seeds on the test split, and ± and [ ] are 95 % intervals over queries and seeds: the"
    " standard error of a bootstrap of both, with Student's quantile. Differences are the recipe's score minus the"
    " other's, from the seeds and queries that both have. Wins and losses are significant at 5 % after Holm's"
    " correction for the number of comparisons under the same protocol, or, in a task's table, for its losses."
    " Where the configurations of a protocol have no dev scores, those of tuned losses choose the usual loss. The mean"
    " over tasks is that of a hierarchical model, in which each task has a true difference of its own, normal around"
    f" the mean, with a flat prior for the mean and a half-Cauchy prior of scale {SCALE:g} for the spread; tasks count"
    " as independent, even those trained on the same data, and encoders on the same task count once, by the means of"
    " their differences and of their standard errors, which is the most that the error of the mean can be."
)


def method(comparisons: Sequence[Comparison]) -> list[Block]:
    """Explain protocols, intervals, verdicts and the mean over tasks."""
    found = {comparison.protocol for comparison in comparisons}
    points = [f"{name}: {text}." for name, text in MEANING.items() if name in found]
    listing: list[Block] = [Paragraph("Protocols:"), Listing(points)] if points else []
    return [Heading(2, "Method"), *listing, Paragraph(STATISTICS)]


def describe_runs(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[Block]:
    """List what was run, and for how long."""
    stages = Counter(run.stage for run in runs)
    ran = {(*_place(run), run.stage, run.configuration, run.seed, run.started): run for run in runs}  # no copies
    hours = sum(seconds or 0 for run in ran.values() for seconds in run.seconds.values()) / 3600
    started = sorted(run.started for run in runs if run.started)
    points = [
        f"{len(runs)} runs ({', '.join(f'{count} {stage}' for stage, count in stages.items())}),"
        f" {sum(not run.ok for run in runs)} failed, {hours:.1f} hours",
        f"Seeds of the test: {cells.join(run.seed for run in runs if run.stage == 'test')}",
        f"Versions: {_versions(runs)}",
        f"Commits: {cells.join(run.commit for run in runs)}",
        f"Hardware: {cells.join(run.hardware for run in runs)}",
        f"Files: {cells.join(run.source for run in runs)}",
        f"Started: {f'from {started[0]} to {started[-1]}' if started else cells.NONE}",
        *_exclusions(comparisons),
    ]
    return [Heading(2, "What was run"), Listing(points)]


def _place(run: Run) -> tuple[str, str, str]:
    return run.task, run.encoder, run.loss


def _versions(runs: Sequence[Run]) -> str:
    """List every package with its versions."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for package, version in run.versions.items():
            found.setdefault(package, set()).add(version)
    return ", ".join(f"{package} {' / '.join(sorted(found[package]))}" for package in sorted(found)) or cells.NONE


def _exclusions(comparisons: Sequence[Comparison]) -> list[str]:
    """List test runs that do not count, and those that count despite a better trial."""
    entries = [(c, entry) for c in comparisons for entry in c.entries]
    points = []
    outdated = sum(entry.outdated for _, entry in entries)
    if outdated:
        points.append(f"{cells.number(outdated, 'test run')} left out for others of the same loss")
    outdone = [f"{entry.loss} on {c.place}" for c, entry in entries if entry.is_outdone]
    if outdone:
        points.append(f"Not tested at the setting that is best on dev: {'; '.join(outdone)}")
    return points


def failures(runs: Iterable[Run]) -> list[Block]:
    """List the failed runs with their errors, equal errors together."""
    counts = Counter(f"{run.task}, {run.encoder}, {run.loss}, {run.stage}: {run.error}" for run in runs if not run.ok)
    points = [f"{text} ({cells.number(count, 'run')})" for text, count in counts.items()]
    return [Heading(2, "Failed runs"), Listing(points)] if points else []
