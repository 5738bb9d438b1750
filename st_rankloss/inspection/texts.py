"""Checks of texts and ids."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_rankloss.inspection.columns import INPUTS, WEIGHTS, Flat, Look, mix
from st_rankloss.inspection.findings import Finding, check, in_conflict, repeated, report
from st_rankloss.labels import LABEL_COLUMNS

SENTINELS = (
    "N/A",
    "n/a",
    "NA",
    "#N/A",
    "null",
    "NULL",
    "nan",
    "NaN",
    "None",
    "NONE",
    "nil",
    "undefined",
    "-",
    "--",
    "?",
)
"""Texts that stand for a missing value."""

_HTML = (
    r"</?(p|br|div|span|a|b|i|ul|ol|li|table|td|tr|strong|em|h[1-6]|img|script)(\s[^>]*)?/?>"
    r"|&(amp|lt|gt|quot|nbsp|#\d+);"
)
_MOJIBAKE = "\ufffd|\u00c3[\u0080-\u00bf]|\u00e2\u20ac|\u00c2[\u00a0-\u00bf]"
_ID = (
    r"^([A-Za-z]{0,8}[-_:#/]?\d+([-_.:]\d+)*"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,64})$"
)
_ID_NAME = re.compile(r"(.*[_-])?(id|ids|idx|uid|uuid|guid)|[qdp]ids?|(doc|query|corpus)ids?", re.IGNORECASE)


@check()
def empty_texts(look: Look) -> Iterator[Finding]:
    """Find texts that are missing, empty or only white space."""
    remedy = "Leave these rows out with dataset.filter, or fill them."
    for flat in look.texts:
        missing = flat.where(pc.is_null)
        yield from report(look, flat, missing, "missing texts", "error", "are missing", remedy)
        blank = flat.where(lambda values: pc.equal(pc.binary_length(pc.utf8_trim_whitespace(values)), 0))
        yield from report(look, flat, blank, "empty texts", "error", "are empty or white space", remedy)


@check()
def sentinel_texts(look: Look) -> Iterator[Finding]:
    """Find texts that stand for a missing value."""
    for flat in look.texts:
        found = flat.where(
            lambda values: pc.is_in(pc.utf8_trim_whitespace(values), pa.array(SENTINELS, pa.large_string()))
        )
        remedy = "Leave these rows out: the model would learn the placeholder as a text."
        yield from report(look, flat, found, "sentinel texts", "warning", "stand for a missing text", remedy)


@check()
def markup(look: Look) -> Iterator[Finding]:
    """Find HTML in texts."""
    for flat in look.texts:
        found = flat.where(lambda values: pc.match_substring_regex(values, _HTML))
        remedy = "Strip the tags and decode entities, for example with html.unescape."
        yield from report(look, flat, found, "HTML in texts", "warning", "contain HTML", remedy, warn_above=0.001)


@check()
def mojibake(look: Look) -> Iterator[Finding]:
    """Find texts that were decoded with the wrong encoding."""
    for flat in look.texts:
        found = flat.where(lambda values: pc.match_substring_regex(values, _MOJIBAKE))
        remedy = "Read the file again with its own encoding, for example encoding='utf-8'."
        what = "were decoded with the wrong encoding"
        yield from report(look, flat, found, "broken characters", "warning", what, remedy, warn_above=0.001)


@check()
def header_rows(look: Look) -> Iterator[Finding]:
    """Find the header of a file among its rows."""
    headers = pa.array(
        [*INPUTS, *LABEL_COLUMNS, "sentence", "passage", "title", "category", "review"], pa.large_string()
    )
    labels = [flat for flat in (look.labels,) if flat is not None and flat.is_text and flat.sizes is None]
    flats = [*look.texts, *labels]
    if not look.texts:
        return
    rows = np.ones(look.rows, dtype=bool)
    for flat in flats:
        named = flat.where(lambda values: pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(values)), headers))
        rows &= np.isin(np.arange(look.rows), flat.rows[named])
    first = look.texts[0]
    remedy = "Leave these rows out: they repeat the header of the file."
    yield from report(look, first, rows[first.rows], "header rows", "error", "are names of columns", remedy)


@check()
def ids_as_text(look: Look) -> Iterator[Finding]:
    """Find ids that the model would embed: columns beyond those of the task, and texts that look like ids."""
    for name, flat in look.columns.items():
        if name in INPUTS and flat.is_text and len(flat):
            found = flat.where(lambda values: pc.match_substring_regex(values, _ID))
            if found.mean() > 0.5:
                remedy = f"Put the texts in {name!r}, and the ids in a column named after it plus '_id'."
                yield from report(look, flat, found, "ids as text", "error", "look like ids", remedy)
        elif name not in INPUTS and not _belongs(name):
            kind = "ids as text" if _ID_NAME.fullmatch(name) else "unknown columns"
            message = (
                f"The column {name!r} is not an input, a label, a weight or the ids of an input, and would be embedded "
                f"as text. Remove it with dataset.remove_columns({name!r}), or rename it."
            )
            yield Finding(kind, "error" if kind == "ids as text" else "warning", message, look.name, name, look.rows, 0)


def _belongs(name: str) -> bool:
    ids = {f"{column.removesuffix(end)}{id_}" for column in INPUTS for end in ("", "s") for id_ in ("_id", "_ids")}
    return name in (*LABEL_COLUMNS, *WEIGHTS, "dataset_name") or name in ids


@check()
def duplicate_rows(look: Look) -> Iterator[Finding]:
    """Find rows that repeat an earlier one."""
    flats = [flat for flat in (*look.texts, look.labels) if flat is not None]
    if not look.texts or look.others:
        return
    keys = np.zeros(look.rows, dtype=np.uint64)
    for flat in flats:
        keys = mix(keys, flat.row_keys())
    again = repeated(keys)
    first = look.texts[0]
    scalar = Flat(
        first.column, first.values.take(first.starts[:-1].clip(max=max(len(first) - 1, 0))), np.arange(look.rows)
    )
    remedy = "Leave repetitions out: they count twice, and may be negatives of one another."
    what = "belong to a row that repeats an earlier one"
    yield from report(look, scalar, again, "duplicate rows", "warning", what, remedy, warn_above=0.001)


@check()
def ids_and_texts(look: Look) -> Iterator[Finding]:
    """Find ids with several texts, and texts with several ids."""
    for flat in look.texts:
        ids = look.ids_of(flat.column)
        if ids is None or len(ids) != len(flat):
            continue
        texts = in_conflict(ids.codes, flat.codes)
        remedy = "Give each text an id of its own."
        yield from report(
            look, flat, texts, "one id with several texts", "error", "share an id with another text", remedy
        )
        if look.part.corpus:  # where each text is counted once, by `repeated_corpus`
            continue
        several = in_conflict(flat.codes, ids.codes)
        remedy = "Merge their ids: a judgement of one of them does not count for the others."
        yield from report(
            look,
            flat,
            several,
            "one text under several ids",
            "warning",
            "occur under several ids",
            remedy,
            warn_above=0.001,
        )


@check("retrieval")
def repeated_corpus(look: Look) -> Iterator[Finding]:
    """Find documents of the corpus that occur under several ids."""
    for name, inputs in (("corpus", look.part.corpus), ("queries", look.part.queries)):
        texts = [text for text in inputs.values() if isinstance(text, str)]
        if len(texts) == len(inputs) and texts:
            flat = Flat(name, pa.chunked_array([pa.array(texts, pa.large_string())]), np.arange(len(texts)))
            remedy = "Merge their ids: a judgement of one of them does not count for the others."
            what = "repeat a text under another id"
            yield from report(
                look,
                flat,
                repeated(flat.codes),
                "one text under several ids",
                "warning",
                what,
                remedy,
                warn_above=0.001,
            )


@check()
def one_text(look: Look) -> Iterator[Finding]:
    """Find columns with the same text in every row."""
    for flat in look.texts:
        if len(flat) > 1 and flat.distinct == 1:
            message = f"All texts in {flat.column!r} are equal, such as {flat.example(0)!r}. Read another column."
            yield Finding("constant texts", "error", message, look.name, flat.column, len(flat), 0, flat.example(0))


@check()
def other_inputs(look: Look) -> Iterator[Finding]:
    """Find columns of inputs that hold numbers or lists of lists."""
    for name, flat in look.columns.items():
        if name in INPUTS and not flat.is_text and len(flat):
            message = (
                f"The inputs in {name!r} are of the type {flat.values.type}, such as {flat.example(0)!r} in row 0, not "
                "texts. Convert them, or name the column 'label' if it holds labels."
            )
            yield Finding("inputs that are not text", "error", message, look.name, name, len(flat), 0, flat.example(0))
