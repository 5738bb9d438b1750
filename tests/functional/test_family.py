"""Every list function of the family against its definition in loops: values, gradients, and the paths they take."""

from __future__ import annotations

import math

import pytest
import torch

from st_rankloss import functional as F
from st_rankloss.functional import lists, pairs
from tests import oracle as loops
from tests import oracle_family as oracle

NAN = math.nan

# (name, settings); the oracle is the function of the same name. Settings cover every option.
CASES = [
    ("soft_spearman", {"temperature": 0.05}),
    ("pearson", {}),
    ("soft_kendall", {"temperature": 0.05}),
    ("approx_rank_mse", {"temperature": 0.05}),
    ("smooth_ap", {"temperature": 0.05}),
    ("sup_ap", {"temperature": 0.01, "slope": 100.0, "width": 0.05}),
    ("sup_ap", {"temperature": 0.1, "slope": 0.0, "width": 0.0}),
    ("hierarchical_ap", {"temperature": 0.05}),
    ("hierarchical_sup_ap", {"temperature": 0.01, "slope": 100.0, "width": 0.05}),
    ("hierarchical_sup_ap", {"temperature": 0.1, "slope": 1.0, "width": 0.0}),
    ("approx_mrr", {"temperature": 0.05}),
    ("approx_recall", {"k": 1, "temperature": 0.05, "cutoff_temperature": 1.0}),
    ("approx_recall", {"k": 10, "temperature": 0.05, "cutoff_temperature": 0.3}),
    ("approx_recall", {"k": (1, 4, 40), "temperature": 0.05, "cutoff_temperature": 1.0}),
    ("neural_ndcg", {"temperature": 0.1, "iterations": 5}),
    ("neural_ndcg", {"temperature": 0.1, "iterations": 5, "gain": "exponential", "k": 3}),
    ("groco", {"temperature": 0.1, "negatives": 3}),
    ("groco", {"temperature": 1.0, "negatives": 10}),
    ("softmax_cross_entropy", {"temperature": 0.1}),
    ("softmax_cross_entropy", {"temperature": 0.1, "gain": "exponential", "poly": 0.5}),
    ("sup_con", {"temperature": 0.1}),
    ("info_nce", {"temperature": 0.1}),
    ("dcl", {"temperature": 0.1}),
    ("list_net", {"temperature": 0.1, "label_temperature": 0.7}),
    ("list_net", {"temperature": 0.1, "label_temperature": "auto"}),
    ("list_net", {"temperature": 0.1, "label_temperature": 0.1, "symmetric": True}),
    ("rank_kl", {"temperature": 0.1, "label_temperature": 0.1}),
    ("regression_compatible", {"temperature": 0.2, "bias": -1.0, "alpha": 0.3}),
    ("psl", {"temperature": 0.1, "activation": "tanh", "width": 2.0}),
    ("psl", {"temperature": 0.2, "activation": "relu", "width": 0.5}),
    ("psl", {"temperature": 0.2, "activation": "atan", "width": 2.0}),
    ("softmax_at_k", {"k": 3, "temperature": 0.1, "weight_temperature": 0.1}),
    ("plackett_luce", {"temperature": 0.1, "positions": "equal", "label_temperature": 1.0}),
    ("plackett_luce", {"temperature": 0.1, "positions": "ndcg", "label_temperature": 1.0}),
    ("plackett_luce", {"temperature": 0.1, "positions": "confidence", "label_temperature": 0.5}),
    ("rank_n_contrast", {"temperature": 0.1}),
    ("pro", {"temperature": 0.1}),
    ("rank_net", {"temperature": 0.1}),
    ("mann_whitney", {"temperature": 0.1}),
    ("lambda_loss", {"temperature": 0.1, "mu": 10.0}),
    ("lambda_loss", {"temperature": 0.1, "mu": 0.5, "gain": "exponential", "k": 3}),
    ("rank_list", {"temperature": 0.1, "skip": 0.5}),
    ("margin_mse", {"scale": 2.0}),
    ("triplet_alignment", {"temperature": 0.05, "margin": 0.1}),
    ("multi_similarity", {"alpha": 2.0, "beta": 50.0, "base": 0.5}),
    ("circle", {"margin": 0.4, "scale": 20.0}),
    ("threshold_margin", {"upper": 0.9, "lower": 0.1}),
    ("inverse_rank_net", {"temperature": 0.1}),
    ("partial_ranking", {"temperature": 0.1, "positive": 2.0, "hardest": 4, "weight": 0.7}),
    ("partial_ranking", {"temperature": 0.1, "positive": 1.0, "hardest": 16, "weight": 1.0}),
]
every_case = pytest.mark.parametrize(("name", "settings"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
BOUNDED = {"regression_compatible"}
# Their gradient is not the derivative: weights in it are constants.
CONSTANT_WEIGHTS = {"softmax_at_k", "triplet_alignment", "circle"}


def draw(size: int, kind: str, name: str = "", seed: int = 0):
    """Similarities in [-1, 1) and relevance, float64, of one list, some of it unjudged."""
    generator = torch.Generator().manual_seed(1000 * seed + size)
    similarity = 2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1
    draws = torch.rand(size, generator=generator, dtype=torch.float64)
    relevance = {
        "binary": (draws < 0.3).double(),
        "grades": (4 * draws - 1).clamp_min(0).floor(),
        "continuous": (2 * draws - 0.5).clamp_min(0),
        "none": torch.zeros_like(draws),
        "all": torch.ones_like(draws),
    }[kind]
    if name in BOUNDED:
        relevance = relevance / max(relevance.max().item(), 1)
    relevance[torch.rand(size, generator=generator) < 0.2] = NAN
    return similarity, relevance


def expected(name, settings, similarity, relevance):
    """What the loops give for each list of a batch."""
    values = []
    for s, y in zip(similarity.tolist(), relevance.tolist(), strict=True):
        judged = [(a, b) for a, b in zip(s, y, strict=True) if not math.isnan(b)]
        values.append(getattr(oracle, name)([a for a, _ in judged], [b for _, b in judged], **settings))
    return torch.tensor(values, dtype=torch.float64)


def agree(value, wanted, rtol=1e-8):
    torch.testing.assert_close(value, wanted, rtol=rtol, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("size", [1, 2, 5, 33])
@every_case
def test_values_are_those_of_the_definition(name, settings, size):
    draws = [
        draw(size, kind, name, seed) for kind in ("binary", "grades", "continuous", "none", "all") for seed in (0, 1)
    ]
    similarity, relevance = (torch.stack(tensors) for tensors in zip(*draws, strict=True))
    wanted = expected(name, settings, similarity, relevance)
    agree(getattr(F, name)(similarity, relevance, **settings), wanted)
    assert size < 5 or wanted.isfinite().sum() >= 2, "nothing was compared"


@pytest.mark.parametrize("size", [63, 64, 65])
@every_case
def test_values_of_longer_lists_are_those_of_the_definition(name, settings, size):
    if name == "neural_ndcg":
        settings = settings | {"iterations": 1}
    draws = [draw(size, kind, name) for kind in ("binary", "grades", "continuous")]
    similarity, relevance = (torch.stack(tensors) for tensors in zip(*draws, strict=True))
    agree(getattr(F, name)(similarity, relevance, **settings), expected(name, settings, similarity, relevance))


@pytest.mark.parametrize(
    "name", ["soft_kendall", "rank_net", "inverse_rank_net", "mann_whitney", "lambda_loss", "hierarchical_ap"]
)
@pytest.mark.parametrize("kind", ["binary", "grades", "continuous"])
def test_pair_sums_of_a_thousand_documents_are_those_of_the_definition(name, kind):
    settings = dict(next(s for n, s in CASES if n == name))
    similarity, relevance = (x[None] for x in draw(1000, kind))
    agree(getattr(F, name)(similarity, relevance, **settings), expected(name, settings, similarity, relevance))


@pytest.mark.parametrize("kind", ["binary", "grades", "continuous"])
@pytest.mark.parametrize(("name", "settings"), [c for c in CASES if c[0] not in CONSTANT_WEIGHTS])
def test_gradients_are_those_of_the_definition(name, settings, kind):
    """By differences of the loops; a weight that is a constant in the gradient is left to the test below."""
    similarity, relevance = (x[None] for x in draw(9, kind, name, seed=3))
    similarity.requires_grad_()
    value = getattr(F, name)(similarity, relevance, **settings)
    (gradient,) = torch.autograd.grad(value.nan_to_num(0).sum(), similarity)
    judged = [j for j in range(9) if not math.isnan(relevance[0, j])]
    point, grades = similarity[0, judged].tolist(), relevance[0, judged].tolist()
    for place, j in enumerate(judged):
        at = []
        for shift in (-2, -1, 1, 2):
            moved = [s + shift * 1e-4 * (n == place) for n, s in enumerate(point)]
            at.append(getattr(oracle, name)(moved, grades, **settings))
        slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-4
        assert gradient[0, j].item() == pytest.approx(0 if math.isnan(slope) else slope, rel=1e-5, abs=1e-6)
    assert gradient[relevance.isnan()].eq(0).all()


def test_the_weights_of_softmax_at_k_are_not_differentiated():
    """Against differences of the loops with the weights held where they were."""
    (similarity, relevance), (k, temperature, width) = draw(9, "grades", seed=3), (3, 0.1, 0.1)
    judged = ~relevance.isnan()
    point, grades = similarity[judged].tolist(), relevance[judged].tolist()
    beta = sorted(point, reverse=True)[k - 1]
    held = [loops.sigmoid((s - beta) / width) for s in point]

    def loss(s):
        relevant = [j for j, y in enumerate(grades) if y > 0]
        return oracle.mean(held[j] * oracle.logsumexp((x - s[j]) / temperature for x in s) for j in relevant)

    similarity.requires_grad_()
    value = F.softmax_at_k(similarity, relevance, k=k, temperature=temperature, weight_temperature=width)
    (gradient,) = torch.autograd.grad(value, similarity)
    wanted = torch.tensor(loops.slope(loss, point, 1e-4), dtype=torch.float64)
    torch.testing.assert_close(gradient[judged], wanted, rtol=1e-5, atol=1e-7)
    assert wanted.norm() > 0.1


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_shares_of_triplet_alignment_are_not_differentiated(seed):
    """Against differences of the loops with the shares held where they were: no relevant document is pushed down."""
    (similarity, relevance), (temperature, margin) = draw(12, "grades", seed=seed), (0.3, 0.1)
    judged = ~relevance.isnan()
    point, (relevant, irrelevant) = similarity[judged].tolist(), oracle.kinds(relevance[judged].tolist())
    top = oracle.logsumexp(point[j] / temperature for j in relevant)
    held = [math.exp(s / temperature - top) for s in point]

    def loss(s):
        positive = sum(held[j] * s[j] for j in relevant)
        return max(0.0, margin - positive + temperature * oracle.logsumexp(s[k] / temperature for k in irrelevant))

    similarity.requires_grad_()
    value = F.triplet_alignment(similarity, relevance, temperature=temperature, margin=margin)
    (gradient,) = torch.autograd.grad(value, similarity)
    assert value.item() == pytest.approx(loss(point))
    wanted = torch.tensor(loops.slope(loss, point, 1e-4), dtype=torch.float64)
    torch.testing.assert_close(gradient[judged], wanted, rtol=1e-5, atol=1e-7)
    assert len(relevant) > 1
    assert wanted[relevant].max() < -1e-4


@pytest.mark.parametrize(("name", "settings"), [c for c in CASES if c[0] not in CONSTANT_WEIGHTS])
def test_gradcheck_holds_in_float64(name, settings):
    similarity, relevance = (torch.stack(x) for x in zip(*[draw(7, "grades", name, s) for s in (1, 2)], strict=True))
    similarity.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: getattr(F, name)(s, relevance, **settings).nan_to_num(0), similarity, rtol=1e-4, atol=1e-6
    )


@every_case
def test_lists_of_any_leading_shape_and_none(name, settings):
    similarity, relevance = draw(12, "grades", name, seed=1)
    alone = getattr(F, name)(similarity, relevance, **settings)
    assert alone.shape == ()
    twice = getattr(F, name)(similarity.expand(2, 3, 12), relevance.expand(2, 3, 12), **settings)
    torch.testing.assert_close(twice, alone.expand(2, 3))
    for shape in ((0, 4), (3, 0), (0, 0)):
        empty = torch.zeros(shape, requires_grad=True)
        value = getattr(F, name)(empty, torch.zeros(shape), **settings)
        assert value.shape == shape[:1]
        assert value.isnan().all()
        value.sum().backward()
        assert not empty.grad.any()


@every_case
def test_a_list_without_value_is_a_named_choice(name, settings):
    similarity, relevance = torch.tensor([[0.1, 0.7, 0.3]]), torch.full((1, 3), NAN)
    function = getattr(F, name)
    assert function(similarity, relevance, **settings).isnan().all()


@every_case
def test_bad_input_is_refused(name, settings):
    function = getattr(F, name)
    good = torch.rand(2, 4)
    with pytest.raises(TypeError, match="similarity must be a floating tensor, got torch.int64"):
        function(torch.ones(2, 4, dtype=torch.long), good, **settings)
    with pytest.raises(ValueError, match=r"relevance must have the shape of similarity, \(2, 4\), got \(2, 3\)"):
        function(good, torch.rand(2, 3), **settings)
    with pytest.raises(ValueError, match="relevance must be at least 0 and finite, or NaN for unjudged, got -1.0"):
        function(good, good - 1 - good, **settings)
    with pytest.raises(ValueError, match="similarity must be finite, got nan"):
        function(good / 0 * 0, good, **settings)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("soft_spearman", "temperature", 0, "temperature must be a finite number above 0, got 0"),
        ("soft_spearman", "method", "fast", "method must be one of 'auto', .*got 'fast'"),
        ("sup_ap", "slope", -1, "slope must be a finite number of at least 0, got -1"),
        ("approx_recall", "k", 0, "k must be an integer of at least 1.* got 0"),
        ("approx_recall", "k", (1, 0), "k must be an integer of at least 1.* got 0"),
        ("approx_recall", "k", (), r"k must be one or several different cutoffs, got \(\)"),
        ("approx_recall", "k", (2, 2), r"k must be one or several different cutoffs, got \(2, 2\)"),
        ("softmax_at_k", "k", None, "k must be an integer of at least 1, got None"),
        ("approx_recall", "cutoff_temperature", 0, "cutoff_temperature must be a finite number above 0, got 0"),
        ("neural_ndcg", "iterations", 0, "iterations must be an integer of at least 1.* got 0"),
        ("neural_ndcg", "gain", "square", "gain must be one of"),
        ("softmax_cross_entropy", "poly", NAN, "poly must be a finite number of at least 0, got nan"),
        ("list_net", "label_temperature", -1, "label_temperature must be a finite number above 0, got -1"),
        ("regression_compatible", "alpha", 1.5, r"alpha must be in \(0, 1\], got 1.5"),
        ("regression_compatible", "bias", math.inf, "bias must be a finite number, got inf"),
        ("psl", "activation", "exp", "activation must be one of 'tanh', 'relu', 'atan', got 'exp'"),
        ("psl", "width", 0, "width must be a finite number above 0, got 0"),
        ("plackett_luce", "positions", "top", "positions must be one of 'equal', 'ndcg', 'confidence', got 'top'"),
        ("policy_gradient", "samples", 1, "samples must be an integer of at least 2, got 1"),
        ("lambda_loss", "mu", -1.0, "mu must be a finite number of at least 0, got -1.0"),
        ("margin_mse", "scale", 0.0, "scale must be a finite number above 0, got 0.0"),
        ("groco", "negatives", 0, "negatives must be an integer of at least 1, got 0"),
        ("hierarchical_sup_ap", "slope", -1, "slope must be a finite number of at least 0, got -1"),
        ("triplet_alignment", "margin", -0.1, "margin must be a finite number of at least 0, got -0.1"),
        ("circle", "margin", 0.0, r"margin must be in \(0, 1\], got 0.0"),
        ("partial_ranking", "hardest", 0, "hardest must be an integer of at least 1, got 0"),
        ("partial_ranking", "positive", 0.0, "positive must be a finite number above 0, got 0.0"),
        ("threshold_margin", "lower", 0.95, "lower must be below upper, got lower=0.95 and upper=0.9"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_rule_and_value(name, setting, value, message):
    with pytest.raises(ValueError, match=message):
        getattr(F, name)(torch.rand(2, 3), torch.eye(2, 3), **{setting: value})


def test_a_relevance_above_1_is_no_probability():
    with pytest.raises(ValueError, match="relevance must be at most 1 for this loss, got 2.0"):
        F.regression_compatible(torch.rand(1, 2), torch.tensor([[0.0, 2.0]]))


# --- which path ran -----------------------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch):
    """Which ways of summing over pairs were taken."""
    names = []

    def spy(module, name):
        original = getattr(module, name)

        def spied(*arguments, **options):
            names.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, spied)

    spy(pairs, "sum_over_rows")
    spy(pairs, "sum_over_columns")
    return names


def graded(count: int, size: int = 200):
    similarity, _ = draw(size, "all")
    return similarity[None], (torch.arange(size, dtype=torch.float64) % count)[None]


@pytest.mark.parametrize(("name", "settings"), [("soft_kendall", {}), ("rank_net", {})])
@pytest.mark.parametrize(("count", "path"), [(2, "columns"), (16, "columns"), (17, "rows"), (200, "rows")])
def test_few_grades_are_summed_by_grade_and_many_pair_by_pair(ran, name, settings, count, path):
    similarity, relevance = graded(count)
    value = getattr(F, name)(similarity, relevance, **settings)
    assert ran == (["sum_over_rows"] if path == "rows" else ["sum_over_columns"] * (count - 1))
    agree(value, getattr(F, name)(similarity, relevance, method="dense", **settings))
    assert ran[-1] == "sum_over_rows"


@pytest.mark.parametrize("method", ["relevant", "grid"])
@pytest.mark.parametrize("name", ["soft_kendall", "rank_net", "mann_whitney", "hierarchical_ap", "smooth_ap"])
def test_every_method_gives_the_same_values_and_gradients(name, method):
    similarity, relevance = graded(4)
    results = []
    for way in ("dense", method):
        point = similarity.clone().requires_grad_()
        value = getattr(F, name)(point, relevance, temperature=0.05, method=way)
        results.append((value.detach(), torch.autograd.grad(value.sum(), point)[0]))
    agree(results[0][0], results[1][0])
    assert results[0][1].norm() > 1e-3
    assert (results[0][1] - results[1][1]).norm() < 1e-8 * results[0][1].norm()


@pytest.mark.parametrize(
    "name", ["rank_net", "inverse_rank_net", "lambda_loss", "sup_ap", "hierarchical_sup_ap", "psl", "pro"]
)
def test_a_few_pairs_at_a_time_give_what_all_at_once_give(monkeypatch, name):
    settings = next(s for n, s in CASES if n == name)
    similarity, relevance = (x[None] for x in draw(60, "continuous"))
    results = []
    for at_once in (2**20, 7 * 60):
        monkeypatch.setitem(lists._PAIRS_AT_ONCE, "cpu", at_once)
        point = similarity.clone().requires_grad_()
        value = getattr(F, name)(point, relevance, **settings)
        results.append((value.detach(), torch.autograd.grad(value.sum(), point)[0]))
    agree(results[0][0], results[1][0], rtol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["neural_ndcg", "groco"])
def test_a_few_lists_at_a_time_give_what_all_at_once_give(monkeypatch, name):
    settings = next(s for n, s in CASES if n == name)
    similarity, relevance = (torch.stack(x) for x in zip(*[draw(12, "grades", name, s) for s in range(7)], strict=True))
    results = []
    for at_once in (2**20, 3 * 12**2):
        monkeypatch.setitem(lists._PAIRS_AT_ONCE, "cpu", at_once)
        point = similarity.clone().requires_grad_()
        value = getattr(F, name)(point, relevance, **settings).nan_to_num(0)
        results.append((value.detach(), torch.autograd.grad(value.sum(), point)[0]))
    agree(results[0][0], results[1][0], rtol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)
    assert results[0][1].norm() > 1e-3


# --- numbers at the edge of what floats hold ------------------------------------------------------------------------


LIKELIHOODS = [
    "softmax_cross_entropy",
    "sup_con",
    "info_nce",
    "dcl",
    "softmax_at_k",
    "plackett_luce",
    "rank_n_contrast",
    "rank_list",
]
FAR_APART = [
    "partial_ranking",
    "inverse_rank_net",
    "list_net",
    "rank_kl",
    "triplet_alignment",
    "psl",
    "rank_net",
    "mann_whitney",
    "lambda_loss",
]


@pytest.mark.parametrize("name", [*LIKELIHOODS, "list_net", "rank_kl", "triplet_alignment", "margin_mse", "pearson"])
@pytest.mark.parametrize("offset", [1e3, 1e5, 1e6])
def test_float32_keeps_its_digits_far_from_0(name, offset):
    """What only differences of similarities tell must not depend on how large these are."""
    settings = next(s for n, s in CASES if n == name)
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randint(0, 8, (1, 9), generator=generator).float() / 4  # exact in float32, also with the offset
    relevance = torch.tensor([[2.0, 0, 1, 0, 0, 2, 1, 0, 0]])
    results = []
    for point in (similarity, similarity + offset):
        point = point.clone().requires_grad_()
        value = getattr(F, name)(point, relevance, **settings)
        results.append((value.detach(), torch.autograd.grad(value.sum(), point)[0]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
    assert results[0][1].norm() > 1e-3


@pytest.mark.parametrize("highest_is", ["best", "worst", "in_the_middle"])
@pytest.mark.parametrize("top", [1e3, 1e5])
@pytest.mark.parametrize(
    ("name", "settings"),
    [c for c in CASES if c[0] in {*LIKELIHOODS, *FAR_APART}],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_float32_keeps_the_digits_of_rivals_far_below_another_document(name, settings, top, highest_is):
    """The order among a few documents that are close must not depend on how high yet another one is."""
    similarity = torch.tensor([[0.0, 0.123, 0.234, 0.171, 0.333, 0.187, 0.222]])
    similarity[0, 0] = top
    grade = {"best": 3.0, "worst": 0.0, "in_the_middle": 1.0}[highest_is]
    relevance = torch.tensor([[grade, 2.0, 0, 1, 0, 2, 1]])
    results = []
    for dtype in (torch.float32, torch.float64):
        point = similarity.to(dtype).requires_grad_()
        value = getattr(F, name)(point, relevance, **settings)
        results.append((value.detach().double(), torch.autograd.grad(value.sum(), point)[0].double()))
    (value, gradient), (expected_value, expected_gradient) = results
    torch.testing.assert_close(value, expected_value, rtol=2e-6, atol=1e-6)
    assert (gradient - expected_gradient)[0, 1:].abs().max() <= 1e-5 * expected_gradient[0, 1:].abs().max() + 1e-6


def test_two_equal_documents_far_from_0_share_the_softmax():
    similarity = torch.tensor([[1e6, 1e6, 0.0]], requires_grad=True)
    value = F.softmax_cross_entropy(similarity, torch.tensor([[1.0, 0, 0]]))
    (gradient,) = torch.autograd.grad(value.sum(), similarity)
    assert value.item() == pytest.approx(math.log(2))
    assert gradient[0].tolist() == pytest.approx([-10, 10, 0])


def test_a_divergence_is_never_negative():
    value = F.list_net(torch.tensor([1e4, 1e4, 0.0]), torch.tensor([1.0, 1.0, 0.0]), label_temperature=1e-3)
    assert 0 <= value.item() < 1e-6


@pytest.mark.parametrize("similarity", [[0.1, 0.95], [-0.9, 0.95, 0.9, 0.8]])
def test_the_worst_order_of_groups_has_the_steepest_gradient(similarity):
    point = torch.tensor(similarity, requires_grad=True)
    relevance = torch.zeros(len(similarity))
    relevance[0] = 1
    (worst,) = torch.autograd.grad(F.groco(point, relevance), point)
    (better,) = torch.autograd.grad(F.groco(point, relevance.flip(0)), point)
    assert worst[0] < -0.1 < 0.1 < worst[1]  # to the relevant document and to the hardest other
    assert worst.norm() > better.norm()


@pytest.mark.parametrize("factor", [1e-20, 1.0, 1e15])
def test_pearson_does_not_see_the_scale_of_the_grades(factor):
    similarity = torch.tensor([0.9, 0.2, 0.7], requires_grad=True)
    value = F.pearson(similarity, torch.tensor([2.0, 0.0, 1.0]) * factor)
    (gradient,) = torch.autograd.grad(value, similarity)
    assert value.item() == pytest.approx(0.9707, abs=1e-4)
    assert gradient.norm() > 0.1


@pytest.mark.parametrize("activation", ["tanh", "relu", "atan"])
def test_an_activation_of_0_adds_nothing(activation):
    s = torch.tensor([12.0, -12.0], requires_grad=True)
    value = F.psl(s, torch.tensor([1.0, 0.0]), activation=activation, width=1.0, temperature=1000.0)
    (gradient,) = torch.autograd.grad(value, s)
    assert gradient.isfinite().all()
    if activation == "tanh":  # (1 + tanh(-24)) ** (1 / 1000)
        assert value.item() == pytest.approx(math.log(1 + math.exp((math.log(2) - 48) / 1000)), rel=1e-5)
    else:
        assert value.item() == 0


@pytest.mark.parametrize("name", ["soft_spearman", "margin_mse", "softmax_cross_entropy"])
def test_a_grade_that_float32_cannot_hold_is_refused(name):
    with pytest.raises(ValueError, match="relevance must be at least 0 and finite, or NaN for unjudged, got inf"):
        getattr(F, name)(torch.rand(3), torch.tensor([1e300, 0.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("temperature", [1e-46, 1e39])
def test_a_temperature_that_float32_cannot_hold_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be between 1e-30 and 1e30"):
        F.soft_spearman(torch.rand(3), torch.rand(3), temperature=temperature)


def test_a_scalar_is_no_list():
    with pytest.raises(ValueError, match="similarity must have a last dimension of documents, got a scalar"):
        F.pearson(torch.tensor(0.5), torch.tensor(1.0))
