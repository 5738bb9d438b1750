"""RankingCollator: labels of any kind, lists of documents, ids, prompts and routes."""

from __future__ import annotations

import math

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from st_rankloss import ANDCGLoss, RankingCollator
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Pairs, Qrels, encode_ids
from tests.models import word_model

NAN = math.nan
WORDS = [f"w{i}" for i in range(20)]
MODEL = word_model(WORDS, dim=4)


class Recorder:
    """A stand-in for the model's preprocessing that keeps what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, inputs, **options):
        self.calls.append((list(inputs), options))
        return {"input_ids": torch.arange(len(inputs))[:, None]}


def collate(rows, **options):
    return RankingCollator(MODEL.preprocess, **options)(rows)


def labels_of(column, **options):
    """The label tensor of a lone column of texts."""
    label = collate([{"text": "w1", "label": label} for label in column], **options)["label"]
    return label["label"] if isinstance(label, dict) else label


def recorded(rows, **options):
    """What is preprocessed, column by column, and the batch."""
    recorder = Recorder()
    batch = RankingCollator(recorder, **options)(rows)
    return recorder.calls, batch


def collected(batch):
    """What the trainer makes of the batch for the loss."""
    return SentenceTransformerTrainer.collect_features(None, batch)


LISTS = [
    {"query": "w1", "documents": ["w2", "w3"], "labels": [2.0, 0.0]},
    {"query": "w4", "documents": ["w5"], "labels": [1.0]},
    {"query": "w6", "documents": ["w7", "w8", "w9"], "labels": [0.0, 3.0, 1.0]},
]


# What the parent takes.


@pytest.mark.parametrize("label", [None, "label", "labels", "score", "scores"])
def test_plain_columns_come_as_from_the_parent(label):
    rows = [{"query": "w1 w2", "document": f"w{i}"} | ({label: i / 4} if label else {}) for i in range(5)]
    ours, theirs = collate(rows), SentenceTransformerDataCollator(MODEL.preprocess)(rows)
    assert ours.keys() == theirs.keys()
    assert ("label" in ours) == (label is not None)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_no_rows_make_no_batch():
    assert collate([]) == {}


def test_the_rows_are_left_as_they_were():
    rows = [{"query": "w1", "query_id": "q", "documents": ["w2"], "document_ids": ["d"], "label": [1.0]}]
    collate(rows)
    assert rows == [{"query": "w1", "query_id": "q", "documents": ["w2"], "document_ids": ["d"], "label": [1.0]}]


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ([3, 1, 3], torch.int64),
        ([0.5, 1.0, NAN], torch.float32),
        ([[1, 0], [0, 1]], torch.int64),
        ([[0.5, 0.25], [1.0, 2.0]], torch.float32),
        ([True, False], torch.bool),
    ],
    ids=str,
)
def test_numbers_stay_numbers(column, dtype):
    labels = labels_of(column)
    assert labels.dtype == dtype
    torch.testing.assert_close(labels, torch.tensor(column), equal_nan=True)


def test_tensors_are_stacked():
    assert torch.equal(labels_of([torch.ones(3), torch.zeros(3)]), torch.tensor([[1.0] * 3, [0.0] * 3]))


def test_another_name_of_the_label_column_may_be_given():
    rows = [{"text": "w1", "topic": "a"}, {"text": "w2", "topic": "b"}]
    batch = collate(rows, valid_label_columns=["topic"])
    assert torch.equal(batch["label"]["label"], encode_ids(["a", "b"]))
    assert not any(key.startswith("topic") for key in batch)


@pytest.mark.parametrize("kind", ["classes", "", None, 3])
def test_an_unknown_kind_of_label_is_refused(kind):
    with pytest.raises(ValueError, match=f"label_kind must be one of 'auto', 'class', .* got {kind!r}"):
        RankingCollator(MODEL.preprocess, label_kind=kind)


# String labels.


def test_string_classes_match_their_own_in_this_batch_and_in_others():
    first, second = labels_of(["cat", "dog", "cat"]), labels_of(["dog", "owl"])
    assert Classes()(first, first).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert Classes()(second, first).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_integers_may_be_declared_classes():
    assert torch.equal(labels_of([4, 2], label_kind="class"), torch.tensor([4, 2]))


def test_sets_of_strings_become_flags_of_the_batchs_names_in_order():
    labels = labels_of([["b", "a"], ["c"], ["a"]])
    assert labels.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("kind", ["auto", "multi_label"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_set_of_strings_may_be_empty_in_any_row(place, kind):
    column = [["a"], ["a", "b"], ["b"]]
    column[place] = []
    labels = labels_of(column, label_kind=kind)
    assert labels.sum(1).tolist() == [len(row) for row in column]
    assert not MultiLabel()(labels, labels)[place].any()


def test_given_names_fix_the_columns_so_that_weights_keep_their_place():
    names = ["x", "b", "a"]
    labels = labels_of([["a"], ["b", "a"]], label_names=names)
    assert labels.tolist() == [[0, 0, 1], [0, 1, 1]]
    relevance = MultiLabel(idf=[1.0, 3.0, 1.0])(labels, labels)
    assert relevance.tolist() == [[1, 0.25], [0.25, 1]]


def test_a_label_that_is_not_among_the_names_is_refused_with_its_row():
    with pytest.raises(ValueError, match="labels that are among label_names, got 'c' in row 1"):
        labels_of([["a"], ["a", "c"]], label_names=["a", "b"])


def test_a_label_twice_in_a_set_counts_once():
    assert labels_of([["a", "a"], ["b"]]).tolist() == [[1, 0], [0, 1]]


# Paths.


def path_relevance(paths):
    labels = labels_of(paths, label_kind="path")
    return Hierarchy()(labels, labels).tolist()


def test_paths_share_their_levels_from_the_top():
    assert path_relevance([["a", "x"], ["a", "x"], ["a", "y"], ["b", "x"]]) == [
        [2, 2, 1, 0],
        [2, 2, 1, 0],
        [1, 1, 2, 0],
        [0, 0, 0, 2],
    ]


def test_a_child_of_one_name_under_another_parent_has_another_code():
    labels = labels_of([["animal", "jaguar"], ["car", "jaguar"]], label_kind="path")
    assert labels[0, 1] != labels[1, 1]


def test_shorter_paths_have_no_code_below_and_match_nothing_there():
    labels = labels_of([["a"], ["a"], ["a", "x", "p"], []], label_kind="path")
    assert labels.shape == (4, 3)
    assert labels.eq(-1).tolist() == [[False, True, True], [False, True, True], [False] * 3, [True] * 3]
    expected = torch.tensor([[1, 1, 1, NAN], [1, 1, 1, NAN], [1, 1, 3, NAN], [NAN] * 4])
    assert torch.equal(Hierarchy()(labels, labels).nan_to_num(-1), expected.nan_to_num(-1))


def test_codes_of_paths_are_the_same_in_every_batch():
    first = labels_of([["a", "x"], ["b", "y"]], label_kind="path")
    second = labels_of([["b", "y"], ["c", "z"]], label_kind="path")
    assert torch.equal(first[1], second[0])


def test_a_path_of_one_long_name_is_not_one_of_two():
    labels = labels_of([["a", "b/c"], ["a/b", "c"], ["a", "b"]], label_kind="path")
    assert Hierarchy()(labels, labels).tolist() == [[2, 0, 1], [0, 2, 0], [1, 0, 2]]


# Lists.


def test_lists_of_documents_become_one_column_with_its_lengths_and_grades():
    calls, batch = recorded(LISTS)
    assert [inputs for inputs, _ in calls] == [["w1", "w4", "w6"], ["w2", "w3", "w5", "w7", "w8", "w9"]]
    assert batch["label"]["list_sizes"].tolist() == [2, 1, 3]
    torch.testing.assert_close(
        batch["label"]["label"],
        torch.tensor([[2.0, 0.0, NAN], [1.0, NAN, NAN], [0.0, 3.0, 1.0]]),
        equal_nan=True,
    )
    features, labels = collected(batch)
    assert [len(column["input_ids"]) for column in features] == [3, 6]
    assert labels is batch["label"]


def test_queries_come_first_even_where_lists_are_the_first_column():
    calls, batch = recorded([{"documents": ["w2", "w3"], "query": "w1"}])
    assert [inputs for inputs, _ in calls] == [["w1"], ["w2", "w3"]]
    assert [len(column["input_ids"]) for column in collected(batch)[0]] == [1, 2]


def test_lists_need_no_grades():
    batch = collate([{k: v for k, v in row.items() if k != "labels"} for row in LISTS])
    assert list(batch["label"]) == ["list_sizes"]


def test_integer_grades_and_unjudged_documents_are_read():
    batch = collate([{"query": "w1", "documents": ("w2", "w3"), "labels": (2, NAN)}])
    torch.testing.assert_close(batch["label"]["label"], torch.tensor([[2.0, NAN]]), equal_nan=True)


def test_grades_of_several_columns_are_read_by_rows():
    rows = [{"query": "w1", "doc_1": "w2", "doc_2": "w3", "labels": [2.0, 1.0]}]
    assert collate(rows)["label"]["label"].tolist() == [[2.0, 1.0]]
    assert collate(rows, label_kind="grades")["label"]["label"].tolist() == [[2.0, 1.0]]


def with_row(row, **changes):
    return [LISTS[i] | changes if i == row else LISTS[i] for i in range(3)]


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("grades", [[], [1.0, 2.0, 3.0, 4.0]], ids=["none", "too_many"])
def test_grades_that_are_not_as_many_as_the_documents_are_refused_with_the_row(row, grades):
    documents = len(LISTS[row]["documents"])
    message = f"one per document, got {len(grades)} grades for {documents} documents in row {row}"
    with pytest.raises(ValueError, match=message):
        collate(with_row(row, labels=grades))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_an_empty_list_is_refused_with_the_row(row):
    with pytest.raises(
        ValueError, match=rf"'documents' must hold at least one document in each list, got \[\] in row {row}"
    ):
        collate(with_row(row, documents=[], labels=[]))


def test_one_number_for_a_list_of_documents_is_refused_with_the_row():
    with pytest.raises(ValueError, match="a list of grades, one per document.*row 0"):
        collate([row | {"labels": 1.0} for row in LISTS])


@pytest.mark.parametrize(
    "row",
    [
        {"query": "w1", "documents": ["w2"], "others": ["w3"]},
        {"documents": ["w2"]},
        {"query": "w1", "title": "w2", "documents": ["w3"]},
    ],
    ids=["two_lists", "no_queries", "two_queries"],
)
def test_lists_beside_anything_but_one_column_of_queries_are_refused(row):
    with pytest.raises(ValueError, match="must have one column of queries and one of lists"):
        collate([row])


def test_chat_messages_are_an_input_and_not_a_list():
    chat = [{"role": "user", "content": "w1"}]
    calls, batch = recorded([{"query": chat, "document": "w2"}])
    assert [inputs for inputs, _ in calls] == [[chat], ["w2"]]
    assert "label" not in batch


# Ids.


IDS = [
    {"query": "w1", "query_id": "q1", "document": "w2", "document_id": "d2"},
    {"query": "w3", "query_id": "q3", "document": "w4", "document_id": "d4"},
]


def test_ids_are_coded_and_not_seen_by_the_model():
    calls, batch = recorded(IDS)
    assert [inputs for inputs, _ in calls] == [["w1", "w3"], ["w2", "w4"]]
    assert set(batch) == {"query_input_ids", "document_input_ids", "label"}
    assert torch.equal(batch["label"]["query_ids"], encode_ids(["q1", "q3"]))
    assert torch.equal(batch["label"]["document_ids"], encode_ids(["d2", "d4"]))
    assert "label" not in batch["label"]


def test_ids_of_several_columns_follow_the_columns():
    rows = [
        {"neg_id": i + 20, "pos_id": i + 10, "query_id": i, "query": "w1", "pos": "w2", "neg": "w3"} for i in range(2)
    ]
    batch = collate(rows)
    assert torch.equal(batch["label"]["query_ids"], encode_ids([0, 1]))
    assert torch.equal(batch["label"]["document_ids"], encode_ids([10, 11, 20, 21]))


@pytest.mark.parametrize("name", ["document_ids", "documents_ids", "document_id", "documents_id"])
def test_ids_of_lists_are_flat_as_the_documents(name):
    rows = [
        {"query": "w1", "query_id": "q1", "documents": ["w2", "w3"], name: ["d2", "d3"]},
        {"query": "w4", "query_id": "q4", "documents": ["w5"], name: ["d5"]},
    ]
    batch = collate(rows)
    assert torch.equal(batch["label"]["document_ids"], encode_ids(["d2", "d3", "d5"]))
    assert batch["label"]["list_sizes"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (
            "document_id",
            r"either all input columns or none need ids, got none for \['document'\]: .*'document_id'",
        ),
        ("query_id", r"got none for \['query'\]: add a column 'query_id'"),
    ],
)
def test_a_column_without_ids_beside_one_that_has_them_is_refused_by_name(removed, message):
    with pytest.raises(ValueError, match=message):
        collate([{k: v for k, v in row.items() if k != removed} for row in IDS])


def test_an_id_that_is_missing_in_a_row_is_refused():
    with pytest.raises(ValueError, match="document"):
        collate([IDS[0], IDS[1] | {"document_id": None}])


def test_ids_that_are_not_as_many_as_the_rows_documents_are_refused_with_the_row():
    rows = [
        {"query": "w1", "query_id": "q1", "documents": ["w2", "w3"], "document_ids": ["d2"]},
        {"query": "w4", "query_id": "q4", "documents": ["w5"], "document_ids": ["d3", "d5"]},
    ]
    with pytest.raises(ValueError, match="row 0"):
        collate(rows)


@pytest.mark.parametrize("form", [None, "torch"])
def test_rows_of_a_dataset_are_read_in_any_format(form):
    columns = {"query": ["w1", "w2"], "query_id": [1, 2], "documents": [["w3", "w4"], ["w5"]]}
    columns |= {"document_ids": [[3, 4], [5]], "labels": [[1.0, 0.0], [2.0]]}
    batch = collate(list(Dataset.from_dict(columns).with_format(form)))
    assert torch.equal(batch["label"]["query_ids"], encode_ids([1, 2]))
    assert torch.equal(batch["label"]["document_ids"], encode_ids([3, 4, 5]))
    torch.testing.assert_close(batch["label"]["label"], torch.tensor([[1.0, 0.0], [2.0, NAN]]), equal_nan=True)


def test_ids_and_grades_may_come_together():
    rows = [row | {"label": float(i)} for i, row in enumerate(IDS)]
    assert set(collate(rows)["label"]) == {"label", "query_ids", "document_ids"}


def test_a_lone_column_of_texts_with_ids_is_judged_against_itself():
    rows = [{"text": f"w{i}", "text_id": f"t{i}"} for i in range(4)]
    features, labels = collected(collate(rows))
    relevance = Qrels({"t0": {"t1": 2, "t2": 1}, "t3": {"t0": 1}})
    loss = ANDCGLoss(MODEL, relevance=relevance)(features, labels)
    by_function = ANDCGLoss(MODEL, relevance=lambda q, d: relevance(q, d))(features, {"label": labels["query_ids"]})
    assert loss.item() == by_function.item() > 0


# Names, prompts, routes.


def test_a_column_whose_name_begins_with_anothers_is_no_problem():
    rows = [{"query": "w1 w2", "doc": f"w{i}", "doc_2": f"w{i + 1} w{i + 2}"} for i in range(3)]
    features, labels = collected(collate(rows))
    assert len(features) == 3
    assert labels is None
    expected = ANDCGLoss(MODEL, relevance=Pairs()).compute_loss_from_embeddings(
        [MODEL.encode([row[name] for row in rows], convert_to_tensor=True) for name in ("query", "doc", "doc_2")]
    )
    assert ANDCGLoss(MODEL)(features).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_list_column_whose_name_begins_with_the_querys_is_no_problem():
    rows = [{"text": "w1", "text_list": ["w2", "w3"], "labels": [1.0, 0.0]}]
    features, labels = collected(collate(rows))
    expected = ANDCGLoss(MODEL, relevance=Lists()).compute_loss_from_embeddings(
        [MODEL.encode(texts, convert_to_tensor=True) for texts in (["w1"], ["w2", "w3"])], labels
    )
    assert ANDCGLoss(MODEL)(features, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("p: ", ["p: ", "p: "]),
        ({"query": "q: "}, ["q: ", None]),
        ({"documents": "d: "}, [None, "d: "]),
        ({"query": "q: ", "documents": "d: "}, ["q: ", "d: "]),
        (None, [None, None]),
    ],
    ids=str,
)
def test_prompts_reach_the_columns_of_queries_and_of_lists(prompts, expected):
    calls, _ = recorded(LISTS, prompts=prompts)
    assert [options["prompt"] for _, options in calls] == expected


def test_the_prompts_and_routes_of_the_rows_dataset_are_taken():
    rows = [row | {"dataset_name": "b"} for row in LISTS]
    prompts = {"a": {"documents": "A: "}, "b": {"documents": "B: "}}
    routes = {"a": {"documents": "one"}, "b": {"documents": "two", "query": "three"}}
    calls, batch = recorded(rows, prompts=prompts, router_mapping=routes)
    assert [options["prompt"] for _, options in calls] == [None, "B: "]
    assert [options["task"] for _, options in calls] == ["three", "two"]
    assert batch["dataset_name"] == "b"


def test_routes_reach_both_columns_and_are_told_to_the_loss():
    calls, batch = recorded(LISTS, router_mapping={"query": "query", "documents": "document"})
    assert [options["task"] for _, options in calls] == ["query", "document"]
    assert [column["task"] for column in collected(batch)[0]] == ["query", "document"]


@pytest.mark.parametrize(
    ("max_length", "expected"), [(None, [None, None]), (7, [7, 7]), ({"document": 9}, [None, 9])], ids=str
)
def test_maximal_lengths_reach_both_columns(max_length, expected):
    routes = {"query": "query", "documents": "document"}
    calls, _ = recorded(LISTS, max_length=max_length, router_mapping=routes)
    assert [options.get("max_length") for _, options in calls] == expected


# Weights.


def weights_of(rows, **options):
    label = collate(rows, **options)["label"]
    return {name: tensor.tolist() for name, tensor in label.items() if name.endswith("weights")}


def test_weights_of_rows_queries_and_documents_are_passed_by_name_and_never_embedded():
    extra = [(1, 0.5, [1, 2]), (2.5, 1, [3]), (0, 2, 4.0)]
    rows = [
        r | {"weight": w, "query_weight": q, "document_weights": d} for r, (w, q, d) in zip(LISTS, extra, strict=True)
    ]
    calls, batch = recorded(rows)
    assert [inputs for inputs, _ in calls] == [["w1", "w4", "w6"], ["w2", "w3", "w5", "w7", "w8", "w9"]]
    assert batch["label"]["row_weights"].tolist() == [1, 2.5, 0]
    assert batch["label"]["query_weights"].tolist() == [0.5, 1, 2]
    assert batch["label"]["document_weights"].tolist() == [1, 2, 3, 4, 4, 4]


def test_columns_of_single_documents_have_weights_of_their_own():
    rows = [{"query": "w1", "document": "w2", "negative": "w3", "negative_weight": w} for w in (0.5, 2)]
    assert weights_of(rows) == {"document_weights": [1, 1, 0.5, 2]}


def test_a_lone_column_may_have_weights_beside_its_labels():
    rows = [{"text": "w1", "label": "a", "weight": 0.5}, {"text": "w2", "label": "b", "weight": 2}]
    assert weights_of(rows) == {"row_weights": [0.5, 2]}


@pytest.mark.parametrize("value", [-1, NAN, math.inf, None, "heavy"])
@pytest.mark.parametrize("name", ["weight", "query_weight", "document_weights"])
def test_an_invalid_weight_is_refused_by_column_and_row(name, value):
    rows = [LISTS[0] | {name: 1}, LISTS[1] | {name: value}]
    with pytest.raises(ValueError, match=rf"'{name}' must hold weights: finite numbers of at least 0, got .* in row 1"):
        collate(rows)


def test_as_many_weights_as_documents_are_needed():
    with pytest.raises(ValueError, match=r"'document_weights' must hold one weight, or 2, .* got \[1\] in row 0"):
        collate([LISTS[0] | {"document_weights": [1]}])


def test_two_columns_of_the_same_weights_are_refused():
    with pytest.raises(ValueError, match="weights must be in one column, got 'query_weight' and 'query_weights'"):
        collate([{"query": "w1", "document": "w2", "query_weight": 1, "query_weights": 1}])
