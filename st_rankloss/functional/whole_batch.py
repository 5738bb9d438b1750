"""Losses that read a whole batch at once: similarity and relevance ``(Q, D)``, with queries compared jointly."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from st_rankloss.functional.conditions import any_relevant, some_irrelevant_in_the_batch, two_kinds
from st_rankloss.functional.declaration import batch_function
from st_rankloss.functional.lists import log_odds, log_weighted, masked_logsumexp, masked_mean
from st_rankloss.functional.settings import AtLeast0, Count, Positive, Share, choice
from st_rankloss.kernels.pair_sums import softplus


@batch_function("distribution", learns=any_relevant)
def wasserstein(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.05,
    label_temperature: Positive = 1.0,
) -> Tensor:
    r"""Compute SyCL loss: the squared 2-Wasserstein distance of two Gaussians over the lists of a batch.

    One is fitted to the rows softmax(s/τ), the other to softmax(y/τ_y), of queries with a judged document:

    .. math:: \|\mu - \nu\|^2 + \operatorname{tr} \big( \Sigma + T - 2 (\Sigma^{1/2} T \Sigma^{1/2})^{1/2} \big)

    It depends only on the mean and covariance of the rows: exchanging the lists of two queries changes nothing, so
    a table of free embeddings learns nothing from it. Mix it with an objective of single lists, as in ``Wasserstein() +
    ListNet()``.

    Args:
        temperature: τ, above 0, in units of ``similarity``.
        label_temperature: τ_y, above 0, in units of ``relevance``.

    Returns:
        Distance, at least 0, lower is better, a scalar.

    Example:
        >>> similarity = torch.tensor([[0.9, 0.2], [0.1, 0.6]])
        >>> wasserstein(similarity, torch.eye(2), temperature=0.5, label_temperature=0.5)
        tensor(0.0547)

    Source: Esfandiarpoor et al. (2025), "Beyond Contrastive Learning" (SyCL), arXiv 2503.23239, who train a pretrained
    retriever with this loss alone, with ``label_temperature=1.0`` on grades from 0 to 3; the mix is ours. The trace of
    the root is computed from the singular values of a (Q, Q) matrix, since a batch has fewer rows than documents: time
    O(Q² · D + Q³).
    """
    wide = torch.float32 if similarity.device.type == "mps" else torch.float64
    rows = [
        _shares(log_weighted(values.to(wide) / width, weights), judged)
        for values, width in ((similarity, temperature), (relevance, label_temperature))
    ]
    listed = judged.any(1, keepdim=True)
    count = listed.sum().clamp_min(1).to(wide)
    means = [share.sum(0) / count for share in rows]
    centred = [
        torch.where(listed, share - mean, 0) / (count - 1).clamp_min(1).sqrt()
        for share, mean in zip(rows, means, strict=True)
    ]
    spread = centred[0].square().sum() + centred[1].square().sum()
    shared = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()
    distance = (means[0] - means[1]).square().sum() + spread - 2 * shared
    result: Tensor = distance.clamp_min(0).to(similarity.dtype)
    return result


@batch_function("binary", learns=some_irrelevant_in_the_batch)
def shared_negatives(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.05,
    whisker: AtLeast0 = 1.5,
) -> Tensor:
    r"""Compute a softmax loss of each relevant pair against the irrelevant pairs of all queries, without outliers.

    .. math:: \operatorname*{mean}_{j \in P} \log \Big( 1 + \sum_{(q, k) \in N} e^{(s_{qk} - s_j)/\tau} \Big)

    N are the batch's irrelevant pairs within the whiskers of their box plot, [Q₁ - w·IQR, Q₃ + w·IQR]: pairs above are
    treated as false negatives, pairs below as too easy.

    Args:
        temperature: τ, above 0, in units of ``similarity``.
        whisker: w, at least 0, in units of the interquartile range.

    Returns:
        Mean loss over each query's relevant documents, at least 0, shape ``(Q,)``; 0 for a query without any.

    Example:
        >>> shared_negatives(torch.tensor([[0.9, 0.2], [0.3, 0.8]]), torch.eye(2), temperature=0.1)
        tensor([0.0034, 0.0092])

    Source: the pairs of samples and their filter are those of Jung et al. (2022), "Unified Negative Pair Generation
    toward Well-discriminative Feature Space for Face Recognition" (UNPG), arXiv 2203.11593, as in their code. There,
    the positive is the similarity to the own class centre, less a margin, and other class centres are negatives too;
    here, there are no centres. Time O(Q · D log(Q · D)).
    """
    relevant = relevance > 0
    irrelevant = judged & ~relevant
    ascending = torch.where(irrelevant, similarity.detach(), torch.inf).flatten().sort().values
    first, third = (ascending.gather(0, (irrelevant.sum() * quarter // 4)[None]) for quarter in (1, 3))
    reach = whisker * (third - first)
    counted = irrelevant & (similarity >= first - reach) & (similarity <= third + reach)
    copies = None if weights is None else weights.flatten()[None]
    odds = log_odds(similarity.flatten()[None], counted.flatten()[None], temperature, copies)
    return masked_mean(softplus(odds.reshape(similarity.shape)), relevant, weights)


@batch_function("binary", learns=two_kinds, square=True)
def contextual_similarity(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    neighbours: Count = 4,
    width: AtLeast0 = 0.05,
    upper: AtLeast0 = 0.9,
    lower: AtLeast0 = 0.6,
    alpha: Share = 0.5,
) -> Tensor:
    r"""Compute the contextual loss: samples of one class should have the same nearest neighbours.

    A squared error compares the overlap of two samples' k nearest neighbours, averaged over the reciprocal k/2 nearest
    of each, with whether they share a class; a contrastive loss with margins is mixed in. The step that selects
    neighbours has a constant slope in the backward pass, so the gradient is not the derivative.

    Args:
        similarity: Cosines between the samples of a batch, shape ``(B, B)``.
        relevance: Above 0 for samples of one class, shape ``(B, B)``; the diagonal counts as related.
        neighbours: k, at least 1, including the sample itself.
        width: Tolerance beyond the k-th neighbour, at least 0, in squared distance.
        upper: Similarity below which related pairs are pulled, at least 0.
        lower: Similarity above which unrelated pairs are pushed, at least 0.
        alpha: Weight of the contextual part, in (0, 1]; the contrastive part has the rest.

    Returns:
        Loss, at least 0, lower is better, a scalar.

    Example:
        >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
        >>> contextual_similarity(similarity, torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]), neighbours=2)
        tensor(0.0017)

    Source: Liao et al. (2023), "Supervised Metric Learning to Rank for Retrieval via Contextual Similarity
    Optimization", arXiv 2210.01908; without its regulariser of the mean similarity. Time O(B³), memory O(B²).
    """
    related = _related(relevance)
    batch = len(similarity)
    nearness = 2 * similarity - 2  # minus the squared distance
    ordered = nearness.detach().sort(-1, descending=True).values
    at_k, at_half = (ordered[:, min(max(n, 1), batch) - 1, None] for n in (neighbours, neighbours // 2))
    near, nearer = (_ConstantSlope.apply(nearness + width - threshold) for threshold in (at_k, at_half))
    agreement = 0.5 * sum(
        (inside @ inside.T) / inside.sum(1, keepdim=True).detach().clamp_min(1) for inside in (near, 1 - near)
    )
    mutual = nearer * nearer.T
    context = (mutual @ (agreement * near)) / mutual.sum(1, keepdim=True).clamp_min(1)
    context = 0.5 * (context + context.T)
    other = ~torch.eye(batch, dtype=torch.bool, device=similarity.device)
    wrong = torch.where(related, 1 - context, context).square()
    contextual = torch.where(other, wrong, 0).sum() / batch**2
    low = related & other & (similarity < upper)
    high = ~related & (similarity > lower)
    pulled = masked_mean((upper - similarity).flatten(), low.flatten())
    contrastive = pulled + masked_mean((similarity - lower).flatten(), high.flatten())
    return alpha * contextual + (1 - alpha) * contrastive


class _ConstantSlope(torch.autograd.Function):
    """The step at 0, with slope 10 everywhere in the backward pass."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return 10 * grad


@batch_function("binary", learns=two_kinds, square=True)
def set_information(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    set_function: Annotated[str, choice("facility_location", "graph_cut", "log_det")] = "facility_location",
    temperature: Positive = 0.7,
    regularisation: Positive = 0.5,
) -> Tensor:
    r"""Compute SCoRe losses: submodular functions of the sets of samples of one class.

    With A the class of sample a, and V the batch, each sample's part of

    - ``"facility_location"``: :math:`\tau \log \sum_{v \notin A} e^{s_{av}/\tau}`: no outsider near any member;
    - ``"graph_cut"``: the same, less :math:`\tau \log \sum_{b \in A, b \ne a} e^{s_{ab}/\tau}`: members alike;
    - ``"log_det"``: :math:`\sum_A \log\det(S_A + \lambda I) - \log\det(S_V + \lambda I)`: members alike, classes apart,
      divided by the size of the batch.

    Args:
        similarity: Cosines between the samples of a batch, shape ``(B, B)``: determinants need a positive semi-definite
            matrix and are computed in float64.
        relevance: Above 0 for samples of one class, shape ``(B, B)``; the diagonal counts as related. Samples with the
            same first related sample form a class, even if relevance is not transitive.
        set_function: One of the names above.
        temperature: τ, above 0, in units of ``similarity``; not used by ``"log_det"``.
        regularisation: λ, above 0; used by ``"log_det"`` only.

    Returns:
        Each sample's part, lower is better, shape ``(B,)``, equal for all with ``"log_det"``; 0 for a sample without
        outsiders or, with ``"graph_cut"``, without another member.

    Example:
        >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
        >>> set_information(similarity, torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]))
        tensor([0.1000, 0.2000, 0.6370])

    Source: Majee et al. (2024), "SCoRe: Submodular Combinatorial Representation Learning", arXiv 2310.00165, as in
    their code for cosines, but for constant factors and terms: the total information of the graph cut, the total
    correlation of ``"log_det"``; for facility location, their soft maximum runs over the outsiders of each member. Time
    O(B²); O(B³) for ``"log_det"``.
    """
    member = _member_of(relevance)
    related = member[:, None] == member
    batch = len(similarity)
    if set_function == "log_det":
        wide = similarity.to(torch.float32 if similarity.device.type == "mps" else torch.float64)
        ridge = regularisation * torch.eye(batch, dtype=wide.dtype, device=wide.device)
        within = torch.linalg.slogdet(torch.where(related, wide, 0) + ridge)[1]  # the classes are its blocks
        whole = torch.linalg.slogdet(wide + ridge)[1]
        volume: Tensor = (within - whole) / batch
        return volume.to(similarity.dtype).expand(batch)
    logits = similarity / temperature
    outside = masked_logsumexp(logits, ~related)
    if set_function == "facility_location":
        return temperature * torch.where(related.all(1), 0, outside)
    others = related & ~torch.eye(batch, dtype=torch.bool, device=similarity.device)
    cut = outside - masked_logsumexp(logits, others)
    return temperature * torch.where(others.any(1) & ~related.all(1), cut, 0)


@batch_function("views", learns=two_kinds, square=True)
def mv_info_nce(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Positive = 0.1
) -> Tensor:
    r"""Compute MV-InfoNCE: one term for all views of a sample.

    With s the similarity of views l and m of samples i and j,

    .. math:: -\log \frac{\sum_{l \ne m} e^{s(u_{il}, u_{im})/\tau}}
        {\sum_l \sum_{(j, m) \ne (i, l)} e^{s(u_{il}, u_{jm})/\tau}}

    The views of a sample share one sum, which the nearest two dominate: of the samples of one class, which are not
    views of each other, it pulls only the nearest pair.

    Args:
        similarity: Similarities between all views of a batch, shape ``(B, B)``.
        relevance: Above 0 for views of one sample, shape ``(B, B)``; the diagonal counts as related.
        temperature: τ, above 0, in units of ``similarity``.

    Returns:
        The loss of each view's sample, shape ``(B,)``; 0 for a sample without a second view, or alone in a batch.

    Example:
        >>> sample = torch.tensor([0, 1, 0, 1])
        >>> mv_info_nce(torch.eye(4), (sample[:, None] == sample).float(), temperature=1.0)
        tensor([1.0986, 1.0986, 1.0986, 1.0986])

    Source: Koromilas et al. (2025), "A Principled Framework for Multi-View Contrastive Learning", arXiv 2507.06979.
    Time and memory O(B²).
    """
    logits, related, alike, itself = _views(similarity, relevance, temperature)
    aligned = _over_views(masked_logsumexp(logits, alike), related)
    loss = _over_views(masked_logsumexp(logits, ~itself), related) - aligned
    return torch.where(alike.any(1) & ~related.all(1), loss, 0)


@batch_function("views", learns=two_kinds, square=True)
def mv_dhel(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Positive = 0.1
) -> Tensor:
    r"""Compute MV-DHEL: `mv_info_nce`, decoupled into alignment over all views and uniformity within each view.

    With s the similarity of views l and m of samples i and j,

    .. math:: -\log \sum_{l < m} e^{s(u_{il}, u_{im})/\tau} + \sum_l \log \sum_{j \ne i} e^{s(u_{il}, u_{jl})/\tau}

    The first term is one sum, the second one sum per view, so adding a constant to all similarities changes the loss.
    As in `mv_info_nce`, only the nearest pair of samples of one class would be pulled.

    Args:
        similarity: Similarities between all views of a batch, shape ``(B, B)``.
        relevance: Above 0 for views of one sample, shape ``(B, B)``; the diagonal counts as related. The n-th row of a
            sample is its n-th view.
        temperature: τ, above 0, in units of ``similarity``.

    Returns:
        The loss of each view's sample, shape ``(B,)``; 0 for a sample without a second view, or alone in a batch.

    Example:
        >>> sample = torch.tensor([0, 1, 0, 1])
        >>> mv_dhel(torch.eye(4), (sample[:, None] == sample).float(), temperature=1.0)
        tensor([0., 0., 0., 0.])

    Source: Koromilas et al. (2025), "A Principled Framework for Multi-View Contrastive Learning", arXiv 2507.06979.
    Time and memory O(B²).
    """
    logits, related, alike, _ = _views(similarity, relevance, temperature)
    aligned = _over_views(masked_logsumexp(logits, alike), related)
    view = (related & torch.ones_like(related).tril(-1)).sum(1)
    same_view = (view[:, None] == view) & ~related
    apart = masked_logsumexp(logits, same_view)
    apart = torch.where(related, torch.where(same_view.any(1), apart, 0), 0).sum(1)
    twice = math.log(2)  # `aligned` counts each pair of views twice
    return torch.where(alike.any(1) & ~related.all(1), apart - (aligned - twice), 0)


def _views(similarity: Tensor, relevance: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the logits, the mask of views of the same sample, that mask without the diagonal, and the diagonal."""
    member = _member_of(relevance)
    related = member[:, None] == member
    itself = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    return similarity / temperature, related, related & ~itself, itself


def _over_views(values: Tensor, related: Tensor) -> Tensor:
    """Compute log Σ exp of the values of all views of each row's sample."""
    return masked_logsumexp(values.expand_as(related), related & (values > -torch.inf))


def _shares(logits: Tensor, judged: Tensor) -> Tensor:
    """Compute the softmax over the judged documents, 0 elsewhere."""
    some = judged.any(1, keepdim=True)
    return torch.where(judged, torch.where(judged | ~some, logits, -torch.inf).softmax(-1), 0)


def _related(relevance: Tensor) -> Tensor:
    return (relevance > 0) | torch.eye(len(relevance), dtype=torch.bool, device=relevance.device)


def _member_of(relevance: Tensor) -> Tensor:
    """Label each sample's class by the first sample that it is related to: ``(B,)`` int64."""
    return _related(relevance).long().argmax(1)
