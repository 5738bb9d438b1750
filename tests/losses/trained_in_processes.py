"""What `test_gathering.py` runs in one process and in two: a few steps with the trainer, for many kinds of labels.

python -m tests.losses.trained_in_processes FOLDER
torchrun --standalone --nproc_per_node=2 -m tests.losses.trained_in_processes FOLDER
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainingArguments

from st_rankloss import ANDCGLoss, RankingTrainer
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Numeric, Pairs, Qrels, Vectors
from tests.models import tiny_bert

BATCH, STEPS = 8, 5
ROWS = BATCH * STEPS
WORDS = [f"w{i}" for i in range(40)]
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))


def cases():
    """Columns of a dataset and what its labels mean, by name."""
    draw = random.Random(4)
    text = [" ".join(draw.choices(WORDS, k=4)) for _ in range(ROWS)]
    other = [" ".join(draw.choices(WORDS, k=4)) for _ in range(ROWS)]
    lengths = [1 + draw.randrange(4) for _ in range(ROWS)]
    lists = [[" ".join(draw.choices(WORDS, k=3)) for _ in range(n)] for n in lengths]
    pairs = {"text": text, "other": other}
    ids = {"text_id": [f"q{i}" for i in range(ROWS)], "other_id": [f"d{i % 30}" for i in range(ROWS)]}
    judged = {f"q{i}": {f"d{i % 30}": 3, f"d{(i + 1) % 30}": 1} for i in range(ROWS)}
    return {
        "pairs": (pairs, None, {}),
        "apart": (pairs, None, {"gather_across_devices": False}),
        "scores": (pairs | {"score": [draw.random() for _ in range(ROWS)]}, Pairs(), {}),
        "symmetric": (pairs | {"label": [i % 3 for i in range(ROWS)]}, Classes(), {"symmetric": True}),
        "classes": ({"text": text, "label": [i % 3 for i in range(ROWS)]}, None, {}),
        "names": ({"text": text, "label": [f"c{i % 3}" for i in range(ROWS)]}, None, {}),
        "levels": ({"text": text, "label": [[i % 2, i % 4] for i in range(ROWS)]}, Hierarchy(), {}),
        "sets": ({"text": text, "label": [draw.sample("abcdefg", draw.randrange(3)) for _ in text]}, MultiLabel(), {}),
        "numbers": ({"text": text, "label": [draw.random() for _ in range(ROWS)]}, Numeric(), {}),
        "vectors": ({"text": text, "label": [[draw.random() for _ in range(3)] for _ in text]}, Vectors(), {}),
        "lists": ({"text": text, "documents": lists, "labels": [list(range(n)) for n in lengths]}, Lists(), {}),
        "judgements": (pairs | ids, Qrels(judged), {}),
    }


def train(folder, columns, relevance, loss_class, options):
    """Train for a few steps and return the model's parameters, end to end."""
    torch.manual_seed(0)
    model = tiny_bert(Path(folder, "bert", str(os.environ.get("RANK", "0"))), WORDS, dropout=0.0)
    args = SentenceTransformerTrainingArguments(
        str(Path(folder, "run")),
        per_device_train_batch_size=BATCH // PROCESSES,
        num_train_epochs=1,
        learning_rate=1.0,
        lr_scheduler_type="constant",
        optim="sgd",  # Adam would turn the rounding of gradients that are zero into steps
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=7,
    )
    loss = loss_class(model, relevance, **{"gather_across_devices": True} | options)
    trainer = RankingTrainer(model=model, args=args, train_dataset=Dataset.from_dict(columns), loss=loss)
    trainer.train()
    assert trainer.state.global_step == STEPS, trainer.state.global_step
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def main(folder):
    torch.set_num_threads(1)
    found = {}
    for name, (columns, relevance, options) in cases().items():
        for loss_class in (ANDCGLoss, CachedANDCGLoss):
            small = {"mini_batch_size": 3} if loss_class is CachedANDCGLoss else {}
            found[f"{name}/{loss_class.__name__}"] = train(folder, columns, relevance, loss_class, options | small)
    torch.save(found, Path(folder, f"of_{PROCESSES}_process_{os.environ.get('RANK', '0')}.pt"))


if __name__ == "__main__":
    main(sys.argv[1])
