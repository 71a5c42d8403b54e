"""What `ipt-platform --help` says of each command, read from the source: to import all commands takes seconds."""

import ast
from pathlib import Path


def summary(target: str) -> str:
    """The docstring of a command's function, or of the callback of a group of commands.

    Args:
        target: Where it is, `ipt_platform.cli.MODULE:NAME`, as `main.COMMANDS` has it.
    """
    module, _, name = target.partition(":")
    tree = ast.parse(Path(__file__).with_name(f"{module.rpartition('.')[2]}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    (function,) = [node for node in functions if node.name == name or _calls_back(node, name)]
    return ast.get_docstring(function) or ""


def _calls_back(function: ast.FunctionDef, app: str) -> bool:
    """Whether a function is decorated with `@APP.callback(...)`, so that its docstring is the help of the group."""
    return any(ast.unparse(decorator).startswith(f"{app}.callback(") for decorator in function.decorator_list)
