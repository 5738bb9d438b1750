"""Losses on a GPU that does not exist: its tensors have shapes and a device, and whatever would wait for it raises.

Run as a script, because PyTorch takes a new kind of device once per process: prints what went wrong, as JSON by case.
"""

from __future__ import annotations

import copy
import gc
import itertools
import json
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from st_rankloss import (
    ANDCGLoss,
    ApproxNDCG,
    CachedRankingLoss,
    CrossEncoderRankingLoss,
    RankingLoss,
    SoftmaxCrossEntropy,
)
from st_rankloss.functional import lists
from st_rankloss.kernels import grid
from st_rankloss.losses import (
    CrossModalMixup,
    EmbeddingMixup,
    ExtrapolatedPositives,
    HardNegativeMixup,
    PositiveMixup,
    ProxyLoss,
    QueryMixup,
    QueryNegativeMixup,
    RankMixup,
    SupReMix,
)
from st_rankloss.losses.fit import check_views
from st_rankloss.losses.proxies import LISTS
from st_rankloss.objectives import AcrossQueries, Margin, Objective, SharedNegatives, SoftSpearman, SupCon
from st_rankloss.relevance import Classes, Pairs
from st_rankloss.weighting import Curriculum, LossMixture, NeighbourAgreement, SelfPaced
from tests.losses.test_objectives import task
from tests.models import SHAPES, PairTable, Passing, PassingTokens, Shape, columns_of, texts_of
from tests.objectives.test_contracts import TABLE, name_of

DEVICE = "fakegpu"
MIXTURE = ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()
OWN = (HardNegativeMixup(), QueryNegativeMixup(), RankMixup(), PositiveMixup(), ExtrapolatedPositives())


class WaitedError(Exception):
    """The host would have waited for the device."""


class OnDevice(TorchDispatchMode):
    """Completes FakeTensorMode for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._sample_dirichlet.default:  # CUDA has it; FakeTensorMode would compute it
            return torch.empty_like(args[0])
        to = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default and to is not None and to.type == DEVICE:
            # FakeTensorMode would move the numbers that it still knows, for which there is no memory.
            return torch.empty(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=to)
        return func(*args, **kwargs)


class NeverWaiting(OnDevice):
    """Raises where tensors cross between host and device so that the host waits; FakeTensorMode raises elsewhere."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {x.device.type for x in tree_iter((args, kwargs)) if isinstance(x, Tensor) and x.dim()}
        made = super().__torch_dispatch__(func, types, args, kwargs)
        after = made.device.type if isinstance(made, Tensor) else None
        if "cpu" in before and after == DEVICE and not (kwargs or {}).get("non_blocking", False):
            raise WaitedError(f"{func}: from host to device without non_blocking")
        if DEVICE in before and after == "cpu":
            raise WaitedError(f"{func}: from device to host")
        return made


class Storages(OnDevice):
    """Adds up the bytes of the device's storages that are alive, and keeps the largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = super().__torch_dispatch__(func, types, args, kwargs)
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor) and tensor.device.type == DEVICE:
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage) -> None:
        if storage._cdata in self.seen:
            return
        size = storage.nbytes()
        self.seen.add(storage._cdata)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._free, storage._cdata, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.bytes -= size


def differentiate(
    make: Make,
    sizes: list[int],
    labels: Any,
    *,
    dim: int = 8,
    tokens: int | None = None,
    watch: Any = None,
    pairs_at_once: int = 2**26,
) -> None:
    """Compute a loss and its gradient on the device."""
    lists._PAIRS_AT_ONCE[DEVICE] = pairs_at_once
    for kept in (grid._spline_pieces, grid._small_spectrum, grid._large_spectrum):
        kept.cache_clear()  # of the case before, whose tensors are not of this mode
    model = PassingTokens() if tokens else Passing()
    loss = copy.deepcopy(make(model))  # Qrels moves its tables to the device, and shapes are shared
    # The trainer's labels come with the batch, on the device. Without labels the loss makes them, on the CPU, where
    # fake tensors cannot be read: there it works with real ones.
    made = loss._pair(sizes, None) if labels is None else None
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def fake(values: Any, device: str) -> Any:
            return tree_map_only(Tensor, lambda x: mode.from_tensor(x).to(device), values)

        given = fake(labels, DEVICE)
        if made is not None:
            queries, documents = fake(made.query_labels, "cpu"), fake(made.document_labels, "cpu")
            made = made._replace(query_labels=queries, document_labels=documents)
        with watch or NeverWaiting():
            shape = (tokens, dim + 1) if tokens else (dim,)
            embeddings = [torch.empty(size, *shape, device=DEVICE, requires_grad=True) for size in sizes]
            if isinstance(loss, CachedRankingLoss):
                loss.calculate_loss(
                    [e.split(max(5, len(e) // 8)) for e in embeddings], made or given, with_backward=True
                )
            elif made is not None:
                loss._compute(embeddings, made).backward()
            elif tokens:
                loss.compute_loss_from_embeddings(embeddings, given).backward()
            else:
                loss(columns_of(embeddings), given).backward()
        assert all(e.grad is not None and e.grad.device.type == DEVICE for e in embeddings), "no gradient"


def differentiate_centres(settings: dict[str, Any]) -> None:
    """Compute the loss of samples against class centres, and the gradients of both on the device."""
    loss = ProxyLoss(Passing(), classes=4, dimensions=8, **settings)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        loss.centres = torch.nn.Parameter(mode.from_tensor(loss.centres.detach()).to(DEVICE))
        loss.classes = mode.from_tensor(loss.classes).to(DEVICE)
        labels = mode.from_tensor(torch.arange(12) % 4).to(DEVICE)
        with NeverWaiting():
            embeddings = torch.empty(12, 8, device=DEVICE, requires_grad=True)
            loss(columns_of([embeddings]), labels).backward()
        assert all(x.grad is not None and x.grad.device.type == DEVICE for x in (embeddings, loss.centres)), (
            "no gradient"
        )


def differentiate_pairs(make: Callable[..., CrossEncoderRankingLoss], shape: Shape, negatives: int | None) -> None:
    """Compute the loss of scored pairs, whose texts the host prepares, and the scores' gradient on the device."""
    loss = copy.deepcopy(make(PairTable(), relevance=shape.relevance, num_negatives=negatives))
    job = loss._prepare(texts_of(shape), shape.labels, None, None)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def fake(labels: Any) -> Any:
            return tree_map_only(Tensor, mode.from_tensor, labels)

        pairing = job.pairing._replace(
            query_labels=fake(job.pairing.query_labels),
            document_labels=fake(job.pairing.document_labels),
            weights=fake(job.pairing.weights),
        )
        place, columns, scored = fake([loss._in_order(job), job.candidates.columns, job.candidates.scored])
        with NeverWaiting():
            scores = [torch.empty(len(pairs), device=DEVICE, requires_grad=True) for pairs in job.order]
            candidates = job.candidates._replace(columns=columns, scored=scored)
            loss._in_order = lambda _: place
            parts = loss._compute(scores, job._replace(pairing=pairing, candidates=candidates))
            parts.backward()
        assert all(s.grad is not None and s.grad.device.type == DEVICE for s in scores), "no gradient"


def has_lists(shape: Shape) -> bool:
    """Return whether the documents of a shape come in lists."""
    return isinstance(shape.labels, dict) and "list_sizes" in shape.labels


def fits(objective: Objective, shape: Shape) -> bool:
    """Return whether an objective can read the columns and the relevance of a shape."""
    try:
        objective.check_columns(shape.sizes, lists=has_lists(shape))
        check_views(objective, shape.relevance)
    except ValueError:
        return False
    return True


def takes(option: str, objective: Objective) -> bool:
    """Return whether a loss with an option takes an objective."""
    try:
        OPTIONS[option](Passing(), objective=objective)
    except ValueError:
        return False
    return True


def weighted(labels: Any, sizes: list[int]) -> dict[str, Any]:
    """Add weights of queries and documents to the labels of a batch."""
    batch = labels if isinstance(labels, dict) else {} if labels is None else {"label": labels}
    weights = {"query_weights": torch.ones(sizes[0]), "document_weights": torch.ones(sum(sizes[1:] or sizes))}
    return {**batch, **weights}


def by_form() -> dict[tuple[int, bool], list[Shape]]:
    """Group shapes by what an objective sees of them: the number of columns, and whether documents come in lists."""
    forms: dict[tuple[int, bool], list[Shape]] = {}
    for shape in SHAPES:
        forms.setdefault((len(shape.sizes), has_lists(shape)), []).append(shape)
    return forms


FORMS = by_form()


def every_case() -> Iterator[tuple[str, Callable[[], None]]]:
    """Every objective and relevance with every form of columns, and every option of the losses with all of them."""
    yield from _cases_of_objectives()
    yield from _cases_of_weightings()
    for shape in SHAPES:
        yield from _cases_of_embeddings(shape)
        yield from _cases_of_pairs(shape)
    for lists_of, objective in itertools.product(LISTS, (MIXTURE, Margin(SupCon(), 0.1, 0.5), SharedNegatives())):
        settings = {"lists": lists_of, "objective": objective}
        yield f"centres, {lists_of}, {objective!r}"[:90], partial(differentiate_centres, settings)


def _cases_of_objectives() -> Iterator[tuple[str, Callable[[], None]]]:
    for place, case in enumerate(TABLE):
        objective, name = case.objective, f"{place} {name_of(case)}"
        for shapes in FORMS.values():  # a matrix of relevance does not show which labels it was made from
            shape = next((each for each in shapes[place % len(shapes) :] + shapes if fits(objective, each)), None)
            if shape:
                make = partial(RankingLoss, objective=objective, relevance=shape.relevance)
                yield f"{name}, {shape}", partial(differentiate, make, shape.sizes, shape.labels)
        relevance, labels, sizes = task(case)
        for option in ("cached", "mixup", "mixtures"):
            if takes(option, objective):
                make = partial(OPTIONS[option], objective=objective, relevance=relevance)
                yield f"{name}, {option}", partial(differentiate, make, sizes, labels)
        make = partial(RankingLoss, objective=objective, relevance=relevance)
        if objective.weighs:
            yield f"{name}, weighted", partial(differentiate, make, sizes, weighted(labels, sizes))
        two_pieces = sizes[0] * 12 * 12 // 2
        yield f"{name}, in pieces", partial(differentiate, make, sizes, labels, pairs_at_once=two_pieces)


def _cases_of_embeddings(shape: Shape) -> Iterator[tuple[str, Callable[[], None]]]:
    for option, make in OPTIONS.items():
        if offers(shape, option):
            made = partial(make, objective=MIXTURE, relevance=shape.relevance)
            yield f"mixture, {shape}, {option}", partial(differentiate, made, shape.sizes, shape.labels)
            if "mix" not in option:
                run = partial(differentiate, made, shape.sizes, shape.labels, tokens=3)
                yield f"mixture, {shape}, {option}, tokens", run


def _cases_of_weightings() -> Iterator[tuple[str, Callable[[], None]]]:
    """Losses that weigh the rows of a batch, and tell the weighting of them."""
    labels = {"label": torch.arange(12) % 3, "row_numbers": torch.arange(12)}
    for make in (SelfPaced, LossMixture, NeighbourAgreement, Curriculum):
        for option in ("cached", "block_size", "zero"):
            weighting = make()
            weighting.prepare(20)
            made = partial(OPTIONS[option], objective=MIXTURE, relevance=Classes(), weighting=weighting)
            yield f"{make.__name__}, {option}", partial(differentiate, made, [12], labels)


def _cases_of_pairs(shape: Shape) -> Iterator[tuple[str, Callable[[], None]]]:
    for objective in (MIXTURE, AcrossQueries(SoftSpearman())):
        scored = partial(CrossEncoderRankingLoss, objective=objective, mini_batch_size=7)
        yield f"pairs by {type(objective).__name__}, {shape}", partial(differentiate_pairs, scored, shape, None)
        yield f"some pairs by {type(objective).__name__}, {shape}", partial(differentiate_pairs, scored, shape, 2)


def offers(shape: Shape, option: str) -> bool:
    """Return whether a shape has what an option needs."""
    rules = {
        "symmetric": len(shape.sizes) > 1,
        "mixtures of pairs": len(shape.sizes) > 1 and not has_lists(shape),
        "mixtures of numbers": shape.name == "numbers",
    }
    return rules.get(option, True)


Make = Callable[..., RankingLoss]
OPTIONS: dict[str, Make] = {
    "cached": partial(CachedRankingLoss, mini_batch_size=5),
    "block_size": partial(RankingLoss, block_size=5),
    "symmetric": partial(RankingLoss, symmetric=True),
    "zero": partial(RankingLoss, no_relevant="zero"),
    "mixup": partial(RankingLoss, mixup=EmbeddingMixup()),
    "mixtures": partial(RankingLoss, mixup=(QueryMixup(), *OWN)),
    "mixtures of pairs": partial(RankingLoss, mixup=CrossModalMixup(), symmetric=True),
    "mixtures of numbers": partial(RankingLoss, mixup=SupReMix()),
}
CASES = dict(every_case())

ROWS = 32_768
BATCHES: dict[str, tuple[Make, list[int], Any, dict[str, Any]]] = {
    "classes": (partial(ANDCGLoss, relevance=Classes()), [ROWS], torch.arange(ROWS) // 8, {}),
    "classes of two columns": (partial(ANDCGLoss, relevance=Classes()), [ROWS, ROWS], torch.arange(ROWS) // 8, {}),
    "pairs": (partial(ANDCGLoss, relevance=Pairs()), [ROWS, ROWS], None, {}),
    "own mixtures": (partial(ANDCGLoss, relevance=Pairs(), mixup=HardNegativeMixup()), [ROWS, ROWS], None, {}),
    "cached": (partial(CachedRankingLoss, objective=MIXTURE, relevance=Pairs()), [ROWS, ROWS], None, {}),
    # All similarities of tokens would take 17 gigabytes.
    "tokens": (partial(ANDCGLoss, relevance=Pairs()), [2048, 2048], None, {"tokens": 32, "dim": 128}),
}


def register() -> None:
    """Give PyTorch the device, with the sizes of blocks that the package has for CUDA."""

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.float16, torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend(DEVICE, backend_module=Module())
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes its tensor on the CPU, where the modes see it move
    for module in [module for name, module in sys.modules.items() if name.startswith("st_rankloss.")]:
        for sizes in vars(module).values():
            if isinstance(sizes, dict) and "cuda" in sizes and "cpu" in sizes:
                sizes[DEVICE] = sizes["cuda"]


WAITS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "nonzero": lambda x: x.nonzero(),
    "to_the_host": lambda x: x.to("cpu"),
    "from_the_host": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "mixed_devices": lambda x: x + torch.ones(2),
}


def noticed(wait: Callable[[Tensor], Any]) -> bool:
    """Return whether a wait raises."""
    with FakeTensorMode(), NeverWaiting():
        values = torch.empty(2, device=DEVICE)
        try:
            wait(values)
        except Exception:
            return True
    return False


def main() -> None:
    """Run every case and the large batches, and see that what would wait is noticed."""
    register()
    warnings.simplefilter("ignore")
    gc.freeze()  # modules, of which nothing becomes garbage
    errors, peaks = {}, {}
    for name, run in CASES.items():
        try:
            run()
        except Exception as error:
            frames = [x for x in traceback.extract_tb(error.__traceback__) if "st_rankloss" in x.filename]
            errors[name] = f"{type(error).__name__}: {str(error)[:200]} {frames[-1] if frames else ''}"
    for name, (make, sizes, labels, options) in BATCHES.items():
        storages = Storages()
        differentiate(make, sizes, labels, watch=storages, **{"dim": 384} | options)
        peaks[name] = storages.peak
    seen = {name: noticed(wait) for name, wait in WAITS.items()}
    json.dump({"cases": len(CASES), "errors": errors, "peaks": peaks, "noticed": seen}, sys.stdout)


if __name__ == "__main__":
    main()
