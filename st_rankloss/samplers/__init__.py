"""Batch samplers that give every query documents to rank, for ``batch_sampler=`` of the training arguments.

=================  ==========================  =====================================================================
sampler            labels                      every batch
=================  ==========================  =====================================================================
`classes`          class                       has several classes, with at least two rows each
`hierarchy`        path, coarse to fine        has several coarsest classes, and a partner for each row
`multi_label`      set of labels               has several sets, and shares a label of each row with other rows
`numeric`          number                      spans the whole range of the numbers, evenly by quantiles
`lists`, `qrels`   lists of grades, judgements has no query twice
`neighbours`       any                         is a few clusters of similar texts, as embedded by the model
=================  ==========================  =====================================================================

Each function takes settings and returns a sampler factory for the trainer. The guarantee holds for every batch, or the
sampler raises ValueError. All batches but the last are full, no row occurs twice in an epoch, and the order depends
only on the seed and the epoch; the number of rows that sit out is logged. With n processes, each gets every n-th batch.
Evaluation covers all rows, in the same kind of batches if the evaluation set allows it, otherwise in batches of any
rows (and logs this). Streaming datasets do not support batch samplers.

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
