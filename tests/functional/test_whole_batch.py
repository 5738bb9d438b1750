"""The functions that read a whole batch, against their definitions in loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from st_rankloss import functional as F
from tests import oracle_family as oracle

NAN = math.nan


def samples(size: int, classes: int, seed: int = 0):
    """Cosines of random embeddings, and the classes of the samples, each of at least two."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, 5, generator=generator, dtype=torch.float64)
    member = torch.arange(size) % classes
    similarity = torch.nn.functional.normalize(embeddings, dim=1)
    similarity = similarity @ similarity.T
    relevance = (member[:, None] == member).double()
    return similarity, relevance.fill_diagonal_(NAN), member


def close(value, wanted):
    torch.testing.assert_close(value, torch.as_tensor(wanted, dtype=torch.float64), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["mv_info_nce", "mv_dhel"])
@pytest.mark.parametrize("views", [2, 3, 4])
def test_views_are_those_of_the_definition(views, name):
    similarity, relevance, member = samples(4 * views, 4)
    value = getattr(F, name)(similarity, relevance, temperature=0.3)
    close(value, getattr(oracle, name)(similarity.tolist(), member.tolist(), temperature=0.3))


def test_two_views_are_infonce_of_both_together():
    """With two views, the loss of a sample has its one pair over everything both views see."""
    similarity, relevance, member = samples(8, 4)
    value = F.mv_info_nce(similarity, relevance, temperature=0.5)
    e = (similarity / 0.5).exp().fill_diagonal_(0)
    for i in range(4):
        close(value[i], -math.log(2 * e[i, i + 4] / (e[i].sum() + e[i + 4].sum())))


@pytest.mark.parametrize("classes", [1, 8])
def test_a_sample_without_a_second_view_or_alone_has_no_loss(classes):
    similarity, relevance, _ = samples(8, classes)
    similarity.requires_grad_()
    for function in (F.mv_info_nce, F.mv_dhel):
        value = function(similarity, relevance)
        assert value.eq(0).all()
        (gradient,) = torch.autograd.grad(value.sum(), similarity)
        assert gradient.eq(0).all()


@pytest.mark.parametrize("name", ["facility_location", "graph_cut"])
@pytest.mark.parametrize("classes", [2, 3])
def test_set_functions_are_those_of_the_definition(name, classes):
    similarity, relevance, member = samples(9, classes)
    settings = {"set_function": name, "temperature": 0.3}
    close(
        F.set_information(similarity, relevance, **settings),
        oracle.set_information(similarity.tolist(), member.tolist(), **settings),
    )


def test_log_det_is_that_of_the_classes_and_of_the_batch():
    similarity, relevance, member = samples(9, 3)
    value = F.set_information(similarity, relevance, set_function="log_det", regularisation=0.5)
    total = -math.log(np.linalg.det(similarity.numpy() + 0.5 * np.eye(9)))
    for c in range(3):
        inside = similarity[member == c][:, member == c].numpy()
        total += math.log(np.linalg.det(inside + 0.5 * np.eye(3)))
    close(value, [total / 9] * 9)


def test_contextual_similarity_is_that_of_the_definition():
    for seed, neighbours in itertools.product(range(3), (1, 2, 4, 20)):
        similarity, relevance, member = samples(10, 3, seed)
        settings = {"neighbours": neighbours, "width": 0.05, "upper": 0.9, "lower": 0.3, "alpha": 0.4}
        value = F.contextual_similarity(similarity, relevance, **settings)
        close(value, oracle.contextual_similarity(similarity.tolist(), member.tolist(), **settings))


def test_the_contextual_gradient_pulls_classes_together():
    torch.manual_seed(0)
    similarity, relevance, member = samples(12, 3)
    similarity.requires_grad_()
    value = F.contextual_similarity(similarity, relevance, alpha=1.0)  # the contextual part alone
    (gradient,) = torch.autograd.grad(value, similarity)
    related = member[:, None] == member
    other = ~torch.eye(12, dtype=torch.bool)
    assert gradient.isfinite().all()
    assert gradient[related & other].mean() < -1e-4 < 1e-4 < gradient[~related].mean()


@pytest.mark.parametrize("whisker", [0.0, 0.5, 100.0])
def test_shared_negatives_are_those_of_the_definition(whisker):
    similarity, relevance, _ = samples(9, 3)
    relevance[2, 5] = NAN
    value = F.shared_negatives(similarity, relevance, temperature=0.2, whisker=whisker)
    close(
        value,
        oracle.shared_negatives(similarity.tolist(), relevance.tolist(), temperature=0.2, whisker=whisker),
    )


@pytest.mark.parametrize("sigma", [0.1, 0.5, 100.0])
def test_dclw_is_that_of_the_definition(sigma):
    similarity, relevance, _ = samples(9, 3)
    relevance[2, 5], relevance[4], relevance[7] = NAN, 1, 0  # rows of one kind
    value = F.dclw(similarity, relevance, temperature=0.2, sigma=sigma)
    close(value, oracle.dclw(similarity.tolist(), relevance.tolist(), temperature=0.2, sigma=sigma))
    assert value[4] == value[7] == 0


def test_dclw_with_equal_weights_is_dcl():
    similarity, relevance, _ = samples(9, 3)
    torch.testing.assert_close(
        F.dclw(similarity, relevance, temperature=0.2, sigma=1e9), F.dcl(similarity, relevance, temperature=0.2)
    )


def test_the_weights_of_dclw_average_1_are_constant_and_fall_as_pairs_come_closer():
    """Read off the gradient of the relevant pairs, which is -w / τ."""
    similarity, _, _ = samples(6, 3)
    similarity.requires_grad_()
    value = F.dclw(similarity, torch.eye(6), temperature=0.5)
    weight = -0.5 * torch.autograd.grad(value.sum(), similarity)[0].diagonal()
    close(weight.mean(), 1.0)
    similarity = torch.tensor([[0.9, 0.0], [0.0, 0.1]], requires_grad=True)
    weight = -torch.autograd.grad(F.dclw(similarity, torch.eye(2)).sum(), similarity)[0].diagonal()
    assert weight[0] < weight[1]


@pytest.mark.parametrize("extra", [0, 3])
def test_cwcl_is_that_of_the_definition(extra):
    generator = torch.Generator().manual_seed(0)
    similarity, relevance = torch.rand(2, 5, 5 + extra, generator=generator, dtype=torch.float64)
    relevance[1, 3], relevance[2, 2], relevance[4] = NAN, NAN, NAN
    close(
        F.cwcl(similarity, relevance, temperature=0.3),
        oracle.cwcl(similarity.tolist(), relevance.tolist(), temperature=0.3),
    )


def test_cwcl_of_one_relevant_document_is_the_loss_of_clip():
    similarity = torch.rand(6, 6, dtype=torch.float64)
    both = [
        torch.nn.functional.cross_entropy(s / 0.1, torch.arange(6), reduction="none")
        for s in (similarity, similarity.T)
    ]
    close(F.cwcl(similarity, torch.eye(6), temperature=0.1), (both[0] + both[1]) / 2)


def test_cwcl_needs_a_document_for_every_query():
    with pytest.raises(ValueError, match="every query needs a document of its own, got 2 documents for 3 queries"):
        F.cwcl(torch.rand(3, 2), torch.rand(3, 2))


def test_wasserstein_ignores_whose_list_is_whose():
    similarity, relevance, _ = samples(6, 3)
    relevance = relevance.nan_to_num(0)
    value = F.wasserstein(similarity, relevance)
    close(F.wasserstein(similarity[torch.tensor([3, 0, 5, 1, 2, 4])], relevance), value.item())
    assert value > 1e-3


@pytest.mark.parametrize("margins", [(0.2, 0.1), (1.0, 0.0), (0.0, 3.0)])
def test_quadruplets_are_those_of_the_definition(margins):
    """Values, and gradients by differences of the loops."""
    generator = torch.Generator().manual_seed(0)
    similarity = 2 * torch.rand(5, 7, generator=generator, dtype=torch.float64) - 1
    relevance = (torch.rand(5, 7, generator=generator) < 0.4).double()
    relevance[torch.rand(5, 7, generator=generator) < 0.2] = NAN
    relevance[3], relevance[4] = 1, 0  # no irrelevant document, and no relevant one
    settings = {"margin": margins[0], "margin_between": margins[1]}
    weight = torch.rand(5, generator=generator, dtype=torch.float64)
    similarity.requires_grad_()
    value = F.quadruplet(similarity, relevance, **settings)
    close(value, oracle.quadruplet(similarity.tolist(), relevance.tolist(), **settings))
    (gradient,) = torch.autograd.grad((weight * value).sum(), similarity)
    for q, d in itertools.product(range(5), range(7)):
        ends = []
        for shift in (-1e-6, 1e-6):
            moved = similarity.tolist()
            moved[q][d] += shift
            losses = oracle.quadruplet(moved, relevance.tolist(), **settings)
            ends.append(sum(w * x for w, x in zip(weight.tolist(), losses, strict=True)))
        assert gradient[q, d].item() == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=1e-4, abs=1e-7)
    assert gradient.norm() > 0.1


def test_wasserstein_is_that_of_the_two_gaussians():
    """The covariances' root by scipy, of full matrices."""
    generator = torch.Generator().manual_seed(0)
    similarity = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    relevance = torch.randint(0, 4, (4, 6), generator=generator).double()
    value = F.wasserstein(similarity, relevance, temperature=0.3, label_temperature=2.0)
    rows = (similarity / 0.3).softmax(1).numpy(), (relevance / 2.0).softmax(1).numpy()
    (mu, sigma), (nu, tau) = ((x.mean(0), np.cov(x.T)) for x in rows)
    root = scipy.linalg.sqrtm(sigma)
    cross = np.trace(scipy.linalg.sqrtm(root @ tau @ root).real)
    wanted = ((mu - nu) ** 2).sum() + np.trace(sigma) + np.trace(tau) - 2 * cross
    assert value.item() == pytest.approx(wanted, rel=1e-6)
    assert wanted > 1e-3


def test_wasserstein_is_0_for_the_labels_own_softmax_and_ignores_the_unjudged():
    relevance = torch.tensor([[2.0, 0.0, 1.0, NAN], [0.0, 3.0, 1.0, NAN]])
    similarity = (relevance / 2).nan_to_num(0.7)
    assert F.wasserstein(similarity, relevance, temperature=0.5).abs() < 1e-6
    kept = F.wasserstein(similarity[:, :3] * 0.3, relevance[:, :3], temperature=0.5)
    torch.testing.assert_close(F.wasserstein(similarity * 0.3, relevance, temperature=0.5), kept)
    assert kept > 1e-3


def test_wasserstein_leaves_out_queries_without_a_judged_document_or_of_weight_0():
    generator = torch.Generator().manual_seed(0)
    similarity = torch.rand(6, 6, generator=generator, dtype=torch.float64)
    relevance = torch.randint(0, 4, (6, 6), generator=generator).double()
    kept = F.wasserstein(similarity[:4], relevance[:4], temperature=0.3)
    weights = torch.ones(6, 6, dtype=torch.float64)
    weights[4:] = 0
    assert F.wasserstein(similarity, relevance, temperature=0.3, weights=weights).item() == pytest.approx(kept.item())
    relevance[4:] = NAN
    assert F.wasserstein(similarity, relevance, temperature=0.3).item() == pytest.approx(kept.item())
    assert F.wasserstein(similarity, relevance.fill_(NAN)) == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mv_info_nce", {"temperature": 0.3}),
        ("mv_dhel", {"temperature": 0.3}),
        ("set_information", {"set_function": "facility_location"}),
        ("set_information", {"set_function": "graph_cut"}),
        ("set_information", {"set_function": "log_det"}),
        ("cwcl", {"temperature": 0.3}),
        ("shared_negatives", {"temperature": 0.2}),
        ("wasserstein", {"temperature": 0.3}),
    ],
)
def test_gradcheck_holds_in_float64(name, settings):
    similarity, relevance, _ = samples(6, 3)
    if name in ("wasserstein", "cwcl"):
        relevance = relevance.nan_to_num(0)
    similarity.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: getattr(F, name)(s, relevance, **settings), similarity, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", ["mv_info_nce", "mv_dhel", "set_information", "contextual_similarity"])
def test_samples_must_be_queries_and_documents(name):
    with pytest.raises(ValueError, match=r"similarity must be of shape \(B, B\), every sample .*, got \(2, 3\)"):
        getattr(F, name)(torch.rand(2, 3), torch.rand(2, 3))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mv_dhel", {"temperature": 0}, "temperature must be a finite number above 0, got 0"),
        ("set_information", {"set_function": "cut"}, "set_function must be one of 'facility_location', .* got 'cut'"),
        ("contextual_similarity", {"neighbours": 0}, "neighbours must be an integer of at least 1.*got 0"),
        ("contextual_similarity", {"alpha": 2}, r"alpha must be in \(0, 1\], got 2"),
        ("dclw", {"sigma": 0}, "sigma must be a finite number above 0, got 0"),
        ("cwcl", {"temperature": "auto"}, "temperature must be a number here"),
        ("shared_negatives", {"whisker": -1}, "whisker must be a finite number of at least 0, got -1"),
        ("wasserstein", {"label_temperature": -1}, "label_temperature must be a finite number above 0, got -1"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_rule_and_value(name, settings, message):
    with pytest.raises(ValueError, match=message):
        getattr(F, name)(torch.eye(3), torch.eye(3), **settings)


SQUARE = pytest.mark.parametrize("name", ["mv_info_nce", "mv_dhel", "set_information", "contextual_similarity"])


@SQUARE
def test_every_two_samples_must_be_judged(name):
    relevance = torch.eye(3)
    relevance[0, 2] = NAN
    with pytest.raises(ValueError, match="relevance of different samples must be judged .* got nan"):
        getattr(F, name)(torch.eye(3), relevance)


@SQUARE
def test_a_samples_similarity_with_itself_must_be_a_number(name):
    similarity = torch.eye(3)
    similarity[1, 1] = -math.inf
    with pytest.raises(ValueError, match="similarity must be finite, got -inf. That of a sample with itself counts"):
        getattr(F, name)(similarity, torch.eye(3).fill_diagonal_(NAN))


@pytest.mark.parametrize("name", ["wasserstein", "shared_negatives", "mv_info_nce", "mv_dhel", "set_information"])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_a_batch_has_at_least_one_sample(name, shape):
    with pytest.raises(ValueError, match="a batch needs at least one query|every sample a query and a document"):
        getattr(F, name)(torch.zeros(shape), torch.zeros(shape))


def test_determinants_of_samples_that_are_all_alike_are_finite():
    similarity = torch.ones(4, 4, requires_grad=True)
    value = F.set_information(similarity, torch.ones(4, 4), set_function="log_det", regularisation=1e-8)
    (gradient,) = torch.autograd.grad(value.sum(), similarity)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
