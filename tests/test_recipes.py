"""Recipes: each trains on fitting rows with its sampler, in batches of any size, and says what is wrong."""

from __future__ import annotations

import json
import pickle
import random
import re
from dataclasses import replace

import pytest
import torch
from datasets import Dataset, IterableDataset
from sentence_transformers import (
    CrossEncoder,
    MultiVectorEncoder,
    SentenceTransformer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
)

from st_rankloss import (
    CrossEncoderRankingTrainer,
    MultiVectorEncoderRankingTrainer,
    RankingTrainer,
    SparseEncoderRankingTrainer,
    ViewsCollator,
    recipes,
)
from st_rankloss.augmentations import CropWords, DropWords
from st_rankloss.collators import RankingCollator
from st_rankloss.data import Part
from st_rankloss.losses import CachedRankingLoss, RankingLoss
from st_rankloss.objectives import ApproxNDCG, ListNet
from st_rankloss.recipes import TEMPERATURES, TEMPERATURES_OF_KINDS, Recipe, default_temperature
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Numeric, Pairs, Qrels, Views
from tests.models import tiny_bert, tiny_cross_encoder, tiny_multi_vector, tiny_splade, word_model

WORDS = [f"word{i}" for i in range(12)]
DRAW = random.Random(0)
TEXTS = [" ".join([WORDS[i % 6], *DRAW.choices(WORDS, k=3)]) for i in range(24)]
QRELS = {f"q{i}": {f"d{j}": float((i + j) % 4) for j in range(8)} for i in range(8)}
LISTS = {"query": TEXTS[:8], "documents": [DRAW.sample(TEXTS, 3) for _ in range(8)]}

ROWS = {
    "retrieval": (recipes.retrieval(), LISTS | {"label": [[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]] * 4}),
    "retrieval by id": (
        recipes.retrieval(QRELS),
        LISTS
        | {
            "query_id": list(QRELS),
            "document_ids": [[f"d{i}", f"d{(i + 1) % 8}", f"d{(i + 2) % 8}"] for i in range(8)],
        },
    ),
    "sts": (recipes.sts(), {"first": TEXTS[:16], "second": TEXTS[8:], "label": [i / 15 for i in range(16)]}),
    "classification": (recipes.classification(), {"text": TEXTS, "label": [i % 6 for i in range(24)]}),
    "hierarchy": (recipes.hierarchy(), {"text": TEXTS, "label": [[i % 3, i % 6] for i in range(24)]}),
    "hierarchy of three": (
        recipes.hierarchy(levels=3),
        {"text": TEXTS, "label": [[i % 2, 2 + i % 4, 6 + i % 12] for i in range(24)]},
    ),
    "multi-label": (
        recipes.multi_label(),
        {"text": TEXTS, "label": [[float(i % 2 == j or i % 3 == j) for j in range(4)] for i in range(24)]},
    ),
    "regression": (recipes.regression(), {"text": TEXTS, "label": [(i * 7 % 24) / 24 for i in range(24)]}),
    "self-supervised": (recipes.self_supervised(), {"text": TEXTS}),
    "image and text": (recipes.image_text(), {"image": TEXTS[:16], "caption": TEXTS[8:]}),  # any two inputs
    "image and text of classes": (
        recipes.image_text(Classes()),
        {"image": TEXTS[:16], "caption": TEXTS[8:], "label": [i % 4 for i in range(16)]},
    ),
}


def train(recipe, columns, folder, make, model, steps=2):
    """Train for some steps; the mean loss."""
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=0.05,
        batch_sampler=recipe.batch_sampler,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    collator = None
    if isinstance(recipe.relevance, Views):
        collator = ViewsCollator(model.preprocess, views=[DropWords(0.3), CropWords(0.6)])
    data = Dataset.from_dict(columns)
    trainer = RankingTrainer(model=model, args=args, train_dataset=data, loss=make(model), data_collator=collator)
    return trainer.train().training_loss


@pytest.mark.parametrize("name", ROWS)
def test_every_recipe_trains_with_its_sampler(tmp_path, name):
    recipe, columns = ROWS[name]
    model = word_model(WORDS)
    before = model[0].embedding.weight.detach().clone()
    loss = train(recipe, columns, tmp_path, recipe.loss, model)
    after = model[0].embedding.weight.detach().cpu()
    assert after.isfinite().all()
    assert (after - before.cpu()).abs().max() > 0.01
    assert loss != 0


@pytest.mark.parametrize("name", [name for name in ROWS if name != "self-supervised"])
def test_training_lowers_a_recipes_loss(tmp_path, name):
    recipe, columns = ROWS[name]
    model = word_model(WORDS)
    first, _, last = [train(recipe, columns, tmp_path, recipe.loss, model, steps=8) for _ in range(3)]
    assert last < first  # over the same batches


def batch_of(recipe, columns, model):
    """Features and labels of the first rows."""
    rows = [{name: values[i] for name, values in columns.items()} for i in range(8)]
    if isinstance(recipe.relevance, Views):
        collator = ViewsCollator(model.preprocess, views=[DropWords(0.3), CropWords(0.6)])
    else:
        collator = RankingCollator(model.preprocess)
    batch = collator(rows)
    label = batch.pop("label", None)
    names = [
        name
        for name in columns
        if any(key.startswith(f"{name}_") for key in batch) and not name.endswith(("_id", "_ids"))
    ]
    features = [
        {key.removeprefix(f"{name}_"): x for key, x in batch.items() if key.startswith(f"{name}_")} for name in names
    ]
    return features, label


@pytest.mark.parametrize("name", [name for name in ROWS if name != "retrieval by id"])
def test_the_cached_loss_of_a_recipe_equals_its_loss(tmp_path, name):
    recipe, columns = ROWS[name]
    model = tiny_bert(tmp_path, WORDS, dropout=0.0)
    features, label = batch_of(recipe, columns, model)
    found = []
    for loss in (recipe.loss(model), recipe.cached_loss(model, mini_batch_size=3)):
        model.zero_grad()
        value = loss([dict(column) for column in features], label)
        value = sum(value.values()) if isinstance(value, dict) else value
        value.backward()
        found.append((value.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (plain, gradients), (cached, others) = found
    assert cached == pytest.approx(plain, abs=1e-5)
    assert gradients.keys() == others.keys()
    assert max(g.abs().max() for g in gradients.values()) > 1e-5
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, atol=1e-5, rtol=1e-3)


def test_recipes_read_their_labels():
    kinds = {
        "retrieval": Lists,
        "retrieval by id": Qrels,
        "sts": Pairs,
        "classification": Classes,
        "hierarchy": Hierarchy,
    }
    kinds |= {"multi-label": MultiLabel, "regression": Numeric, "self-supervised": Views, "image and text": Pairs}
    kinds |= {"image and text of classes": Classes, "hierarchy of three": Hierarchy}
    assert {name: type(recipe.relevance) for name, (recipe, _) in ROWS.items()} == kinds
    assert all(recipe.loss(None).symmetric == name.startswith("image") for name, (recipe, _) in ROWS.items())


def test_every_public_recipe_is_tried():
    named = {name.split()[0].replace("-", "_") for name in ROWS} - {"image"} | {"image_text"}
    assert named == set(TEMPERATURES) == set(recipes.__all__) - {"Recipe", "for_dataset", "default_temperature"}


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_can_be_written_to_a_model_card(name):
    config = ROWS[name][0].loss(None).get_config_dict()
    assert config
    assert json.loads(json.dumps(config)).keys() == config.keys()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_finest_class_is_equally_far_ahead_in_hierarchies_of_any_depth(levels):
    (listnet,) = [part for _, part in recipes.hierarchy(levels).objective_for().terms if isinstance(part, ListNet)]
    paths = torch.tensor([[0] * levels, [1] * levels])
    same, other = (Hierarchy()(paths[:1], paths) / listnet.label_temperature)[0].tolist()
    assert same - other == 4


def test_options_of_a_loss_go_before_those_of_the_recipe(tmp_path):
    recipe = recipes.image_text()
    assert recipe.loss(None).symmetric
    assert not recipe.loss(None, symmetric=False).symmetric
    assert replace(recipe, options={}).loss(None).symmetric is False
    assert isinstance(recipe.loss(None), RankingLoss)
    cached = recipe.cached_loss(tiny_bert(tmp_path, WORDS), mini_batch_size=4)
    assert isinstance(cached, CachedRankingLoss)
    assert (cached.mini_batch_size, cached.symmetric) == (4, True)
    assert isinstance(recipe, Recipe)


@pytest.mark.parametrize("make", [getattr(recipes, name) for name in TEMPERATURES])
@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": -0.1}, {"weight": 0.0}, {"weight": -1.0}])
def test_temperatures_and_weights_must_be_positive(make, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}|weight|temperature"):
        make(**wrong)


@pytest.mark.parametrize("make", [getattr(recipes, name) for name in TEMPERATURES])
@pytest.mark.parametrize(
    "wrong", [{"temperature": "warm"}, {"temperature": [0.1]}, {"weight": "x"}, {"weight": True}, {"weight": None}]
)
def test_temperatures_and_weights_must_be_numbers(make, wrong):
    ((name, given),) = wrong.items()
    with pytest.raises(TypeError, match=rf"{name} must be a number.*, got {re.escape(repr(given))}\."):
        make(**wrong)


@pytest.mark.parametrize("make", [getattr(recipes, name) for name in TEMPERATURES])
def test_temperatures_that_follow_the_similarities_do_so_in_every_part(make):
    assert temperatures(make(temperature="auto").objective) == {"'auto'"}


@pytest.mark.parametrize("levels", [0, -1])
def test_a_hierarchy_has_levels(levels):
    with pytest.raises(ValueError, match=f"levels must be at least 1, got {levels}"):
        recipes.hierarchy(levels)


@pytest.mark.parametrize("levels", ["2", 2.5, None])
def test_levels_are_a_whole_number(levels):
    with pytest.raises(TypeError, match=f"levels must be a whole number, got {levels!r}"):
        recipes.hierarchy(levels)


@pytest.mark.parametrize(("levels", "name"), [(3, "hierarchy"), (2, "hierarchy of three")])
def test_a_hierarchy_of_other_paths_is_an_error(tmp_path, levels, name):
    recipe = recipes.hierarchy(levels)
    with pytest.raises(ValueError, match="level"):
        train(recipe, ROWS[name][1], tmp_path, recipe.loss, word_model(WORDS))


def test_samplers_refuse_rows_without_what_they_read(tmp_path):
    for name in ("classification", "hierarchy", "multi-label", "regression"):
        recipe = ROWS[name][0]
        with pytest.raises(ValueError, match="label column"):
            train(recipe, {"text": TEXTS}, tmp_path, recipe.loss, word_model(WORDS))


PAIRS = {"sentence1": TEXTS[:16], "sentence2": TEXTS[8:]}
IMAGES = {"image": TEXTS[:16], "caption": TEXTS[8:]}
GRADES = {"labels": [[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]] * 4}
IDS = {name: ROWS["retrieval by id"][1][name] for name in ("query_id", "document_ids")}
TASKS = {
    "lists": (Part("retrieval", Dataset.from_dict(LISTS | GRADES)), Lists, "a list of documents with grades"),
    "lists without grades": (Part("retrieval", Dataset.from_dict(LISTS)), Lists, "no grades"),
    "judgements": (Part("retrieval", Dataset.from_dict(LISTS | GRADES | IDS), qrels=QRELS), Qrels, "by id"),
    "sts": (Dataset.from_dict(PAIRS | {"label": [i / 15 for i in range(16)]}), Pairs, "score"),
    "classification": (Dataset.from_dict(ROWS["classification"][1]), Classes, "one class"),
    "hierarchy": (
        Dataset.from_dict({"text": TEXTS, "label": [[f"a{i % 2}", f"b{i % 4}", f"c{i % 8}"] for i in range(24)]}),
        Hierarchy,
        "3 levels",
    ),
    "uneven paths": (
        Part("hierarchy", Dataset.from_dict({"text": TEXTS, "label": [["a"], ["b", "c"], ["a", "d"]] * 8})),
        Hierarchy,
        "end early",
    ),
    "one level": (
        Part("hierarchy", Dataset.from_dict({"text": TEXTS, "label": [["a"], ["b"], ["c"]] * 8})),
        Hierarchy,
        "1 level",
    ),
    "label sets": (Dataset.from_dict({"text": TEXTS, "label": [["a"], ["b", "a"], ["b"]] * 8}), MultiLabel, "set"),
    "multi-hot": (Dataset.from_dict(ROWS["multi-label"][1]), MultiLabel, "set"),
    "regression": (Dataset.from_dict(ROWS["regression"][1]), Numeric, "numbers"),
    "several numbers": (
        Part("regression", Dataset.from_dict({"text": TEXTS, "label": [[i / 24, i / 7] for i in range(24)]})),
        Numeric,
        "several per row",
    ),
    "no labels": (Dataset.from_dict({"text": TEXTS}), Views, "ViewsCollator"),
    "images": (Dataset.from_dict(IMAGES), Pairs, "both directions"),
    "images of classes": (Dataset.from_dict(IMAGES | {"label": [i % 4 for i in range(16)]}), Classes, "class"),
    "images of sets": (Dataset.from_dict(IMAGES | {"label": [["a"], ["a", "b"]] * 8}), MultiLabel, "labels in common"),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_recipe_chosen_for_a_dataset_trains_on_it_and_says_why(tmp_path, name):
    data, relevance, reason = TASKS[name]
    recipe = recipes.for_dataset(data)
    assert type(recipe.relevance) is relevance
    assert reason in recipe.why
    rows = data.dataset if isinstance(data, Part) else data
    model = word_model(WORDS)
    before = model[0].embedding.weight.detach().clone()
    train(recipe, rows.to_dict(), tmp_path, recipe.loss, model, steps=1)
    assert not torch.equal(before, model[0].embedding.weight)


def test_streaming_rows_get_random_batches_and_are_told_so():
    rows = Dataset.from_dict(ROWS["classification"][1])
    assert recipes.for_dataset(rows).batch_sampler != "batch_sampler"
    recipe = recipes.for_dataset(rows.to_iterable_dataset())
    assert recipe.batch_sampler == "batch_sampler"
    assert "without streaming" in recipe.why
    unnamed = IterableDataset.from_generator(lambda: iter(rows.to_list()))
    assert type(recipes.for_dataset(unnamed).relevance) is Classes


def test_paths_that_get_deeper_later_are_read():
    paths = [["a", "b"], ["c", "d"]] * 550 + [["a", "b", "c"], ["c", "d", "e"]] * 4
    rows = Dataset.from_dict({"text": ["t"] * len(paths), "label": paths})
    assert recipes.for_dataset(rows).relevance == Hierarchy()
    assert "ListNet(temperature=0.2, label_temperature=0.75" in repr(recipes.for_dataset(rows).objective_for())
    assert recipes.for_dataset(rows.to_iterable_dataset()).relevance == Hierarchy()


def test_a_transformer_is_pointed_to_the_cached_loss(tmp_path):
    rows = Dataset.from_dict(ROWS["classification"][1])
    assert "cached_loss" in recipes.for_dataset(rows, tiny_bert(tmp_path, WORDS)).why
    assert "cached_loss" not in recipes.for_dataset(rows, word_model(WORDS)).why


def test_rows_of_single_documents_must_be_grouped_first():
    rows = Dataset.from_dict({"query": ["a", "a"], "document": ["x", "y"], "label": [1, 0]})
    with pytest.raises(ValueError, match="group_into_lists"):
        recipes.for_dataset(rows)


@pytest.mark.parametrize("kind", [SentenceTransformer, CrossEncoder])
@pytest.mark.parametrize(
    "names", [["query", "document"], ["anchor", "positive", "negative"], ["sentence1", "sentence2"]], ids=" ".join
)
def test_pairs_without_labels_train_as_they_are(tmp_path, kind, names):
    make, trainer = KINDS[kind]
    model = make(tmp_path / "model", WORDS, dropout=0.0)
    rows = Dataset.from_dict({name: [*WORDS[place : place + 8]] for place, name in enumerate(names)})
    recipe = recipes.for_dataset(rows, model)
    assert type(recipe.relevance) is Pairs
    assert "Each query has one relevant document" in recipe.why
    args = trainer.training_args_class(
        output_dir=str(tmp_path), max_steps=1, batch_sampler=recipe.batch_sampler, report_to="none", use_cpu=True
    )
    assert trainer(model=model, args=args, train_dataset=rows, loss=recipe.loss(model)).train().training_loss > 0


def test_columns_of_no_task_are_refused_by_name():
    with pytest.raises(ValueError, match=r"got \['body', 'title'\]: rename them"):
        recipes.for_dataset(Dataset.from_dict({"title": ["a"], "body": ["b"]}))
    with pytest.raises(TypeError, match="got dict"):
        recipes.for_dataset({"text": ["a"]})


def test_paths_that_all_start_alike_are_batched_at_random():
    part = Part("hierarchy", Dataset.from_dict({"text": ["a", "b"], "label": [["shop", "food"], ["shop", "toys"]]}))
    recipe = recipes.for_dataset(part)
    assert recipe.batch_sampler == "batch_sampler"
    assert "All paths start alike" in recipe.why


KINDS = {
    SentenceTransformer: (tiny_bert, RankingTrainer),
    SparseEncoder: (tiny_splade, SparseEncoderRankingTrainer),
    MultiVectorEncoder: (tiny_multi_vector, MultiVectorEncoderRankingTrainer),
    CrossEncoder: (tiny_cross_encoder, CrossEncoderRankingTrainer),
}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", ["retrieval", "retrieval by id", "classification"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_recipe_trains_every_kind_of_model_that_it_looks_at(tmp_path, kind, name, cached):
    make, trainer = KINDS[kind]
    model = make(tmp_path / "model", WORDS, dropout=0.0)
    columns = ROWS[name][1]
    recipe = recipes.for_dataset(Dataset.from_dict(columns), model)
    if name == "retrieval by id":
        recipe = recipes.retrieval(QRELS)
    loss = recipe.cached_loss(model, mini_batch_size=4) if cached else recipe.loss(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    args = trainer.training_args_class(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        batch_sampler=recipe.batch_sampler,
        report_to="none",
        use_cpu=True,
    )
    trainer(model=model, args=args, train_dataset=Dataset.from_dict(columns), loss=loss).train()
    assert any(not torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert loss.objective.terms[0][1].temperature == default_temperature(name.split()[0], model)


def temperatures(objective) -> set[str]:
    return set(re.findall(r"(?<!label_)(?<!cutoff_)temperature=('?[\w.]+'?)", repr(objective)))


@pytest.mark.parametrize("task", TEMPERATURES)
def test_the_loss_takes_the_temperature_of_the_model(tmp_path, task):
    recipe, transformer, static = getattr(recipes, task)(), tiny_bert(tmp_path, WORDS), word_model(WORDS)
    for model, expected in ((transformer, TEMPERATURES[task][1]), (static, TEMPERATURES[task][0])):
        chosen = getattr(recipes, task)(temperature=expected).objective
        assert recipe.loss(model).objective == recipe.objective_for(model) == chosen
        assert str(expected) in temperatures(chosen)
        assert default_temperature(task, model) == expected
    assert recipe.cached_loss(transformer, mini_batch_size=2).objective == recipe.objective_for(transformer)
    assert recipe.objective_for() == recipe.objective_for(static)


@pytest.mark.parametrize("task", TEMPERATURES)
@pytest.mark.parametrize("kind", [SparseEncoder, MultiVectorEncoder, CrossEncoder], ids=lambda kind: kind.__name__)
def test_other_kinds_of_models_have_temperatures_of_their_own(tmp_path, task, kind):
    model = KINDS[kind][0](tmp_path, WORDS, dropout=0.0)
    assert default_temperature(task, model) == TEMPERATURES_OF_KINDS[kind]
    found = getattr(recipes, task)().objective_for(model)
    assert found == getattr(recipes, task)(temperature=TEMPERATURES_OF_KINDS[kind]).objective


@pytest.mark.parametrize("task", TEMPERATURES)
def test_a_chosen_temperature_or_objective_is_kept_for_every_model(tmp_path, task):
    transformer = tiny_bert(tmp_path, WORDS)
    chosen = getattr(recipes, task)(temperature=0.07)
    assert chosen.loss(transformer).objective == chosen.objective == chosen.objective_for()
    other = replace(getattr(recipes, task)(), objective=ApproxNDCG(0.42))
    assert other.loss(transformer).objective == ApproxNDCG(0.42)


@pytest.mark.parametrize("task", TEMPERATURES)
def test_a_recipe_can_be_pickled(tmp_path, task):
    recipe, transformer = getattr(recipes, task)(), tiny_bert(tmp_path, WORDS)
    copy = pickle.loads(pickle.dumps(recipe))
    assert copy.objective == recipe.objective
    assert copy.loss(transformer).objective == recipe.loss(transformer).objective


def test_a_frozen_transformer_has_the_cosines_of_a_transformer(tmp_path):
    model = tiny_bert(tmp_path, WORDS)
    model[0].auto_model.requires_grad_(False)
    assert default_temperature("classification", model) == TEMPERATURES["classification"][1]


@pytest.mark.parametrize("task", TEMPERATURES)
def test_a_recipe_says_what_it_optimises(task):
    recipe = getattr(recipes, task)()
    assert repr(recipe.objective_for()) in repr(recipe)
    assert f"for a transformer at temperature {TEMPERATURES[task][1]}: see Recipe.objective_for" in repr(recipe)
    assert recipe.objective == getattr(recipes, task)().objective
    assert recipe.objective != getattr(recipes, task)(weight=0.77).objective


def test_a_recipe_in_both_directions_refuses_a_cross_encoder(tmp_path):
    model = tiny_cross_encoder(tmp_path, WORDS)
    with pytest.raises(ValueError, match="a CrossEncoder cannot be trained by this recipe, which sets symmetric=True"):
        recipes.image_text().loss(model)


def test_a_recipe_refuses_models_of_other_kinds_by_name():
    kinds = "a SentenceTransformer, a SparseEncoder, a MultiVectorEncoder or a CrossEncoder"
    with pytest.raises(TypeError, match=f"A recipe needs {kinds}, got 'minilm'"):
        recipes.retrieval().loss("minilm")


@pytest.mark.parametrize("column", ["similarity", "grade", "relevance"])
def test_pairs_with_a_score_of_any_name_are_not_taken_for_positives(column):
    scored = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["x", "y"], column: [0.1, 0.9]})
    assert recipes.for_dataset(scored).relevance != Pairs() or "SoftKendall" in repr(recipes.for_dataset(scored))
    with pytest.raises(ValueError, match="group them"):
        recipes.for_dataset(Dataset.from_dict({"query": ["a", "b"], "document": ["x", "y"], column: [1, 0]}))
    with pytest.raises(ValueError, match="the columns must be those of a task"):
        recipes.for_dataset(Dataset.from_dict({"anchor": ["a", "b"], "positive": [["x"], ["y", "z"]]}))
