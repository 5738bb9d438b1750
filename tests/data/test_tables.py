"""Tables from files: what becomes a number, what stays text, what is refused, and that streaming reads the same."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from st_rankloss.data import read, read_table

TEXTS = ["x", 'with "quotes"', "two\nlines", "a,b", "a;b", "NA", "", "007", "1984", "a|b", "tab\there", "ünï"]


def cell(draw):
    return draw.choice(["1", "2", "", "2.5", "-3", "1e3"])


def as_csv(rows, delimiter):
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize("seed", range(30))
def test_a_csv_of_any_delimiter_gives_back_its_texts_and_numbers(seed, tmp_path):
    draw = random.Random(seed)
    rows = [{"id": f"{i:03}", "text": draw.choice(TEXTS), "score": cell(draw)} for i in range(draw.randint(1, 30))]
    rows[0]["score"] = "1"
    path = tmp_path / "rows.csv"
    path.write_bytes(
        as_csv(rows, delimiter := draw.choice(",;\t|")).encode(draw.choice(["utf-8", "utf-8-sig", "utf-16"]))
    )
    expected = [row | {"score": float(row["score"]) if row["score"] else None} for row in rows]
    assert list(read_table(path, delimiter=delimiter).rows()) == expected
    assert list(read_table(path, delimiter=delimiter, streaming=True).rows()) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        as_csv([{"id": "1", "text": "a, b", "grade": "2"}, {"id": "2", "text": "c; d", "grade": "1"}], delimiter)
    )
    assert list(read_table(path).rows())[1] == {"id": "2", "text": "c; d", "grade": 1}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "csv.gz"])
def test_every_kind_of_file_gives_the_same_rows(kind, streaming, tmp_path):
    rows = [{"text": "x", "grade": 1}, {"text": "y", "grade": None}]
    path = tmp_path / f"rows.{kind}"
    opener = gzip.open if kind.endswith("gz") else open
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with opener(path, "wt") as file:
            file.write("text,grade\nx,1\ny,\n" if "csv" in kind else "".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_table(path, streaming=streaming).rows()) == rows


@pytest.mark.parametrize(
    "content", [[{"text": "x"}, {"text": "y"}], {"text": ["x", "y"]}, {"data": [{"text": "x"}, {"text": "y"}]}]
)
def test_json_holds_a_list_of_objects_or_columns(content, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(content, indent=random.Random(0).choice([None, 2])))
    assert [row["text"] for row in read_table(path).rows()] == ["x", "y"]


def test_a_missing_key_and_a_number_that_is_whole_in_some_rows_are_read():
    rows = read_table([{"text": "x", "grade": 1}, {"text": "y", "grade": 0.5}, {"text": "z"}]).rows()
    assert [row["grade"] for row in rows] == [1.0, 0.5, None]


def test_a_dataset_that_was_filtered_keeps_its_rows():
    dataset = Dataset.from_dict({"text": ["x", "y", "z"]}).select([2, 0])
    assert [row["text"] for row in read_table(dataset).rows()] == ["z", "x"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b'query,grade\nx,1\n"y\nz",1,2\n', r"a.csv: line 4: every row must have the 2 fields .* got 3"),
        ("a.csv", b"text,text\nx,1\n", r"a.csv: line 1 must name the columns, each differently"),
        ("a.csv", "text,label\ncafé,1\n".encode("latin-1"), r"a.csv: .* got the byte 0xe9: pass encoding="),
        ("a.jsonl", b'{"a": 1}\n{"a": 2,}\n', r"a.jsonl: line 2: each line must hold one JSON object"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', r"a.jsonl: line 2: each line must hold one JSON object"),
        ("a.parquet", b"PAR0", r"a.parquet: the file is not valid parquet"),
        ("a.jsonl.gz", b"no gzip", r"a.jsonl.gz: the file cannot be read"),
        ("a.docx", b"", r"a.docx: a table must be a file .jsonl"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_line(name, content, message, streaming, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_table(tmp_path / name, streaming=streaming).rows())


def test_types_that_differ_are_named_with_their_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"grade": 1}\n{"grade": "2"}\n')
    with pytest.raises(ValueError, match=r"column 'grade' .* got int in line 1 and str in line 2"):
        read_table(tmp_path / "a.jsonl")


def test_a_streaming_column_that_stops_holding_numbers_is_refused_with_its_row(tmp_path):
    (tmp_path / "a.csv").write_text("text,grade\n" + "x,1\n" * 1500 + "x,good\n")
    rows = read_table(tmp_path / "a.csv", streaming=True).rows()
    with pytest.raises(ValueError, match=r"a.csv: column 'grade' must hold numbers.*got 'good' in row 1500"):
        list(rows)
    assert list(read_table(tmp_path / "a.csv").rows())[1500]["grade"] == "good"


def test_an_encoding_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("text,label\ncafé,1\n".encode("cp1252"))
    assert list(read_table(tmp_path / "a.csv", encoding="cp1252").rows()) == [{"text": "café", "label": 1}]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_open_quote_in_a_tsv_is_part_of_its_text_and_swallows_no_line(streaming, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"hello\n2\tworld"\n')
    table = read_table(path, streaming=streaming)
    assert [row["text"] for row in table.rows()] == ['"hello', 'world"']
    assert any("quotes are part of the texts" in note for note in table.notes)
    path.write_text('id\ttext\n1\t"two\nlines"\n2\t"all\tright"\n')
    assert [row["text"] for row in read_table(path, streaming=streaming).rows()] == ["two\nlines", "all\tright"]


def test_an_open_quote_in_the_first_rows_does_not_hide_the_tabs(tmp_path):
    lines = [
        "score\tsentence1\tsentence2",
        '5.0\t"A plane, 3 said.\tA plane, red.',
        *["1.0\tA dog, big.\tA cat, small."] * 30,
    ]
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    table = read_table(tmp_path / "pairs.txt")
    assert table.names == ["score", "sentence1", "sentence2"]
    assert next(iter(table.rows())) == {"score": 5.0, "sentence1": '"A plane, 3 said.', "sentence2": "A plane, red."}


@pytest.mark.parametrize(("line", "remedy"), [("1.0,x", "complete the row"), ("1.0,x,y,z", "name the further columns")])
def test_a_row_of_another_length_is_refused_with_what_to_do(line, remedy, tmp_path):
    (tmp_path / "pairs.csv").write_text(f"score,sentence1,sentence2\n5.0,a,b\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"line 3: every row must have the 3 fields of the header, .*{remedy}"):
        read_table(tmp_path / "pairs.csv")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_quoted_comma_between_thousands_is_left_out_and_noted(streaming, tmp_path):
    (tmp_path / "a.csv").write_text('item,price\nx,"1,569.81"\ny,n/a\nz,7\nw,"12,000"\n', encoding="utf-8")
    table = read_table(tmp_path / "a.csv", streaming=streaming)
    assert [row["price"] for row in table.rows()] == [1569.81, None, 7, 12000]
    assert "column 'price': commas between thousands are left out" in table.notes


@pytest.mark.parametrize("values", [["1,2", "3,4"], ["1,23", "5"], ["0,123", "5"], ["1,234,5", "5"]])
def test_other_lists_of_digits_stay_text(values, tmp_path):
    lines = "".join(f'x,"{value}"\n' for value in values)
    (tmp_path / "a.csv").write_text("item,price\n" + lines, encoding="utf-8")
    assert [row["price"] for row in read_table(tmp_path / "a.csv").rows()] == values


KEYED = {"11": {"title": "x?", "body": "b", "dups": ["12"]}, "12": {"title": "y?", "body": "c", "dups": []}}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_json_object_keyed_by_id_is_refused(indent, wrapped, tmp_path):
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"data": KEYED} if wrapped else KEYED, indent=indent))
    message = r"questions.json: the file must hold a list of objects.* got an object keyed by '11', '12': "
    with pytest.raises(ValueError, match=message + "make it a list of rows with the key as a field, such as id"):
        read(path)


@pytest.mark.parametrize("orient", ["columns", "split", "records"])
@pytest.mark.parametrize("indent", [0, 1])
def test_what_pandas_writes_as_json_is_read(orient, indent, tmp_path):
    rows = {"text": [f"text {n}" for n in range(12)], "label": [*"abcabcabcabc"]}
    frame = pd.DataFrame(rows)[lambda own: own["label"] != "b"]  # its index has gaps
    frame.to_json(tmp_path / "rows.json", orient=orient, indent=indent)
    assert [*read_table(tmp_path / "rows.json").rows()] == frame.to_dict("records")
    frame[["text"]].to_json(tmp_path / "texts.json", orient=orient, indent=indent)
    assert [*read_table(tmp_path / "texts.json").rows()] == frame[["text"]].to_dict("records")


@pytest.mark.parametrize("rows", [[5], [["a"]], ["ab"]])
def test_a_broken_frame_of_pandas_is_refused(rows, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps({"columns": ["text", "label"], "index": [0], "data": rows}))
    with pytest.raises(ValueError, match=r"rows.json: columns must have the same length, got"):
        read_table(tmp_path / "rows.json")


def test_a_row_of_objects_is_still_a_row(tmp_path):
    path = tmp_path / "rows.json"
    row = {"query": {"text": "a"}, "document": {"text": "x"}}
    path.write_text("".join(json.dumps(row | {"grade": {"text": str(n)}}) + "\n" for n in range(2)))
    assert len(read(path, query="query", positive="document")["train"]) == 1
