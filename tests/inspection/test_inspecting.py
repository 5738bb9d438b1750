"""An inspection: facts have the right values, streams are read once and in part, and the result is shown in words."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, List, Value
from PIL import Image as Pictures
from rich.console import Console

import st_rankloss
from st_rankloss import inspect
from st_rankloss.data import Part, read
from st_rankloss.data.part import COLUMNS
from st_rankloss.encoders import make_encoder
from st_rankloss.inspection import Column, propose_batch_size
from st_rankloss.inspection.batches import simulate
from st_rankloss.inspection.columns import flatten, look_at
from st_rankloss.inspection.findings import in_conflict, repeated
from st_rankloss.inspection.leaks import shared_codes
from tests.inspection.clean import ROWS, clean, judged, part
from tests.models import tiny_bert


def test_facts_count_columns_labels_and_documents():
    columns = {
        "query": ["one", "three", "seventeen"],
        "documents": [["a", "bb"], ["a"], ["dddd", "", None, "e"]],
        "labels": [[1.0, 0.0], [3.0], [0.0, 1.0, None, 1.0]],
    }
    (facts,) = inspect(Dataset.from_dict(columns)).facts
    assert (facts.task, facts.rows) == ("retrieval", 3)
    assert facts.columns == (
        Column("query", "texts", 0, 3, (3, 5, 9)),
        Column("documents", "texts, in lists", 2, 5, (0, 1, 4)),
        Column("labels", "grades", 1, 3, None),
    )
    assert facts.labels == {"0.0": 2, "1.0": 3, "3.0": 1}
    assert facts.documents == (1.0, 1.5, 2.0, 3.0, 4.0)


def test_equal_labels_are_an_error_in_train_and_a_warning_in_dev_which_the_message_names():
    one = Dataset.from_dict({"text": [f"t{i}" for i in range(40)], "label": ["neg"] * 40})
    found = [each for each in inspect({"train": one, "dev": one}).findings if each.name == "constant labels"]
    assert [(each.part, each.severity) for each in found] == [("train", "error"), ("dev", "warning")]
    assert found[0].message.startswith("All labels in 'label' of train are 'neg': there is nothing to rank.")
    assert found[1].message.startswith("All labels in 'label' of dev are 'neg': scores on dev cannot tell models apart")


def test_judgements_by_id_are_counted():
    columns = clean("retrieval")
    (facts,) = inspect(part("retrieval", columns, **judged(columns))).facts
    assert (facts.queries, facts.corpus, facts.judgements) == (ROWS, 4 * ROWS, 4 * ROWS)


def test_many_numbers_are_counted_in_ten_ranges():
    (facts,) = inspect(part("regression", clean("regression"))).facts
    assert len(facts.labels) == 10
    assert sum(facts.labels.values()) == ROWS


def test_places_of_a_multi_hot_are_counted():
    hot = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]] * 20
    (facts,) = inspect(Dataset.from_dict({"text": [f"text {i} x" for i in range(40)], "label": hot})).facts
    assert facts.labels == {"place 2": 40, "place 0": 20, "place 1": 0}


def test_the_share_of_rows_with_something_to_rank_is_that_of_real_epochs():
    draw = random.Random(0)
    labels = [draw.randrange(40) for _ in range(320)]
    look = look_at(part("classification", {"text": [f"text {i}" for i in range(320)], "label": labels}), "data", 1)
    shares = simulate(look, (16, 64))
    batches = np.array_split(np.random.default_rng(0).permutation(320), range(16, 320, 16))
    lucky = sum(sum(labels[i] == labels[j] for j in batch) > 1 for batch in batches for i in batch)
    assert shares["random"][16] == lucky / 320
    assert shares["classes"][16] > 0.9 > shares["random"][16]


def test_a_batch_of_equal_labels_has_nothing_to_rank():
    for task, label in (("classification", "a"), ("regression", 1.0), ("sts", 1.0), ("multi_label", ["a"])):
        columns = clean(task) | {"label": [label] * ROWS}
        assert set(simulate(look_at(part(task, columns), "data", 1))["random"].values()) == {0.0}


def test_a_query_without_relevant_documents_has_nothing_to_rank():
    columns = clean("retrieval")
    columns["labels"] = [[0.0] * 4] * 30 + columns["labels"][30:]
    shares = simulate(look_at(part("retrieval", columns), "data", 1))
    assert shares["lists"] == {16: 0.75, 32: 0.75, 64: 0.75}


@pytest.mark.parametrize("batch", [8, 64])
def test_declared_class_ids_are_no_multi_hot(batch):
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=["a", "b", "c", "d"]))})
    rows = Dataset.from_dict(
        {"text": [f"text {i}" for i in range(64)], "label": [[i % 2] for i in range(64)]}, features
    )
    look = look_at(Part("multi_label", rows), "data", 1)
    assert simulate(look, (batch,))["multi_label"][batch] == (1.0)


@pytest.mark.parametrize("named", [True, False])
def test_a_stream_is_looked_at_up_to_a_number_of_rows(named):
    rows = clean("classification")
    read = []

    def generate():
        for i in range(ROWS):
            read.append(i)
            yield {name: values[i] for name, values in rows.items()}

    features = Features({"text": Value("string"), "label": Value("string")}) if named else None
    stream = Part("classification", IterableDataset.from_generator(generate, features=features))
    inspection = inspect(stream, most_rows=50)
    assert inspection.facts[0].rows == 50
    assert [finding.name for finding in inspection.findings] == ["more rows in the stream"]
    whole = inspect(stream, most_rows=ROWS)
    assert whole.facts[0].rows == ROWS
    assert whole.findings == ()
    assert whole.facts[0].columns == inspect(part("classification", rows)).facts[0].columns


def test_a_stream_that_goes_on_forever_is_stopped():
    def generate():
        i = 0
        while True:
            yield {"text": f"text number {i}", "label": f"class {i % 3}"}
            i += 1

    assert inspect(IterableDataset.from_generator(generate), most_rows=100).facts[0].rows == 100


@pytest.mark.parametrize("task", COLUMNS)
def test_streams_of_all_tasks_give_the_facts_of_their_rows(task):
    rows = part(task, clean(task))
    stream = Part(task, rows.dataset.to_iterable_dataset())
    assert inspect(stream).facts == inspect(rows).facts


def test_parts_by_name_or_a_dataset_dict_are_inspected_together():
    rows = Dataset.from_dict(clean("sts"))
    for data in (DatasetDict({"train": rows, "test": rows}), {"train": rows, "test": Part("sts", rows)}):
        inspection = inspect(data)
        assert [facts.part for facts in inspection.facts] == ["train", "test"]
        assert [(found.name, found.count) for found in inspection.findings] == [("leaked pairs", ROWS)]


def test_images_are_left_alone():
    pictures = [Pictures.new("L", (2, 2), i) for i in range(40)]
    features = Features({"image": Image(), "caption": Value("string")})
    rows = Dataset.from_dict({"image": pictures, "caption": [f"picture {i} of it" for i in range(40)]}, features)
    for data in (rows, rows.to_iterable_dataset()):
        inspection = inspect(data)
        assert inspection.ok
        assert "image" in [column.name for column in inspection.facts[0].columns]


def test_rows_of_nothing_but_images_are_counted():
    pictures = [Pictures.new("L", (2, 2), i) for i in range(50)]
    rows = Dataset.from_dict({"image": pictures}, Features({"image": Image()}))
    for data, count in ((rows, 50), (rows.select(range(3, 43)), 40), (rows.to_iterable_dataset(), 50)):
        inspection = inspect(DatasetDict(train=data) if isinstance(data, Dataset) else data, task="self_supervised")
        assert inspection.ok
        assert [facts.rows for facts in inspection.facts] == [count]
    (facts,) = inspect(rows.to_iterable_dataset(), task="self_supervised", most_rows=33).facts
    assert facts.rows == 33


@pytest.mark.parametrize("task", ["classification", "self_supervised", "image_text"])
def test_images_in_two_parts_are_a_leak_whatever_their_files_are_called(task, tmp_path):
    def of(folder, colours):
        folder.mkdir()
        for place, colour in enumerate(colours):
            Pictures.new("L", (2, 2), colour).save(folder / f"{folder.name}{place}.png")
        beside = {"classification": ("label", "ab"), "image_text": ("caption", [f"{folder} {i}" for i in range(2)])}
        name, values = beside.get(task, ("", ""))
        rows = [{"image": str(folder / f"{folder.name}{i}.png")} for i in range(len(colours))]
        return read([row | ({name: values[i % 2]} if name else {}) for i, row in enumerate(rows)])["train"]

    parts = {"train": of(tmp_path / "a", range(40)), "test": of(tmp_path / "b", [200, 3, *range(100, 138)])}
    (finding,) = [finding for finding in inspect(parts).findings if finding.name == "leaked images"]
    assert (finding.part, finding.column, finding.count, finding.row) == ("test", "image", 1, 1)
    assert "also occur in 'train', such as 'image 1' in row 1" in finding.message


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        ({"label": ["a", "b"] * 20}, {"duplicate rows": 2, "conflicting labels": 2}),
        ({}, {"duplicate rows": 2}),
        ({"caption": [f"caption {i}" for i in range(40)]}, {"images with several captions": 2}),
        ({"caption": [f"caption {i}" for i in range(40)], "label": ["a", "b"] * 20}, {}),
    ],
)
def test_images_that_repeat_are_found(beside, names):
    draw = np.random.default_rng(0)
    pictures = [Pictures.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in range(40)]
    pictures[7], pictures[9] = pictures[5], pictures[6]  # of the same and of another label
    part = read({"image": pictures, **beside})["train"]
    stored = part.dataset.cast_column("image", Image(decode=False)).to_list()
    stored[20]["image"] = None  # a missing one, and one whose file is not here, are like no other
    stored[21]["image"] = {"bytes": None, "path": "https://example.org/21.png"}
    lacking = Dataset.from_list(stored, features=part.dataset.features)
    for rows in (part, replace(part, dataset=lacking)):
        findings = [finding for finding in inspect(rows).findings if finding.column == "image"]
        assert {finding.name: finding.count for finding in findings} == names


@pytest.mark.parametrize("task", COLUMNS)
def test_an_inspection_is_printed_written_as_a_page_and_as_json(tmp_path, task):
    columns = clean(task)
    name = COLUMNS[task][0]
    columns[name] = ["<script>alert('[red]')</script>", *columns[name][1:]]
    inspection = inspect(part(task, columns))
    text = str(inspection)
    assert "HTML in texts" in text
    assert f"recipes.{task}" in text
    page = inspection.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "[red]" in page
    assert page.count("<svg") == page.count("</svg>") == len(re.findall("<div><svg", page))
    assert "http" not in re.sub(
        r'"http://www\.w3\.org[^"]*"|http://purl[^"]*|http://creativecommons[^"]*|https://matplotlib[^<"]*', "", page
    )
    again = json.loads(json.dumps(inspection.to_dict()))
    assert again["proposal"]["task"] == task
    assert again["findings"][0]["name"] == "HTML in texts"


def test_a_proposal_fits_the_data_and_the_model(tmp_path):
    rows = part("classification", clean("classification"))
    static = inspect(rows, model=make_encoder("static", clean("classification")["text"], dimensions=8)).proposal
    assert (static.sampler, static.batch_size, static.learning_rates) == ("classes", 16, {"static": 0.07})
    transformer = inspect(rows, model=tiny_bert(tmp_path, ["word"])).proposal
    assert transformer.learning_rates == {"transformer": 5e-5}
    assert set(inspect(rows).proposal.learning_rates) == {"static", "static-minilm", "transformer"}
    columns = clean("retrieval")
    assert inspect(part("retrieval", columns)).proposal.sampler == "lists"
    assert inspect(part("retrieval", columns, **judged(columns))).proposal.sampler == "qrels"
    assert inspect(part("sts", clean("sts"))).proposal.sampler == "random"


def test_a_proposed_batch_is_at_most_a_quarter_of_the_rows_but_holds_two_classes():
    for rows in range(1, 3_000, 7):
        for kind, usual in (("static", 512), ("transformer", 32), (None, 64)):
            size, why = propose_batch_size(rows, kind)
            assert size == min(usual, rows) or size <= max(8, rows / 4)
            assert size >= min(8, rows)
            assert str(size) in why
    with pytest.raises(ValueError, match="kind must be one of 'static'.*got 'rnn'"):
        propose_batch_size(10, "rnn")


def test_findings_are_in_the_order_of_their_severity():
    columns = clean("classification")
    columns["text"] = ["", " ", "N/A", *columns["text"][3:]]
    inspection = inspect(part("classification", columns), most_rows=3)
    assert [finding.severity for finding in inspection.findings] == ["error", "warning"]
    assert not inspection.ok


def test_a_finding_of_several_parts_is_shown_once(tmp_path):
    columns = clean("retrieval") | {"source": ["web"] * ROWS}
    data = {name: part("retrieval", columns | {"query": [f"{name} {query}" for query in columns["query"]]})
            for name in ("train", "dev", "test")}  # fmt: skip
    inspection = inspect(data)
    assert [finding.part for finding in inspection.findings] == ["train", "dev", "test"]
    text = " ".join(str(inspection).split())
    assert text.count("unknown columns") == 1
    assert "warning train, dev, test: unknown columns. The column 'source' is not an input" in text
    page = inspection.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("unknown columns") == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_is_printed_is_at_most_100_columns_wide(width):
    columns = clean("retrieval")
    columns["query"][0] = "a long query about nothing " * 20 + "N/A <p>"
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(inspect(part("retrieval", columns | {"uid": columns["query_id"]})))
    assert "ids as text" in capture.get()
    assert max(map(len, capture.get().splitlines())) <= min(width, 100)


def test_shares_are_shown_in_full_only_where_some_rows_have_nothing_to_rank():
    columns = clean("retrieval")
    assert "All rows have something to rank in batches of 16 to 64 rows." in str(inspect(part("retrieval", columns)))
    columns["labels"] = [[0.0] * 4] * 30 + columns["labels"][30:]
    assert re.search(r"lists +75% +75% +75%", str(inspect(part("retrieval", columns))))


def test_what_is_no_data_is_refused():
    with pytest.raises(TypeError, match="got list"):
        inspect([{"text": "a"}])
    with pytest.raises(ValueError, match="at least one part"):
        inspect({})
    with pytest.raises(ValueError, match="most_rows must be an integer of at least 1"):
        inspect(Dataset.from_dict({"text": ["a"]}), most_rows=0)
    assert st_rankloss.inspect is inspect


@pytest.mark.parametrize("seed", range(30))
def test_fast_counts_equal_plain_loops(seed):
    draw = random.Random(seed)
    count = draw.randrange(30)
    keys, values = ([draw.randrange(6) for _ in range(count)] for _ in range(2))
    assert repeated(np.array(keys)).tolist() == [key in keys[:place] for place, key in enumerate(keys)]
    seen = {key: {v for k, v in zip(keys, values, strict=True) if k == key} for key in keys}
    assert in_conflict(np.array(keys), np.array(values)).tolist() == [len(seen[key]) > 1 for key in keys]
    rows = [
        None if draw.random() < 0.1 else [draw.choice("abc") for _ in range(draw.randrange(4))] for _ in range(count)
    ]
    column = pa.chunked_array([pa.array(rows[:7], pa.list_(pa.string())), pa.array(rows[7:], pa.list_(pa.string()))])
    flat = flatten("x", column)
    assert flat.rows.tolist() == [row for row, items in enumerate(rows) for _ in items or ()]
    ordered, sets = flat.row_keys(), flat.row_keys(ordered=False)
    for i in range(count):
        for j in range(count):
            one, other = rows[i] or [], rows[j] or []
            assert (ordered[i] == ordered[j]) == (one == other)
            assert (sets[i] == sets[j]) == (sorted(one) == sorted(other))
    words = [[draw.choice(["a", "b", "c", None]) for _ in range(9)] for _ in range(2)]
    first, second = shared_codes(*(flatten("x", pa.chunked_array([pa.array(w, pa.string())])) for w in words))
    both = [*words[0], *words[1]]
    codes = [*first.tolist(), *second.tolist()]
    assert all((codes[i] == codes[j]) == (both[i] == both[j]) for i in range(18) for j in range(18))


def test_a_stream_with_gaps_among_numbers_is_inspected(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("item,price\n" + "".join(f"thing {i},{i + 0.5 if i % 3 else ''}\n" for i in range(30)))
    parts = read(path, text="item", label="price", streaming=True)
    (facts,) = inspect(parts).facts
    found = {column.name: column for column in facts.columns}
    assert (found["label"].missing, found["label"].distinct) == (10, 20)
