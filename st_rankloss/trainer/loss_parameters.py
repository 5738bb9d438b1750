"""The parameters of losses, which checkpoints keep beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from st_rankloss._host import inner_loss
from st_rankloss.losses.base import GradedLoss

LOSS_FILE = "loss.safetensors"
"""The file of a checkpoint with the parameters of the losses."""


def own_parameters(losses: Mapping[str | None, Any]) -> dict[str, Tensor]:
    """Return what is saved of our losses, by name: their parameters to train, but the model's, and own buffers."""
    named = {name or "loss": inner_loss(loss) for name, loss in losses.items()}
    ours = {name: loss for name, loss in named.items() if isinstance(loss, GradedLoss)}
    parameters = ((name, *each) for name, loss in ours.items() for each in loss.named_parameters())
    trained = {
        f"{name}.{own}": parameter
        for name, own, parameter in parameters
        if parameter.requires_grad and not own.startswith("model.")
    }
    buffers = ((name, *each) for name, loss in ours.items() for each in loss.named_buffers(recurse=False))
    return trained | {f"{name}.{own}": buffer for name, own, buffer in buffers}


def copies_of(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of parameters, which training leaves alone."""
    return {name: x.detach().clone(memory_format=torch.contiguous_format) for name, x in own.items()}


def restore(own: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    """Give parameters the values of others with the same names."""
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(kept[name])


def save(own: Mapping[str, Tensor], folder: str) -> None:
    """Save parameters to a folder, if any."""
    if own:  # as copies, because a file cannot hold a tensor twice, and datasets may share a loss
        save_file(copies_of(own), Path(folder) / LOSS_FILE)


def load(own: Mapping[str, Tensor], folder: str) -> None:
    """Load parameters from a folder, or raise ValueError if it does not have them."""
    if not own:
        return
    path = Path(folder) / LOSS_FILE
    saved = load_file(path) if path.is_file() else {}
    expected, found = ({name: tuple(x.shape) for name, x in part.items()} for part in (own, saved))
    if expected != found:
        raise ValueError(
            f"{path} must have the parameters of the loss, {expected}, got {found or 'no such file'}: "
            "resume with the loss that was trained, from a checkpoint of a trainer of this package."
        )
    for name, tensor in own.items():
        if not isinstance(tensor, nn.Parameter) and not torch.equal(tensor.cpu(), saved[name]):
            raise ValueError(
                f"{path} must have the {name} of the loss, in its order: resume with the loss that was trained."
            )
    restore(own, saved)
