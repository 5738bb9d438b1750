"""Labels from frozen teachers, against loops over the teacher's own answers, and what training makes of them."""

from __future__ import annotations

import math
from pathlib import Path

import hypothesis.strategies as st
import pytest
import sentence_transformers
import torch
from datasets import Dataset
from hypothesis import given
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from st_rankloss import ANDCGLoss, RankingCollator, RankingLoss, RankingTrainer
from st_rankloss.relevance import Lists, Pairs, Vectors
from st_rankloss.teachers import Teacher, add_embeddings, add_scores, sharpen
from tests.models import label_cosine, tiny_multi_vector, tiny_splade, word_model, word_tokenizer
from tests.test_trainer import arguments

WORDS = [f"w{i}" for i in range(16)]


def tiny_cross_encoder(folder: Path, words: list[str], outputs: int = 1) -> CrossEncoder:
    """A cross-encoder of random weights, large enough for its logits to differ."""
    fast = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(words), pad_token="[PAD]", unk_token="[UNK]")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.5,
        num_labels=outputs,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return CrossEncoder(str(folder), device="cpu")


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory) -> CrossEncoder:
    return tiny_cross_encoder(tmp_path_factory.mktemp("cross_encoder"), WORDS)


def embedding_model(dim: int = 6) -> SentenceTransformer:
    return word_model(WORDS, dim)


def logit(cross_encoder: CrossEncoder, query: str, document: str) -> float:
    """The score of one pair, alone in its batch, before any activation."""
    return float(cross_encoder.predict([(query, document)], activation_fn=nn.Identity())[0])


def sharpened(score, threshold=0.0, power=1.0, temperature=None):
    p = score if temperature is None else 1 / (1 + math.exp(-score / temperature))
    return max(0.0, (p - threshold) / (1 - threshold)) ** power


def vector(model, text):
    return model.encode([text])[0].tolist()


THREE = {
    "query": ["w0 w1", "w2", "w3 w4"],
    "positive": ["w1 w5", "w2 w6", "w7"],
    "negative": ["w8", "w9 w10", "w3"],
}


# How scores become grades.


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_scores_are_sharpened_as_defined(scores, threshold, power):
    grades = sharpen(torch.tensor(scores, dtype=torch.float64), threshold=threshold, power=power)
    assert grades.tolist() == pytest.approx([sharpened(s, threshold, power) for s in scores], abs=1e-12)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=8), st.sampled_from([0.5, 1.0, 4.0]))
def test_logits_are_sharpened_as_defined(scores, temperature):
    grades = sharpen(torch.tensor(scores, dtype=torch.float64), threshold=0.1, power=2.0, temperature=temperature)
    assert grades.tolist() == pytest.approx([sharpened(s, 0.1, 2.0, temperature) for s in scores], abs=1e-12)


def test_grades_keep_the_order_shape_and_type_of_the_scores():
    scores = torch.linspace(-12, 12, 60).reshape(3, 20)
    grades = sharpen(scores, threshold=0.2, power=2.0, temperature=2.0)
    assert (grades.shape, grades.dtype) == (scores.shape, scores.dtype)
    flat = grades.flatten()
    positive = flat[flat > 0]
    assert 1 < len(positive) < 60  # the threshold cut some off
    assert (positive.diff() > 0).all()
    assert flat.max() <= 1


def test_a_cosine_that_rounding_pushed_above_1_is_1():
    assert sharpen(torch.tensor([1.0000002])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), got 1.0"),
        ({"threshold": -0.1}, r"threshold .* got -0.1"),
        ({"power": 0.0}, "power must be a finite number above 0, got 0.0"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0, got 0.0"),
        ({"scores": [8.5, 0.5]}, r"scores must be in \[-1, 1\] without a temperature, got 8.5; for logits give"),
        ({"scores": [0.5, -3.0]}, r"scores must be in \[-1, 1\] .* got -3.0"),
        ({"scores": [math.nan]}, "scores must be finite, got nan"),
        ({"scores": [math.inf], "temperature": 1.0}, "scores must be finite, got inf"),
    ],
)
def test_sharpen_refuses_what_it_cannot_map(options, message):
    scores = torch.tensor(options.pop("scores", [0.5]))
    with pytest.raises(ValueError, match=message):
        sharpen(scores, **options)


# Teachers that grade pairs.


@pytest.mark.parametrize("temperature", [None, 0.5, 3.0])
def test_a_cross_encoder_grades_each_pair_by_its_logit(cross_encoder, temperature):
    queries, documents = THREE["query"] * 2, THREE["positive"] + THREE["negative"]
    teacher = Teacher(cross_encoder, threshold=0.1, power=2.0, temperature=temperature, top_grade=3, batch_size=2)
    logits = [logit(cross_encoder, q, d) for q, d in zip(queries, documents, strict=True)]
    assert max(logits) - min(logits) > 0.5, "logits that hardly differ test nothing"
    expected = [3 * sharpened(s, 0.1, 2.0, temperature or 1.0) for s in logits]
    assert teacher.grade(queries, documents) == pytest.approx(expected, abs=1e-5)


def test_the_activation_that_a_cross_encoder_was_saved_with_does_not_matter(cross_encoder, monkeypatch):
    grades = []
    for activation in (nn.Identity(), nn.Sigmoid()):
        monkeypatch.setattr(cross_encoder, "activation_fn", activation)
        grades.append(Teacher(cross_encoder).grade(["w0"], ["w1"]))
    assert grades[0] == grades[1]


def test_an_embedding_model_grades_each_pair_by_its_cosine(monkeypatch):
    monkeypatch.setattr("st_rankloss.teachers._PAIRS_AT_ONCE", 4)
    model = embedding_model()
    model.similarity_fn_name = "dot"  # it is the cosine all the same
    queries = THREE["query"] * 2
    documents = THREE["positive"] + THREE["negative"]
    grades = Teacher(model, threshold=0.05, power=0.5, top_grade=2).grade(queries, documents)
    expected = [
        2 * label_cosine(vector(model, q), vector(model, d), 0.05, 0.5) for q, d in zip(queries, documents, strict=True)
    ]
    assert 0 in expected
    assert max(expected) > 0.5
    assert grades == pytest.approx(expected, abs=1e-4)


def test_an_embedding_model_embeds_each_text_once_as_query_or_as_document(monkeypatch):
    model, seen = embedding_model(), {"query": [], "document": []}
    for kind, calls in seen.items():
        encode = getattr(model, f"encode_{kind}")

        def counted(inputs, encode=encode, calls=calls, **options):
            calls.extend(inputs)
            return encode(inputs, **options)

        monkeypatch.setattr(model, f"encode_{kind}", counted)
    Teacher(model).grade(["w0", "w0", "w1"], ["w2", "w3", "w2"])
    assert seen == {"query": ["w0", "w1"], "document": ["w2", "w3"]}


def test_no_pairs_have_no_grades(cross_encoder):
    assert Teacher(cross_encoder).grade([], []) == []
    assert Teacher(embedding_model()).grade([], []) == []


def test_a_wrong_teacher_is_refused(cross_encoder, tmp_path):
    with pytest.raises(TypeError, match="model must be a CrossEncoder or a .* or a MultiVectorEncoder, got 'name'"):
        Teacher("name")
    with pytest.raises(ValueError, match="temperature must be None for a SentenceTransformer.* got 2.0"):
        Teacher(embedding_model(), temperature=2.0)
    with pytest.raises(ValueError, match="top_grade must be a finite number above 0, got 0"):
        Teacher(cross_encoder, top_grade=0)
    with pytest.raises(ValueError, match="batch_size must be .* got 0"):
        Teacher(cross_encoder, batch_size=0)
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\), got 2"):
        Teacher(cross_encoder, threshold=2)
    with pytest.raises(ValueError, match="a CrossEncoder with one output, got 3"):
        Teacher(tiny_cross_encoder(tmp_path, WORDS, outputs=3))
    with pytest.raises(ValueError, match="each query needs one document, got 1 and 2"):
        Teacher(cross_encoder).grade(["w0"], ["w1", "w2"])


# Columns of embeddings.


def test_one_column_gets_a_vector_a_row():
    model = embedding_model()
    labelled = add_embeddings(Dataset.from_dict({"text": THREE["query"], "kept": [1, 2, 3]}), model, ["text"])
    assert labelled.column_names == ["text", "kept", "label"]
    assert labelled["kept"][:] == [1, 2, 3]
    assert labelled["label"][:] == [pytest.approx(vector(model, text)) for text in THREE["query"]]


def test_several_columns_get_a_vector_each_by_the_prompts_of_queries_and_documents():
    model = embedding_model()
    model.prompts = {"query": "w14 ", "document": "w15 "}
    labelled = add_embeddings(Dataset.from_dict(THREE), model, list(THREE), batch_size=2)
    plain = embedding_model()
    for row, label in enumerate(labelled["label"]):
        texts = ["w14 " + THREE["query"][row], "w15 " + THREE["positive"][row], "w15 " + THREE["negative"][row]]
        assert label == [pytest.approx(vector(plain, text)) for text in texts]


def test_labels_stay_with_their_rows_in_a_shuffled_or_formatted_dataset():
    model, dataset = embedding_model(), Dataset.from_dict(THREE).select([2, 0, 1]).with_format("torch")
    assert dataset["query"][:] != THREE["query"]
    labelled = add_embeddings(dataset, model, ["query"])
    assert labelled["label"][:] == [pytest.approx(vector(model, text)) for text in labelled["query"]]
    assert labelled["query"][:] == dataset["query"][:]


def test_vectors_are_stored_as_float32_of_one_length_and_survive_the_disk(tmp_path):
    labelled = add_embeddings(Dataset.from_dict(THREE), embedding_model(), ["query", "positive"])
    assert "float32" in repr(labelled.features["label"])
    assert "length=6" in repr(labelled.features["label"])
    labelled.save_to_disk(tmp_path)
    assert Dataset.load_from_disk(tmp_path)["label"][:] == labelled["label"][:]


def relevance_of(dataset, relevance, columns):
    """The relevance that a loss computes of the whole dataset as one batch."""
    batch = RankingCollator(preprocess_fn=lambda texts, **_: {"input_ids": torch.zeros(len(texts), 1)})(list(dataset))
    labels = batch["label"] if isinstance(batch["label"], dict) else {"label": batch["label"]}
    sizes = [len(batch[f"{name}_input_ids"]) for name in columns]
    return relevance(*relevance.pair(labels, sizes))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_vectors_compare_each_query_with_each_document_through_the_collator(width):
    columns = list(THREE)[:width]
    dataset = Dataset.from_dict({name: THREE[name] for name in columns})
    model = embedding_model()
    relevance = relevance_of(add_embeddings(dataset, model, columns), Vectors(0.05, 2.0), columns)
    documents = [text for name in columns[1:] or columns for text in THREE[name]]
    for row, query in zip(relevance.tolist(), THREE["query"], strict=True):
        expected = [label_cosine(vector(model, query), vector(model, d), 0.05, 2.0) for d in documents]
        assert row == pytest.approx(expected, abs=1e-5)
    assert relevance.unique().numel() > 2


def test_embeddings_that_are_not_finite_are_refused_with_their_row():
    model = embedding_model()
    with torch.no_grad():
        model[0].embedding.weight[2 + WORDS.index("w7")] = math.nan
    with pytest.raises(ValueError, match="embeddings must be finite, got NaN or infinity for 'positive' in row 2"):
        add_embeddings(Dataset.from_dict(THREE), model, ["query", "positive"])


# Columns of scores.


def test_pairs_get_a_grade_that_pairs_reads(cross_encoder):
    dataset = Dataset.from_dict({name: THREE[name] for name in ("query", "positive")})
    labelled = add_scores(dataset, Teacher(cross_encoder, temperature=2.0), ["query", "positive"])
    expected = [
        sharpened(logit(cross_encoder, q, d), temperature=2.0)
        for q, d in zip(THREE["query"], THREE["positive"], strict=True)
    ]
    assert labelled["label"][:] == pytest.approx(expected, abs=1e-5)
    relevance = relevance_of(labelled, Pairs(), ["query", "positive"])
    assert relevance.diagonal().tolist() == pytest.approx(expected, abs=1e-5)


def test_columns_of_documents_get_a_grade_each(cross_encoder):
    labelled = add_scores(Dataset.from_dict(THREE), cross_encoder, list(THREE), label_column="scores")
    for row, label in enumerate(labelled["scores"]):
        documents = THREE["positive"][row], THREE["negative"][row]
        expected = [sharpened(logit(cross_encoder, THREE["query"][row], d), temperature=1.0) for d in documents]
        assert label == pytest.approx(expected, abs=1e-5)
    relevance = relevance_of(labelled, Lists(), list(THREE))
    assert relevance[1].tolist() == pytest.approx(
        [0, labelled["scores"][1][0], 0, 0, labelled["scores"][1][1], 0], abs=1e-6
    )


def test_lists_of_documents_get_a_list_of_grades(cross_encoder):
    lists = [["w1", "w2 w3", "w4"], ["w5"], ["w6 w1", "w7"]]
    dataset = Dataset.from_dict({"query": THREE["query"], "documents": lists})
    for teacher in (cross_encoder, Teacher(embedding_model(), top_grade=3)):
        labelled = add_scores(dataset, teacher, ["query", "documents"])
        grade = teacher.grade if isinstance(teacher, Teacher) else Teacher(teacher).grade
        for query, documents, label in zip(THREE["query"], lists, labelled["label"], strict=True):
            assert label == pytest.approx([grade([query], [d])[0] for d in documents], abs=1e-5)
    relevance = relevance_of(labelled, Lists(), ["query", "documents"])
    assert relevance[2, 4:].tolist() == pytest.approx(labelled["label"][2])


def test_an_empty_list_is_refused_with_its_row(cross_encoder):
    dataset = Dataset.from_dict({"query": ["w0", "w1"], "documents": [["w2"], []]})
    with pytest.raises(ValueError, match=r"each list in 'documents' must hold a document, got \[\] in row 1"):
        add_scores(dataset, cross_encoder, ["query", "documents"])


@pytest.mark.parametrize(
    ("columns", "extra", "options", "message"),
    [
        (["query", "missing"], {}, {}, r"columns must be a list of at least \d of .* got \['query', 'missing'\]"),
        ("query", {}, {}, "columns must be a list .* got 'query'"),
        ([], {}, {}, r"columns must be a list of at least .* got \[\]"),
        (["positive", "query"], {}, {}, r"in the dataset's order, .* got \['positive', 'query'\]"),
        (["query", "query"], {}, {}, r"in the dataset's order, .* got \['query', 'query'\]"),
        (["query", "positive"], {"label": [1] * 3}, {}, r"dataset must not have labels yet.*got \['label'\]"),
        (["query", "positive"], {"score": [1] * 3}, {}, r"dataset must not have labels yet.*got \['score'\]"),
        (["query", "positive"], {"own": [1] * 3}, {"label_column": "own"}, r"dataset must not .*got \['own'\]"),
    ],
)
def test_wrong_columns_are_refused(cross_encoder, columns, extra, options, message):
    dataset = Dataset.from_dict(THREE | extra)
    for add, teacher in ((add_embeddings, embedding_model()), (add_scores, cross_encoder)):
        with pytest.raises(ValueError, match=message):
            add(dataset, teacher, columns, **options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["w1", None, "w2"], "each of '{}' must be a text, got None .* for row 1; leave it out"),
        (
            [{"title": "w1"}, {"title": "w2"}, {"title": "w3"}],
            "each of '{}' must be a text, .* for row 0; join its fields",
        ),
        ([1, 2, 3], "each of '{}' must be a text, got 1 .* for row 0; convert it to a string"),
    ],
)
def test_what_is_not_a_text_is_refused_with_its_row(cross_encoder, texts, message):
    for columns in ({"query": texts, "positive": THREE["positive"]}, {"query": THREE["query"], "positive": texts}):
        name = next(name for name, column in columns.items() if column is texts)
        for teacher in (cross_encoder, embedding_model()):
            with pytest.raises(ValueError, match=message.format(name)):
                add_scores(Dataset.from_dict(columns), teacher, ["query", "positive"])
        with pytest.raises(ValueError, match=message.format(name)):
            add_embeddings(Dataset.from_dict(columns), embedding_model(), ["query", "positive"])
    lists = {"query": THREE["query"], "positive": [["w1"], ["w2", None], ["w3"]]}
    with pytest.raises(ValueError, match="each of 'positive' must be a text, got None .* for row 1"):
        add_scores(Dataset.from_dict(lists), cross_encoder, ["query", "positive"])


@pytest.mark.parametrize("kind", ["SparseEncoder", "MultiVectorEncoder", "CrossEncoder"])
def test_only_a_sentence_transformer_has_embeddings_to_add(kind):
    other = object.__new__(getattr(sentence_transformers, kind))
    with pytest.raises(TypeError, match=f"add_embeddings needs a SentenceTransformer, got a {kind}; .* add_scores"):
        add_embeddings(Dataset.from_dict(THREE), other, ["query"])


def mean_maxsim(query, document):
    best = [max(float(torch.cosine_similarity(x, y, dim=0)) for y in document) for x in query]
    return sum(best) / len(best)


@pytest.mark.parametrize("kind", ["sparse", "multi-vector"])
def test_sparse_and_multi_vector_models_grade_pairs_by_cosines(kind, tmp_path):
    make, score = {
        "sparse": (tiny_splade, lambda q, d: float(torch.cosine_similarity(q.to_dense(), d.to_dense(), dim=0))),
        "multi-vector": (tiny_multi_vector, mean_maxsim),
    }[kind]
    model = make(tmp_path, WORDS)
    queries, documents = ["w1 w2", "w3", "w1 w2"], ["w1", "w4 w5 w6", "w7 w2"]
    grades = Teacher(model, top_grade=3).grade(queries, documents)
    expected = [score(model.encode_query(q), model.encode_document(d)) for q, d in zip(queries, documents, strict=True)]
    assert grades == pytest.approx([3 * max(0, value) for value in expected], abs=1e-4)
    assert len(set(grades)) == 3
    dataset = Dataset.from_dict({"query": queries, "document": documents})
    assert add_scores(dataset, Teacher(model, top_grade=3), ["query", "document"])["label"][:] == pytest.approx(grades)
    with pytest.raises(ValueError, match=r"temperature must be None for a (Sparse|MultiVector)Encoder, .* got 2.0"):
        Teacher(model, temperature=2.0)


def test_a_document_without_tokens_has_the_lowest_grade(tmp_path):
    model = tiny_multi_vector(tmp_path, WORDS)
    model[1].skiplist_words = ["w0"]
    model[1].resolve_with_tokenizer(model.tokenizer)
    assert Teacher(model).grade(["w1"], ["w0 w0"]) == [0.0]


def test_labels_of_a_name_of_ones_own_may_stand_beside_others():
    dataset = Dataset.from_dict(THREE | {"label": [1, 2, 3]})
    labelled = add_embeddings(dataset, embedding_model(), ["query"], label_column="teacher")
    assert labelled["label"][:] == [1, 2, 3]
    assert len(labelled["teacher"][0]) == 6


def test_wrong_datasets_are_refused(cross_encoder):
    lists = Dataset.from_dict({"query": ["w0"], "documents": [["w1"]], "more": ["w2"]})
    with pytest.raises(TypeError, match="each row of 'documents' must be one text.* use add_scores"):
        add_embeddings(lists, embedding_model(), ["query", "documents"])
    with pytest.raises(ValueError, match="a column of lists must be the only column of documents"):
        add_scores(lists, cross_encoder, ["query", "documents", "more"])
    with pytest.raises(TypeError, match="dataset must be a datasets.Dataset, got dict"):
        add_scores(THREE, cross_encoder, list(THREE))
    with pytest.raises(ValueError, match="dataset must have at least one row"):
        add_embeddings(Dataset.from_dict({"query": []}), embedding_model(), ["query"])
    with pytest.raises(ValueError, match="batch_size must be .* got 0"):
        add_embeddings(Dataset.from_dict(THREE), embedding_model(), ["query"], batch_size=0)
    with pytest.raises(ValueError, match="columns must be a list of at least 2 of"):
        add_scores(Dataset.from_dict(THREE), cross_encoder, ["query"])
    with pytest.raises(TypeError, match="model must be a CrossEncoder or a SentenceTransformer .* got 3"):
        add_scores(Dataset.from_dict(THREE), 3, list(THREE))


# Training on a teacher's labels.


def orders_alike(student, teacher, texts) -> float:
    """Mean rank correlation of each text's similarities to the others, student's and teacher's."""

    def ranks(model):
        embeddings = model.encode(texts, convert_to_tensor=True, normalize_embeddings=True).double()
        similarity = embeddings @ embeddings.T
        similarity.fill_diagonal_(-9)
        ranks = similarity.argsort(dim=1).argsort(dim=1).double()
        return ranks - ranks.mean(1, keepdim=True)

    a, b = ranks(student), ranks(teacher)
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean())


def student_model() -> SentenceTransformer:
    """A model of the teacher's words, smaller, and of other weights."""
    model = word_model(WORDS, 5)
    with torch.no_grad():
        model[0].embedding.weight.copy_(torch.randn(model[0].embedding.weight.shape, generator=torch.manual_seed(5)))
    return model


TEXTS = [f"{a} {b}" for place, a in enumerate(WORDS) for b in WORDS[place + 1 :: 3]]


@pytest.mark.parametrize("columns", [["text"], ["query", "document"]], ids=len)
def test_a_student_of_vectors_comes_to_rank_as_its_teacher_does(columns, tmp_path):
    teacher, student = embedding_model(), student_model()
    texts = dict(zip(columns, (TEXTS, TEXTS[::-1]), strict=False))
    dataset = add_embeddings(Dataset.from_dict(texts), teacher, columns)
    before = orders_alike(student, teacher, TEXTS)
    loss = ANDCGLoss(student, relevance=Vectors(threshold=0.2))
    args = arguments(tmp_path, max_steps=25, learning_rate=0.05)
    RankingTrainer(model=student, args=args, train_dataset=dataset, loss=loss).train()
    after = orders_alike(student, teacher, TEXTS)
    assert before < 0.3
    assert after > 0.6


def test_a_student_of_scores_comes_to_rank_as_its_teacher_does(cross_encoder, tmp_path):
    student = student_model()
    lists = [TEXTS[row + 1 : row + 5] or TEXTS[:3] for row in range(len(TEXTS))]
    dataset = Dataset.from_dict({"query": TEXTS, "documents": lists})
    dataset = add_scores(dataset, Teacher(cross_encoder, power=4.0), ["query", "documents"])

    def in_order() -> float:
        """Share of a query's pairs of documents that the student orders as the teacher."""
        right = pairs = 0
        for row in dataset:
            query, documents = student.encode([row["query"]]), student.encode(row["documents"])
            scores = student.similarity(query, documents)[0].tolist()
            for i, a in enumerate(row["label"]):
                for j, b in enumerate(row["label"]):
                    if a > b:
                        right, pairs = right + (scores[i] > scores[j]), pairs + 1
        return right / pairs

    before = in_order()
    loss = ANDCGLoss(student, relevance=Lists(off_diagonal=math.nan))
    args = arguments(tmp_path, max_steps=60)
    RankingTrainer(model=student, args=args, train_dataset=dataset, loss=loss).train()
    assert in_order() > before + 0.1


def test_a_column_that_another_program_computed_trains_as_it_is(tmp_path):
    """A precomputed column needs nothing of ours: any relevance reads it."""
    dataset = Dataset.from_dict({"query": TEXTS, "document": TEXTS[::-1], "score": [0.5] * len(TEXTS)})
    student = student_model()
    before = student[0].embedding.weight.detach().clone()
    loss = RankingLoss(student, relevance=Pairs())
    RankingTrainer(model=student, args=arguments(tmp_path, max_steps=2), train_dataset=dataset, loss=loss).train()
    assert not torch.equal(before, student[0].embedding.weight)
