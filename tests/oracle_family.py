"""The family's losses as loops over Python floats: each as the definition in its docstring, for one query's list.

As in `tests.oracle`, nothing is vectorised, shared with the package or meant to be fast. Lists are judged documents
only unless a function takes a whole batch. A list without a value gives NaN.
"""

from __future__ import annotations

import itertools
import math

from tests.oracle import discount, exact_ranks, gain_of, ideal_dcg, sigmoid, soft_ranks, softplus
from tests.oracle import softmax_cross_entropy as cross_entropy

NAN = math.nan


def mean(values):
    """The mean, 0 of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def logsumexp(values):
    """Log of the sum of exponentials; -inf of nothing."""
    values = list(values)
    if not values:
        return -math.inf
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def kinds(y):
    """Places of the relevant and of the irrelevant documents."""
    return [j for j, v in enumerate(y) if v > 0], [j for j, v in enumerate(y) if v == 0]


def ordered_pairs(y):
    """(j, k) for which j should stand above k."""
    return [(j, k) for j in range(len(y)) for k in range(len(y)) if y[j] > y[k]]


def correlation(a, b):
    """Pearson's."""
    ma, mb = mean(a), mean(b)
    cov = mean((x - ma) * (z - mb) for x, z in zip(a, b, strict=True))
    va, vb = mean((x - ma) ** 2 for x in a), mean((z - mb) ** 2 for z in b)
    return cov / math.sqrt(va * vb) if va > 0 and vb > 0 else 0.0


def soft_spearman(s, y, *, temperature):
    if len(set(y)) < 2:
        return NAN
    return correlation(soft_ranks(s, temperature), exact_ranks(y))


def pearson(s, y):
    return correlation(s, y) if len(set(y)) > 1 else NAN


def soft_kendall(s, y, *, temperature):
    pairs = ordered_pairs(y)
    return 1 - 2 * mean(sigmoid((s[k] - s[j]) / temperature) for j, k in pairs) if pairs else NAN


def approx_rank_mse(s, y, *, temperature):
    if len(set(y)) < 2:
        return NAN
    wanted, ranks = exact_ranks(y), soft_ranks(s, temperature)
    return mean((w - r) ** 2 / math.log2(1 + w) for w, r in zip(wanted, ranks, strict=True))


def smooth_ap(s, y, *, temperature):
    relevant, _ = kinds(y)
    if not relevant:
        return NAN
    total = 0.0
    for j in relevant:
        among_all = 1 + sum(sigmoid((s[k] - s[j]) / temperature) for k in range(len(s)) if k != j)
        among_relevant = 1 + sum(sigmoid((s[k] - s[j]) / temperature) for k in relevant if k != j)
        total += among_relevant / among_all
    return total / len(relevant)


def bound_of_step(x, temperature, slope, width):
    """At least 1 above 0, and at least 0."""
    if x <= 0:
        return sigmoid(x / temperature)
    if x <= width:
        return sigmoid(x / temperature) + 0.5
    return slope * (x - width) + sigmoid(width / temperature) + 0.5


def sup_ap(s, y, *, temperature, slope, width):
    relevant, irrelevant = kinds(y)
    if not relevant:
        return NAN
    total = 0.0
    for j in relevant:
        own = 1 + sum(1.0 if s[k] > s[j] else 0.5 if s[k] == s[j] else 0.0 for k in relevant if k != j)
        total += own / (own + sum(bound_of_step(s[k] - s[j], temperature, slope, width) for k in irrelevant))
    return total / len(relevant)


def hierarchical_ap(s, y, *, temperature):
    relevant, _ = kinds(y)
    if not relevant:
        return NAN
    ranks = soft_ranks(s, temperature)
    total = 0.0
    for j in relevant:
        shared = sum(min(y[j], y[k]) * sigmoid((s[k] - s[j]) / temperature) for k in relevant if k != j)
        total += (y[j] + shared) / ranks[j]
    return total / sum(y)


def hierarchical_sup_ap(s, y, *, temperature, slope, width):
    relevant, _ = kinds(y)
    if not relevant:
        return NAN
    total = 0.0
    for j in relevant:
        gained, rank = y[j], 1.0
        for k in range(len(s)):
            above = 1.0 if s[k] > s[j] else 0.5 if s[k] == s[j] else 0.0
            if k != j:
                gained += min(y[j], y[k]) * above
                rank += bound_of_step(s[k] - s[j], temperature, slope, width) if y[k] < y[j] else above
        total += gained / rank
    return total / sum(y)


def approx_mrr(s, y, *, temperature):
    relevant, irrelevant = kinds(y)
    if relevant and not irrelevant:
        return 1.0
    ranks = soft_ranks(s, temperature)
    return max(1 / ranks[j] for j in relevant) if relevant else NAN


def approx_recall(s, y, *, k, temperature, cutoff_temperature):
    relevant, _ = kinds(y)
    if not relevant:
        return NAN
    if not isinstance(k, int):
        each = {"temperature": temperature, "cutoff_temperature": cutoff_temperature}
        return mean(approx_recall(s, y, k=n, **each) for n in k)
    if len(relevant) == len(s) or k >= len(s):
        return 1.0
    ranks = soft_ranks(s, temperature)
    return sum(sigmoid((k + 0.5 - ranks[j]) / cutoff_temperature) for j in relevant) / min(k, len(relevant))


def neural_ndcg(s, y, *, temperature, iterations, gain="linear", k=None):
    n = len(s)
    ideal = ideal_dcg(y, gain=gain, k=k)
    if not ideal > 0:
        return NAN
    if len(set(y)) == 1:
        return 1.0
    matrix = []
    for i in range(1, n + 1):
        logits = [((n + 1 - 2 * i) * s[j] - sum(abs(s[j] - other) for other in s)) / temperature for j in range(n)]
        normaliser = logsumexp(logits)
        matrix.append([math.exp(x - normaliser) for x in logits])
    for _ in range(iterations):
        columns = [sum(row[j] for row in matrix) for j in range(n)]
        matrix = [[row[j] / columns[j] if columns[j] > 0 else 0.0 for j in range(n)] for row in matrix]
        matrix = [[x / sum(row) for x in row] for row in matrix]
    total = 0.0
    for i, row in enumerate(matrix[:k], start=1):
        total += sum(p * gain_of(v, gain) for p, v in zip(row, y, strict=True)) * discount(i)
    return total / ideal


def odd_even_sort(values, temperature):
    """Sort upwards, softly; return the share of each document (row) at each rank (column)."""
    n = len(values)
    value = list(values)
    shares = [[1.0 if i == j else 0.0 for j in range(n)] for i in range(n)]
    for layer in range(n):
        for a in range(layer % 2, n - 1, 2):
            b = a + 1
            keep = 0.5 + math.atan((value[b] - value[a]) / temperature) / math.pi
            value[a], value[b] = (
                keep * value[a] + (1 - keep) * value[b],
                keep * value[b] + (1 - keep) * value[a],
            )
            for row in shares:
                row[a], row[b] = keep * row[a] + (1 - keep) * row[b], keep * row[b] + (1 - keep) * row[a]
    return shares


def groco(s, y, *, temperature, negatives):
    relevant, irrelevant = kinds(y)
    if not relevant or not irrelevant:
        return NAN
    hardest = sorted(s[k] for k in irrelevant)[-negatives:]
    shares = odd_even_sort(hardest + sorted(s[j] for j in relevant), temperature)
    total = 0.0
    for place, row in enumerate(shares):
        inside = sum(row[len(hardest) :])
        total -= math.log(inside if place >= len(hardest) else 1 - inside)
    return total / len(shares)


def softmax_cross_entropy(s, y, *, temperature, gain="linear", poly=0.0):
    gains = [gain_of(v, gain) for v in y]
    if not sum(gains) > 0:
        return NAN
    normaliser = logsumexp(x / temperature for x in s)
    hit = sum(g / sum(gains) * math.exp(x / temperature - normaliser) for g, x in zip(gains, s, strict=True))
    return cross_entropy(s, y, temperature=temperature, gain=gain) + poly * (1 - hit)


def sup_con(s, y, *, temperature):
    relevant, irrelevant = kinds(y)
    return contrast(s, relevant, lambda j: relevant + irrelevant, temperature) if relevant else NAN


def info_nce(s, y, *, temperature):
    relevant, irrelevant = kinds(y)
    return contrast(s, relevant, lambda j: [j, *irrelevant], temperature) if relevant and irrelevant else NAN


def dcl(s, y, *, temperature):
    relevant, irrelevant = kinds(y)
    return contrast(s, relevant, lambda j: irrelevant, temperature) if relevant and irrelevant else NAN


def contrast(s, relevant, rivals_of, temperature):
    return mean(logsumexp(s[k] / temperature for k in rivals_of(j)) - s[j] / temperature for j in relevant)


def rank_kl(s, y, *, temperature, label_temperature):
    places = [(len(y) - r) / (len(y) - 1) for r in exact_ranks(y)] if len(y) > 1 else y
    return list_net(s, places, temperature=temperature, label_temperature=label_temperature)


def list_net(s, y, *, temperature, label_temperature, symmetric=False):
    if len(set(y)) < 2:
        return NAN
    if label_temperature == "auto":
        label_temperature = max(y) / 10
    wanted = [v / label_temperature - logsumexp(w / label_temperature for w in y) for v in y]
    given = [x / temperature - logsumexp(z / temperature for z in s) for x in s]
    forwards, backwards = divergence(wanted, given), divergence(given, wanted)
    return (forwards + backwards) / 2 if symmetric else forwards


def divergence(wanted, given):
    """Of one distribution from another, of log-likelihoods."""
    return sum(math.exp(w) * (w - g) for w, g in zip(wanted, given, strict=True))


def regression_compatible(s, y, *, temperature, bias, alpha):
    if not sum(y) > 0:
        return NAN
    p = [sigmoid(x / temperature + bias) for x in s]
    listwise = -sum(v / sum(y) * math.log(q / sum(p)) for v, q in zip(y, p, strict=True))
    each = mean(-v * math.log(q) - (1 - v) * math.log(1 - q) for v, q in zip(y, p, strict=True))
    return alpha * listwise + (1 - alpha) * each


def psl(s, y, *, temperature, activation, width):
    relevant, irrelevant = kinds(y)
    if not relevant or not irrelevant:
        return NAN
    grown = {"tanh": lambda d: math.tanh(d) + 1, "relu": lambda d: max(d + 1, 0), "atan": lambda d: math.atan(d) + 1}
    return mean(
        math.log(1 + sum(max(grown[activation]((s[k] - s[j]) / width), 0) ** (1 / temperature) for k in irrelevant))
        for j in relevant
    )


def softmax_at_k(s, y, *, k, temperature, weight_temperature):
    relevant, irrelevant = kinds(y)
    if not relevant or not irrelevant:
        return NAN
    beta = sorted(s, reverse=True)[min(k, len(s)) - 1]
    return mean(
        sigmoid((s[j] - beta) / weight_temperature) * logsumexp((x - s[j]) / temperature for x in s) for j in relevant
    )


def plackett_luce(s, y, *, temperature, positions, label_temperature):
    if len(set(y)) < 2:
        return NAN
    ranks, total, weights = exact_ranks(y), 0.0, 0.0
    if positions == "confidence":
        weights = sum(math.exp((v - max(y)) / label_temperature) for v in y if v == min(y))  # without a term
    for j in range(len(s)):
        lower = [k for k in range(len(s)) if y[k] < y[j]]
        if lower:
            weight = {
                "equal": 1.0,
                "ndcg": discount(ranks[j]),
                "confidence": math.exp((y[j] - max(y)) / label_temperature),
            }
            surprise = logsumexp(s[k] / temperature for k in [j, *lower]) - s[j] / temperature
            total += weight[positions] * surprise
            weights += weight[positions]
    return total / weights


def rank_n_contrast(s, y, *, temperature):
    if len(set(y)) < 2:
        return NAN
    return mean(
        logsumexp(s[k] / temperature for k in range(len(s)) if y[k] <= y[j]) - s[j] / temperature for j in range(len(s))
    )


def pro(s, y, *, temperature):
    if len(set(y)) < 2:
        return NAN
    losses = []
    for j in range(len(s)):
        lower = [k for k in range(len(s)) if y[k] < y[j]]
        if lower:
            own = (y[j] - min(y)) * s[j] / temperature
            losses.append(logsumexp([own] + [(y[j] - y[k]) * s[k] / temperature for k in lower]) - own)
    return mean(losses)


def expected_ndcg(s, y, *, temperature, gain="linear", k=None):
    """The mean NDCG over all orders, each with its Plackett-Luce probability."""
    total = 0.0
    for order in itertools.permutations(range(len(s))):
        likelihood = 0.0
        for place in range(len(order)):
            likelihood += s[order[place]] / temperature - logsumexp(s[j] / temperature for j in order[place:])
        reward = sum(gain_of(y[j], gain) * discount(r) for r, j in enumerate(order[:k], start=1))
        total += math.exp(likelihood) * reward / ideal_dcg(y, gain=gain, k=k)
    return total


def rank_net(s, y, *, temperature):
    pairs = ordered_pairs(y)
    return mean(softplus((s[k] - s[j]) / temperature) for j, k in pairs) if pairs else NAN


def mann_whitney(s, y, *, temperature):
    relevant, irrelevant = kinds(y)
    if not relevant or not irrelevant:
        return NAN
    return mean(softplus((s[k] - s[j]) / temperature) for j in relevant for k in irrelevant)


def lambda_loss(s, y, *, temperature, mu, gain="linear", k=None):
    gains = [gain_of(v, gain) for v in y]
    if len(set(gains)) < 2:
        return NAN
    ideal, ranks, total = ideal_dcg(y, gain=gain, k=k), exact_ranks(s), 0.0
    places = [1 + sum(other > x for other in s) for x in s]  # the best that a tie has
    for i, j in ordered_pairs(gains):
        if k is not None and places[i] > k and places[j] > k:
            continue
        apart = max(abs(ranks[i] - ranks[j]), 1)
        weight = abs(discount(ranks[i]) - discount(ranks[j])) + mu * (discount(apart) - discount(apart + 1))
        total += (gains[i] - gains[j]) / ideal * weight * softplus((s[j] - s[i]) / temperature) / math.log(2)
    return total


def rank_list(s, y, *, temperature, skip):
    levels = sorted(set(y))
    if len(levels) < 2:
        return NAN
    near, far = [0.0], [0.0]
    for j, k in ordered_pairs(y):
        (near if levels.index(y[j]) - levels.index(y[k]) == 1 else far).append((s[k] - s[j]) / temperature)
    return logsumexp(near) + skip * logsumexp(far)


def cosent(s, y, *, scale):
    if len(set(y)) < 2:
        return NAN
    return logsumexp([0.0] + [scale * (s[k] - s[j]) for j, k in ordered_pairs(y)])


def margin_mse(s, y, *, scale):
    pairs = list(itertools.combinations(range(len(s)), 2))
    return mean((scale * (s[j] - s[k]) - (y[j] - y[k])) ** 2 for j, k in pairs) if pairs else NAN


def triplet_alignment(s, y, *, temperature, margin):
    relevant, irrelevant = kinds(y)
    if not relevant or not irrelevant:
        return NAN
    share = [math.exp(s[j] / temperature - logsumexp(s[i] / temperature for i in relevant)) for j in relevant]
    positive = sum(a * s[j] for a, j in zip(share, relevant, strict=True))
    return max(0.0, margin - positive + temperature * logsumexp(s[k] / temperature for k in irrelevant))


def multi_similarity(s, y, *, alpha, beta, base):
    relevant, irrelevant = kinds(y)
    if not relevant:
        return NAN
    near = math.log(1 + sum(math.exp(-alpha * (s[j] - base)) for j in relevant)) / alpha
    return near + math.log(1 + sum(math.exp(beta * (s[k] - base)) for k in irrelevant)) / beta


def circle(s, y, *, margin, scale):
    relevant, irrelevant = kinds(y)
    if not relevant or not irrelevant:
        return NAN
    near = sum(math.exp(-scale * max(0.0, 1 + margin - s[j]) * (s[j] - 1 + margin)) for j in relevant)
    far = sum(math.exp(scale * max(0.0, s[k] + margin) * (s[k] - margin)) for k in irrelevant)
    return math.log(1 + near * far)


def inverse_rank_net(s, y, *, temperature):
    pairs = ordered_pairs(y)
    ranks = exact_ranks(y)
    return mean(softplus((s[k] - s[j]) / temperature) / (ranks[j] + ranks[k]) for j, k in pairs) if pairs else NAN


def partial_ranking(s, y, *, temperature, positive, hardest, weight):
    positives = [j for j in range(len(y)) if y[j] >= positive]
    negatives = [j for j in range(len(y)) if y[j] < positive]

    def against(j, rivals):
        return math.log(1 + sum(math.exp((s[k] - s[j]) / temperature) for k in rivals))

    hard = sorted(negatives, key=lambda k: -s[k])[:hardest]
    below = {j: [k for k in negatives if y[k] < y[j]] for j in hard}
    if not (positives and negatives) and len({y[k] for k in negatives}) < 2:
        return NAN
    contrast = mean(against(j, negatives) for j in positives) if negatives else 0.0
    return contrast + weight * mean(against(j, below[j]) for j in hard if below[j])


def quadruplet(s, y, *, margin, margin_between):
    """Of a whole batch; a loss for each query."""
    queries = range(len(s))
    split = [kinds(y[q]) for q in queries]
    losses = []
    for q in queries:
        terms = []
        for j in split[q][0]:
            own = mean(max(0.0, s[q][k] - s[q][j] + margin) for k in split[q][1])
            others = [s[p][k] for p in queries if p != q for k in split[p][1]]
            terms.append(own + mean(max(0.0, v - s[q][j] + margin_between) for v in others))
        losses.append(mean(terms))
    return losses


def threshold_margin(s, y, *, upper, lower):
    relevant, irrelevant = kinds(y)
    if not relevant:
        return NAN
    return mean(upper - s[j] for j in relevant if s[j] <= upper) + mean(
        s[k] - lower for k in irrelevant if s[k] >= lower
    )


# --- whole batches: similarity and relevance as lists of rows --------------------------------------------------------


def dclw(similarity, relevance, *, temperature, sigma):
    """Each query's loss."""
    rows = list(zip(similarity, relevance, strict=True))
    rows = [(s, *kinds(y)) for s, y in rows]
    average = mean(math.exp(s[j] / sigma) for s, relevant, irrelevant in rows if irrelevant for j in relevant)
    losses = []
    for s, relevant, irrelevant in rows:
        apart = logsumexp(s[k] / temperature for k in irrelevant)
        weights = {j: 2 - math.exp(s[j] / sigma) / average for j in relevant if irrelevant}
        losses.append(mean(apart - w * s[j] / temperature for j, w in weights.items()))
    return losses


def cwcl(similarity, relevance, *, temperature):
    """Each query's loss; document q is its own."""
    losses = []
    for q, (row, grades) in enumerate(zip(similarity, relevance, strict=True)):
        total = sum(y for y in grades if not math.isnan(y))
        judged = [k for k, y in enumerate(grades) if not math.isnan(y)]
        if not total or q not in judged or len(judged) < 2:
            losses.append(0.0)
            continue
        apart = logsumexp(row[k] / temperature for k in judged)
        weighted = -sum(grades[j] / total * (row[j] / temperature - apart) for j in judged)
        rivals = [r for r in range(len(similarity)) if not math.isnan(relevance[r][q])]
        plain = logsumexp(similarity[r][q] / temperature for r in rivals) - row[q] / temperature
        losses.append((weighted + plain) / 2)
    return losses


def shared_negatives(similarity, relevance, *, temperature, whisker):
    """Each query's loss."""
    negatives = sorted(
        s for row, grades in zip(similarity, relevance, strict=True) for s, y in zip(row, grades, strict=True) if y == 0
    )
    if negatives:
        first, third = negatives[int(0.25 * len(negatives))], negatives[int(0.75 * len(negatives))]
        reach = whisker * (third - first)
        negatives = [s for s in negatives if first - reach <= s <= third + reach]
    return [
        mean(
            math.log(1 + sum(math.exp((n - s) / temperature) for n in negatives))
            for s, y in zip(row, grades, strict=True)
            if y > 0
        )
        for row, grades in zip(similarity, relevance, strict=True)
    ]


def set_information(similarity, member, *, set_function, temperature):
    """Each sample's part, of the two functions that loops can give; ``member`` names the samples' classes."""
    size, parts = len(member), []
    for i in range(size):
        outside = sum(math.exp(similarity[i][j] / temperature) for j in range(size) if member[j] != member[i])
        inside = sum(math.exp(similarity[i][j] / temperature) for j in range(size) if member[j] == member[i] and j != i)
        parts.append(temperature * math.log(outside / inside if set_function == "graph_cut" else outside))
    return parts


def mv_info_nce(similarity, sample, *, temperature):
    return many_views(similarity, sample, temperature, decoupled=False)


def mv_dhel(similarity, sample, *, temperature):
    return many_views(similarity, sample, temperature, decoupled=True)


def many_views(similarity, sample, temperature, *, decoupled):
    """Each view's loss; ``sample`` names the views' samples, of equally many views."""
    size = len(sample)
    views = {name: [i for i in range(size) if sample[i] == name] for name in sample}

    def e(i, j):
        return math.exp(similarity[i][j] / temperature)

    losses = []
    for name in sample:
        own = views[name]
        if decoupled:
            aligned = sum(e(i, j) for i, j in itertools.combinations(own, 2))
            apart = 0.0
            for place, i in enumerate(own):
                apart += math.log(sum(e(i, views[other][place]) for other in views if other != name))
            losses.append(apart - math.log(aligned))
        else:
            aligned = sum(e(i, j) for i, j in itertools.permutations(own, 2))
            losses.append(math.log(sum(e(i, j) for i in own for j in range(size) if j != i)) - math.log(aligned))
    return losses


def contextual_similarity(similarity, member, *, neighbours, width, upper, lower, alpha):
    """The loss of a batch; ``member`` names the samples' classes."""
    size = len(member)
    near = [[2 * s - 2 for s in row] for row in similarity]

    def neighbourhood(i, k):
        kth = sorted(near[i], reverse=True)[min(max(k, 1), size) - 1]
        return {j for j in range(size) if near[i][j] + width >= kth}

    around = [neighbourhood(i, neighbours) for i in range(size)]
    close = [neighbourhood(i, neighbours // 2) for i in range(size)]
    mutual = [[j for j in range(size) if j in close[i] and i in close[j]] for i in range(size)]

    def agree(i, j):
        if j not in around[i]:
            return 0.0
        out = [set(range(size)) - around[n] for n in (i, j)]
        return 0.5 * (len(around[i] & around[j]) / max(len(around[i]), 1) + len(out[0] & out[1]) / max(len(out[0]), 1))

    context = [[sum(agree(m, j) for m in mutual[i]) / max(len(mutual[i]), 1) for j in range(size)] for i in range(size)]
    total = 0.0
    for i in range(size):
        for j in range(size):
            if i != j:
                both = 0.5 * (context[i][j] + context[j][i])
                total += (1 - both) ** 2 if member[i] == member[j] else both**2
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    low = [upper - similarity[i][j] for i, j in pairs if member[i] == member[j] and similarity[i][j] < upper]
    high = [similarity[i][j] - lower for i, j in pairs if member[i] != member[j] and similarity[i][j] > lower]
    return alpha * total / size**2 + (1 - alpha) * (mean(low) + mean(high))
