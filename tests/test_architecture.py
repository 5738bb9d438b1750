"""How the package hangs together: imports point one way, and importing it does nothing else."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import st_rankloss

PACKAGE = Path(st_rankloss.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A module imports those of its own layer and of layers above it in this list. New modules get a place here.
LAYERS = [
    {"kernels", "labels", "judgements", "_extras", "_host", "_models"},
    {"functional"},
    {"objectives", "relevance"},
    {
        "losses",
        "weighting",
        "encoding",
        "collators",
        "samplers",
        "mining",
        "teachers",
        "judges",
        "augmentations",
        "data",
        "evaluation",
    },
    {"views", "recipes", "encoders", "mteb_tasks"},
    {"numbering"},
    {"trainer", "diagnostics", "inspection"},
    {"experiment"},
    {"__init__"},
    {"cli", "__main__"},
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}
# Parts of one layer that must not know of each other.
APART = {
    ("objectives", "relevance"),
    ("objectives", "evaluation"),
    ("relevance", "evaluation"),
    ("losses", "collators"),
}
# Where the host library may be imported: everything else is plain torch.
KNOW_THE_HOST = {
    "_host.py",
    "_models.py",
    "cli",
    "collators",
    "data",
    "diagnostics.py",
    "encoders.py",
    "evaluation",
    "experiment",
    "inspection",
    "judges",
    "mining.py",
    "mteb_tasks",
    "numbering.py",
    "recipes",
    "samplers",
    "teachers.py",
    "trainer",
}
NEED_EXTRAS = (
    "augmentations",
    "cli",
    "data",
    "encoders",
    "evaluation",
    "experiment",
    "inspection",
    "kernels",
    "mteb_tasks",
    "samplers",
)
OPTIONAL = ("mteb", "faiss", "pytrec_eval", "matplotlib", "optuna", "bm25s", "triton")
IMPORTED_AS = {"pyyaml": "yaml"}


def name_of(path):
    return str(path.relative_to(PACKAGE))


def part_of(path):
    """The part of the package that a file belongs to: a folder, or a module at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Every module that a file imports, with the line; not those only for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively"
            if node.module == "st_rankloss":
                yield from ((f"st_rankloss.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def ours(path):
    """The parts of the package that a file imports."""
    for module, line in imports(path):
        if module.split(".")[0] == "st_rankloss":
            yield module.split(".")[1] if "." in module else "__init__", line


def test_every_part_of_the_package_has_a_layer():
    assert {part_of(path) for path in FILES} <= set(LAYER)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path):
    part = part_of(path)
    for other, line in ours(path):
        assert other in LAYER, f"{name_of(path)}:{line} imports {other}, which has no layer"
        assert LAYER[other] <= LAYER[part], f"{name_of(path)}:{line}: {part} must not import {other}"
        assert (part, other) not in APART | {(b, a) for a, b in APART}, f"{name_of(path)}:{line} imports {other}"
        assert other != "_extras" or part in NEED_EXTRAS, f"{name_of(path)}:{line} needs an extra"


def test_the_kernels_import_nothing_of_ours_but_kernels_and_extras():
    for path in FILES:
        if part_of(path) == "kernels":
            assert {other for other, _ in ours(path)} <= {"kernels", "_extras"}


def test_the_host_library_is_imported_only_where_it_is_known():
    knowing = set()
    for path in FILES:
        for module, _ in imports(path):
            if module.split(".")[0] in ("sentence_transformers", "transformers", "datasets"):
                knowing.add(path.name if path.parent == PACKAGE else path.parent.name)
    assert knowing <= KNOW_THE_HOST
    assert "_host.py" in knowing


def test_only_the_host_file_imports_private_names_of_other_libraries():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] not in ("st_rankloss", "__future__"):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private or path.name == "_host.py", f"{name_of(path)}:{node.lineno} imports {private}"


def private_names_of_ours():
    """Every private function, method and attribute that the package defines."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield node.id if isinstance(node, ast.Name) else node.attr


PUBLIC_BUT_FOR_THE_NAME = {"_assert_async", "_replace"}  # of torch, and of named tuples


def test_only_the_host_file_touches_private_attributes_of_other_libraries():
    ours = set(private_names_of_ours()) | PUBLIC_BUT_FOR_THE_NAME
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr) and path.name != "_host.py":
                assert node.attr in ours, f"{name_of(path)}:{node.lineno} touches {node.attr}"


def test_importing_a_module_needs_declared_dependencies_only():
    """An extra is imported inside the function that needs it, by `_extras.require`."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=!~\[]", line)[0].replace("-", "_") for line in project["dependencies"]]
    declared = {IMPORTED_AS.get(name, name) for name in names}
    assert declared >= {"torch", "numpy", "datasets"}
    allowed = declared | set(sys.stdlib_module_names) | {"st_rankloss"}
    for path in FILES:
        for module, line in imports(path):
            assert module.split(".")[0] in allowed, f"{name_of(path)}:{line} imports {module}"


def test_errors_name_extras_that_exist():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set()
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        if "_extras" in {part for part, _ in ours(path)}:
            named |= {node.args[1].value for node in calls if ast.unparse(node.func) == "require"}
    assert named
    assert named <= set(project["optional-dependencies"])


def test_nothing_is_printed():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "breakpoint"), f"{name_of(path)}:{node.lineno}"


def test_every_public_name_exists_once():
    assert len(set(st_rankloss.__all__)) == len(st_rankloss.__all__)
    assert all(hasattr(st_rankloss, name) for name in st_rankloss.__all__)


def test_every_module_is_tested_by_a_file_of_its_name_or_its_folder():
    tests = Path(__file__).parent
    for part in {part_of(path) for path in FILES} - {"__init__", "__main__", "_extras", "_host", "_models"}:
        assert (tests / f"test_{part}.py").exists() or list((tests / part).glob("test_*.py")), part


IMPORT = """
import socket, sys
import sentence_transformers, transformers.trainer_callback

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {optional!r}:
            raise ImportError(name + " is not installed")

def no_network(*args, **options):
    raise RuntimeError("the network was touched")

before = set(sys.modules)
sys.meta_path.insert(0, Refuse())
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = no_network
import st_rankloss
assert st_rankloss.ANDCGLoss and st_rankloss.GradedInformationRetrievalEvaluator
loaded = {{name.split(".")[0] for name in set(sys.modules) - before}}
assert not loaded & set({optional!r}), loaded
sys.stdout.write("imported")
"""


def test_importing_needs_no_extra_and_no_network_and_prints_nothing():
    script = IMPORT.format(optional=OPTIONAL)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "imported"


WITHOUT = """
import torch, st_rankloss
from st_rankloss.relevance import Classes
from eval.bench.timing import NO_MODEL

loss = st_rankloss.ANDCGLoss(NO_MODEL, relevance=Classes())
embeddings = [torch.eye(4).requires_grad_() for _ in range(2)]
loss.compute_loss_from_embeddings(embeddings, torch.tensor([0, 0, 1, 1])).backward()
assert embeddings[0].grad.norm() > 0
assert not hasattr(st_rankloss, "_absent")
try:
    st_rankloss.RankingTrainer
except ImportError as error:
    print(error)
"""


def test_losses_need_no_datasets_and_a_trainer_names_what_it_needs(tmp_path):
    (tmp_path / "command.py").write_text(WITHOUT, encoding="utf-8")
    command = [sys.executable, "-m", "tests.without", "datasets,pyarrow", "command"]
    paths = {"PYTHONPATH": f"{PACKAGE.parent}:{tmp_path}"}
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=PACKAGE.parent, env={**os.environ, **paths}, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (
        run.stdout == "st_rankloss.RankingTrainer needs the package datasets; install it with: pip install datasets\n"
    )
