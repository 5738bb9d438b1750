"""Folders of queries, a corpus and judgements, in the layouts in which people have them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from datasets import Dataset

from st_rankloss.data import read, read_corpus, read_trec


def folder_of(folder, **texts):
    """Write files by name, in which "__" stands for a dot."""
    for name, text in texts.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


SOFAS = {
    "corpus__tsv": "document_id\ttext\n7\tred sofa\n8\tblue rug\n",
    "queries__tsv": "query_id\tquery\n1\tsofa\n2\trug\n",
}
ROWS = "1\t7\t{}\n1\t8\t{}\n2\t8\t{}\n"
LAYOUTS = {
    "a table": ("qrels.tsv", "query_id\tdocument_id\tgrade\n" + ROWS),
    "BEIR": ("qrels/train.tsv", "query-id\tcorpus-id\tscore\n" + ROWS),
    "no header": ("qrels.tsv", ROWS),
    "TREC": ("qrels.txt", ROWS.replace("\t7", " 0 7").replace("\t8", " 0 8").replace("\t", " ")),
}
WORDS = {"Exact": 2, "Irrelevant": 0}


# Grades on other scales


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("grades", "scale", "expected"),
    [
        (("Exact", "Irrelevant", "Exact"), WORDS, (2.0, 0.0, 2.0)),
        ((4, 1, 2), {1: 0, 2: 1, 3: 2, 4: 3}, (3.0, 0.0, 1.0)),
        ((4, 1, "NA"), {1: 0, 4: 3, "NA": None}, (3.0, 0.0, None)),
        ((1, -1, 0), (-1, 1), (1.0, 0.0, 0.5)),
        ((0, 0, 0), "sigmoid", (0.5, 0.5, 0.5)),
    ],
)
def test_judgements_of_a_folder_are_scaled(layout, grades, scale, expected, tmp_path):
    name, text = LAYOUTS[layout]
    folder_of(tmp_path, **SOFAS | {name: text.format(*grades)})
    found = read(tmp_path, scale=scale)["train"].qrels
    best, worst, other = expected
    assert found == {"1": {"7": best, "8": worst}} | ({} if other is None else {"2": {"8": other}})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_grades_in_words_are_refused_with_a_scale_of_all_of_them(layout, tmp_path):
    name, text = LAYOUTS[layout]
    folder_of(tmp_path, **SOFAS | {name: text.format("Exact", "Irrelevant", "Exact")})
    message = r"a grade must be a number, got 'Exact': grade words, such as scale=\{'Irrelevant': 0, 'Exact': 1\}"
    with pytest.raises(ValueError, match=message):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"must hold values of scale=, 'Exact', got 'Irrelevant' in row"):
        read(tmp_path, scale={"Exact": 1})
    with pytest.raises(ValueError, match=r"negative='zero' and scale= both say .*: pass scale= alone"):
        read(tmp_path, scale=WORDS, negative="zero")


def test_a_single_grade_that_is_no_number_is_to_be_corrected(tmp_path):
    folder_of(tmp_path, **SOFAS, qrels__tsv="query_id\tdocument_id\tgrade\n" + ROWS.format(1, "O", 1))
    with pytest.raises(ValueError, match=r"qrels.tsv: row 1: a grade must be a number, got 'O': correct it, or drop"):
        read(tmp_path)


def test_trec_and_ir_datasets_take_a_scale(tmp_path, monkeypatch):
    folder_of(tmp_path, corpus__tsv="7\tred sofa\n8\tblue rug\n", topics__tsv="1\tsofa\n2\trug\n")
    folder_of(tmp_path, qrels__txt=LAYOUTS["TREC"][1].format(4, 1, 2))
    scale, corpus = {1: 0, 2: 1, 3: 2, 4: 3}, {"7": "red sofa", "8": "blue rug"}
    part = read_trec(qrels=tmp_path / "qrels.txt", topics=tmp_path / "topics.tsv", corpus=corpus, scale=scale)
    assert part.qrels == {"1": {"7": 3.0, "8": 0.0}, "2": {"8": 1.0}}
    antique = SimpleNamespace(
        has_docs=lambda: True,
        has_queries=lambda: True,
        has_qrels=lambda: True,
        docs_iter=lambda: [SimpleNamespace(doc_id=name, text=text) for name, text in corpus.items()],
        queries_iter=lambda: [SimpleNamespace(query_id="1", text="sofa")],
        qrels_iter=lambda: [
            SimpleNamespace(query_id="1", doc_id=name, relevance=grade) for name, grade in (("7", 4), ("8", 1))
        ],
    )
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load={"antique": antique}.__getitem__))
    found = read("ir_datasets:antique", download=True, scale=scale)["train"]
    assert found.qrels == {"1": {"7": 3.0, "8": 0.0}}
    with pytest.raises(ValueError, match=r"grad= must be an option of queries, corpus and judgements"):
        read("ir_datasets:antique", download=True, grad="x")


# Repeated ids


def test_an_id_with_two_texts_or_grades_is_refused_with_its_file_and_a_remedy(tmp_path):
    rows = ROWS.format(1, 0, 1)
    folder_of(tmp_path, **SOFAS, qrels__tsv=rows + "2\t8\t3\n")
    with pytest.raises(ValueError, match=r"qrels.tsv: row 4: .* one grade per query, got 1.0 and 3.0 .*: keep one"):
        read(tmp_path)
    folder_of(tmp_path, qrels__tsv=rows, corpus__tsv=SOFAS["corpus__tsv"] + "7\tgreen sofa\n")
    message = r"corpus.tsv: row 2: an id must belong to one document, got 'red sofa' and 'green sofa' for '7': "
    with pytest.raises(ValueError, match=message + "correct the id, or drop one of the rows"):
        read(tmp_path)


@pytest.mark.parametrize("what", ["corpus", "queries"])
def test_all_files_of_a_corpus_and_of_queries_are_read_and_an_id_is_one_text_in_all_of_them(what, tmp_path):
    folder_of(tmp_path, **SOFAS, qrels__tsv=ROWS.format(1, 0, 1))
    (tmp_path / f"{what}.tsv").rename(tmp_path / f"{what}_0.tsv")
    folder_of(tmp_path, **{f"{what}_1__tsv": "id\ttext\n8\tblue rug\n9\ta chair\n" if what == "corpus" else
                           "query_id\tquery\n2\trug\n"})  # fmt: skip
    part = read(tmp_path)["train"]
    assert part.qrels == {"1": {"7": 1.0, "8": 0.0}, "2": {"8": 1.0}}
    assert ("9" in part.corpus) == (what == "corpus")
    number, text = ("8", "a chair") if what == "corpus" else ("2", "chair")
    column = "text" if what == "corpus" else "query"
    folder_of(tmp_path, **{f"{what}_1__tsv": f"id\t{column}\n{number}\t{text}\n"})
    with pytest.raises(ValueError, match=f"{what}_1.tsv: row 0: an id must belong to one .* for '{number}'"):
        read(tmp_path)


# Layouts


def wands(folder):
    return folder_of(
        folder,
        query__csv="query_id\tquery\tquery_class\n1\tsofa\tSofas\n2\trug\tRugs\n",
        product__csv="product_id\tproduct_name\tproduct_class\tproduct_description\n"
        "7\tred sofa\tSofas\tIt is red.\n8\tblue rug\tRugs\t\n",
        label__csv="id\tquery_id\tproduct_id\tlabel\n0\t1\t7\tExact\n1\t1\t8\tIrrelevant\n2\t2\t8\tExact\n",
    )


def test_the_tables_of_a_folder_are_known_by_their_columns_where_their_names_do_not_say_it(tmp_path):
    part = read(wands(tmp_path), scale=WORDS)["train"]
    assert part.queries == {"1": "sofa", "2": "rug"}
    assert part.corpus == {"7": "red sofa It is red.", "8": "blue rug"}
    assert part.qrels == {"1": {"7": 2.0, "8": 0.0}, "2": {"8": 2.0}}
    assert "by their columns, label.csv is read as qrels, product.csv is read as corpus" in part.notes
    assert "label.csv: query_id is 'query_id', document_id is 'product_id', grade is 'label'; not read: 'id'" in str(
        part.notes
    )
    assert read_corpus(tmp_path) == part.corpus


def test_columns_that_the_caller_names_tell_the_tables_of_a_folder(tmp_path):
    folder_of(
        tmp_path,
        fragen__csv="frage_nr,frage\n1,sofa\n2,rug\n",
        dinge__csv="ding_nr,ding\n7,red sofa\n8,blue rug\n",
        urteile__csv="frage_nr,ding_nr,urteil\n1,7,1\n1,8,0\n2,8,1\n",
    )
    names = {"query_id": "frage_nr", "query": "frage", "document_id": "ding_nr", "document": "ding", "grade": "urteil"}
    part = read(tmp_path, **names)["train"]
    assert part.qrels == {"1": {"7": 1.0, "8": 0.0}, "2": {"8": 1.0}}
    with pytest.raises(ValueError, match=r"Name the files of a collection queries, corpus and qrels"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("goods.csv", "product_id\tproduct_name\n9\tchair\n"), ("prices.csv", "product\tprice\nx\t3\n")],
)
def test_a_folder_whose_tables_are_unclear_is_refused(name, text, tmp_path):
    folder_of(wands(tmp_path), **{name: text})
    with pytest.raises(ValueError, match=r"Name the files of a collection queries, corpus and qrels\.$"):
        read(tmp_path, scale=WORDS)


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns).to_parquet(path)


@pytest.mark.parametrize("qrels", ["qrels", "data", "default"])
def test_a_repository_of_mteb_on_disk_is_read(qrels, tmp_path):
    (tmp_path / "README.md").write_text("configs")
    parquet(tmp_path / "corpus" / "test-00000-of-00002.parquet", _id=["7"], title=["red"], text=["sofa"])
    parquet(tmp_path / "corpus" / "test-00001-of-00002.parquet", _id=["8"], title=[""], text=["blue rug"])
    parquet(tmp_path / "queries" / "queries-00000-of-00001.parquet", _id=["1", "2"], text=["sofa", "rug"])
    for shard, row in (("dev-00000-of-00001", "2"), ("test-00000-of-00002", "1"), ("test-00001-of-00002", "2")):
        columns = {"query-id": [row], "corpus-id": ["8"], "score": [1.0]}
        parquet(tmp_path / qrels / f"{shard}.parquet", **columns)
    parts = read(tmp_path)
    assert {name: part.qrels for name, part in parts.items()} == {
        "dev": {"2": {"8": 1.0}},
        "test": {"1": {"8": 1.0}, "2": {"8": 1.0}},
    }
    assert parts["test"].corpus == {"7": "red sofa", "8": "blue rug"} == read_corpus(tmp_path)
    assert sum("document_id is '_id'" in note for note in parts["test"].notes) == 1  # once for all shards
    parquet(tmp_path / qrels / "test-00001-of-00002.parquet", **columns | {"query-id": ["1"], "score": [0.0]})
    with pytest.raises(ValueError, match=r"test-00001-of-00002.parquet: row 0: .* got 1.0 and 0.0 .*: keep one"):
        read(tmp_path)
    (tmp_path / "corpus" / "test-00000-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match=r"test-00001-of-00002.parquet: a table must have all its 2 shards, got 1"):
        read(tmp_path)


def test_folders_of_no_known_kind_are_refused_without_a_contradiction(tmp_path):
    for name in ("en-corpus", "de-corpus"):
        parquet(tmp_path / name / "test.parquet", _id=["7"], text=["sofa"])
    parquet(tmp_path / "queries" / "test.parquet", _id=["1"], text=["sofa"])
    parquet(tmp_path / "qrels" / "test.parquet", **{"query-id": ["1"], "corpus-id": ["7"], "score": [1]})
    with pytest.raises(ValueError, match=r"must have one folder corpus, got 'de-corpus', 'en-corpus': move the others"):
        read(tmp_path)
    parquet(tmp_path / "other" / "x" / "test.parquet", text=["sofa"])
    with pytest.raises(ValueError, match=r"must hold tables \(.*\), images, or corpus, queries and qrels, got \['x'\]"):
        read(tmp_path / "other")


# Names of options


def test_notes_and_errors_name_columns_as_options_do(tmp_path):
    folder_of(tmp_path, **SOFAS, qrels__tsv=ROWS.format(1, 0, 1))
    notes = str(read(tmp_path)["train"].notes)
    assert "corpus.tsv: document_id is 'document_id', document is 'text'" in notes
    assert "queries.tsv: query_id is 'query_id', query is 'query'" in notes
    folder_of(tmp_path, queries__tsv="nr\tquery\n1\tsofa\n")
    with pytest.raises(ValueError, match=r"queries.tsv: the table must have a column for the query_id.*query_id='nr'"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"corpus.tsv: document_id='x' must be a column"):
        read_corpus(tmp_path, document_id="x")
