"""What the tests of the comparison share: a folder of tiny data sets, and a process as it was before each test."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterator

import datasets
import mteb
import optuna
import pytest

from eval.plans.comparison import Choice
from tests.eval.tiny import World


@pytest.fixture(scope="session", autouse=True)
def tasks_made_once() -> Iterator[None]:
    """Keep mteb's list of its thousand tasks, which takes a second to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mteb, "get_tasks", functools.cache(mteb.get_tasks))
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Tiny data sets of every kind; nothing in a test writes there."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def choice(world: World) -> Choice:
    """Two losses of one task."""
    known = world.records
    return Choice([known["topics"]], ["static"], ["SupCon", "recipe"], world.folder, seeds=2, known=known)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Undo what the command line does to logging; keep progress bars out of the captured output."""
    disabled, verbosity = logging.root.manager.disable, optuna.logging.get_verbosity()
    datasets.disable_progress_bars()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        yield
    logging.disable(disabled)
    optuna.logging.set_verbosity(verbosity)
