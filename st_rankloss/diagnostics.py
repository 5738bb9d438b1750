"""What tells a user why a ranking loss stalls, in the trainer's logs."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from st_rankloss.losses import RankingLoss


class RankingDiagnostics(TrainerCallback):
    """Logs ``queries_with_relevance``: the mean share of a batch's queries that had a relevant document.

    A query without one trains nothing; a low share asks for another batch sampler or larger batches. The
    share is read from the device when the trainer logs, not at each step.

    Args:
        loss: The loss that is trained.

    Example:
        ::

            trainer = SentenceTransformerTrainer(..., loss=loss, callbacks=[RankingDiagnostics(loss)])
    """

    def __init__(self, loss: RankingLoss) -> None:
        self.loss = loss
        self._shares: list[Tensor] = []

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the share of a batch whose gradient is accumulated."""
        self.on_step_end(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the batch's share, on the device."""
        if self.loss.relevant_share is not None:
            self._shares.append(self.loss.relevant_share)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        """Add the mean share since the last log to the logs and to the trainer's history."""
        if self._shares and "loss" in logs:
            share = float(sum(self._shares) / len(self._shares))
            self._shares.clear()
            logs["queries_with_relevance"] = share
            if state.log_history:
                state.log_history[-1]["queries_with_relevance"] = share
