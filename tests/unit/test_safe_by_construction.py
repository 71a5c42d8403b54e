"""What the package must not do: load what can run code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ipt_platform

PACKAGE = Path(ipt_platform.__file__).parent
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNS_CODE = {"torch.load", "torch.hub", "numpy.load", "np.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}
BUILTINS = {"eval", "exec", "compile", "__import__"}


def calls(tree: ast.Module) -> set[str]:
    """What a file calls: names, and attributes of modules as they are written (`torch.load`)."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imports(tree: ast.Module) -> set[str]:
    straight = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return straight | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_loads_what_could_run_code(path):
    tree = ast.parse(path.read_text())

    assert {name.split(".")[0] for name in imports(tree)} & UNPICKLERS == set()
    assert calls(tree) & (RUNS_CODE | BUILTINS) == set()
    assert not [call for call in ast.walk(tree) if isinstance(call, ast.keyword) and call.arg in ("allow_pickle", "shell")]


def test_a_source_root_that_were_a_package_would_shadow_the_standard_library(tmp_path):
    """Why `platform/` must never hold an `__init__.py`: any process started in the repository's root would break."""
    stray = tmp_path / "platform"
    stray.mkdir()
    ask = [sys.executable, "-c", "import platform; print(platform.system())"]

    assert subprocess.run(ask, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (stray / "__init__.py").touch()
    broken = subprocess.run(ask, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "module 'platform' has no attribute 'system'" in broken.stderr


def test_public_functions_say_what_they_are():
    """Modules, public classes and public functions (not nested ones) have a docstring; ruff checks their form."""
    silent = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        functions = [node for owner in (tree, *classes) for node in owner.body if isinstance(node, ast.FunctionDef)]
        private = {node for owner in classes if owner.name.startswith("_") for node in owner.body}
        named = [node for node in (*classes, *functions) if not node.name.startswith("_") and node not in private]
        silent += [f"{path.name}: {getattr(node, 'name', 'module')}" for node in (tree, *named) if not ast.get_docstring(node)]

    assert silent == []
