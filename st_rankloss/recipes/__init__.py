"""Settings for each kind of task, chosen on dev splits: objective, relevance and batches in one call.

====================  ==========================  =================================================================
recipe                labels                      chosen for
====================  ==========================  =================================================================
`retrieval`           graded judgements           nDCG@10 of a search, MRR of its best document
`sts`                 score of two texts          Spearman correlation
`classification`      class                       MAP of the neighbours, accuracy of their vote
`hierarchy`           path, coarse to fine        MAP of the finest classes, nDCG of all levels
`multi_label`         set of labels               nDCG by Jaccard, LRAP of the neighbours' vote
`regression`          number                      nDCG by distance, correlation of a linear probe
`self_supervised`     none: views                 Spearman correlation, without labels
`image_text`          two inputs, any label       nDCG@10 in both directions
====================  ==========================  =================================================================

The temperature depends on the model: `default_temperature` chooses it when the loss is built. Tune the learning rate,
which depends on the model too. `for_dataset` chooses the recipe for a dataset. ``eval/results`` shows how recipes
compare on test, and where other losses are better; for models other than a SentenceTransformer, only `retrieval` was
tuned, on one dev split.

Example:
    ::

        recipe = recipes.hierarchy(levels=2)
        args = SentenceTransformerTrainingArguments(..., batch_sampler=recipe.batch_sampler)
        RankingTrainer(model=model, args=args, train_dataset=dataset, loss=recipe.loss(model)).train()
"""

from __future__ import annotations

from st_rankloss.recipes.by_task import (
    classification,
    hierarchy,
    image_text,
    multi_label,
    regression,
    retrieval,
    self_supervised,
    sts,
)
from st_rankloss.recipes.choosing import for_dataset
from st_rankloss.recipes.recipe import Recipe
from st_rankloss.recipes.temperature import TEMPERATURES as TEMPERATURES
from st_rankloss.recipes.temperature import TEMPERATURES_OF_KINDS as TEMPERATURES_OF_KINDS
from st_rankloss.recipes.temperature import default_temperature

__all__ = [
    "Recipe",
    "classification",
    "default_temperature",
    "for_dataset",
    "hierarchy",
    "image_text",
    "multi_label",
    "regression",
    "retrieval",
    "self_supervised",
    "sts",
]
