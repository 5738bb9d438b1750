"""What a declared function says of itself: signature, documentation, errors; and the objective that follows from it."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
import torch

from st_rankloss import functional as F
from st_rankloss import objectives as o
from st_rankloss.functional.settings import Setting
from st_rankloss.objectives import Configured

DECLARED = {name: f for name in F.__all__ if hasattr(f := getattr(F, name), "declaration")}
OBJECTIVES = {
    name: kind
    for name in o.__all__
    if isinstance(kind := getattr(o, name), type) and issubclass(kind, Configured) and kind is not Configured
}


def described(docstring, section="Args"):
    """The names that a section of a docstring describes."""
    found = re.search(rf"^{section}:\n((?:    .*\n)+)", docstring, re.MULTILINE)
    return re.findall(r"^    (\w+): \S", found[1], re.MULTILINE) if found else []


@pytest.mark.parametrize("name", [n for n in F.__all__ if inspect.isfunction(getattr(F, n))])
def test_every_argument_of_a_function_is_described(name):
    function = getattr(F, name)
    docstring = inspect.getdoc(function)
    if name in DECLARED:
        assert described(docstring) == list(inspect.signature(function).parameters)
        assert described(docstring, "Raises") == ["TypeError", "ValueError"]
        assert "\nReturns:\n" in docstring
        assert "\nExample:\n" in docstring
        assert "Source:" in docstring
        assert "Annotated" not in str(inspect.signature(function))
        assert f"def {name}(" in inspect.getsource(function)
    elif "\nArgs:\n" in docstring:
        assert described(docstring) == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_has_the_settings_of_its_function_and_describes_them(name):
    kind = OBJECTIVES[name]
    settings = [x for x in list(inspect.signature(kind.function).parameters.values())[2:] if x.name != "weights"]
    assert [(x.name, x.default, x.annotation) for x in inspect.signature(kind).parameters.values()] == [
        (x.name, x.default, x.annotation) for x in settings
    ]
    assert described(inspect.getdoc(kind)) == [x.name for x in settings]
    assert "Source:" in inspect.getdoc(kind)
    assert pickle.loads(pickle.dumps(kind())) == kind()


def test_every_function_has_one_objective_of_its_name_in_a_file_of_its_name():
    of = {kind.function.__name__: kind for kind in OBJECTIVES.values()}
    assert set(of) == set(DECLARED)
    for name, kind in of.items():
        assert name.replace("_", "") == kind.__name__.lower()
        assert kind.__module__.split(".")[-1] == DECLARED[name].__module__.split(".")[-1]


@pytest.mark.parametrize("name", DECLARED)
def test_every_setting_has_a_rule(name):
    declaration = DECLARED[name].declaration
    assert set(declaration.rules) == {x.name for x in declaration.arguments}


def test_settings_are_not_checked_again_in_every_block(monkeypatch):
    objective = o.ApproxNDCG()
    monkeypatch.setattr(Setting, "__call__", lambda *_: pytest.fail("checked again"))
    objective(torch.rand(2, 3), torch.rand(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: F.approx_mrr(x, x, temprature=1.0),
            r"approx_mrr\(\) got an unexpected keyword argument 'temprature'",
        ),
        (lambda x: F.approx_mrr(x), r"approx_mrr\(\) missing a required argument: 'relevance'"),
        (lambda x: o.ApproxMRR(temprature=1.0), "unexpected keyword argument 'temprature'"),
    ],
)
def test_arguments_that_do_not_exist_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call(torch.rand(1, 3))


def test_a_function_takes_an_automatic_temperature_as_its_objective_does():
    similarity, relevance = torch.rand(3, 8), torch.randint(0, 3, (3, 8)).float()
    relevance[:, 0], relevance[:, 1] = 2, 0
    value = F.approx_ndcg(similarity, relevance, temperature="auto")
    assert torch.equal(1 - value, o.ApproxNDCG("auto")(similarity, relevance))
    assert torch.equal(value, F.approx_ndcg(3 * similarity, relevance, temperature="auto")) or value.allclose(
        F.approx_ndcg(3 * similarity, relevance, temperature="auto"), atol=1e-5
    )
