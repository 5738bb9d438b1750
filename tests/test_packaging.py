"""What is declared is what is tested: floors of versions, extras, Pythons and workflows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def version(text):
    """A version as numbers, without zeros at its end."""
    numbers = [int(part) for part in text.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def pins(name):
    """The versions that a constraints file pins."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.replace("_", "-").split("==") for line in lines if not line.startswith("#"))


def floors(*without):
    """The lowest version that is declared of each dependency, but for some extras."""
    found = {}
    for line in [*PROJECT["dependencies"], *(x for extra in EXTRAS if extra not in without for x in EXTRAS[extra])]:
        name, _, least = re.fullmatch(r"([\w-]+)(\[.*\])?(?:>=([\d.]+))?(?:,<\d+)?(?:; .*)?", line).groups()
        if name != "st_rankloss":
            assert found.setdefault(name, least) == least, f"{name} has two floors"
    return found


def test_the_oldest_versions_that_are_tested_are_those_that_are_declared():
    declared, oldest = floors("dev", "docs"), pins("constraints-oldest.txt")
    assert {name: version(least) for name, least in declared.items()} == {n: version(v) for n, v in oldest.items()}


def test_every_dependency_has_a_tested_version_above_its_floor():
    tested = pins("constraints.txt")
    for name, least in floors().items():
        assert version(tested[name]) >= version(least), name


def test_extras_that_need_others_name_them():
    named = {extra for line in EXTRAS["eval"] if line.startswith("st_rankloss[") for extra in line[12:-1].split(",")}
    assert named == {"cli", "faiss", "image"}
    assert named <= set(EXTRAS)


def test_every_python_that_is_declared_is_tested():
    classifiers = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == classifiers
    assert PROJECT["requires-python"] == f">={classifiers[0]}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_commands_exist(path):
    workflow = path.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for step in [step for job in yaml.safe_load(workflow)["jobs"].values() for step in job["steps"]]:
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]), step
        else:
            command, *arguments = step["run"].split()
            assert (command, *arguments) == (".ci/run",) or (command == "make" and set(arguments) <= set(targets)), step
