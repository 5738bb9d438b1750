"""What is declared is what is tested, and what is built is whole: versions, extras, Pythons, workflows, archives."""

from __future__ import annotations

import email
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
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


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """The source archive's folder, and the wheel that is built from it rather than from the checkout."""
    hatchling = pytest.importorskip("hatchling.build", reason="hatchling is an extra of developers")
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / hatchling.build_sdist(str(tmp_path))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    monkeypatch.chdir(source)
    with zipfile.ZipFile(tmp_path / hatchling.build_wheel(str(tmp_path))) as wheel:
        yield source, wheel


def files(folder):
    """The files below a folder, by their paths in it, without what Python and tools leave behind."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if "__pycache__" not in path and not path.endswith(".pyc")}


def test_the_source_archive_has_what_tests_documentation_and_evaluation_need(archives):
    source, _ = archives
    for folder in ("st_rankloss", "tests", "eval", "examples", "docs", ".github", ".ci"):
        assert files(ROOT / folder), folder
        assert files(source / folder) == files(ROOT / folder)
    alone = {path.name for path in ROOT.iterdir() if path.suffix in {".md", ".cff", ".toml", ".txt", ".yml"}}
    assert {"README.md", "pyproject.toml", "constraints.txt"} < alone
    for name in alone | {"LICENSE", "Makefile", "conftest.py"}:
        assert (source / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_wheel_that_is_built_from_it_has_the_typed_package_and_nothing_else(archives):
    _, wheel = archives
    package = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert package == {f"st_rankloss/{name}" for name in files(ROOT / "st_rankloss")}
    assert "st_rankloss/py.typed" in package


def test_the_wheel_names_its_licence_version_and_readme(archives):
    _, wheel = archives
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_string(wheel.read(name).decode())
    assert metadata["License-Expression"] == PROJECT["license"]
    assert metadata["Version"] == PROJECT["version"] == CITATION["version"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_citation_has_what_its_format_requires():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_of_an_issue_has_a_label_for_every_field(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert all(field["attributes"]["label"] for field in form["body"])
    names = [field["id"] for field in form["body"]]
    assert len(names) == len(set(names)) > 1
