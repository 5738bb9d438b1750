"""What a form of tables is, and what to tell whoever has a table of no form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, NamedTuple

from st_rankloss.data.columns import ROLES, TEXT_ROLES, find, given_names, normal
from st_rankloss.data.label_forms import as_flag
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import suggest_scale
from st_rankloss.data.table import HEAD, Table
from st_rankloss.judgements import few
from st_rankloss.labels import is_missing

_ENOUGH = 10  # rows that show whether values repeat
_BESIDE_TEXTS = {name for role in ("title", "id", "query_id", "document_id") for name in ROLES[role]}
_METADATA = {"meta", "metadata", "meta_data", "extra", "info", "attributes", "properties"}
_FOR_NO_NAMES = " If these are no names, write a first line of names."


@dataclass(frozen=True)
class Form:
    """A form of tables.

    Args:
        name: What people call it.
        tasks: The tasks that its parts may have.
        roles: Roles that must have a column.
        reader: Its reader.
        matches: Whether a table is of this form, beyond having those columns.
        said_by: The option that says so, whatever ``matches`` finds.
        by_task: Whether ``task=`` says so, too.
    """

    name: str
    tasks: tuple[str, ...]
    roles: tuple[str, ...]
    reader: Callable[..., Part]
    matches: Callable[[Table, Mapping[str, str]], bool] = lambda table, columns: True
    said_by: str = ""
    by_task: bool = False

    def missing(self, columns: Mapping[str, str]) -> list[str]:
        """Return the roles that have no column."""
        return [role for role in self.roles if role not in columns]


def first_values(table: Table, name: str, most: int = 10) -> list[Any]:
    """Return the first values of a column that are not missing, among the first 1,000 rows."""
    return [value for row in islice(table.rows(), HEAD) if not is_missing(value := row[name])][:most]


def _head(table: Table) -> Table:
    """Return the first 1,000 rows of a table, held in memory, since each column is looked at."""
    rows = list(islice(table.rows(), HEAD))
    return replace(table, rows=lambda: iter(rows))


def as_list(value: Any) -> list[Any]:
    """Return the items of a list or a tuple, or a list of the value."""
    return list(value) if isinstance(value, list | tuple) else [value]


def explain(table: Table, found: Mapping[Form, Mapping[str, str]]) -> str:
    """Say what a table of no form lacks for the nearest one.

    Args:
        table: The table.
        found: The columns of each form's roles, as far as the table has them.

    Returns:
        The message, with the options that would read the table.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> rows = Form("rows of query, document and grade", ("retrieval",), ("query", "document", "grade"), Part)
        >>> table = read_table({"query": ["a", "b"], "item": ["x", "y"], "item_no": [7, 9], "our_judgement": [1, 1]})
        >>> explain(table, {rows: {"query": "query", "document": "item"}}).partition(": ")[2]
        "to read rows of query, document and grade, name the column for grade, such as grade='our_judgement'; if all its documents are relevant, pass positive='item'."
    """  # noqa: E501
    if (other := _texts_elsewhere(table)) is not None:
        return other
    table = _head(table)
    start = f"the table must have the columns of a known form, got {few(table.names)}"
    if inside := _graded_inside(table):
        return f"{start}: to read lists of documents and grades, name their columns: {_options(table, inside, {})}."
    filled = {form: _fill(table, form.missing(found[form]), found[form].values()) for form in reversed(list(found))}
    enough = table.names and len(first_values(table, table.names[0])) == _ENOUGH
    fit = {f for f in filled if enough and len(f.roles) > 1 and all(guess.fits for guess in filled[f].values())}
    if near := [form for form in filled if filled[form] and (found[form] or form in fit)]:
        nearest = max(near, key=lambda form: _nearness(form, found[form], filled[form]))
        *others, last = filled[nearest]
        missing = f"columns for {', '.join(others)} and {last}" if others else f"column for {last}"
        remedy = (
            f"to read {nearest.name}, name the {missing}, such as {_options(table, filled[nearest], found[nearest])}"
        )
        labelled = next(
            (found[form] for form in found if form.said_by == "text" and not form.missing(found[form])), None
        )
        texts = any(form.tasks == ("self_supervised",) and found[form] for form in found)
        if texts and (nearest.roles == ("text", "label") or not found[nearest]):
            remedy += ", or pass task='self_supervised' to train on the texts alone"
        elif labelled is not None:
            remedy += f", or pass text={labelled['text']!r} if the label is that of this text alone"
        elif filled[nearest].keys() == {"grade"}:
            remedy += f"; if all its documents are relevant, pass positive={found[nearest]['document']!r}"
        return f"{start}: {remedy}.{'' if found[nearest] else _FOR_NO_NAMES}"
    known = "; ".join(f"{form.name}: {', '.join(form.roles)}" for form in found)
    return (
        f"{start}: name its columns, such as query='...', or, if these are no names, write a first line of names. "
        f"Forms and their columns are {known}."
    )


class _Guess(NamedTuple):
    """A column that may have a role, and whether its values fit."""

    name: str
    fits: bool


def _fill(table: Table, roles: Iterable[str], taken: Iterable[str] = ()) -> dict[str, _Guess]:
    """Give each role the free column that looks most like it."""
    taken = [*taken, *given_names(find("negative", table.names))]
    free, found = [name for name in table.names if name not in taken], {}
    for role in roles:
        if free:
            likeness = {name: _likeness(table, role, name) for name in free}
            best = max(free, key=lambda name: likeness[name])
            found[role] = _Guess(best, likeness[best][1])
            free.remove(best)
        else:
            found[role] = _Guess("NAME", False)
    return found


def _nearness(form: Form, found: Mapping[str, str], filled: Mapping[str, _Guess]) -> tuple[float, int, int]:
    fits = len(found) + sum(guess.fits for guess in filled.values())
    return fits / len(form.roles), len(found), len(form.roles)


def _options(table: Table, guesses: Mapping[str, _Guess], found: Mapping[str, str]) -> str:
    """Write the options that name the columns of roles, and a scale for grades in words."""
    options = [f"{role}={guess.name!r}" for role, guess in guesses.items()]
    if "label" in guesses and len(flags := [name for name in table.names if _holds_flags(table, name)]) > 1:
        options[-1] = f"label={flags}"
    elif "label" in guesses and len(numbers := _columns_of_numbers(table)) > 1:
        options[-1] = f"label={numbers}"
    named = {role: guess.name for role, guess in guesses.items()} | dict(found)
    graded = [name for role, name in named.items() if role in ("grade", "score") and name in table.names]
    for name in graded:
        items = chain.from_iterable(map(as_list, first_values(table, name, HEAD)))
        options += given_names(suggest_scale([*dict.fromkeys(i for i in items if not isinstance(i, list | dict))]))
    return ", ".join(options)


def _holds_flags(table: Table, name: str) -> bool:
    """Return whether a column holds 0 and 1, both of them."""
    return {as_flag(value) for value in first_values(table, name, HEAD)} == {False, True}


def _columns_of_numbers(table: Table) -> list[str]:
    """Return the columns of numbers that are no ids; none if all are whole, as classes and counts are."""
    values = {name: first_values(table, name) for name in table.names if _likeness(table, "label", name)[2]}
    numbers = {name: own for name, own in values.items() if own and all(isinstance(x, int | float) for x in own)}
    return [*numbers] if any(isinstance(x, float) for own in numbers.values() for x in own) else []


def is_metadata(name: str) -> bool:
    """Return whether a column is a field of metadata, which say nothing of relevance."""
    base, _, field = name.partition(".")
    return bool(field) and normal(base) in _METADATA


def is_numbered_document(name: str) -> bool:
    """Return whether a column is named like one of several documents, such as ``passage_1``."""
    base, digits = re.fullmatch(r"(.*?)_?(\d*)", normal(name)).groups()  # type: ignore[union-attr]
    names = {*ROLES["document"], *ROLES["positive"], *ROLES["negative"]} - {*ROLES["title"]}
    return bool(digits) and base in names


def looks_labelled(table: Table, text: str, query: bool = False) -> bool:
    """Return whether a table has something to say of its texts: numbers, values that repeat, or other texts.

    Args:
        table: The table.
        text: The column of the texts.
        query: Whether they are queries, about which columns of lists, and documents by their names, say something too.

    Returns:
        Whether there is such a column beside it, which is not named like titles or ids.
    """
    table = _head(table)
    others = [name for name in table.names if name != text and normal(name) not in _BESIDE_TEXTS]
    for name in others:
        if is_metadata(name):
            continue
        values = first_values(table, name)
        numbers = values and isinstance(values[0], int | float)
        texts = [item for value in values for item in as_list(value) if isinstance(item, str)]
        lists = bool(values) and isinstance(values[0], list) and any(" " in text.strip() for text in texts)
        named = find("document", [name.rpartition(".")[2]]) is not None or is_numbered_document(name)
        if query and texts and (lists or named):
            return True
        if numbers or _likeness(table, "label", name)[1] or _likeness(table, "document", name)[1]:
            return True
    return False


def looks_like_document(table: Table, name: str) -> bool:
    """Return whether a column holds texts of three words or more that do not repeat, and no metadata."""
    words = [len(str(value).split()) for value in first_values(table, name)]
    several = sum(words) >= 3 * len(words)
    return several and not is_metadata(name) and all(_likeness(table, "document", name)[1:])


def _likeness(table: Table, role: str, name: str) -> tuple[bool, bool, bool]:
    """Say how much a column is like a role: by a word of its name, by whether values repeat, and by their length."""
    words = set(normal(name).split("_"))
    raw = first_values(table, name, HEAD)
    values = [str(item) for value in raw for item in as_list(value)]
    has_floats = any(isinstance(item, float) for item in chain.from_iterable(v for v in raw if isinstance(v, list)))
    repeats = 1 < len(set(values)) <= max(2, len(values) // 2) and len(set(values)) < len(values) and not has_floats
    is_id = bool(words & {"id", "ids", "index", "no"}) or bool(re.fullmatch("unnamed.*|", normal(name)))
    if role not in TEXT_ROLES:
        return bool(words & {*ROLES[role]}) and not is_id, repeats and not is_id, not is_id
    spaces = sum(" " in value.strip() for value in values) > len(values) / 2
    return (
        bool(words & {*ROLES[role]}) and not is_id,
        spaces and not is_id,
        (repeats == (role == "query")) and not is_id,
    )


def _graded_inside(table: Table) -> dict[str, _Guess]:
    """Return the columns of documents and grades that were fields of the same objects, beside a query; {} if none."""
    if find("query", table.names) is None:
        return {}
    for base in dict.fromkeys(name.partition(".")[0] for name in table.names if not is_metadata(name)):
        fields = {name.removeprefix(f"{base}."): name for name in table.names if name.startswith(f"{base}.")}
        document, grade = (find(role, list(fields)) for role in ("document", "grade"))
        column = fields[document] if document else base if base in table.names else None
        if grade is not None and column is not None:
            return {"document": _Guess(column, True), "grade": _Guess(fields[grade], True)}
    return {}


def _texts_elsewhere(table: Table) -> str | None:
    """Return the message for a table of ids, whose texts are in another one; None for any other table."""
    has = {role: find(role, table.names) for role in ("query", "document", "query_id", "document_id")}
    for role, other in (("document", "query"), ("query", "document")):
        if has[role] is None and has[f"{role}_id"] and (has[other] or has[f"{other}_id"]):
            return (
                f"the table must hold the text of each {role}, got ids in {has[f'{role}_id']!r}: join the texts to the "
                "table, or put tables named queries, corpus and qrels into one folder."
            )
    return None
