"""Trainings by DDP and FSDP2 on two processes end as those of one process with the whole batch."""

from __future__ import annotations

import pytest
import torch

from tests.distributed.trainings import SAMPLERS, STREAMED, all_runs
from tests.models import older

EXACT = 1e-5
"""Largest deviation of a parameter after five steps of rate 1: what the order of float32 sums may leave."""

RUNS = all_runs()

in_shards = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this PyTorch runs FSDP2 on accelerators alone"
)


def deviation_of(in_processes, alone, name, reference=None):
    """Return by how much the parameters differ between one process and two, which must have the same."""
    first, second = in_processes(name)
    assert torch.equal(first, second)
    return (first - alone(reference or name)).abs().max()


@pytest.mark.parametrize("name", [n for n in RUNS if n.endswith(("/plain", "/cached")) and not n.startswith("apart")])
def test_every_relevance_trains_alike(in_processes, alone, name):
    assert deviation_of(in_processes, alone, name) < EXACT


@pytest.mark.parametrize("name", [n for n in RUNS if n.startswith("gaps/")])
def test_a_process_may_have_no_label_at_all(in_processes, alone, name):
    assert deviation_of(in_processes, alone, name) < EXACT


@pytest.mark.parametrize("loss", ["plain", "cached"])
def test_without_gathering_it_is_other_training(in_processes, alone, loss):
    assert deviation_of(in_processes, alone, f"apart/{loss}") > 1e-3
    assert deviation_of(in_processes, alone, f"apart_cross_encoder_pairs/{loss}") > 1e-4


@pytest.mark.parametrize("name", [n for n in RUNS if n.startswith("weighted/")])
def test_processes_agree_on_the_rows_to_leave_out(in_processes, alone, name):
    first, second = in_processes(name)
    assert torch.equal(first["weights"], second["weights"])
    assert 0 < first["weights"].sum() < len(first["weights"])
    if name.endswith("gathered"):
        assert torch.equal(first["weights"], alone(name)["weights"])
        assert (first["parameters"] - alone(name)["parameters"]).abs().max() < EXACT


@in_shards
@pytest.mark.parametrize("name", [n for n in RUNS if n.endswith(("/fsdp", "/fsdp_cached")) and n[:5] != "apart"])
def test_every_relevance_trains_alike_in_shards(in_processes, alone, name):
    assert deviation_of(in_processes, alone, name, name.replace("_cached", "").replace("fsdp", "plain")) < EXACT


@in_shards
def test_shards_without_gathering_train_as_whole_models_do(in_processes):
    assert (in_processes("apart/fsdp")[0] - in_processes("apart/plain")[0]).abs().max() < EXACT


@pytest.mark.parametrize(
    "name", ["accumulation", "workers", "dropped_tail_of_3", "dropped_tail_of_5", "last_batch_of_5"]
)
def test_options_of_the_trainer_change_nothing(in_processes, alone, name):
    assert deviation_of(in_processes, alone, name) < EXACT


@in_shards
def test_shards_accumulate_gradients(in_processes, alone):
    assert deviation_of(in_processes, alone, "fsdp_accumulation", "accumulation") < EXACT


@in_shards
def test_a_model_in_shards_is_saved_whole_after_training(in_processes):
    main, other = in_processes("fsdp_saved")
    assert torch.equal(main["parameters"], main["sharded"])
    for found in (main, other):
        assert "save_strategy must be 'no' under FSDP2, got" in found["refusal"]


def test_bf16_trains_alike_to_its_own_precision(in_processes, alone):
    one, (first, second) = alone("bf16"), in_processes("bf16")
    assert torch.equal(first, second)
    assert (one - alone("lists/plain")).abs().max() > EXACT  # bf16 was on
    assert (first - one).norm() < torch.finfo(torch.bfloat16).eps / 2 * (one - alone("start")).norm()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_split_batches_are_those_of_one_process_for_every_sampler(in_processes, alone, sampler):
    assert deviation_of(in_processes, alone, f"split/{sampler}") < EXACT


def test_several_datasets_train_alike_where_batches_are_split(in_processes, alone):
    assert deviation_of(in_processes, alone, "several_datasets") < EXACT


def test_what_would_mix_datasets_or_wait_for_ever_is_refused(in_processes):
    for found in in_processes("refusals"):
        assert "gather_across_devices=True with several datasets needs accelerator_config" in found["datasets"]
        assert "dataloader_drop_last must be True on several processes, got False and 11 batches" in found["batches"]
        assert "dataloader_drop_last must be True on several processes, got False and 6 batches" in found["split"]
        assert "it would cut the batches of NestedSampler, so that rows lose those that it put" in found["planned"]


def test_processes_that_draw_from_other_datasets_log_the_same_terms_and_agree_on_weights(in_processes):
    first, second = in_processes("unlike_losses")
    assert first["logged"] == second["logged"]
    assert all({"ApproxNDCG", "SoftmaxCrossEntropy"} <= {*entry} for entry in first["logged"])
    assert torch.equal(first["weights"], second["weights"])


@pytest.mark.parametrize("name", STREAMED)
def test_streaming_trains_as_reading_the_same_rows_from_memory(in_processes, alone, name):
    assert torch.equal(alone(f"streamed/{name}"), alone(f"in_order/{name}"))
    assert deviation_of(in_processes, alone, f"streamed/{name}", f"in_order/{name}") < EXACT


@pytest.mark.parametrize("name", ["memory", "workers", "streamed", "generated"])
def test_lists_that_change_every_epoch_train_alike_however_they_are_read(in_processes, alone, name):
    assert torch.equal(alone(f"chosen/{name}"), alone("chosen/memory"))
    assert deviation_of(in_processes, alone, f"chosen/{name}") < EXACT
    assert (alone("chosen/memory") - alone("chosen/same")).abs().max() > 1e-3


def test_lists_that_change_every_epoch_resume_in_mid_epoch(in_processes, alone):
    for found in (alone("chosen/resumed"), *in_processes("chosen/resumed")):
        assert torch.equal(found["straight"], found["resumed"])


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_resuming_in_mid_epoch_changes_nothing(in_processes, alone, sampler, epoch):
    if sampler == "no_duplicates" and older("sentence-transformers", 6, 2):
        pytest.skip("the host's sampler counts a batch too many before 6.2")
    name = f"resumed/{sampler}/{epoch}"
    for found in (alone(name), *in_processes(name)):
        assert torch.equal(found["straight"], found["resumed"])


@pytest.mark.parametrize(
    "name", ["evaluated/lists", "evaluated/classes", pytest.param("fsdp_evaluated", marks=in_shards)]
)
def test_evaluation_during_training_finds_the_same_in_all_processes(in_processes, alone, name):
    reference = alone(name.replace("fsdp_evaluated", "evaluated/lists"))
    untouched = alone(name.replace("fsdp_evaluated", "evaluated/lists").replace("evaluated/", "") + "/plain")
    assert torch.equal(reference["parameters"], untouched)
    assert len(reference["evaluations"]) >= 2  # the last step counts or not, by the version of transformers
    for found in in_processes(name):
        assert (found["parameters"] - reference["parameters"]).abs().max() < EXACT
        assert found["evaluations"] == [pytest.approx(entry, abs=1e-4) for entry in reference["evaluations"]]
    assert reference["evaluations"][0]["eval_graded_cosine_ndcg@10"] > 0
