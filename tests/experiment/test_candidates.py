"""A task's usual loss and the recipe."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer import losses as host

from st_rankloss.data import COLUMNS, Part
from st_rankloss.experiment.candidates import LinearRegression, candidates, number_classes, standardise
from st_rankloss.objectives import ApproxNDCG, OverPairs
from tests.experiment.tiny import COLOURS, THINGS, part
from tests.models import random_columns, word_model

MODEL = word_model([*COLOURS, *THINGS])


@pytest.mark.parametrize("task", COLUMNS)
def test_every_task_has_a_usual_loss_and_a_recipe_with_reasons(task):
    usual, recipe = candidates(part(task), MODEL)
    assert (usual.name, recipe.name) == ("usual", "recipe")
    assert usual.why
    assert recipe.why
    for candidate in (usual, recipe):
        loss = candidate.make(MODEL, **candidate.defaults)
        assert isinstance(loss, torch.nn.Module)
        assert all(value > 0 for value in candidate.defaults.values())


def test_the_usual_losses_of_the_host_have_its_defaults():
    mnrl, _ = candidates(part("retrieval"))
    cosent, _ = candidates(part("sts"))
    assert mnrl.make(MODEL, **mnrl.defaults).scale == host.MultipleNegativesRankingLoss(MODEL).scale
    assert cosent.make(MODEL, **cosent.defaults).scale == host.CoSENTLoss(MODEL).scale


def test_settings_of_a_recipe_reach_its_objective():
    _, recipe = candidates(part("classification"))
    assert "temperature=0.42" in repr(recipe.make(MODEL, temperature=0.42, weight=1.0).objective)


@pytest.mark.parametrize("task", ["retrieval", "sts", "classification"])
def test_an_objective_may_take_the_place_of_the_recipes(task):
    _, chosen = candidates(part(task), MODEL)
    _, own = candidates(part(task), MODEL, "ApproxNDCG")
    loss = own.make(MODEL, temperature=0.07)
    assert own.defaults == {"temperature": ApproxNDCG().temperature}
    assert loss.objective == (OverPairs(ApproxNDCG(0.07)) if task == "sts" else ApproxNDCG(0.07))
    assert repr(loss.relevance) == repr(chosen.make(MODEL).relevance)
    with pytest.raises(ValueError, match="recipe must be one of 'auto', 'ApproxMRR'.*got 'Mixture'"):
        candidates(part(task), MODEL, "Mixture")


def test_mnrl_leaves_out_queries_without_a_relevant_document():
    given = part("retrieval")
    usual, _ = candidates(given)
    kept = usual.rows(given.dataset)
    expected = [i for i, grades in enumerate(given.dataset["labels"]) if any(grades)]
    assert kept["query_id"][:] == [given.dataset["query_id"][i] for i in expected]


def test_classes_are_numbered_by_their_finest_level_without_gaps():
    rows = Dataset.from_dict({"text": list("abcd"), "label": [["x", "p"], ["y", "p"], None, ["x", "p"]]})
    numbered = number_classes(rows)
    assert (numbered["text"][:], numbered["label"][:]) == (["a", "b", "d"], [0, 1, 0])


def test_several_numbers_per_text_are_trained_in_random_batches():
    rows = {"text": [*"abcd"], "label": [[1.5, 2.0], [2.0, 2.5], [3.0, 3.5], [4.5, 4.0]]}
    (usual, recipe), model = candidates(Part("regression", Dataset.from_dict(rows))), word_model([*"abcd"])
    assert (usual.batch_sampler, recipe.batch_sampler) == ("batch_sampler", "batch_sampler")
    assert usual.make(model).head.out_features == 2


def test_linear_regression_does_not_depend_on_the_unit_of_the_labels():
    years = [1.0, 2.0, None, 5.0]
    (usual, _) = candidates(Part("regression", Dataset.from_dict({"text": [*"abcd"], "label": years})))
    for unit, start in ((1, 0), (0.1, 0), (1, 2000), (1e4, 0), (1, 1.7e9)):
        label = [None if year is None else unit * year + start for year in years]
        rows = usual.rows(Dataset.from_dict({"text": [*"abcd"], "label": label}))
        assert rows["text"][:] == ["a", "b", "d"]
        assert rows["label"][:] == pytest.approx([(x - 8 / 3) / (26 / 9) ** 0.5 for x in (1, 2, 5)], abs=1e-6)


def test_each_number_of_a_row_is_standardised_and_equal_ones_become_0():
    rows = Dataset.from_dict({"text": [*"abc"], "label": [[0.1, 10.0], [0.1, 30.0], [0.1, 20.0]]})
    found = standardise(rows)["label"][:]
    assert [first for first, _ in found] == [0, 0, 0]
    assert [second for _, second in found] == pytest.approx([-(1.5**0.5), 1.5**0.5, 0])


def test_linear_regression_is_the_squared_error_of_its_layer():
    (embeddings,) = random_columns([5], dtype=torch.float32)
    loss = LinearRegression(word_model(["red"], dim=8), outputs=1)
    loss.model = torch.nn.Identity()
    target = torch.arange(5.0)
    expected = (
        sum((float(loss.head(x / x.norm())) - float(y)) ** 2 for x, y in zip(embeddings, target, strict=True)) / 5
    )
    assert float(loss([{"sentence_embedding": embeddings}], target)) == pytest.approx(expected, rel=1e-5)
