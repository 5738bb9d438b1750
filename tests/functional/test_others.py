"""The family against other people's implementations, and against the exact metrics as temperatures fall to 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import (
    CircleLoss,
    MultiSimilarityLoss,
    SupConLoss,
    ThresholdConsistentMarginLoss,
)
from scipy.stats import kendalltau, spearmanr
from scipy.stats import pearsonr as scipy_pearson
from sentence_transformers.cross_encoder.losses import ADRMSELoss, LambdaLoss, ListMLELoss, ListNetLoss, RankNetLoss
from sentence_transformers.cross_encoder.losses.lambda_loss import NDCGLoss2PPScheme
from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.nn.functional import cross_entropy, kl_div

from st_rankloss import functional as F
from st_rankloss.objectives import AcrossQueries, ThresholdMargin


def lists(grades: int, queries: int = 4, size: int = 12):
    generator = torch.Generator().manual_seed(grades)
    similarity = torch.rand(queries, size, generator=generator)
    return similarity, torch.randint(0, grades, (queries, size), generator=generator).float()


class Scores(torch.nn.Module):
    """A cross-encoder that has its scores from a table."""

    device = torch.device("cpu")
    num_labels = 1

    def __init__(self, scores):
        super().__init__()
        self.table = scores.reshape(-1, 1)
        self.activation_fn = torch.nn.Identity()

    def preprocess(self, pairs, **_):
        return {"place": torch.tensor([int(document) for _, document in pairs])}

    def forward(self, features):
        return {"scores": self.table[features["place"]]}


def by_host(loss_class, similarity, relevance, **options):
    """The mean loss of sentence-transformers' cross-encoder loss."""
    queries, size = similarity.shape
    loss = loss_class(Scores(similarity), activation_fn=torch.nn.Identity(), **options)
    documents = [[str(q * size + d) for d in range(size)] for q in range(queries)]
    return loss([["query"] * queries, documents], list(relevance))


def test_adr_mse_is_that_of_sentence_transformers():
    similarity, relevance = lists(4)
    theirs = by_host(ADRMSELoss, similarity, relevance, alpha=10.0)
    torch.testing.assert_close(F.approx_rank_mse(similarity, relevance, temperature=0.1).mean(), theirs)


def test_ranknet_is_that_of_sentence_transformers():
    similarity, relevance = lists(4, queries=1)
    theirs = by_host(RankNetLoss, similarity, relevance, sigma=5.0, reduction_log="natural")
    torch.testing.assert_close(F.rank_net(similarity, relevance, temperature=0.2)[0], theirs)


@pytest.mark.parametrize("k", [None, 3])
def test_lambda_loss_is_that_of_sentence_transformers(k):
    """Theirs is the mean over the pairs that count."""
    similarity, relevance = lists(4, queries=1)
    theirs = by_host(LambdaLoss, similarity, relevance, sigma=5.0, k=k, weighting_scheme=NDCGLoss2PPScheme(mu=10.0))
    if theirs.isnan():
        pytest.skip("with a cutoff, LambdaLoss is NaN in sentence-transformers before 6.2")
    ours = F.lambda_loss(similarity, relevance, temperature=0.2, gain="exponential", k=k)[0]
    ranks = (-similarity[0]).argsort().argsort() + 1
    pairs = relevance[0][:, None] > relevance[0]
    if k is not None:
        pairs &= (ranks <= k)[:, None] | (ranks <= k)
    torch.testing.assert_close(ours / pairs.sum(), theirs)


def test_plackett_luce_of_distinct_grades_is_listmle():
    generator = torch.Generator().manual_seed(0)
    similarity = torch.rand(1, 9, generator=generator)
    relevance = torch.randperm(9, generator=generator).float()[None]
    theirs = by_host(ListMLELoss, similarity / 0.2, relevance, respect_input_order=False)
    ours = F.plackett_luce(similarity, relevance, temperature=0.2)[0]
    torch.testing.assert_close(ours * 8, theirs)  # the sum over positions, of which the last says nothing


def test_list_net_is_listnet_less_the_targets_entropy():
    similarity, relevance = lists(4)
    theirs = by_host(ListNetLoss, similarity / 0.2, relevance)
    target = relevance.softmax(-1)
    entropy = -(target * target.log()).sum(-1)
    ours = F.list_net(similarity, relevance, temperature=0.2, label_temperature=1.0)
    torch.testing.assert_close((ours + entropy).mean(), theirs)


def test_symmetric_list_net_is_the_mean_of_torchs_two_divergences():
    """What UniME-V2 aligns similarities with a judge's scores by."""
    similarity, scores = lists(4)[0], torch.rand(4, 12)
    given, wanted = (similarity / 0.1).log_softmax(-1), (scores / 0.1).log_softmax(-1)
    both = [kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((given, wanted), (wanted, given))]
    ours = F.list_net(similarity, scores, temperature=0.1, label_temperature=0.1, symmetric=True)
    torch.testing.assert_close(ours.mean(), (both[0] + both[1]) / 2)


def test_confidence_weights_are_those_of_pld_where_the_teacher_is_right():
    """Term by term over the teacher's order, of which the first class is the true one."""
    scores = torch.tensor([3.0, 1.0, 0.5, 0.2])
    similarity = torch.tensor([0.1, 0.8, 0.3, 0.4])
    share = (scores / 2).softmax(0)
    wanted = sum(share[k] * cross_entropy(similarity[k:] / 0.2, torch.tensor(0)) for k in range(4))
    ours = F.plackett_luce(similarity, scores, temperature=0.2, positions="confidence", label_temperature=2.0)
    torch.testing.assert_close(ours, wanted)


def test_margin_mse_of_two_documents_is_that_of_sentence_transformers():
    generator = torch.Generator().manual_seed(0)
    query, positive, negative = torch.randn(3, 5, 4, generator=generator)
    grades = torch.rand(5, 2, generator=generator)
    loss = MarginMSELoss(None)
    theirs = loss.compute_loss_from_embeddings([query, positive, negative], grades[:, 0] - grades[:, 1])
    similarity = torch.stack([(query * positive).sum(1), (query * negative).sum(1)], 1)
    torch.testing.assert_close(F.margin_mse(similarity, grades).mean(), theirs)


def batch(classes=4, size=12):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(size, 6, generator=generator), dim=1)
    labels = torch.arange(size) % classes
    relevance = (labels[:, None] == labels).float().fill_diagonal_(float("nan"))
    return embeddings, labels, embeddings @ embeddings.T, relevance


def test_supcon_is_that_of_pytorch_metric_learning():
    embeddings, labels, similarity, relevance = batch()
    theirs = SupConLoss(temperature=0.1)(embeddings, labels)
    torch.testing.assert_close(F.sup_con(similarity, relevance, temperature=0.1).mean(), theirs)


def test_multi_similarity_is_that_of_pytorch_metric_learning():
    embeddings, labels, similarity, relevance = batch()
    theirs = MultiSimilarityLoss(alpha=2, beta=40, base=0.3)(embeddings, labels)
    ours = F.multi_similarity(similarity, relevance, alpha=2, beta=40, base=0.3)
    torch.testing.assert_close(ours.mean(), theirs)


def test_circle_is_that_of_pytorch_metric_learning_also_in_its_gradient():
    """Its weights are constants, so that the gradient is not that of the definition in loops."""
    embeddings, labels, _, relevance = batch()
    gradients, losses = [], []
    for loss in (
        lambda e: CircleLoss(m=0.3, gamma=32)(e, labels),
        lambda e: F.circle(e @ e.T, relevance, margin=0.3, scale=32.0).mean(),
    ):
        point = embeddings.clone().requires_grad_()
        losses.append(loss(torch.nn.functional.normalize(point, dim=1)))
        gradients.append(torch.autograd.grad(losses[-1], point)[0])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
    assert gradients[0].norm() > 0.1


def test_tcm_across_queries_is_that_of_pytorch_metric_learning():
    embeddings, labels, similarity, relevance = batch()
    loss = ThresholdConsistentMarginLoss(margin_plus=0.9, margin_minus=0.2, distance=CosineSimilarity())
    ours = AcrossQueries(ThresholdMargin(upper=0.9, lower=0.2))(similarity, relevance)
    torch.testing.assert_close(ours.mean(), loss(embeddings, labels))


def test_at_temperature_0_the_soft_metrics_are_the_metrics():
    similarity, relevance = (x.double() for x in lists(4))
    soft = {"temperature": 1e-5}
    for s, y in zip(similarity, relevance, strict=True):
        relevant = (y > 0).numpy()
        assert F.soft_spearman(s, y, **soft).item() == pytest.approx(spearmanr(s, y).statistic, abs=1e-6)
        assert F.pearson(s, y).item() == pytest.approx(scipy_pearson(s, y).statistic, abs=1e-9)
        assert F.smooth_ap(s, y, **soft).item() == pytest.approx(average_precision_score(relevant, s), abs=1e-6)
        order = (-s).argsort().numpy()
        first = np.flatnonzero(relevant[order])[0] + 1
        assert F.approx_mrr(s, y, **soft).item() == pytest.approx(1 / first, abs=1e-6)
        found = relevant[order][:5].sum() / min(5, relevant.sum())
        assert F.approx_recall(s, y, k=5, cutoff_temperature=1e-3, **soft).item() == pytest.approx(found, abs=1e-6)
        hinge = (s[y == 0] - s[y > 0][:, None]).clamp_min(0).mean().item()  # what softplus is then
        assert F.mann_whitney(s, y, **soft).item() * 1e-5 == pytest.approx(hinge, abs=1e-4)
        unique = torch.randperm(len(s)).double()
        assert F.soft_kendall(s, unique, **soft).item() == pytest.approx(kendalltau(s, unique).statistic, abs=1e-6)


def test_mann_whitney_bounds_auc():
    similarity, relevance = (x.double() for x in lists(2))
    for s, y in zip(similarity, relevance, strict=True):
        bound = F.mann_whitney(s, y, temperature=0.1).item() / np.log(2)
        assert bound >= 1 - roc_auc_score(y, s)


def test_sup_ap_bounds_average_precision_from_below():
    for seed in range(20):
        torch.manual_seed(seed)
        s, y = torch.rand(15).double(), (torch.rand(15) < 0.4).double()
        y[0] = 1
        assert F.sup_ap(s, y, temperature=0.01).item() <= average_precision_score(y, s) + 1e-9


def test_hierarchical_ap_of_one_grade_is_smooth_ap():
    similarity, relevance = lists(2)
    torch.testing.assert_close(F.hierarchical_ap(similarity, 3 * relevance), F.smooth_ap(similarity, relevance))
