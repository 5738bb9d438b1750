"""Objectives: configured metrics, their mixtures and their bad input."""

from __future__ import annotations

import json
import math

import pytest
import torch

from st_rankloss import objectives as o
from st_rankloss.functional import approx_ndcg, list_function, softmax_cross_entropy
from st_rankloss.functional.conditions import any_relevant
from st_rankloss.objectives import (
    ApproxNDCG,
    CustomObjective,
    Mixture,
    Objective,
    SoftmaxCrossEntropy,
    as_objective,
)
from st_rankloss.relevance import as_relevance
from tests import oracle

NAN = math.nan
SIMILARITY = [[0.9, 0.2, 0.7, 0.1], [0.1, 0.5, 0.4, 0.3], [0.0, 0.6, 0.3, 0.2]]
RELEVANCE = [[1.0, 0.0, NAN, 3.0], [0.0, NAN, 0.0, 0.0], [2.0, 0.5, 0.0, 1.0]]
NDCG_SETTINGS = [{}, {"temperature": 0.2}, {"gain": "exponential"}, {"k": 2}, {"k": 1, "cutoff_temperature": 0.5}]


def batch():
    return torch.tensor(SIMILARITY, dtype=torch.float64, requires_grad=True), torch.tensor(RELEVANCE).double()


@pytest.mark.parametrize("settings", NDCG_SETTINGS, ids=str)
def test_approximate_ndcg_is_one_minus_that_of_the_loops_and_0_without_gain(settings):
    loss = ApproxNDCG(**settings)(*batch())
    expected = [
        0.0
        if not any(y > 0 for y in relevance)
        else 1 - oracle.approx_ndcg(s, relevance, **{"temperature": 0.05} | settings)
        for s, relevance in zip(SIMILARITY, RELEVANCE, strict=True)
    ]
    assert loss.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.2}, {"gain": "exponential"}], ids=str)
def test_cross_entropy_is_that_of_the_loops_and_0_without_gain(settings):
    loss = SoftmaxCrossEntropy(**settings)(*batch())
    expected = [
        0.0
        if not any(y > 0 for y in relevance)
        else oracle.softmax_cross_entropy(s, relevance, **{"temperature": 0.05} | settings)
        for s, relevance in zip(SIMILARITY, RELEVANCE, strict=True)
    ]
    assert loss.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", ["dense", "relevant", "grid"])
def test_the_method_of_ranking_changes_nothing(method):
    torch.testing.assert_close(ApproxNDCG(method=method)(*batch()), ApproxNDCG()(*batch()), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "objective", [ApproxNDCG(), SoftmaxCrossEntropy(), ApproxNDCG() + SoftmaxCrossEntropy()], ids=str
)
def test_a_query_without_relevance_has_loss_0_and_gradient_0(objective):
    similarity, relevance = batch()
    loss = objective(similarity, relevance)
    (gradient,) = torch.autograd.grad(loss.sum(), similarity)
    assert objective.defined(relevance).tolist() == [True, False, True]
    assert loss[1] == 0
    assert not gradient[1].any()
    assert gradient[0].abs().max() > 1e-6


@pytest.mark.parametrize(
    "objective",
    [ApproxNDCG(gain=lambda y: (y - 1).clamp_min(0)), SoftmaxCrossEntropy(gain=lambda y: (y - 1).clamp_min(0))],
    ids=["ndcg", "cross_entropy"],
)
def test_grades_without_gain_are_no_relevance(objective):
    similarity = torch.tensor([[0.1, 0.9], [0.1, 0.9]])
    relevance = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    loss = objective(similarity, relevance)
    assert loss[0] == 0
    assert loss[1] > 0.1
    assert objective.defined(relevance).tolist() == [False, True]


def test_mixtures_weigh_and_add():
    similarity, relevance = batch()
    mixture = 2 * ApproxNDCG(0.1) + 0.2 * SoftmaxCrossEntropy() + ApproxNDCG()
    expected = (
        2 * ApproxNDCG(0.1)(similarity, relevance)
        + 0.2 * SoftmaxCrossEntropy()(similarity, relevance)
        + ApproxNDCG()(similarity, relevance)
    )
    torch.testing.assert_close(mixture(similarity, relevance), expected)
    assert [weight for weight, _ in mixture.terms] == [2, 0.2, 1]
    assert list(mixture.parts(similarity, relevance)) == ["ApproxNDCG", "SoftmaxCrossEntropy", "ApproxNDCG#2"]
    torch.testing.assert_close(sum(mixture.parts(similarity, relevance).values()), expected)


def test_a_weight_of_a_mixture_goes_to_each_term():
    mixture = 3 * (ApproxNDCG() + 0.5 * SoftmaxCrossEntropy())
    assert mixture == ApproxNDCG() * 3 + SoftmaxCrossEntropy() * 1.5
    assert [weight for weight, _ in mixture.terms] == [3, 1.5]


def test_mixtures_of_mixtures_lose_no_term():
    similarity, relevance = batch()
    twice = ApproxNDCG() + ApproxNDCG(0.2)
    expected = 1.5 * twice(similarity, relevance)
    torch.testing.assert_close((twice + 0.5 * twice)(similarity, relevance), expected)
    torch.testing.assert_close(Mixture(((1, twice), (0.5, twice)))(similarity, relevance), expected)


def test_a_mixture_learns_where_any_of_its_terms_can():
    class LowGrades(Objective):
        def defined(self, relevance):
            return (relevance == 0).all(-1)

    relevance = torch.tensor([[0.0, 0.0], [1.0, 0.0], [NAN, NAN]])
    assert (ApproxNDCG() + LowGrades()).defined(relevance).tolist() == [True, True, False]


@pytest.mark.parametrize("weight", [0, -1, NAN, math.inf])
def test_a_weight_that_is_not_above_0_is_refused(weight):
    with pytest.raises(ValueError, match=f"the weight of ApproxNDCG.* must be a finite number above 0, got {weight}"):
        weight * ApproxNDCG()


@pytest.mark.parametrize("other", ["2", None, True, [1]])
def test_only_numbers_are_weights(other):
    with pytest.raises(TypeError):
        ApproxNDCG() * other


@pytest.mark.parametrize("other", [1, None, lambda s, y: s])
def test_only_objectives_are_added(other):
    with pytest.raises(TypeError):
        ApproxNDCG() + other


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ApproxNDCG(temperature=0), "temperature must be a finite number above 0, got 0"),
        (lambda: ApproxNDCG(-1.0), "temperature must be a finite number above 0, got -1.0"),
        (lambda: ApproxNDCG(NAN), "temperature .* got nan"),
        (lambda: ApproxNDCG(math.inf), "temperature .* got inf"),
        (lambda: ApproxNDCG(k=0), "k must be an integer of at least 1 or None, got 0"),
        (lambda: ApproxNDCG(k=1.5), "k must be .* got 1.5"),
        (lambda: ApproxNDCG(gain="square"), "gain must be one of 'linear', 'exponential', got 'square'"),
        (lambda: ApproxNDCG(method="fast"), "method must be one of 'auto', .* got 'fast'"),
        (lambda: ApproxNDCG(cutoff_temperature=0.0), "cutoff_temperature must be a finite number above 0, got 0.0"),
        (lambda: SoftmaxCrossEntropy(0), "temperature must be a finite number above 0, got 0"),
        (lambda: SoftmaxCrossEntropy(gain="square"), "gain must be one of"),
        (lambda: o.ApproxRecall(k=None), "k must be an integer of at least 1, got None"),
        (lambda: o.ThresholdMargin(upper=0.1), "lower must be below upper, got lower=0.5 and upper=0.1"),
        (lambda: o.RegressionCompatible(alpha=2.0), r"alpha must be in \(0, 1\], got 2.0"),
        (lambda: o.ContextualSimilarity(alpha=2.0), r"alpha must be in \(0, 1\], got 2.0"),
        (lambda: o.PolicyGradient(samples=1), "samples must be an integer of at least 2, got 1"),
        (lambda: o.PSL(width=0.0), "width must be a finite number above 0, got 0.0"),
        (lambda: o.CoSENT(scale=0.0), "scale must be a finite number above 0, got 0.0"),
        (lambda: o.PlackettLuce(positions="top"), "positions must be one of 'equal', 'ndcg', 'confidence', got 'top'"),
        (lambda: o.SetInformation("cut"), "set_function must be one of .* got 'cut'"),
        (lambda: o.MVDHEL(0), "temperature must be a finite number above 0, got 0"),
        (lambda: o.SoftKendall(method="fast"), "method must be one of .* got 'fast'"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_rule_and_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [ApproxNDCG, SoftmaxCrossEntropy])
@pytest.mark.parametrize("temperature", ["0.1", None, True])
def test_a_temperature_that_is_no_number_is_refused(kind, temperature):
    with pytest.raises(TypeError, match=f"temperature must be a number.* got {temperature!r}"):
        kind(temperature)


def test_a_function_serves_as_an_objective():
    def gap(similarity, relevance):
        return (similarity - relevance.nan_to_num(0)).abs().mean(-1)

    objective = as_objective(gap)
    similarity, relevance = batch()
    assert isinstance(objective, CustomObjective)
    assert list(objective.parts(similarity, relevance)) == ["gap"]
    assert objective.config() == {"function": "gap"}
    assert list((objective + ApproxNDCG()).parts(similarity, relevance)) == ["CustomObjective(gap)", "ApproxNDCG"]
    torch.testing.assert_close(objective(similarity, relevance), gap(similarity, relevance))


@pytest.mark.parametrize("key", ["loss", "epoch", "steps", "learning_rate", "grad_norm"])
def test_no_term_of_a_mixture_is_logged_under_a_key_of_the_trainers(key):
    """It logs its own keys beside the names of the terms, of which the last one written would stay."""

    def function(similarity, relevance):
        return similarity.mean(-1)

    class Own(Objective):
        def parts(self, similarity, relevance):
            return {key: similarity.mean(-1)}

    function.__name__ = key
    mixture = as_objective(function) + ApproxNDCG() + Own() + o.Perturbed(as_objective(function))
    names = list(mixture.parts(*batch()))
    assert names == [f"CustomObjective({key})", "ApproxNDCG", f"Own({key})", f"Perturbed({key})"]


def test_a_function_must_return_a_loss_for_each_query():
    with pytest.raises(ValueError, match=r"one loss for each query, shape \(3,\), got shape \(\)"):
        as_objective(lambda s, y: s.sum())(*batch())


def test_a_function_must_return_a_tensor():
    with pytest.raises(TypeError, match=r"objective must return a tensor .* got \[0.0, 0.0, 0.0\]"):
        as_objective(lambda s, y: [0.0] * 3)(*batch())


@pytest.mark.parametrize("function", [lambda s: s.sum(1), lambda s, y, w: s.sum(1), lambda s, y, *, k: s.sum(1)])
def test_a_function_of_other_arguments_is_refused_before_training(function):
    with pytest.raises(TypeError, match=r"objective must be a function of \(similarity, relevance\), or of .*weights"):
        as_objective(function)


def test_a_function_that_requires_weights_gets_none_where_there_are_none_and_a_default_stays():
    seen = []
    required = as_objective(lambda s, y, weights: seen.append(weights) or s.sum(1))
    default = as_objective(lambda s, y, weights=2: seen.append(weights) or s.sum(1))
    weights = torch.ones(3, 4)
    for objective in (required, default):
        objective(*batch())
        objective(*batch(), weights)
        assert objective.weighs
    assert [seen[0], seen[2]] == [None, 2]
    assert seen[1] is weights
    assert seen[3] is weights


def test_a_wrapper_of_a_function_says_how_to_wrap_it():
    with pytest.raises(TypeError, match=r"must be an Objective, got <function .*: wrap a function in CustomObjective"):
        o.OverPairs(lambda s, y: s.sum(1))


@pytest.mark.parametrize("make", [as_objective, as_relevance])
def test_a_module_with_parameters_to_train_is_refused(make):
    """No gradient would reach them: they would stay as they are, in silence."""
    module = torch.nn.Bilinear(2, 2, 1)
    with pytest.raises(ValueError, match=r"must not have trainable parameters, .*Bilinear: freeze them"):
        make(module)
    make(module.requires_grad_(False))


@pytest.mark.parametrize("what", [None, "ndcg", 1])
def test_what_is_no_function_is_refused(what):
    with pytest.raises(TypeError, match=f"objective must be a function .* got {what!r}"):
        as_objective(what)


def test_a_subclass_must_say_what_it_computes():
    with pytest.raises(TypeError, match=r"must define __call__\(similarity, relevance, weights=None\)"):
        Objective()(*batch())


@pytest.mark.parametrize(
    "objective",
    [ApproxNDCG(k=3), SoftmaxCrossEntropy(0.1), ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()],
    ids=["ndcg", "cross_entropy", "mixture"],
)
def test_the_settings_go_to_json(objective):
    config = json.loads(json.dumps(objective.config()))
    terms = config.get("terms", [config])
    assert "temperature" in json.dumps(terms[0])


def test_a_mixture_shows_weights_and_settings():
    assert repr(0.5 * ApproxNDCG(0.1) + SoftmaxCrossEntropy()).startswith("0.5 * ApproxNDCG(temperature=0.1, ")
    assert repr(0.5 * ApproxNDCG(0.1) + SoftmaxCrossEntropy()).endswith("+ 1 * " + repr(SoftmaxCrossEntropy()))


def test_objectives_agree_with_the_functional_forms():
    similarity, relevance = batch()
    torch.testing.assert_close(
        ApproxNDCG(k=2)(similarity, relevance)[[0, 2]], 1 - approx_ndcg(similarity, relevance, k=2)[[0, 2]]
    )
    torch.testing.assert_close(
        SoftmaxCrossEntropy()(similarity, relevance)[[0, 2]], softmax_cross_entropy(similarity, relevance)[[0, 2]]
    )


def test_terms_of_the_same_name_are_all_kept_also_within_wrappers():
    similarity, relevance = batch()
    two = o.ApproxNDCG(0.01) + o.ApproxNDCG(0.1)
    for wrapped in (o.Focal(two, gamma=0.0), o.AcrossQueries(two), o.Perturbed(two, noise=1e-9, samples=1)):
        twice = wrapped + wrapped
        assert len(twice.parts(similarity, relevance)) == 4
        torch.testing.assert_close(
            twice(similarity, relevance), 2 * wrapped(similarity, relevance), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ((), ValueError, "terms must be at least one pair .* got none"),
        (((1, "ndcg"),), TypeError, "a mixture's terms must be objectives, got 'ndcg'"),
        ((("2", ApproxNDCG()),), TypeError, r"the weight of ApproxNDCG\(.* must be a number, got '2'"),
        (((True, ApproxNDCG()),), TypeError, "must be a number, got True"),
    ],
)
def test_a_mixture_is_checked(terms, error, message):
    with pytest.raises(error, match=message):
        Mixture(terms)


def test_a_class_is_no_objective():
    with pytest.raises(TypeError, match="got the class ApproxNDCG: call it"):
        as_objective(ApproxNDCG)


def test_an_own_objective_may_have_settings_of_any_name():
    @list_function("graded", learns=any_relevant)
    def sharper(similarity, relevance, judged, weights, sharpness=2.0):
        return softmax_cross_entropy(sharpness * similarity, torch.where(judged, relevance, NAN))

    class Sharper(o.Configured):
        @sharper.settings
        def __init__(self): ...

    similarity, relevance = batch()
    assert Sharper(3.0).config() == {"sharpness": 3.0}
    torch.testing.assert_close(
        Sharper(3.0)(similarity, relevance)[0], softmax_cross_entropy(3 * similarity, relevance)[0]
    )


def test_a_body_without_weights_is_refused_before_a_setting_gets_them():
    with pytest.raises(TypeError, match=r"sharper\(\) must take .* weights, before its settings, got .*'sharp'"):

        @list_function("graded", learns=any_relevant)
        def sharper(similarity, relevance, judged, sharp=2.0):
            return similarity


def test_functions_among_the_settings_go_to_json_by_name():
    def cubed(y):
        return y**3

    assert json.loads(json.dumps(ApproxNDCG(gain=cubed).config()))["gain"] == "cubed"


def test_a_gain_may_read_its_list():
    def above_mean(y):
        return (y - y.amax(-1, keepdim=True) / 2).clamp_min(0)

    for kind in (ApproxNDCG, SoftmaxCrossEntropy, o.NeuralNDCG, o.LambdaLoss, o.PolicyGradient):
        kind(gain=above_mean)


def test_making_an_objective_draws_no_random_number():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    o.PolicyGradient()
    assert torch.equal(torch.get_rng_state(), before)
