"""What the trainers of all kinds of models share."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from datasets import IterableDataset
from torch import nn
from torch.utils.data import DataLoader

from st_rankloss._host import CheckpointingTrainer, get_losses, inner_loss
from st_rankloss._models import check_encoder, scores_pairs
from st_rankloss.collators import GradedCollator
from st_rankloss.data.lists import samplers_of
from st_rankloss.data.part import Part
from st_rankloss.data.streams import with_features
from st_rankloss.numbering import TellWeighting, number_rows, weighted
from st_rankloss.objectives import Objective
from st_rankloss.samplers.base import PlannedBatchSampler
from st_rankloss.trainer import loss_parameters
from st_rankloss.trainer.callbacks import Epochs, FreshGradients
from st_rankloss.trainer.class_ids import form_of_sets
from st_rankloss.trainer.readers import choose_reader
from st_rankloss.trainer.terms import with_terms_of_all
from st_rankloss.views import ViewsCollator
from st_rankloss.weighting import Weighting
from st_rankloss.weighting.rows import several_processes

logger = logging.getLogger(__name__)


class GradedTrainer(CheckpointingTrainer):
    """What the trainers of all kinds of models share; see `RankingTrainer`.

    It comes before a trainer of sentence-transformers in the order of inheritance.
    """

    data_collator: Any
    train_dataset: Any

    def __init__(self, model: Any = None, *args: Any, **kwargs: Any) -> None:
        self._check_kind(model)
        self._forms: dict[tuple[int, str], str | None] = {}
        self._untrained: dict[str, torch.Tensor] | None = None
        super().__init__(
            model, *(_declared(value) for value in args), **{name: _declared(value) for name, value in kwargs.items()}
        )
        self._prepare()
        if self.model_init is not None:
            self._untrained = loss_parameters.copies_of(loss_parameters.own_parameters(self._losses()))
        epochs = [
            sampler.epoch for _, dataset in self._datasets(self.train_dataset) for sampler in samplers_of(dataset)
        ]
        if isinstance(self.data_collator, ViewsCollator):
            self.data_collator.seed = self.args.seed
            self.data_collator.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
            epochs.append(self.data_collator.epoch)
        self.add_callback(Epochs(epochs))
        self.add_callback(FreshGradients([loss for loss in self._losses().values() if isinstance(loss, nn.Module)]))
        rows = self._numbered()[1].items()
        self._tellers = [
            TellWeighting(w, count, f"weighting{n}.safetensors", self.checkpoint_folder)
            for n, (w, count) in enumerate(rows)
        ]
        for teller in self._tellers:
            self.add_callback(teller)

    def _prepare(self, evaluated: Any = None) -> None:
        """Check the datasets, and tell the collator and accelerate how to read them.

        Args:
            evaluated: Data to evaluate that the constructor did not get, if any.
        """
        train, others = self._datasets(self.train_dataset), self._datasets(self.eval_dataset, evaluated)
        chosen = [sampler for _, dataset in train for sampler in samplers_of(dataset)]
        if any(sampler in chosen for _, dataset in others for sampler in samplers_of(dataset)):
            raise ValueError(
                "training and evaluation data must come from calls of data.lists of their own, because evaluation "
                "keeps its documents in every epoch: split the dataset first, then call data.lists."
            )
        if isinstance(self.data_collator, GradedCollator):
            self._check_collator()
            self.data_collator = self._told(copy.copy(self.data_collator), train + others)
        if self.accelerator.dataloader_config.dispatch_batches:
            raise ValueError(
                "dispatch_batches must not be True: accelerate would truncate every column of a batch to the length of "
                "the first; leave it out of accelerator_config."
            )
        if any(isinstance(dataset, IterableDataset) for _, dataset in train + others):
            self.accelerator.dataloader_config.dispatch_batches = False

    def _numbered(self) -> tuple[Any, dict[Weighting, int]]:
        """Return the training data, with numbered rows if its loss has a weighting, and each weighting's rows."""
        datasets = self._datasets(self.train_dataset)
        weightings = weighted(datasets, {name: inner_loss(loss) for name, loss in self._losses().items()})
        rows: dict[Weighting, int] = {}
        numbered = copy.copy(self.train_dataset) if isinstance(self.train_dataset, dict) else self.train_dataset
        for name, dataset in datasets:
            if (weighting := weightings.get(name)) is not None:
                own = number_rows(dataset, rows.get(weighting, 0))
                rows[weighting] = own.first_number + len(own)
                if name is None:
                    numbered = own
                else:
                    numbered[name] = own
        return numbered, rows

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, and resume what a weighting has learned.

        Args:
            resume_from_checkpoint: As for the parent.
            *args: As for the parent.
            **kwargs: As for the parent.

        Returns:
            As the parent.
        """
        for teller in self._tellers:
            teller.resumed = resume_from_checkpoint if isinstance(resume_from_checkpoint, str) else None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _check_kind(self, model: Any) -> None:
        """Raise TypeError for a model of another kind, which another of these trainers may train."""
        fitting = [kind.__name__ for kind in GradedTrainer.__subclasses__() if isinstance(model, kind.model_class)]
        check_encoder(model, (self.model_class,), type(self).__name__, f"use {fitting[0]}" if fitting else "")

    def call_model_init(self, trial: Any = None) -> Any:
        """Make the model with ``model_init``, for a search over hyper-parameters.

        Args:
            trial: The trial of the search.

        Returns:
            The model.

        Raises:
            TypeError: If it is a model of another kind.
        """
        model = super().call_model_init(trial=trial)
        self._check_kind(model)
        if self._untrained is not None:
            loss_parameters.restore(loss_parameters.own_parameters(self._losses()), self._untrained)
        return model

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, also the terms of losses that this process has not computed yet.

        Args:
            logs: As for the parent.
            *args: As for the parent.
            **kwargs: As for the parent.
        """
        kind = "train" if "loss" in logs else "eval" if "eval_loss" in logs else None
        if kind is not None and several_processes():
            self.accum_loss_components[kind] = with_terms_of_all(self.accum_loss_components[kind], self.args.device)
        super().log(logs, *args, **kwargs)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add the model card callback, even if it cannot describe a dataset.

        Args:
            default_args_dict: The default training arguments.
        """
        try:
            super().add_model_card_callback(default_args_dict)
        except (TypeError, ValueError) as error:  # it fails on missing labels and arrays
            logger.warning("The model card will not describe the datasets: %s", error)
            self.model.model_card_data.set_losses(get_losses(self.loss))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Build the training data loader of this process.

        Returns:
            The data loader.

        Raises:
            ValueError: With several processes: if they would gather batches of different datasets, get different
                numbers of batches, or could not save a sharded model.
        """
        if self.is_fsdp_enabled and self.accelerator.is_fsdp2 and self.args.save_strategy != "no":
            raise ValueError(
                f"save_strategy must be 'no' under FSDP2, got {self.args.save_strategy.value!r}: sentence-transformers "
                "cannot save a sharded model. After training, call trainer.accelerator.get_state_dict(trainer.model) "
                "in every process: the main one gets the full state, to load into an unsharded model."
            )
        given = self.train_dataset
        self.train_dataset = self._numbered()[0]
        try:
            loader: DataLoader[Any] = super().get_train_dataloader()
        finally:
            self.train_dataset = given  # without numbers, which are for batches alone
        if self.args.world_size > 1 and not isinstance(self.train_dataset, IterableDataset):
            sampler: Any = loader.batch_sampler
            self._check_processes(getattr(sampler, "batch_sampler", sampler))
        return loader

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate, also a stream that does not declare its features.

        Args:
            eval_dataset: As for the parent.
            *args: As for the parent.
            **kwargs: As for the parent.

        Returns:
            As the parent.
        """
        metrics: dict[str, float] = super().evaluate(_declared(eval_dataset), *args, **kwargs)
        return metrics

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Build the data loader for evaluation, which reads any dataset as if the constructor had got it.

        Args:
            eval_dataset: As for the parent.

        Returns:
            The data loader.
        """
        if not (eval_dataset is None or isinstance(eval_dataset, str) or eval_dataset is self.eval_dataset):
            eval_dataset = _declared(eval_dataset)
            self._prepare(eval_dataset)
        loader: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)
        return loader

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Build the data loader for predictions; see `get_eval_dataloader`.

        Args:
            test_dataset: As for the parent.

        Returns:
            The data loader.
        """
        test_dataset = _declared(test_dataset)
        self._prepare(test_dataset)
        loader: DataLoader[Any] = super().get_test_dataloader(test_dataset)
        return loader

    def prepare_loss(self, loss: Any, model: Any) -> Any:
        """Return the loss on the device of the model, made by ``loss`` if this is a function of the model.

        Args:
            loss: As for the parent.
            model: As for the parent.

        Returns:
            As the parent.

        Raises:
            TypeError: If it is an objective, which is not yet a loss.
        """
        if isinstance(loss, Objective) or (isinstance(loss, type) and issubclass(loss, Objective)):
            made = "CrossEncoderRankingLoss" if scores_pairs(model) else "RankingLoss"
            shown = loss.__name__ if isinstance(loss, type) else repr(loss)
            raise TypeError(f"loss must be a loss, got the objective {shown}: pass {made}(model, objective=...).")
        return super().prepare_loss(loss, model)

    def _check_processes(self, sampler: Any) -> None:
        """Raise ValueError if processes could not share the batches of a sampler."""
        batches = len(sampler)
        split = self.accelerator.dataloader_config.split_batches
        losses = map(inner_loss, self._losses().values())
        gathers = any(getattr(loss, "gather_across_devices", False) for loss in losses)
        if gathers and isinstance(self.train_dataset, dict) and not split:
            raise ValueError(
                "gather_across_devices=True with several datasets needs accelerator_config={'split_batches': True} "
                "and the size of the whole batch as per_device_train_batch_size: otherwise processes may draw "
                "from different datasets, whose rows would be ranked against each other."
            )
        planned = [s for s in (sampler, *getattr(sampler, "batch_samplers", ())) if isinstance(s, PlannedBatchSampler)]
        if split and planned and not gathers:
            raise ValueError(
                f"split_batches must not be True without gather_across_devices=True: it would cut the batches of "
                f"{type(planned[0]).__name__}, so that rows lose those that it put beside them."
            )
        if not self.args.dataloader_drop_last and (split or batches % self.args.world_size):
            raise ValueError(
                f"dataloader_drop_last must be True on several processes, got False and {batches} batches for "
                f"{self.args.world_size} processes: one might get an extra batch, and wait for the others forever."
            )

    def _datasets(self, *some: Any) -> list[tuple[str | None, Any]]:
        """Return datasets with their names, if any."""
        named: list[tuple[str | None, Any]] = []
        for dataset in some:
            if isinstance(dataset, dict):
                named += dataset.items()
            elif dataset is not None:
                # Of a dict of datasets, the host evaluates each alone, with its name in the rows.
                row: Mapping[str, Any] = next(iter(dataset), {}) if isinstance(self.loss, dict) else {}
                named.append((row.get("dataset_name"), dataset))
        return named

    def _losses(self) -> dict[str | None, Any]:
        """Return the loss of each dataset by name, or under None that of all."""
        return self.loss if isinstance(self.loss, dict) else {None: self.loss}

    def save_beside(self, folder: str) -> None:
        """Save the parameters of the losses, if any.

        Args:
            folder: The folder of the checkpoint.
        """
        loss_parameters.save(loss_parameters.own_parameters(self._losses()), folder)

    def load_beside(self, folder: str) -> None:
        """Load the parameters of the losses, if any.

        Args:
            folder: The folder of the checkpoint.

        Raises:
            ValueError: If the checkpoint does not have them.
        """
        loss_parameters.load(loss_parameters.own_parameters(self._losses()), folder)

    def _told(self, collator: GradedCollator, datasets: list[tuple[str | None, Any]]) -> GradedCollator:
        """Configure a collator with prompts, router mapping, lengths, and the reader of each dataset."""
        for name in ("prompts", "router_mapping", "max_length"):
            given, own = getattr(self.args, name, None), getattr(collator, name)
            if given and own and given != own:
                raise ValueError(f"data_collator has other {name} than the training arguments: {own!r}, {given!r}.")
            if given:
                setattr(collator, name, given)
        collator.__post_init__()  # checks what it was given
        losses = {name: inner_loss(loss) for name, loss in self._losses().items()}
        read = {name: [dataset for own, dataset in datasets if name is None or own == name] for name in losses}
        collator.readers = {
            name: choose_reader(loss, read[name], collator, self._form_of_sets) for name, loss in losses.items()
        }
        return collator

    def _form_of_sets(self, dataset: Any, column: str) -> str | None:
        """Return `form_of_sets`, which is found once for each dataset of the constructor."""
        kept = [own for _, own in self._datasets(self.train_dataset, self.eval_dataset)]
        if not any(own is dataset for own in kept):
            return form_of_sets(dataset, column)
        key = id(dataset), column
        if key not in self._forms:
            self._forms[key] = form_of_sets(dataset, column)
        return self._forms[key]

    def _check_collator(self) -> None:
        """Raise TypeError for a collator of ours for another kind of model."""
        if not isinstance(self.data_collator, self.data_collator_class):
            raise TypeError(
                f"{type(self).__name__} needs a {self.data_collator_class.__name__}, got a "
                f"{type(self.data_collator).__name__}: leave data_collator out, and the trainer makes one."
            )


def _declared(argument: Any) -> Any:
    """Return an argument of a trainer: a stream with its features, and anything but a part as it is."""
    if any(isinstance(each, Part) for each in (argument.values() if isinstance(argument, dict) else [argument])):
        raise TypeError("the trainer needs datasets, got what data.read returns: pass its parts' .dataset.")
    return with_features(argument) if isinstance(argument, IterableDataset) else argument
