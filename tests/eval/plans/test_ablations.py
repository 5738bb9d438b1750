"""Ablations vary the best trial, by what its loss accepts."""

from __future__ import annotations

import pytest

from eval.plans import ablations
from eval.plans.ablations import ABLATIONS
from eval.plans.comparison import Choice
from eval.plans.learning_rates import ENCODERS
from eval.plans.losses import contenders
from eval.tasks.records import load_records
from tests.eval.tiny import line


def test_ablations_vary_the_best_trial():
    records = load_records()
    record, encoder = records["clinc150"], "static-minilm"
    one = Choice([record], [encoder], ["SupCon", "A-NDCG"])
    lines = []
    for loss in ("SupCon", "A-NDCG"):
        for score, rate in ((0.3, 0.1), (0.4, 0.02), (0.2, 0.3)):
            setting = contenders(record)[loss].settings[1]
            lines.append(line(one.spec(record, encoder, loss, "dev", setting=setting, learning_rate=rate), score))
    specs = ablations.plan(["temperature"], records, lines, seeds=2, folder=None)
    assert {spec.learning_rate for spec in specs} == {0.02}
    assert {(spec.stage, spec.ablation) for spec in specs} == {("ablation", "temperature")}
    assert {spec.setting["temperature"] for spec in specs} == {0.01, 0.02, 0.05, 0.1, 0.2, 0.5}
    assert [spec.value for spec in specs] == [spec.setting["temperature"] for spec in specs]
    assert len(specs) == 2 * 6 * 2 == len({spec.key for spec in specs})
    everything = ablations.plan([], records, lines, seeds=1, folder=None)
    assert {spec.ablation for spec in everything} == {"temperature", "gain", "sampler", "augmentation"}
    assert {spec.sampler for spec in everything if spec.ablation == "sampler"} == {"balanced", "random"}
    views = [(spec.value, spec.augmented) for spec in everything if spec.ablation == "augmentation"]
    assert views == [("off", False), ("on", True)]
    assert len({spec.key for spec in everything}) == len(everything)


def test_ablations_need_trials_and_known_names():
    with pytest.raises(ValueError, match="unknown ablation 'temprature'; did you mean temperature"):
        ablations.plan(["temprature"], load_records(), [], seeds=1, folder=None)
    with pytest.raises(ValueError, match="run `python -m eval tune`"):
        ablations.plan([], load_records(), [], seeds=1, folder=None)


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: f"{ablation.name}-{ablation.task}")
def test_every_ablation_is_of_what_its_losses_can_be_given(ablation):
    record = load_records()[ablation.task]
    assert ablation.encoder in ENCODERS
    for loss in ablation.losses:
        contender = contenders(record)[loss]
        for changes in ablation.changes.values():
            of_loss = {n: v for n, v in changes.items() if n not in ("steps", "batch_size", "sampler", "augmented")}
            if contender.role != "recipe":
                assert contender.make(None, _Problem(record), **(dict(contender.settings[0]) | of_loss))


class _Problem:
    """A task without data."""

    def __init__(self, record):
        self.record, self.relevance, self.binary = record, same, same


def same(query_labels, document_labels):
    """A relevance of anything."""
    return query_labels
