"""Read whatever the user has: find out its form, and hand it to its reader."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, load_dataset, load_from_disk

from st_rankloss.data.clicks import read_clicks
from st_rankloss.data.collection import read_collection
from st_rankloss.data.columns import ROLES, TEXT_ROLES, find, normal, numbered_negatives, stays_text
from st_rankloss.data.files import DELIMITED, TABLES, Shards, is_table, suffix_of
from st_rankloss.data.folders import find_files, group_shards, lacking
from st_rankloss.data.forms import (
    Form,
    as_list,
    explain,
    first_values,
    is_metadata,
    is_numbered_document,
    looks_labelled,
    looks_like_document,
)
from st_rankloss.data.hub import collection_configurations, read_hub_collection
from st_rankloss.data.image_folders import image_tables
from st_rankloss.data.images import is_image, read_images
from st_rankloss.data.ir_collections import read_ir_datasets
from st_rankloss.data.labelled import read_labelled, read_texts_alone
from st_rankloss.data.listed import read_lists
from st_rankloss.data.nested import unnest
from st_rankloss.data.part import COLUMNS, Part
from st_rankloss.data.positives import OF_SIDES, read_positives
from st_rankloss.data.rows import read_rows
from st_rankloss.data.scored_pairs import read_scored_pairs
from st_rankloss.data.splits import by_column, by_part, part_of
from st_rankloss.data.table import Table
from st_rankloss.data.tables import join_tables, read_table
from st_rankloss.data.written import is_written, read_written_lists
from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import few

_OF_EITHER = {"label", "labels", "score", "rating", "stars", "value"}  # of a text, or of a query and a document
_ROLES_OF_LISTS = ("label", "grade", "scores", "positive", "negative")
_OF_FILES = ("delimiter", "encoding")


def _has_lists(table: Table, columns: Mapping[str, str]) -> bool:
    return any(isinstance(value, list) for value in first_values(table, columns["document"]))


def _has_images(table: Table, columns: Mapping[str, str]) -> bool:
    """Return whether rows are images: not texts with a picture beside them, which the forms of texts read."""
    if not any(map(is_image, first_values(table, columns["image"]))):
        return False
    others = [name for name in table.names if name != columns["image"]]
    query, document, caption = (find(role, others) for role in ("query", "document", "caption"))
    if query is not None and document is not None:
        return False
    own = query is not None or (document is not None and caption is None)
    if own and find("grade", others) is not None:
        raise ValueError(
            f"grades of images for queries train in Python, got {few(table.names)}: pass RankingTrainer rows of a "
            "query, a list of documents and labels. If the labels are those of the images, pass image= and label=."
        )
    return True


def _says_what_is_relevant(table: Table, columns: Mapping[str, str]) -> bool:
    """Return whether documents are relevant by their column: it has negatives beside it, and no grades or numbers."""
    negative = find("negative", table.names, taken=columns.values())
    if numbered_negatives(table.names) or (
        negative and (normal(negative) != "rejected" or "chosen" in columns.values())
    ):
        return True
    others = [name for name in table.names if name not in columns.values() and not stays_text(name)]
    others = [name for name in others if not is_metadata(name)]
    if find("grade", others) is not None or find("label", others) is not None:
        return False
    values = [value for name in others if name not in OF_SIDES for value in first_values(table, name)]
    return not any(isinstance(item, int | float) for value in values for item in as_list(value))


def _is_about_one_text(table: Table, columns: Mapping[str, str]) -> bool:
    """Return whether a label is that of the text, rather than of a query and a document whose column is unknown."""
    if find("query", [columns["text"]]) is None or normal(columns["label"]) not in _OF_EITHER:
        return True
    others = [name for name in table.names if name not in columns.values()]
    numbered = [name for name in others if is_numbered_document(name)]
    texts = any(isinstance(value, str) for name in numbered for value in first_values(table, name))
    return not texts and not any(looks_like_document(table, name) for name in others)


def _is_alone(table: Table, columns: Mapping[str, str]) -> bool:
    """Return whether a table has texts alone, rather than labels or grades that are named otherwise."""
    query, document = (find(role, table.names) for role in ("query", "document"))
    return (query is None or document is None) and not looks_labelled(table, columns["text"], query is not None)


FORMS: list[Form] = [
    Form(
        "images",
        ("image_text", "classification", "hierarchy", "multi_label", "regression", "self_supervised"),
        ("image",),
        read_images,
        _has_images,
        said_by="image",
    ),
    Form("a click log", ("retrieval",), ("query", "document", "clicks"), read_clicks),
    Form(
        "queries with positive documents",
        ("retrieval",),
        ("query", "positive"),
        read_positives,
        _says_what_is_relevant,
        said_by="positive",
    ),
    Form("lists of documents and grades", ("retrieval",), ("query", "document", "grade"), read_lists, _has_lists),
    Form("pairs of sentences with a score", ("sts",), ("sentence1", "sentence2", "score"), read_scored_pairs),
    Form("rows of query, document and grade", ("retrieval",), ("query", "document", "grade"), read_rows),
    Form(
        "texts with a label",
        ("classification", "hierarchy", "multi_label", "regression"),
        ("text", "label"),
        read_labelled,
        _is_about_one_text,
        said_by="text",
        by_task=True,
    ),
    Form("texts", ("self_supervised",), ("text",), read_texts_alone, _is_alone, by_task=True),
]
"""Forms of tables, the first that fits wins."""


def read(
    source: Any,
    *,
    task: str | None = None,
    streaming: bool = False,
    download: bool = False,
    **columns: Any,
) -> dict[str, Part]:
    """Read data of any form.

    Args:
        source: A file; a folder of BEIR, of TREC, of files or shards named after train, dev and test, or of
            ``Dataset.save_to_disk``; a `Dataset`, `DatasetDict` or `IterableDataset`; a data frame, a list of dicts or
            a dict of lists; ``"ir_datasets:ID"``; with ``download``, the id of a dataset of the hub, or ``"hub:ID"``: a
            table, or a collection in MTEB's configurations corpus, queries and default or qrels.
        task: One of `COLUMNS`, if the form could be read for more than one.
        streaming: Whether to read rows each time they are iterated, rather than into memory.
        download: Whether data may be downloaded from the hub.
        **columns: Columns by role, such as ``query="frage"``, and other options of the form's reader; ``split=`` names
            the column that divides a table into parts.

    Returns:
        Parts by name: "train", "dev" and "test" as far as there are any; a single table is the train part, unless a
        column such as ``split`` divides it. Their notes say what was detected, assumed and left out.

    Raises:
        ValueError: If there is no such source, no form fits, or a value is invalid; the error names the source, the row
            and the column, what was expected, and a remedy.

    Example:
        >>> parts = read(Dataset.from_dict({"question": ["a", "a"], "passage": ["x", "y"], "rel": [1, 0]}))
        >>> parts["train"].task, parts["train"].dataset["documents"][0]
        ('retrieval', ['x', 'y'])
    """
    if task is not None:
        check_choice(task, tuple(COLUMNS), "task")
    options: dict[str, Any] = {"task": task, "streaming": streaming, "columns": columns}
    if isinstance(source, DatasetDict | IterableDatasetDict) or (
        isinstance(source, dict) and source and all(isinstance(s, Dataset | IterableDataset) for s in source.values())
    ):
        return _splits(source, options)
    if not isinstance(source, str | Path):
        return _read_parts(source, **options)
    if not str(source):
        raise ValueError("the source must name a file, a folder or a dataset, got an empty name.")
    if (path := Path(source)).is_dir():
        return _read_folder(path, options)
    if path.is_file() or is_table(path):
        return _read_parts(path, **options)
    return _read_remote(str(source), download, options)


def read_form(source: Any, *, task: str | None, streaming: bool, columns: Mapping[str, Any]) -> Part:
    """Read one table, all of it, with the reader of its form; see `read`."""
    table, given = _table(source, streaming, columns)
    with table.named():
        return _read_form(table, _form_of(table, task, given), task, streaming, given)


def _read_parts(source: Any, *, task: str | None, streaming: bool, columns: Mapping[str, Any]) -> dict[str, Part]:
    """Read one table, whose column may divide it into parts."""
    table, given = _table(source, streaming, columns)
    with table.named():
        parts = by_column(
            table, [name for role in ROLES for name in as_list(given.get(role))], given.pop("split", None)
        )
        first = next(iter(parts.values()))
        form = _form_of(first.whole or first, task, given)
        return {name: _read_form(own, form, task, streaming, given) for name, own in parts.items()}


def _table(source: Any, streaming: bool, columns: Mapping[str, Any]) -> tuple[Table, dict[str, Any]]:
    """Return the table of a source, and the options of its reader."""
    text = [name for role in TEXT_ROLES for name in as_list(columns.get(role))]
    if columns.get("separator"):
        taken = [normal(str(name)) for role, given in columns.items() if role != "label" for name in as_list(given)]
        text += as_list(columns.get("label") or [name for name in ROLES["label"] if name not in taken])
    files = {name: columns[name] for name in _OF_FILES if name in columns}
    shards = source if isinstance(source, Shards) else (source,)
    if len(shards) > 1 and suffix_of(shards[0]) in DELIMITED:
        raise ValueError(f"{shards[0]}: shards must be parquet or jsonl, whose columns have one type: join the files.")
    table = join_tables([read_table(shard, text=text, streaming=streaming, **files) for shard in shards])
    others = {name: value for name, value in columns.items() if name not in files and value is not None}
    if is_written(shards[0]):
        lists = [name for role in _ROLES_OF_LISTS for name in as_list(columns.get(role))]
        table = read_written_lists(table, lists)
    return unnest(table), others


def _form_of(table: Table, task: str | None, given: dict[str, Any]) -> Form:
    _check_rows(table)
    _check_names(given)
    return _find_form(table, task, given)


def _read_form(table: Table, form: Form, task: str | None, streaming: bool, given: dict[str, Any]) -> Part:
    options = {"task": task} if task is not None and "task" in inspect.signature(form.reader).parameters else {}
    part = form.reader(table, **given, **options)
    if streaming and isinstance(part.dataset, Dataset):
        part = _as_streaming(part)
    return replace(part, notes=(f"read as {form.name}", *part.notes))


def _check_rows(table: Table) -> None:
    if next(iter(table.rows()), None) is None:
        raise ValueError(f"a table must have rows, got none, and the columns {table.names}: is the file complete?")


def _check_names(given: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the columns that the caller names are texts, or lists of texts, each for one role."""
    roles = {role: value for role, value in given.items() if role in ROLES and value is not None}
    for role, value in roles.items():
        if not all(isinstance(name, str) for name in as_list(value)):
            raise ValueError(f"{role}= must be the name of a column, got {value!r}: pass a text.")
    names = [name for role in roles for name in as_list(roles[role])]
    if twice := next((name for name in names if names.count(name) > 1), None):
        both = " and ".join(f"{role}=" for role, value in roles.items() if twice in as_list(value))
        raise ValueError(f"a column must have one role, got {twice!r} for {both}: pass different columns.")


def _find_form(table: Table, task: str | None, given: Mapping[str, Any]) -> Form:
    forms = [form for form in FORMS if task is None or task in form.tasks]
    options = sorted({option for form in forms for option in _options(form)})
    for name in given:
        _check_option(name, "a reader", options)
    for form in forms:
        columns = _columns(table, form, given)
        if form.missing(columns) or not given.keys() <= _options(form):
            continue
        if form.said_by in given or (form.by_task and task) or form.matches(table, columns):
            return form
    able = [form for form in forms if given.keys() <= _options(form)]
    needed = {role for form in able for role in form.roles}
    if not given.keys() & needed and (unused := _unused_options(table, forms, given)) is not None:
        raise ValueError(unused)
    raise ValueError(explain(table, {form: _columns(table, form, given) for form in able or forms}))


def _unused_options(table: Table, forms: list[Form], given: Mapping[str, Any]) -> str | None:
    """Return the message for options that the form of the columns does not have; None if no form fits the columns."""
    for form in forms:
        columns = _columns(table, form, given)
        if not form.missing(columns) and set(columns.values()) <= set(table.names) and form.matches(table, columns):
            names = " and ".join(f"{name}=" for name in given if name not in _options(form))
            return f"{form.name} have no option {names}, only {sorted(_options(form))}: leave it out."
    return None


def _options(form: Form) -> set[str]:
    return set(inspect.signature(form.reader).parameters) - {"source", "streaming", "task"}


def _columns(table: Table, form: Form, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of the roles that a form needs, as far as the table has them."""
    found: dict[str, str] = {role: name for role in form.roles if isinstance(name := given.get(role), str)}
    for role in form.roles:
        if given.get(role) is None and (name := find(role, table.names, taken=found.values())) is not None:
            found[role] = name
        elif given.get(role) is not None:
            found.setdefault(role, str(given[role]))
    return found


def _check_option(name: str, form: str, accepted: list[str]) -> None:
    if name not in accepted:
        near = difflib.get_close_matches(name, accepted, 1)
        remedy = f"; the nearest is {near[0]!r}" if near else ""
        raise ValueError(f"{name}= must be an option of {form}, which are {accepted}{remedy}.")


def _splits(source: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Part]:
    """Read the splits of a dataset dict; those of other names are left out and noted."""
    named = {name: part_of(name) for name in source}
    unknown = [name for name, part in named.items() if part is None]
    if len(unknown) == len(source):
        if len(source) > 1:
            raise ValueError(f"splits must be named after train, dev or test, got {list(source)}: pass one of them.")
        named, unknown = dict.fromkeys(source, "train"), []
    known = {name: part for name, part in named.items() if part is not None}
    for part in known.values():
        if len(same := [name for name in known if known[name] == part]) > 1:
            raise ValueError(
                f"each split must be another part, got {few(same)}, which are all {part}: join them with "
                "datasets.concatenate_datasets, or leave all but one out."
            )
    if empty := next((name for name in known if isinstance(source[name], Dataset) and not len(source[name])), None):
        raise ValueError(f"every split must have rows, got none in {empty!r}: leave it out.")
    parts = _read_each({part: source[name] for name, part in known.items()}, options)
    return _without(parts, "splits", unknown)


def _without(parts: dict[str, Part], what: str, names: Iterable[str]) -> dict[str, Part]:
    """Return parts whose notes say what was left out."""
    note = (f"{what} that are left out: {', '.join(names)}",) if names else ()
    return {name: replace(part, notes=part.notes + note) for name, part in parts.items()}


def _read_folder(folder: Path, options: dict[str, Any]) -> dict[str, Part]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        found = _load_from_disk(folder)
        return _splits(found, options) if isinstance(found, DatasetDict) else _read_parts(found, **options)
    if find_files(folder, options["columns"]) is not None:
        return _streamed(read_collection(folder, **_collection_options(options, folder)), options)
    if (word := lacking(folder)) is not None:
        raise ValueError(f"{folder}: a folder of queries, corpus and qrels must have all three, got no {word}: add a "
                         f"file named {word}, or pass one file.")  # fmt: skip
    files = _tables_in(folder) or _tables_in(folder / "data")
    if not files and (tables := _tables_of_parts(folder)):
        return _read_each(tables, options)
    if not files and (images := image_tables(folder, streaming=options["streaming"])):
        return _read_images(images, options)
    if not files:
        raise ValueError(
            f"{folder}: the folder must hold tables ({', '.join(TABLES)}), images, or corpus, queries and qrels, got "
            f"{sorted(path.name for path in folder.iterdir())[:10]}."
        )
    found = files
    if len(files) > 1:
        files = [path for path in files if part_of(path.name)] or files
    shards = {paths[0]: Shards(paths) for paths in group_shards(files)}
    try:
        named = {part: shards[path] for part, path in by_part([*shards]).items()}
    except ValueError as error:
        collection = "Name the files of a collection queries, corpus and qrels."
        raise ValueError(f"{folder}: {error} {collection}") from error
    return _without(_read_each(named, options), "files", [path.name for path in found if path not in files])


def _tables_of_parts(folder: Path) -> dict[str, Path]:
    """Return the one table in each folder named after a part; an empty dict if these folders hold no tables."""
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and part_of(path.name)]
    found = {path: _tables_in(path) for path in folders}
    if not any(found.values()):
        return {}
    parts = [str(part_of(path.name)) for path in folders]
    if any(len(tables) != 1 for tables in found.values()) or len({*parts}) < len(parts):
        names = {path.name: [table.name for table in tables] for path, tables in found.items()}
        raise ValueError(f"{folder}: there must be one folder for each part, with one table, got {names}: move files.")
    return {part: table for part, (table,) in zip(parts, found.values(), strict=True)}


def _read_images(tables: Mapping[str, Table], options: dict[str, Any]) -> dict[str, Part]:
    """Read images that are labelled by folders; folders in folders are paths, not sets of labels."""
    nested = any(isinstance(row.get("label"), list) for table in tables.values() for row in table.rows())
    task = options["task"] or ("hierarchy" if nested else None)
    return _read_each(tables, options | {"task": task})


def _tables_in(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.is_file() and is_table(path)]


def _read_each(sources: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Part]:
    """Read each part's source; a single one may be divided by a column."""
    if list(sources) == ["train"]:
        return _read_parts(sources["train"], **options)
    return {name: read_form(source, **options) for name, source in sources.items()}


def _load_from_disk(folder: Path) -> Dataset | DatasetDict:
    try:
        return load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder}: the folder must be whole as save_to_disk wrote it, got {error}: save it again."
        ) from error


def _as_streaming(part: Part) -> Part:
    """Return a part whose rows stream from memory: a corpus must be looked up, so it stays there."""
    note = "streaming: rows are read from memory, where the corpus is"
    return replace(part, dataset=part.dataset.to_iterable_dataset(), notes=(*part.notes, note))


def _read_remote(source: str, download: bool, options: dict[str, Any]) -> dict[str, Part]:
    if source.startswith("ir_datasets:"):
        if not download:
            raise ValueError(f"{source}: ir_datasets downloads what it has not got: pass download=True.")
        name = source.removeprefix("ir_datasets:")
        part = read_ir_datasets(name, **_collection_options(options, source, read_ir_datasets))
        return {part_of(name) or "train": _as_streaming(part) if options["streaming"] else part}
    if "/" not in source and not source.startswith("hub:"):
        raise ValueError(f"{source}: there is no such file or folder.")
    if not download:
        raise ValueError(
            f"{source}: there is no such file or folder; if it is a dataset of the hub, pass download=True."
        )
    name = source.removeprefix("hub:")
    if (configurations := collection_configurations(name)) is not None:
        accepted = _collection_options(options, source)
        return _streamed(read_hub_collection(name, configurations, **accepted), options)
    return _splits(load_dataset(name, streaming=options["streaming"]), options)


def _collection_options(
    options: Mapping[str, Any], source: object, reader: Callable[..., Any] = read_collection
) -> dict[str, Any]:
    """Return the options of reading a collection, or raise ValueError for others."""
    if options["task"] not in (None, "retrieval"):
        raise ValueError(
            f"{source}: queries, a corpus and judgements are for retrieval, got task={options['task']!r}: leave it out."
        )
    accepted = [name for name in inspect.signature(reader).parameters if name not in ("source", "name")]
    for name in options["columns"]:
        _check_option(name, "queries, corpus and judgements", accepted)
    return dict(options["columns"])


def _streamed(parts: dict[str, Part], options: Mapping[str, Any]) -> dict[str, Part]:
    return {name: _as_streaming(part) for name, part in parts.items()} if options["streaming"] else parts
