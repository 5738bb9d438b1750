"""Every kind of mistake is found by name where it is planted, and nothing is found in clean data."""

from __future__ import annotations

import math
import random

import pytest
from datasets import Dataset

from st_rankloss import inspect
from st_rankloss.data.part import COLUMNS
from tests.inspection.clean import ROWS, clean, judged, part, sentence
from tests.models import tiny_bert

TEXT_OF = {task: names[0] for task, names in COLUMNS.items()}
"""A column of texts of each task."""
NUMBERED = {"retrieval": "labels", "sts": "label", "regression": "label"}
NAMED = ("classification", "hierarchy", "multi_label")


def found(data, **options):
    return {finding.name: finding for finding in inspect(data, **options).findings}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("task", COLUMNS)
def test_clean_data_has_no_errors_or_warnings(task, seed):
    columns = clean(task, seed)
    inspection = inspect(part(task, columns, **(judged(columns) if task == "retrieval" else {})))
    assert inspection.findings == ()
    assert inspection.ok


@pytest.mark.parametrize("task", COLUMNS)
def test_clean_parts_have_no_leaks(task):
    data = {name: part(task, clean(task, seed)) for seed, name in enumerate(("train", "dev", "test"))}
    assert inspect(data).findings == ()


@pytest.mark.parametrize(
    "label",
    [
        lambda i: i % 4,
        lambda i: [float((i + j) % 3 == 0) for j in range(4)],
        lambda i: [i % 3, (i * 7) % 5 + 3],
    ],
    ids=["integers", "multi-hot", "ids"],
)
def test_clean_labels_of_other_kinds_have_no_findings(label):
    columns = clean("classification") | {"label": [label(i * 7 % 11) for i in range(ROWS)]}
    task = "multi_label" if isinstance(columns["label"][0], list) else "classification"
    assert inspect(part(task, columns)).ok


def set_first(column, value, count=1):
    """Replace the first values of a column, within lists if it holds lists."""

    def plant(columns):
        values = list(columns[column])
        for row in range(count):
            values[row] = [value, *values[row][1:]] if isinstance(values[row], list) else value
        return columns | {column: values}

    return plant


def each(column, function):
    """Change all values of a column, within lists if it holds lists."""

    def plant(columns):
        changed = [[function(x) for x in v] if isinstance(v, list) else function(v) for v in columns[column]]
        return columns | {column: changed}

    return plant


def rename(**names):
    return lambda columns: {names.get(name, name): values for name, values in columns.items()}


def repeat_rows(columns):
    return {name: [*values[:-3], *values[:3]] for name, values in columns.items()}


def swapped_queries(columns):
    return columns | {
        "query": [" ".join(d) for d in columns["documents"]],
        "documents": [[q] * 1 + ["x " + q] * 3 for q in columns["query"]],
    }


def with_document(row, place, text):
    def plant(columns):
        documents = [list(row) for row in columns["documents"]]
        documents[row][place] = text(columns) if callable(text) else text
        return columns | {"documents": documents}

    return plant


def best_document(row, replace):
    """Replace a document of a row by a copy of another one of another grade."""
    return lambda columns: with_document(
        row,
        columns["labels"][row].index(replace[0]),
        columns["documents"][row][columns["labels"][row].index(replace[1])],
    )(columns)


def quote_queries(columns):
    pairs = zip(columns["query"], columns["documents"], strict=True)
    return columns | {"documents": [[f"{query}: {text}" for text in documents] for query, documents in pairs]}


def same_text(columns):
    return columns | {"text": [columns["text"][i // 2] for i in range(ROWS)]}


def ungroup(columns):
    rows = [
        (q, d, g)
        for q, documents, grades in zip(*(columns[n] for n in ("query", "documents", "labels")), strict=True)
        for d, g in zip(documents, grades, strict=True)
    ]
    return dict(zip(("query", "document", "label"), map(list, zip(*rows, strict=True)), strict=True))


def decimal_comma(number):
    return f"{number:.2f}".replace(".", ",")


def sort_rows(columns):
    order = sorted(range(ROWS), key=lambda row: columns["label"][row])
    return {name: [values[row] for row in order] for name, values in columns.items()}


def header(task):
    def plant(columns):
        names = {
            name: name for name in columns if name in ("query", "sentence1", "sentence2", "text", "image", "caption")
        }
        names |= {"documents": ["document"] * 4, "label": "label"}
        for name in columns:
            if name in names and (name != "label" or task == "classification"):
                columns = columns | {name: [names[name], *columns[name][1:]]}
        return columns

    return plant


FAULTS = [
    *(("empty texts", task, set_first(TEXT_OF[task], value)) for task in COLUMNS for value in ("", "  \n")),
    *(("missing texts", task, set_first(TEXT_OF[task], None)) for task in COLUMNS),
    *(("sentinel texts", task, set_first(TEXT_OF[task], value)) for task in COLUMNS for value in ("N/A", "null")),
    *(("HTML in texts", task, set_first(TEXT_OF[task], "<p>some &amp; text</p>", 2)) for task in COLUMNS),
    *(("broken characters", task, set_first(TEXT_OF[task], "cafÃ© crÃ¨me", 2)) for task in COLUMNS),
    *(("broken characters", task, set_first(TEXT_OF[task], "caf\ufffd", 2)) for task in COLUMNS),
    *(("header rows", task, header(task)) for task in COLUMNS if task != "image_text"),
    *(("ids as text", task, lambda columns: columns | {"uid": list(range(ROWS))}) for task in COLUMNS),
    *(("unknown columns", task, lambda columns: columns | {"source": ["web"] * ROWS}) for task in COLUMNS),
    *(("duplicate rows", task, repeat_rows) for task in COLUMNS),
    *(("constant texts", task, each(TEXT_OF[task], lambda _: "the same")) for task in COLUMNS),
    ("ids as text", "retrieval", lambda columns: columns | {"documents": columns["document_ids"]}),
    ("one id with several texts", "retrieval", set_first("query_id", "q0-5")),
    ("one text under several ids", "retrieval", with_document(3, 0, lambda columns: columns["documents"][5][0])),
    ("swapped columns", "retrieval", swapped_queries),
    ("swapped columns", "classification", rename(text="label", label="text")),
    ("ungrouped rows", "retrieval", ungroup),
    ("misaligned lists", "retrieval", lambda columns: columns | {"labels": [[1.0], *columns["labels"][1:]]}),
    ("empty lists", "retrieval", lambda columns: columns | {"documents": [[], *columns["documents"][1:]]}),
    (
        "lists of one document",
        "retrieval",
        lambda columns: {n: [v[:1] if isinstance(v, list) else v for v in values] for n, values in columns.items()},
    ),
    ("repeated queries", "retrieval", lambda columns: columns | {"query": columns["query"][: ROWS // 2] * 2}),
    (
        "queries without relevant document",
        "retrieval",
        lambda columns: columns | {"labels": [[0.0] * 4] * 20 + columns["labels"][20:]},
    ),
    ("equal grades", "retrieval", lambda columns: columns | {"labels": [[float(i % 3)] * 4 for i in range(ROWS)]}),
    ("no irrelevant grade", "retrieval", each("labels", lambda grade: grade + 1)),
    ("negatives equal to a positive", "retrieval", best_document(2, (0.0, 3.0))),
    ("conflicting grades", "retrieval", best_document(2, (1.0, 3.0))),
    ("queries inside their documents", "retrieval", quote_queries),
    ("negative grades", "retrieval", set_first("labels", -2.0)),
    ("negative grades", "sts", set_first("label", -2.0)),
    *(("infinite numbers", task, set_first(name, math.inf)) for task, name in NUMBERED.items()),
    *(("outliers", task, set_first(name, 1e9)) for task, name in NUMBERED.items()),
    *(("decimal commas", task, each(name, decimal_comma)) for task, name in NUMBERED.items()),
    ("grades as text", "retrieval", each("labels", lambda grade: ["none", "partly", "mostly", "fully"][int(grade)])),
    ("grades as text", "retrieval", each("labels", str)),
    ("grades as text", "sts", each("label", str)),
    ("numbers as text", "regression", each("label", str)),
    *(("sentinel labels", task, set_first(name, 999.0, 5)) for task, name in NUMBERED.items()),
    ("sentinel labels", "sts", set_first("label", -1.0, 5)),
    *(("sentinel labels", task, set_first("label", "N/A", 3)) for task in NAMED),
    *(
        (
            "constant labels",
            task,
            each("labels" if task == "retrieval" else "label", lambda x: "a" if isinstance(x, str) else 1.0),
        )
        for task in (*NUMBERED, *NAMED[:2])
    ),
    ("constant labels", "multi_label", lambda columns: columns | {"label": [["a", "b"]] * ROWS}),
    *(
        ("missing labels", task, set_first(NUMBERED.get(task, "label"), None, 20))
        for task in (*NUMBERED, "classification")
    ),
    ("missing labels", "classification", lambda columns: columns | {"label": [-1, *(i % 4 for i in range(ROWS - 1))]}),
    ("missing labels", "multi_label", lambda columns: columns | {"label": [None, *columns["label"][1:]]}),
    *(
        (
            "classes of one row",
            task,
            lambda columns: (
                columns
                | {
                    "label": [["x", f"c{i}"] if isinstance(columns["label"][0], list) else f"c{i}" for i in range(20)]
                    + columns["label"][20:]
                }
            ),
        )
        for task in NAMED
    ),
    ("dominant class", "classification", set_first("label", "cat", ROWS - 6)),
    *(
        ("near-equal class names", task, set_first("label", name))
        for task, name in [
            ("classification", "Cat "),
            ("classification", "CAT"),
            ("classification", "cat."),
            ("multi_label", "Red"),
            ("hierarchy", "animal "),
        ]
    ),
    *(
        ("unsplit labels", "classification", each("label", lambda name, s=s: f"animal{s}{name}"))
        for s in ("|", " > ", "; ", "/")
    ),
    (
        "unsplit labels",
        "multi_label",
        lambda columns: columns | {"label": [["|".join(names)] for names in columns["label"]]},
    ),
    (
        "unsplit labels",
        "hierarchy",
        lambda columns: columns | {"label": [[" > ".join(names)] for names in columns["label"]]},
    ),
    *(("conflicting labels", task, same_text) for task in (*NAMED, "regression")),
    ("sorted by label", "classification", sort_rows),
    ("sorted by label", "regression", sort_rows),
    ("invalid weights", "classification", lambda columns: columns | {"weight": [-1.0] + [1.0] * (ROWS - 1)}),
    ("few rows", "classification", lambda columns: {name: values[:8] for name, values in columns.items()}),
    ("unreadable labels", "hierarchy", set_first("label", None)),
]


@pytest.mark.parametrize(("name", "task", "plant"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_planted_mistake_is_found_by_name(name, task, plant):
    findings = found(part(task, plant(clean(task))))
    assert name in findings
    finding = findings[name]
    assert finding.message.endswith(".")
    assert finding.part == "data"


def test_a_finding_names_its_column_count_row_and_value():
    finding = found(part("classification", set_first("text", "N/A", 3)(clean("classification"))))["sentinel texts"]
    assert (finding.column, finding.count, finding.row, finding.value) == ("text", 3, 0, "N/A")
    assert f"3 of {ROWS} values in 'text' stand for a missing text, such as 'N/A' in row 0." in finding.message


LEAKS = {
    "leaked queries": ("retrieval", ["query"]),
    "leaked pairs": ("retrieval", ["query", "documents"]),
    "leaked pairs of texts": ("sts", ["sentence1", "sentence2"]),
    "leaked texts": ("classification", ["text"]),
    "leaked rows": ("self_supervised", ["text"]),
    "leaked images": ("image_text", ["image", "caption"]),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_between_parts_is_counted(kind):
    task, names = LEAKS[kind]
    train, test = clean(task, 0), clean(task, 1)
    for name in names:
        test[name] = [*train[name][:7], *test[name][7:]]
    findings = found({"train": part(task, train), "test": part(task, test)})
    name = {"leaked pairs of texts": "leaked pairs", "leaked rows": "leaked texts", "leaked images": "leaked pairs"}
    finding = findings[name.get(kind, kind)]
    assert finding.count == (28 if kind == "leaked pairs" else 7)
    assert (finding.part, finding.row) == ("test", 0)
    assert ("leaked pairs" in findings) == ("pairs" in kind or kind == "leaked images")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("unknown queries", lambda by_id: by_id["qrels"].update({"nobody": {"d0-1": 1.0}})),
        ("unknown documents", lambda by_id: by_id["qrels"]["q0-1"].update({"D7": 1.0})),
        ("negative grades", lambda by_id: by_id["qrels"]["q0-1"].update({"d0-1": -1.0})),
        ("negative grades", lambda by_id: by_id["qrels"]["q0-1"].update({"d0-1": math.nan})),
        ("queries without relevant document", lambda by_id: by_id["qrels"].update({"q0-1": {"d0-1": 0.0}})),
        ("one text under several ids", lambda by_id: by_id["corpus"].update({"copy": by_id["corpus"]["d0-1"]})),
    ],
)
def test_mistakes_in_judgements_by_id_are_found(name, change):
    columns = clean("retrieval")
    by_id = judged(columns)
    change(by_id)
    findings = found(part("retrieval", columns, **by_id))
    assert findings[name].count == 1
    assert set(findings) <= {name, "no recipe fits"}


def test_grades_from_1_on_are_mapped_by_the_scale_that_is_proposed_but_positives_and_scores_are_none():
    graded = {"query": ["a", "b"], "documents": [["x", "y"], ["z", "u"]], "labels": [[4.0, 1.0], [2.0, 1.0]]}
    finding = found(part("retrieval", graded))["no irrelevant grade"]
    assert (finding.severity, finding.count, finding.row) == ("warning", 4, 0)
    assert "every judged document counts as relevant" in finding.message
    assert "If 1 means irrelevant, read the data with scale={1: 0, 2: 1, 4: 3}." in finding.message
    for labels in ([[1.0, 1.0], [1.0, 1.0]], [[0.9, 0.2], [0.8, 0.1]], [[2.0, 0.0], [1.0, 1.0]]):
        assert "no irrelevant grade" not in found(part("retrieval", graded | {"labels": labels}))


@pytest.mark.parametrize(("grades", "name"), [((1.0, 3.0), "conflicting grades"),
                                               ((0.0, 3.0), "negatives equal to a positive")])  # fmt: skip
def test_copies_of_a_document_with_ids_and_grades_of_their_own_are_a_warning(grades, name):
    columns = clean("retrieval")
    for row in range(10):
        columns = best_document(row, grades)(columns)
    assert found(part("retrieval", columns))[name].severity == "warning"
    for ids, labels in zip(columns["document_ids"][:10], columns["labels"], strict=False):
        ids[labels.index(grades[0])] = ids[labels.index(grades[1])]
    assert found(part("retrieval", columns))[name].severity == "error"
    del columns["query_id"], columns["document_ids"]
    assert found(part("retrieval", columns))[name].severity == "error"


@pytest.mark.parametrize(
    ("name", "task", "column", "value"),
    [("empty texts", "classification", "text", " "), ("header rows", "self_supervised", "text", "text")],
)
def test_an_error_in_less_than_one_percent_of_the_rows_is_a_warning(name, task, column, value):
    for count, severity in ((1, "warning"), (2, "error")):
        columns = set_first(column, value, count)(clean(task))
        assert found(part(task, columns))[name].severity == severity


@pytest.mark.parametrize(
    ("name", "task", "plant"),
    [
        ("missing texts", "retrieval", with_document(3, 1, None)),
        ("negative grades", "retrieval", set_first("labels", -2.0)),
        ("infinite numbers", "regression", set_first("label", math.inf)),
        ("invalid weights", "sts", lambda columns: columns | {"weight": [math.nan] + [1.0] * (ROWS - 1)}),
        ("misaligned lists", "retrieval", lambda columns: columns | {"labels": [[1.0], *columns["labels"][1:]]}),
        ("empty lists", "retrieval", lambda columns: columns | {"documents": [[], *columns["documents"][1:]]}),
    ],
)
def test_what_stops_training_is_an_error_in_a_single_row(name, task, plant):
    finding = found(part(task, plant(clean(task))))[name]
    assert (finding.severity, finding.count) == ("error", 1)


@pytest.mark.parametrize("name", ["unknown queries", "unknown documents"])
def test_a_single_unknown_id_in_judgements_is_an_error(name):
    columns = clean("retrieval")
    by_id = judged(columns)
    by_id["qrels"].update({"nobody": {"d0-1": 1.0}} if name == "unknown queries" else {"q0-1": {"D7": 1.0}})
    assert found(part("retrieval", columns, **by_id))[name].severity == "error"


@pytest.mark.parametrize(("count", "severity"), [(1, "warning"), (23, "warning"), (24, "error"), (ROWS, "error")])
@pytest.mark.parametrize("task", ["sts", "classification", "self_supervised", "retrieval"])
def test_a_leak_is_an_error_from_a_fifth_of_the_later_part(task, count, severity):
    train, test = clean(task, 0), clean(task, 1)
    for name in COLUMNS[task][: 1 + (task in ("sts", "retrieval"))]:
        test[name] = [*train[name][:count], *test[name][count:]]
    leaks = [finding for name, finding in found({"train": part(task, train), "test": part(task, test)}).items()
             if name.startswith("leaked")]  # fmt: skip
    assert {finding.severity for finding in leaks} == {severity}


def test_texts_that_a_model_would_cut_are_found(tmp_path):
    model = tiny_bert(tmp_path, sentence(random.Random(0), 50).split())
    columns = clean("classification")
    model.max_seq_length = 16
    assert found(part("classification", columns), model=model) == {}
    columns["text"] = [f"{text} {text} {text}" for text in columns["text"][:30]] + columns["text"][30:]
    finding = found(part("classification", columns), model=model)["texts beyond the model's length"]
    assert (finding.severity, finding.count, finding.row) == ("warning", 30, 0)


def test_a_skewed_number_is_not_an_outlier():
    columns = clean("regression")
    columns["label"] = [math.exp(number) for number in columns["label"]]
    assert inspect(part("regression", columns)).ok


def test_missing_labels_are_a_warning_only_if_there_are_many():
    for count, severity in ((2, "note"), (30, "warning"), (ROWS, "error")):
        columns = set_first("label", None, count)(clean("regression"))
        assert found(part("regression", columns))["missing labels"].severity == severity


def test_at_least_twenty_kinds_are_planted():
    assert len({name for name, _, _ in FAULTS}) >= 30


def test_rows_without_text_have_findings_too():
    empty = Dataset.from_dict({"text": [], "label": []})
    assert "no rows" in found(empty)
    nothing = Dataset.from_dict({"text": [None, None], "label": [None, None]})
    assert {"missing texts", "missing labels"} <= set(found(nothing, task="classification"))
    numbers = Dataset.from_dict({"text": [1, 2], "label": ["a", "b"]})
    assert "inputs that are not text" in found(numbers, task="classification")
