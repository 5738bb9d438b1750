"""Batches in which there is something to rank, for ``batch_sampler=`` of the training arguments.

=================  ==========================  =====================================================================
sampler            labels                      every batch
=================  ==========================  =====================================================================
`classes`          class                       has several classes, and at least two rows of each
`hierarchy`        path, coarse to fine        has several coarsest classes, and a partner for each row
`multi_label`      set of labels               has several sets, and for each row others that share a label
`numeric`          number                      spans the whole range of the numbers, evenly by quantiles
`lists`, `qrels`   lists of grades, judgements has no query twice
`neighbours`       any                         is a few clusters of texts that the model places close together
=================  ==========================  =====================================================================

Each is a function of its settings that returns what the trainer calls with the dataset. It keeps its promise in every
batch or raises ValueError. All batches but the last are full, no row comes twice in an epoch, and the order depends on
the seed and the epoch alone; the number of rows that sit out is logged. On several processes each gets every n-th
batch. An evaluation is over all rows: in the same kind of batches where the evaluation set allows, else in batches of
any rows, which is logged. Streaming datasets have no batch sampler.

Example:
    ::

        args = SentenceTransformerTrainingArguments(..., batch_sampler=samplers.classes(per_class=4))
"""

from __future__ import annotations

from st_rankloss.samplers.distinct import lists, qrels
from st_rankloss.samplers.neighbours import neighbours
from st_rankloss.samplers.nested import classes, hierarchy, multi_label
from st_rankloss.samplers.numeric import numeric

__all__ = ["classes", "hierarchy", "lists", "multi_label", "neighbours", "numeric", "qrels"]
