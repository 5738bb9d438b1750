"""Batches in which there is something to rank, for ``batch_sampler=`` of the training arguments.

=================  ==========================  =====================================================================
sampler            labels                      every batch
=================  ==========================  =====================================================================
`classes`          class                       has several classes, and each sample others of its class
`hierarchy`        path, coarse to fine        has for each sample others at every level, as far as the data allow
`multi_label`      set of labels               has for each sample others that share a label
`numeric`          number                      spans the whole range of the numbers, evenly by quantiles
`lists`, `qrels`   lists of grades, judgements has no query twice
`neighbours`       any                         is a few clusters of texts that the model takes for similar
=================  ==========================  =====================================================================

Each is a function of its settings that returns what the trainer calls with the dataset. No index comes twice in an
epoch, the order depends on the seed and the epoch alone, and rows that can never take part are logged. On several
processes each gets every n-th batch.

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
