"""The report of a comparison: reads the lines of its runs, and writes one Markdown and one HTML page with figures.

A page is a list of blocks, which `to_markdown` and `to_html` write out. What a loss was tuned on (dev) chooses its
setting and which peer is "the best"; what is claimed is measured on test.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from eval import plots
from eval.significance import (
    Estimate,
    Floats,
    Measurement,
    average_ranks,
    critical_difference,
    decode_items,
    estimate_difference,
    estimate_mean,
    friedman,
    holm,
    verdict,
)

TITLE = "Comparison of ranking losses"
NONE = "–"
RELIABILITY = ("auc", "opis")
LOWER_IS_BETTER = frozenset({"opis"})

Key = TypeVar("Key")
Content = TypeVar("Content", bound=Sized)

METHOD = (
    "Scores are means over seeds on the test split; ± and [ ] are 95 % intervals over queries and seeds: the standard"
    " error of a bootstrap of both, with Student's quantile. Differences are the recipe's score minus the other's, from"
    " the seeds and queries that both have. Verdicts are the recipe's, at 5 % after Holm's correction: in the overview"
    " over all tasks, in a task's table over its losses. – means that nothing can be said."
)
RELIABILITY_NOTE = (
    "Means over seeds. AUC and OPIS tell of reliability, whether one threshold of similarity serves all queries; a low"
    " OPIS is good."
)
CHOSEN_ON_TEST = "† chosen by its test score for want of dev runs of every candidate, which flatters it."


@dataclass(frozen=True)
class Run:
    """One line of the results, as ``eval/README.md`` describes it."""

    key: str
    stage: str
    status: str
    task: str
    kind: str
    metric: str
    encoder: str
    loss: str
    role: str
    seed: int
    source: Path
    error: str | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = math.nan
    steps: int | None = None
    batch_size: int | None = None
    ablation: str | None = None
    value: Any = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    items: str | None = None
    by_grade: Mapping[str, float] | None = None
    histogram: Mapping[str, Sequence[float]] | None = None
    curve: Sequence[tuple[float, float]] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = "unknown"
    hardware: str = "unknown"
    started: str = ""

    @property
    def ok(self) -> bool:
        """Whether the run went through."""
        return self.status == "ok"

    @property
    def score(self) -> float:
        """The main metric, NaN where it is undefined."""
        value = self.scores[self.metric]
        return math.nan if value is None else float(value)

    @property
    def configuration(self) -> tuple[str, float, int | None, int | None]:
        """What was tuned, and the budget."""
        return json.dumps(self.setting, sort_keys=True), self.learning_rate, self.steps, self.batch_size


@dataclass(frozen=True)
class Runs:
    """The runs of a report, and what its reader must know of them first."""

    runs: Sequence[Run]
    notes: Sequence[str]


def read_runs(paths: Sequence[Path], mixed: bool = False) -> Runs:
    """Read the lines of one or several files.

    A last line that is cut short, as a killed run leaves it, is left out with a warning. Of lines with the same key
    the last one that is ok counts.

    Args:
        paths: The files.
        mixed: Accept runs of different versions.

    Returns:
        The runs in the files' order, and notes on what was cut short or mixed.

    Raises:
        ValueError: If there is no run, a line is malformed, versions differ or a task has several main metrics.
    """
    notes: list[str] = []
    kept: dict[str, Run] = {}
    for path in paths:
        for run in _read_file(path, notes):
            if run.ok or run.key not in kept or not kept[run.key].ok:
                kept[run.key] = run
    runs = list(kept.values())
    if not runs:
        raise ValueError(f"there is no run in {', '.join(map(str, paths)) or 'no file'}.")
    _check_metrics(runs)
    differing = version_differences(runs)
    if differing and not mixed:
        raise ValueError(f"versions differ: {differing}. Rerun one side, or accept it by mixed=True (--mixed).")
    if differing:
        notes.insert(0, f"Runs of different versions are mixed: {differing}.")
    return Runs(runs, notes)


def _read_file(path: Path, notes: list[str]) -> Iterable[Run]:
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
            warnings.warn(f"{path}, line {number} is cut short and left out.", stacklevel=3)
            notes.append(f"The last line of {path.name}, line {number}, is cut short and left out.")
        else:
            yield _parse_run(content, path, number)


def _parse_run(content: Any, path: Path, number: int) -> Run:
    required = {f.name for f in fields(Run) if f.default is MISSING and f.default_factory is MISSING} - {"source"}
    missing = required - content.keys() if isinstance(content, dict) else required
    if missing:
        raise ValueError(f"{path}, line {number} lacks {', '.join(sorted(missing))}.")
    known = {f.name for f in fields(Run)}
    run = Run(**{name: value for name, value in content.items() if name in known and value is not None}, source=path)
    if run.ok and run.metric not in run.scores:
        raise ValueError(f"{path}, line {number}: the scores lack the main metric {run.metric!r}.")
    return run


def _check_metrics(runs: Iterable[Run]) -> None:
    for task, group in group_by(runs, lambda run: run.task).items():
        metrics = sorted({run.metric for run in group})
        if len(metrics) > 1:
            raise ValueError(f"runs of the task {task!r} have several main metrics: {', '.join(metrics)}.")


def version_differences(runs: Sequence[Run]) -> str:
    """Describe which packages differ in version, and in which files; empty if none does."""
    found = []
    for package in sorted({package for run in runs for package in run.versions}):
        files = group_by(runs, partial(_version, package))
        if len(files) > 1:
            sides = (f"{v} ({', '.join(sorted({run.source.name for run in group}))})" for v, group in files.items())
            found.append(f"{package} {' and '.join(sides)}")
    return "; ".join(found)


def _version(package: str, run: Run) -> str:
    return run.versions.get(package, "absent")


def group_by(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Group runs by a key, in order of first appearance."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


@dataclass(frozen=True)
class Entry:
    """One loss on one task and encoder.

    Args:
        loss: Its name.
        runs: Its runs of the stages dev and test, one of them ok at least.
    """

    loss: str
    runs: Sequence[Run]

    @property
    def role(self) -> str:
        """Role of the runs that went through; a failed one may not have known."""
        return next(run.role for run in self.runs if run.ok)

    @cached_property
    def test(self) -> list[Run]:
        """The last test run of each seed, of the configuration that was tested last."""
        tested = [run for run in self.runs if run.ok and run.stage == "test"]
        current = [run for run in tested if run.configuration == tested[-1].configuration]
        return list({run.seed: run for run in current}.values())

    @property
    def outdated(self) -> int:
        """Number of test runs that are left out for those of a later configuration."""
        return sum(run.ok and run.stage == "test" for run in self.runs) - len(self.test)

    @cached_property
    def trials(self) -> list[float]:
        """Dev scores of the tuning trials that have one."""
        return [run.score for run in self.runs if run.stage == "dev" and run.ok and math.isfinite(run.score)]

    @property
    def trials_begun(self) -> int:
        """Number of all tuning trials."""
        return sum(run.stage == "dev" for run in self.runs)

    @property
    def dev(self) -> float:
        """Dev score of the best trial."""
        return max(self.trials, default=math.nan)

    @cached_property
    def measurements(self) -> dict[int, Measurement]:
        """Test scores and items by seed."""
        return {run.seed: Measurement(run.score, decode_items(run.items) if run.items else None) for run in self.test}

    @cached_property
    def mean(self) -> Estimate:
        """Mean test score."""
        return estimate_mean(self.measurements)

    @property
    def tuned(self) -> Run | None:
        """A run of the best configuration: a tested one, or the best trial."""
        trials = [run for run in self.runs if run.ok and run.stage == "dev" and run.score == self.dev]
        return next(iter(self.test + trials), None)


@dataclass(frozen=True)
class Comparison:
    """All losses on one task and encoder, best test score first."""

    task: str
    encoder: str
    entries: Sequence[Entry]

    @property
    def first(self) -> Run:
        """Any run, for what all have in common."""
        return self.entries[0].runs[0]

    @cached_property
    def recipe(self) -> Entry | None:
        """The recipe, if it was tested."""
        return choose([entry for entry in self.entries if entry.role == "recipe"])[0]

    def peers(self, *roles: str) -> list[Entry]:
        """Return the losses of the given roles that were tested."""
        return [entry for entry in self.entries if entry.role in roles and entry.test]

    def label(self, entry: Entry) -> str:
        """Name a loss in tables and figures."""
        if entry.role == "before":
            return "untrained"
        return f"recipe: {entry.loss}" if entry is self.recipe else entry.loss

    @cached_property
    def differences(self) -> dict[str, Estimate]:
        """The recipe's score minus each other loss's, by loss."""
        if self.recipe is None:
            return {}
        ours = self.recipe.measurements
        others = [entry for entry in self.entries if entry is not self.recipe]
        return {entry.loss: estimate_difference(ours, entry.measurements) for entry in others}

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """The recipe's verdict against each other loss, corrected for their number."""
        corrected = holm([difference.p for difference in self.differences.values()])
        pairs = zip(self.differences.items(), corrected, strict=True)
        return {loss: verdict(difference, p) for (loss, difference), p in pairs}


def compare(runs: Iterable[Run]) -> list[Comparison]:
    """Sort the runs of dev and test by task and encoder, and within by loss."""
    comparisons = []
    staged = [run for run in runs if run.stage in ("dev", "test")]
    for (task, encoder), group in group_by(staged, lambda run: (run.task, run.encoder)).items():
        by_loss = group_by(group, lambda run: run.loss)
        entries = [Entry(loss, own) for loss, own in by_loss.items() if any(run.ok for run in own)]
        if entries:
            comparisons.append(Comparison(task, encoder, sorted(entries, key=lambda e: -_or_lowest(e.mean.value))))
    return comparisons


def choose(entries: Sequence[Entry]) -> tuple[Entry | None, bool]:
    """Choose the best of the losses that were tested, by dev score if all have one: test scores would flatter it.

    Args:
        entries: The candidates.

    Returns:
        The best, None if none was tested; and False where test scores had to choose it.
    """
    tested = [entry for entry in entries if entry.test]
    if not tested:
        return None, True
    if all(entry.trials for entry in tested):
        return max(tested, key=lambda entry: entry.dev), True
    return max(tested, key=lambda entry: _or_lowest(entry.mean.value)), len(tested) == 1


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class Bold(str):
    """A cell that is shown bold."""

    __slots__ = ()


@dataclass(frozen=True)
class Heading:
    """A title; the page's own is of level 1."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Listing:
    """Points."""

    points: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Columns of equal length by heading."""

    columns: Mapping[str, Sequence[str]]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells row by row."""
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True)
class Picture:
    """A figure as PNG."""

    caption: str
    png: bytes


Block = Heading | Paragraph | Listing | Table | Picture


def write(paths: Sequence[Path], folder: Path, *, mixed: bool = False) -> Path:
    """Write ``report.md`` with its figures in ``plots/``, and ``report.html``, one page that needs nothing else.

    Args:
        paths: Files of runs.
        folder: Where to write; made if it is not there.
        mixed: Accept runs of different versions; the report then says so.

    Returns:
        The path of ``report.md``.

    Raises:
        ValueError: If the runs cannot be read, see `read_runs`.
    """
    blocks = make_blocks(read_runs(paths, mixed))
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    names = {}
    for number, picture in enumerate((block for block in blocks if isinstance(block, Picture)), 1):
        names[picture.caption] = f"plots/{number:03d}-{re.sub(r'[^A-Za-z0-9]+', '-', picture.caption).strip('-')}.png"
        (folder / names[picture.caption]).write_bytes(picture.png)
    (folder / "report.html").write_text(to_html(blocks), encoding="utf-8")
    path = folder / "report.md"
    path.write_text(to_markdown(blocks, names), encoding="utf-8")
    return path


def make_blocks(runs: Runs) -> list[Block]:
    """Make the whole page."""
    comparisons = compare(runs.runs)
    return [
        Heading(1, TITLE),
        *(Paragraph(f"Note: {note}") for note in runs.notes),
        *describe_runs(runs.runs, comparisons),
        *overview(comparisons),
        *exceptions(comparisons),
        *ranks(comparisons),
        *(block for comparison in comparisons for block in describe_comparison(comparison)),
        *ablations(runs.runs),
        *failures(runs.runs),
    ]


def describe_runs(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[Block]:
    """Tell what was run, on what and for how long."""
    stages = Counter(run.stage for run in runs)
    hours = sum(sum(run.seconds.values()) for run in runs) / 3600
    versions = {
        package: " / ".join(sorted({run.versions[package] for run in runs if package in run.versions}))
        for package in sorted({package for run in runs for package in run.versions})
    }
    outdated = sum(entry.outdated for comparison in comparisons for entry in comparison.entries)
    points = [
        f"{len(runs)} runs ({', '.join(f'{count} {stage}' for stage, count in stages.items())}),"
        f" {sum(not run.ok for run in runs)} failed, {hours:.1f} hours",
        f"Seeds of the test: {_join(run.seed for run in runs if run.stage == 'test')}",
        f"Versions: {', '.join(f'{package} {version}' for package, version in versions.items())}",
        f"Commits: {_join(run.commit for run in runs)}",
        f"Hardware: {_join(run.hardware for run in runs)}",
        f"Files: {_join(run.source.name for run in runs)}",
        f"Started from {min(run.started for run in runs)} to {max(run.started for run in runs)}",
    ]
    if outdated:
        points.append(f"{_number(outdated, 'test run')} left out for later ones of the same loss")
    return [Heading(2, "What was run"), Listing(points), Paragraph(METHOD)]


def overview(comparisons: Sequence[Comparison]) -> list[Block]:
    """Compare each task's recipe with the best usual loss, the best of the family, and the best on test."""
    pairs = [(c, c.recipe) for c in comparisons if c.recipe is not None]
    if not pairs:
        return []
    usual, family = ([(c, *choose(c.peers(role))) for c, _ in pairs] for role in ("usual", "family"))
    hardest = [
        (c, max(c.peers("usual", "family"), key=lambda e: _or_lowest(e.mean.value), default=None), True)
        for c, _ in pairs
    ]
    cells, verdicts = _differences(usual)
    hardest_cells, hardest_verdicts = _differences(hardest)
    columns = {
        "task": [c.task for c, _ in pairs],
        "encoder": [c.encoder for c, _ in pairs],
        "metric": [c.first.metric for c, _ in pairs],
        "untrained": [_score(next((e.mean.value for e in c.peers("before")), math.nan)) for c, _ in pairs],
        "recipe": [f"{recipe.loss} {_score(recipe.mean.value)}" for _, recipe in pairs],
        "best usual": [_peer(entry, by_dev) for _, entry, by_dev in usual],
        "best of the family": [_peer(entry, by_dev) for _, entry, by_dev in family],
        "recipe − best usual": cells,
        "verdict": verdicts,
        "best on test": [_peer(entry, by_dev) for _, entry, by_dev in hardest],
        "recipe − best on test": hardest_cells,
        "verdict, hardest": hardest_verdicts,
    }
    text = f"Against the best tuned usual loss, chosen on dev: {_count(verdicts)}."
    text += f" Against whichever peer is best on test, the hardest comparison: {_count(hardest_verdicts)}."
    blocks: list[Block] = [Heading(2, "Overview"), Paragraph(text), Table(columns)]
    if not all(by_dev for _, _, by_dev in (*usual, *family)):
        blocks.append(Paragraph(CHOSEN_ON_TEST))
    return blocks


def _differences(rows: Sequence[tuple[Comparison, Entry | None, bool]]) -> tuple[list[str], list[str]]:
    """Make the cells of the recipes' differences to one loss each, and of verdicts corrected over all rows."""
    found = [c.differences[entry.loss] if entry else Estimate(math.nan) for c, entry, _ in rows]
    corrected = holm([difference.p for difference in found])
    verdicts = [verdict(difference, p) for difference, p in zip(found, corrected, strict=True)]
    return [_difference(difference) for difference in found], [_emphasise(text) for text in verdicts]


def _peer(entry: Entry | None, by_dev: bool) -> str:
    return f"{entry.loss} {_score(entry.mean.value)}{'' if by_dev else ' †'}" if entry else NONE


def _count(verdicts: Sequence[str]) -> str:
    counts = Counter(verdicts)
    parts = [
        _number(counts["win"], "win"),
        _number(counts["tie"], "tie"),
        _number(counts["loss"], "loss", "losses"),
    ]
    return ", ".join(parts) + (f", {counts[NONE]} without a verdict" if counts[NONE] else "")


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def exceptions(comparisons: Sequence[Comparison]) -> list[Block]:
    """List the peers that are significantly better than the recipe."""
    points = [
        f"{c.task}, {c.encoder}: {entry.loss} {_score(entry.mean.value)} against {_score(c.recipe.mean.value)},"
        f" recipe − {entry.loss} = {_difference(c.differences[entry.loss])}"
        for c in comparisons
        for entry in c.entries
        if c.recipe is not None and c.verdicts.get(entry.loss) == "loss"
    ]
    if not points:
        return []
    return [Heading(2, "Exceptions"), Paragraph("Significantly better than the recipe:"), Listing(points)]


def ranks(comparisons: Sequence[Comparison]) -> list[Block]:
    """Rank the losses that all tasks of an encoder have; at least three losses and three tasks."""
    blocks: list[Block] = []
    for encoder in dict.fromkeys(c.encoder for c in comparisons):
        columns = [_scores_by_name(c) for c in comparisons if c.encoder == encoder]
        names = [name for name in columns[0] if all(name in column for column in columns)]
        if len(names) >= 3 and len(columns) >= 3:
            scores = np.array([[column[name] for name in names] for column in columns])
            blocks += _rank_blocks(encoder, names, scores)
    return [Heading(2, "Average ranks over tasks"), *blocks] if blocks else []


def _scores_by_name(comparison: Comparison) -> dict[str, float]:
    """Return the test scores of trained losses; each task's recipe is "recipe", whatever its loss."""
    entries = [entry for entry in comparison.entries if entry.role != "before" and math.isfinite(entry.mean.value)]
    return {"recipe" if entry is comparison.recipe else entry.loss: entry.mean.value for entry in entries}


def _rank_blocks(encoder: str, names: Sequence[str], scores: Floats) -> list[Block]:
    distance = critical_difference(len(names), len(scores))
    averages = dict(sorted(zip(names, average_ranks(scores).tolist(), strict=True), key=lambda pair: pair[1]))
    text = (
        f"{encoder}: {len(names)} losses on {len(scores)} tasks. Friedman's test that all rank alike: p ="
        f" {friedman(scores):.2g}. Two losses differ by Nemenyi's test if their ranks differ by {distance:.2f}."
    )
    table = Table({"loss": list(averages), "average rank": [f"{rank:.2f}" for rank in averages.values()]})
    figure = plots.critical_difference(averages, distance, "recipe")
    return [Paragraph(text), table, _picture(f"Average ranks, {encoder}", figure)]


def describe_comparison(comparison: Comparison) -> list[Block]:
    """Tell all of one task and encoder: tables and figures."""
    first = comparison.first
    runs = [run for entry in comparison.entries for run in entry.runs]
    text = (
        f"Kind: {first.kind}; main metric: {first.metric}; {_join(run.steps for run in runs)} steps in batches of"
        f" {_join(run.batch_size for run in runs)}."
    )
    return [
        Heading(2, f"{comparison.task}, {comparison.encoder}"),
        Paragraph(text),
        Table(_loss_columns(comparison)),
        *_secondary(comparison),
        *_pictures(comparison),
    ]


def _loss_columns(comparison: Comparison) -> dict[str, Sequence[str]]:
    """Make the columns of a task's main table."""
    entries, first = comparison.entries, comparison.first
    differences = [comparison.differences.get(entry.loss) for entry in entries]
    return {
        "loss": [comparison.label(entry) for entry in entries],
        "role": [entry.role for entry in entries],
        first.metric: _bold_best([entry.mean.value for entry in entries], [_mean(entry.mean) for entry in entries]),
        "recipe − loss": [_difference(difference) if difference else "" for difference in differences],
        "verdict": [_emphasise(comparison.verdicts.get(entry.loss, "")) for entry in entries],
        "dev, best trial": _bold_best([entry.dev for entry in entries]),
        "dev, worst to best": [_spread(entry) for entry in entries],
        "setting": [_setting(entry.tuned) for entry in entries],
        "learning rate": [_learning_rate(entry) for entry in entries],
        "seeds": [str(len(entry.test)) for entry in entries],
        "training, s": [_whole(_average(run.seconds.get("train") for run in entry.test)) for entry in entries],
        "memory, MB": [_whole(_average(run.peak_memory_mb for run in entry.test)) for entry in entries],
    }


def _learning_rate(entry: Entry) -> str:
    if entry.role == "before" or entry.tuned is None or math.isnan(entry.tuned.learning_rate):
        return NONE
    return f"{entry.tuned.learning_rate:g}"


def _spread(entry: Entry) -> str:
    """Write the range of the dev scores over a loss's trials, and how many gave one."""
    if not entry.trials_begun:
        return NONE
    lost = entry.trials_begun - len(entry.trials)
    count = f"{len(entry.trials)} of {entry.trials_begun}" if lost else str(len(entry.trials))
    lowest, highest = min(entry.trials, default=math.nan), entry.dev
    return f"{_score(lowest)} to {_score(highest)} ({count})"


def _secondary(comparison: Comparison) -> list[Block]:
    """Make the table of all metrics but the main one, reliability last."""
    main = comparison.first.metric
    tested = [entry for entry in comparison.entries if entry.test]
    found = dict.fromkeys(metric for entry in tested for run in entry.test for metric in run.scores if metric != main)
    metrics = [metric for metric in found if metric not in RELIABILITY] + [m for m in RELIABILITY if m in found]
    if not metrics:
        return []
    columns: dict[str, Sequence[str]] = {"loss": [comparison.label(entry) for entry in tested]}
    for metric in metrics:
        means = [_average(run.scores.get(metric) for run in entry.test) for entry in tested]
        columns[metric] = _bold_best(means, lower=metric in LOWER_IS_BETTER)
    return [Paragraph(f"Other metrics. {RELIABILITY_NOTE}"), Table(columns)]


def _pictures(comparison: Comparison) -> list[Block]:
    """Draw what a task's runs have to show."""
    metric, place = comparison.first.metric, f"{comparison.task}, {comparison.encoder}"
    named = {comparison.label(entry): entry for entry in comparison.entries}
    roles = {label: entry.role for label, entry in named.items()}
    recipe = comparison.label(comparison.recipe) if comparison.recipe else ""
    means = {label: entry.mean for label, entry in named.items() if math.isfinite(entry.mean.value)}
    curves = _present({label: _curve(entry) for label, entry in named.items()})
    grades = _present({label: _grades(entry) for label, entry in named.items()})
    histograms = {label: run.histogram for label, entry in named.items() for run in entry.test[:1] if run.histogram}
    trials = _present({label: entry.trials for label, entry in named.items()})
    blocks: list[Block] = []
    if means:
        blocks.append(_picture(f"Scores, {place}", plots.bars(means, roles, metric)))
    if curves:
        blocks.append(_picture(f"Learning curves, {place}", plots.curves(curves, recipe, metric)))
    if grades:
        blocks.append(_picture(f"nDCG by grade, {place}", plots.grades(grades, recipe)))
    if histograms:
        blocks.append(_picture(f"Similarities of one seed, {place}", plots.histograms(histograms, recipe)))
    if any(len(scores) > 1 for scores in trials.values()):
        blocks.append(_picture(f"Robustness to tuning, {place}", plots.robustness(trials, roles, metric)))
    return blocks


def _curve(entry: Entry) -> list[tuple[float, float]]:
    """Average the learning curves of an entry's seeds, at the steps that all have."""
    seeds = [dict(run.curve) for run in entry.test if run.curve]
    common = set.intersection(*map(set, seeds)) if seeds else set()
    return [(step, float(np.mean([curve[step] for curve in seeds]))) for step in sorted(common)]


def _grades(entry: Entry) -> dict[str, float]:
    """Average nDCG by grade over an entry's seeds."""
    grades = dict.fromkeys(grade for run in entry.test for grade in run.by_grade or {})
    return {grade: _average((run.by_grade or {}).get(grade) for run in entry.test) for grade in grades}


def ablations(runs: Iterable[Run]) -> list[Block]:
    """Tell how dev scores depend on one setting at a time."""
    chosen = [run for run in runs if run.stage == "ablation" and run.ok and run.ablation and math.isfinite(run.score)]
    blocks: list[Block] = []
    for (name, encoder), group in group_by(chosen, lambda run: (str(run.ablation), run.encoder)).items():
        panels = {task: _ablation_lines(own) for task, own in group_by(group, lambda run: run.task).items()}
        metrics = {run.task: run.metric for run in group}
        figure = plots.ablation(panels, name, metrics, "recipe")
        blocks += [Heading(3, f"{name}, {encoder}"), _ablation_table(panels)]
        blocks.append(_picture(f"Ablation of {name}, {encoder}", figure))
    text = "Scores on dev: means over seeds, in brackets their range where there are several."
    return [Heading(2, "Ablations"), Paragraph(text), *blocks] if blocks else []


def _ablation_lines(runs: Iterable[Run]) -> dict[str, dict[plots.Value, list[float]]]:
    """Group one task's scores by loss and value."""
    lines: dict[str, dict[plots.Value, list[float]]] = {}
    for run in runs:
        points = lines.setdefault("recipe" if run.role == "recipe" else run.loss, {})
        is_number = isinstance(run.value, int | float) and not isinstance(run.value, bool)
        points.setdefault(run.value if is_number else str(run.value), []).append(run.score)
    return lines


def _ablation_table(panels: Mapping[str, Mapping[str, plots.Points]]) -> Table:
    """Make one row a task and loss, one column a value."""
    rows = [(task, label, points) for task, lines in panels.items() for label, points in lines.items()]
    values = plots.order_values([value for _, _, points in rows for value in points])
    cells = [
        _bold_best(
            [float(np.mean(points[value])) if value in points else math.nan for value in values],
            [_range(points.get(value, [])) for value in values],
        )
        for _, _, points in rows
    ]
    columns: dict[str, Sequence[str]] = {"task": [task for task, _, _ in rows], "loss": [label for _, label, _ in rows]}
    by_value = zip(*cells, strict=True)
    return Table(columns | {str(value): column for value, column in zip(values, by_value, strict=True)})


def _range(scores: Sequence[float]) -> str:
    if not scores:
        return NONE
    mean = _score(float(np.mean(scores)))
    return mean if len(scores) == 1 else f"{mean} ({_score(min(scores))} to {_score(max(scores))})"


def failures(runs: Iterable[Run]) -> list[Block]:
    """List the failed runs with their errors, equal ones together."""
    counts = Counter(f"{run.task}, {run.encoder}, {run.loss}, {run.stage}: {run.error}" for run in runs if not run.ok)
    points = [f"{text} ({_number(count, 'run')})" for text, count in counts.items()]
    return [Heading(2, "Failed runs"), Listing(points)] if points else []


def _picture(caption: str, figure: Figure) -> Picture:
    return Picture(caption, plots.to_png(figure))


def _present(found: Mapping[str, Content]) -> dict[str, Content]:
    return {label: content for label, content in found.items() if content}


def _join(values: Iterable[Any]) -> str:
    """List distinct values, numbers by size."""
    return ", ".join(map(str, sorted({value for value in values if value is not None}))) or NONE


def _average(values: Iterable[float | None]) -> float:
    """Average the values that there are; NaN if there is none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _score(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else NONE


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else NONE


def _mean(estimate: Estimate) -> str:
    known = math.isfinite(estimate.low)
    return _score(estimate.value) + (f" ± {estimate.high - estimate.value:.4f}" if known else "")


def _difference(estimate: Estimate) -> str:
    if not math.isfinite(estimate.value):
        return NONE
    known = math.isfinite(estimate.low)
    return f"{estimate.value:+.4f}" + (f" [{estimate.low:+.4f}, {estimate.high:+.4f}]" if known else "")


def _setting(run: Run | None) -> str:
    values = (run.setting if run else {}).items()
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in values) or NONE


def _emphasise(text: str) -> str:
    return Bold(text) if text in ("win", "loss") else text


def _bold_best(values: Sequence[float], texts: Sequence[str] = (), *, lower: bool = False) -> list[str]:
    """Write values, or the texts given for them, the best ones bold unless all are equal."""
    known = [value for value in values if math.isfinite(value)]
    best, worst = (choice(known, default=math.nan) for choice in ((min, max) if lower else (max, min)))
    if math.isclose(best, worst, abs_tol=1e-9):
        best = math.nan  # all are equal: none stands out
    pairs = zip(values, texts or [_score(value) for value in values], strict=True)
    return [Bold(text) if math.isclose(value, best, abs_tol=1e-9) else text for value, text in pairs]


def to_markdown(blocks: Iterable[Block], names: Mapping[str, str]) -> str:
    """Write blocks as Markdown.

    Args:
        blocks: The page.
        names: File of each figure by its caption.

    Returns:
        The text.
    """
    return "\n\n".join(_block_to_markdown(block, names) for block in blocks) + "\n"


def _block_to_markdown(block: Block, names: Mapping[str, str]) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Listing(points):
            return "\n".join(f"- {_escape(point)}" for point in points)
        case Picture(caption):
            return f"![{_escape(caption)}]({names[caption]})"
        case Table(columns):
            rows = [[_escape(heading) for heading in columns], ["---"] * len(columns)]
            rows += [[f"**{_escape(c)}**" if isinstance(c, Bold) else _escape(c) for c in row] for row in block.rows]
            return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escape(text: str) -> str:
    """Keep a text on one line, and its marks from being read as Markdown or HTML."""
    for mark, replacement in {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;"}.items():
        text = text.replace(mark, replacement)
    return " ".join(text.split())


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222; }
h2 { border-bottom: 1px solid #ccc; margin-top: 2em; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: 3px 9px; text-align: left; white-space: nowrap; }
tr:hover td { background: #f3f3f3; }
figure { margin: 1.5em 0; }
img { max-width: 100%; }
figcaption { font-size: 13px; color: #555; }
"""


def to_html(blocks: Iterable[Block]) -> str:
    """Write blocks as one HTML page, with its style and figures inside."""
    body = "\n".join(map(_block_to_html, blocks))
    head = f'<meta charset="utf-8">\n<title>{TITLE}</title>\n<style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _block_to_html(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Listing(points):
            return f"<ul>{''.join(f'<li>{html.escape(point)}</li>' for point in points)}</ul>"
        case Picture(caption, png):
            source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
            text = html.escape(caption)
            return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'
        case Table(columns):
            rows = [f"<tr>{''.join(f'<th>{html.escape(heading)}</th>' for heading in columns)}</tr>"]
            rows += [f"<tr>{''.join(map(_cell_to_html, row))}</tr>" for row in block.rows]
            return f"<div><table>{''.join(rows)}</table></div>"


def _cell_to_html(text: str) -> str:
    return f"<td><b>{html.escape(text)}</b></td>" if isinstance(text, Bold) else f"<td>{html.escape(text)}</td>"
