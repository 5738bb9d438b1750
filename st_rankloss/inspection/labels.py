"""Checks of labels: classes, paths, sets, numbers and grades."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_rankloss.inspection.columns import Flat, Look, Mask, Numbers, mix
from st_rankloss.inspection.findings import Finding, check, in_conflict, report, shorten
from st_rankloss.inspection.texts import SENTINELS

NAMED = ("classification", "hierarchy", "multi_label")
NUMBERED = ("retrieval", "sts", "regression")
_SEPARATORS = ("|", " > ", ">", ";", " / ", "::", ",", "/")
_SENTINEL_NUMBERS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0)


@check(*NUMBERED)
def grades_as_text(look: Look) -> Iterator[Finding]:
    """Find numbers stored as text."""
    flat = look.labels
    if flat is None or not flat.is_text:
        return
    comma = flat.where(lambda values: pc.match_substring_regex(values, r"^\s*[-+]?\d+,\d+\s*$"))
    remedy = 'Replace the comma by a point and cast the column, or read the file with decimal=",".'
    yield from report(look, flat, comma, "decimal commas", "error", "are numbers with a decimal comma", remedy)
    name = "numbers as text" if look.task == "regression" else "grades as text"
    remedy = f"Cast them with dataset.cast_column({flat.column!r}, Value('float64')), after giving words a number each."
    yield from report(look, flat, ~comma & ~flat.missing, name, "error", "are text, not numbers", remedy)


@check()
def missing_labels(look: Look) -> Iterator[Finding]:
    """Find rows without a label."""
    flat = look.labels
    if flat is None:
        return
    absent = np.isin(np.arange(look.rows), flat.absent)
    missing = np.union1d(np.flatnonzero(absent), flat.rows[_missing(look, flat)])
    if len(missing):
        share = len(missing) / look.rows
        message = (
            f"{len(missing):,} of {look.rows:,} rows lack a label or part of it in {flat.column!r} ({share:.0%}), "
            "such as "
            f"row {missing[0]}: what is missing is unjudged. Label them, or leave them out with dataset.filter."
        )
        severity = "error" if share == 1 else "warning" if share > 0.05 else "note"
        yield Finding("missing labels", severity, message, look.name, flat.column, len(missing), int(missing[0]))


def _missing(look: Look, flat: Flat) -> Mask:
    class_code = look.task in ("classification", "hierarchy") and flat.is_number
    return flat.missing | (flat.numbers == -1) if class_code else flat.missing


@check()
def sentinel_labels(look: Look) -> Iterator[Finding]:
    """Find labels that stand for a missing value."""
    flat = look.labels
    if flat is None:
        return
    remedy = "Write None for a missing label: these rows are then unjudged."
    if flat.is_text:
        found = flat.where(
            lambda values: pc.is_in(pc.utf8_trim_whitespace(values), pa.array(SENTINELS, pa.large_string()))
        )
        yield from report(look, flat, found, "sentinel labels", "warning", "stand for a missing label", remedy)
    elif look.task in NUMBERED:
        found = _far_sentinels(flat.numbers)
        yield from report(look, flat, found, "sentinel labels", "warning", "seem to stand for a missing number", remedy)


def _far_sentinels(numbers: Numbers) -> Mask:
    """Find a usual placeholder at an end of the numbers, farther from the others than these span."""
    distinct = np.unique(numbers[np.isfinite(numbers)])
    found = np.zeros(len(numbers), dtype=bool)
    for value in _SENTINEL_NUMBERS:
        others = distinct[distinct != value]
        if value not in distinct or len(others) < 2:
            continue
        span, gap = others[-1] - others[0], np.abs(others - value).min()
        only_negative = value == -1 and others[0] >= 0 and len(others) > 3
        if only_negative or (gap > 2 * span and not others[0] < value < others[-1]):
            found |= numbers == value
    return found


@check("retrieval", "sts")
def negative_grades(look: Look) -> Iterator[Finding]:
    """Find grades below 0."""
    if (flat := look.labels) is not None and flat.is_number:
        remedy = "Write 0 for irrelevant and None for unjudged, or shift all grades so that the lowest is 0."
        yield from report(look, flat, flat.numbers < 0, "negative grades", "error", "are below 0", remedy)


@check(*NUMBERED)
def infinite_numbers(look: Look) -> Iterator[Finding]:
    """Find infinite numbers."""
    if (flat := look.labels) is not None and flat.is_number:
        remedy = "Leave these rows out, or write None for no label."
        yield from report(look, flat, np.isinf(flat.numbers), "infinite numbers", "error", "are infinite", remedy)


@check(*NUMBERED)
def outliers(look: Look) -> Iterator[Finding]:
    """Find numbers far from all others, on a linear and on a logarithmic scale."""
    if (flat := look.labels) is None or not flat.is_number:
        return
    numbers = flat.numbers
    far = _robust_z(numbers) > 20
    if np.nanmin(numbers, initial=np.inf) > 0:
        far &= _robust_z(np.log(numbers)) > 8
    far &= np.isfinite(numbers) & ~_far_sentinels(numbers)
    remedy = "Check their unit; leave mistakes out, or train on the logarithm."
    yield from report(look, flat, far, "outliers", "warning", "are far from all others", remedy)


def _robust_z(numbers: Numbers) -> Numbers:
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return np.zeros(len(numbers))
    middle = np.median(finite)
    spread = 1.4826 * np.median(np.abs(finite - middle))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(numbers - middle) / spread if spread > 0 else np.zeros(len(numbers)))


@check()
def constant_labels(look: Look) -> Iterator[Finding]:
    """Find data whose labels are all equal."""
    flat = look.labels
    if flat is None or len(flat) < 2:
        return
    given = flat.codes[~flat.missing]
    keys = look.label_keys() if look.task in ("hierarchy", "multi_label") else given
    if keys is None or not len(given) or len(np.unique(keys)) > 1:
        return
    value = flat.example(int((~flat.missing).argmax()))
    severity, remedy = "error", "there is nothing to rank. Read the column that holds the labels."
    if look.task == "retrieval" and flat.is_number and value > 0:
        severity = "note"
        remedy = "documents of other queries in the batch are the only negatives. Add judged negatives, or mine some."
    elif look.name in ("dev", "test") and look.task != "retrieval":
        severity = "warning"
        remedy = f"scores on {look.name} cannot tell models apart. Read a {look.name} part that holds other labels too."
    message = f"All labels in {flat.column!r} of {look.name} are {value!r}: {remedy}"
    yield Finding("constant labels", severity, message, look.name, flat.column, len(given), 0, value)


@check("classification", "hierarchy", "multi_label")
def class_sizes(look: Look) -> Iterator[Finding]:
    """Find classes of one row, and a class that holds most rows."""
    flat = look.labels
    if flat is None or flat.distinct < 2 or (look.task == "multi_label" and flat.is_number):
        return
    given = flat.codes[~_missing(look, flat)]
    counts = np.bincount(given, minlength=1)
    single = (flat.codes >= 0) & (np.append(counts, 0)[flat.codes] == 1)
    remedy = "Merge rare classes, or collect more rows: a row alone in its class has nothing relevant to it."
    what = "are the only row of their class"
    yield from report(look, flat, single, "classes of one row", "warning", what, remedy, warn_above=0.05)
    most = int(counts.argmax())
    if look.task == "classification" and counts[most] > 0.8 * len(given):
        item = int((flat.codes == most).argmax())
        message = (
            f"{counts[most]:,} of {len(given):,} rows are of the class {flat.example(item)!r}, such as row {item}: "
            "most of "
            "them have no partner of another class in a batch and sit out. Take fewer of them, or split the class."
        )
        yield Finding(
            "dominant class", "warning", message, look.name, flat.column, int(counts[most]), item, flat.example(item)
        )


@check(*NAMED)
def class_names(look: Look) -> Iterator[Finding]:
    """Find names of classes that differ only in case, white space or punctuation, or hold several classes."""
    flat = look.labels
    if flat is None or not flat.is_text:
        return
    first = np.unique(flat.codes[flat.codes >= 0], return_index=True)[1]
    items = np.flatnonzero(flat.codes >= 0)[first]
    names = [str(flat.example(item)) for item in items[:100_000]]
    yield from _near_equal(look, flat, items, names)
    yield from _unsplit(look, flat, items, names)


def _near_equal(look: Look, flat: Flat, items: np.ndarray, names: list[str]) -> Iterator[Finding]:
    alike = defaultdict(list)
    for place, name in enumerate(names):
        alike[re.sub(r"[\s_.,;:!?-]+", " ", name).strip().casefold()].append(place)
    groups = [places for places in alike.values() if len(places) > 1]
    if groups:
        row = int(flat.rows[items[groups[0][1]]])
        pair = " and ".join(repr(names[place]) for place in groups[0][:2])
        message = (
            f"{len(groups):,} classes have names that differ only in case, white space or punctuation, such as {pair} "
            f"(row {row}). Write them in one way: they are different classes now."
        )
        yield Finding(
            "near-equal class names", "warning", message, look.name, flat.column, len(groups), row, names[groups[0][1]]
        )


def _unsplit(look: Look, flat: Flat, items: np.ndarray, names: list[str]) -> Iterator[Finding]:
    for separator in _SEPARATORS:
        holding = [place for place, name in enumerate(names) if separator in name.strip()]
        parts = {part for place in holding for part in names[place].split(separator)}
        shared = len(parts) < sum(names[place].count(separator) + 1 for place in holding)
        if len(holding) >= max(2, len(names) / 4) and shared:
            row = int(flat.rows[items[holding[0]]])
            message = (
                f"{len(holding):,} of {len(names):,} classes in {flat.column!r} contain {separator!r}, such as "
                f"{shorten(names[holding[0]])!r} in row {row}. Split them into lists with "
                f"label.split({separator!r}), as a "
                "path (hierarchy) or a set (multi_label)."
            )
            yield Finding(
                "unsplit labels", "warning", message, look.name, flat.column, len(holding), row, names[holding[0]]
            )
            return


@check("classification", "hierarchy", "multi_label", "regression", "sts")
def conflicting_labels(look: Look) -> Iterator[Finding]:
    """Find equal texts with different labels."""
    labels = look.label_keys()
    if labels is None or not look.texts or look.others:
        return
    keys = np.zeros(look.rows, dtype=np.uint64)
    for flat in look.texts:
        keys = mix(keys, flat.row_keys())
    conflict = in_conflict(keys, labels)
    remedy = "Decide on one label, or merge them into a set."
    what = "occur with different labels"
    yield from report(look, look.texts[0], conflict, "conflicting labels", "warning", what, remedy, warn_above=0.001)


@check("classification")
def labels_as_text(look: Look) -> Iterator[Finding]:
    """Find texts that repeat and labels that do not: swapped columns."""
    flat = look.labels
    if flat is None or not flat.is_text or not look.texts or look.rows < 8:
        return
    if flat.distinct > 0.9 * look.rows and look.texts[0].distinct < 0.5 * look.rows:
        message = (
            f"Each label in {flat.column!r} is different, such as {shorten(flat.example(0))!r} in row 0, but texts "
            "repeat: the "
            f"columns {look.texts[0].column!r} and {flat.column!r} seem swapped. Swap them with dataset.rename_columns."
        )
        yield Finding(
            "swapped columns", "warning", message, look.name, flat.column, look.rows, 0, shorten(flat.example(0))
        )


@check("classification", "regression", "sts")
def sorted_rows(look: Look) -> Iterator[Finding]:
    """Find rows in the order of their labels."""
    flat = look.labels
    if flat is None or look.rows < 20 or flat.distinct < 2 or flat.sizes is not None:
        return
    given = flat.codes[flat.codes >= 0]
    changes = int((np.diff(given) != 0).sum())
    numbers = flat.numbers[np.isfinite(flat.numbers)]
    ordered = look.task != "classification" and len(numbers) and (np.diff(numbers) >= 0).all()
    if ordered or (look.task == "classification" and changes == flat.distinct - 1 and flat.distinct < look.rows / 2):
        message = (
            f"Rows are sorted by {flat.column!r}. Batches are shuffled, so training is not affected; but shuffle "
            "before "
            "you cut off a part for testing."
        )
        yield Finding("sorted by label", "note", message, look.name, flat.column, look.rows, 0, flat.example(0))


@check()
def negative_weights(look: Look) -> Iterator[Finding]:
    """Find weights that are negative or not finite."""
    for name in ("weight", "query_weight", "document_weights"):
        if name in look.columns and look.columns[name].is_number:
            flat = look.columns[name]
            wrong = ~(flat.numbers >= 0) | np.isinf(flat.numbers)
            remedy = "Write 0 for rows that must not count."
            yield from report(
                look, flat, wrong, "invalid weights", "error", "are not finite numbers of at least 0", remedy
            )
