"""YAML read with line numbers, and with limits: a file from anywhere may be wrong, but it may not be expensive.

The grammar is the core schema of YAML 1.2 rather than PyYAML's 1.1: `3e-4` is a number, `no` and `on` are words, `1:30`
is not 90 and `2024-01-01` is not a date. Tags are refused, so that no file can name a Python object. Limits (bytes,
levels, values) hold before anything is expensive: an alias bomb is counted, never expanded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ipt_platform.errors import NotFoundError, Problem, SpecError, UsageError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_VALUES = 10_000

KeyPath = tuple[str | int, ...]

# (tag, pattern, first characters): YAML 1.2.2 section 10.3.2.
CORE_SCHEMA = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
        list("-+.0123456789"),
    ),
)


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, and where each of them stands.

    Attributes:
        value: Text, numbers, booleans, None, lists and mappings with text keys.
        lines: Key path to line (1-based): of the key in a mapping, of the item in a list, of the file at ().
        file: How problems name the file.
        overrides: Key paths that were set on the command line, with the text that set them.
        tasks: Of a run's own job: the folder with the tasks that the run keeps (`spec.registered`).
    """

    value: Any
    lines: Mapping[KeyPath, int]
    file: str
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)
    tasks: Path | None = None

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem at `path`, located at the nearest enclosing value that the file (or the command line) wrote."""
        dotted = ".".join(str(part) for part in path)
        for length in range(len(path), -1, -1):
            near = path[:length]
            if near in self.overrides:
                return Problem(message, file=f"--set {self.overrides[near]}", path=dotted)
            if near in self.lines:
                return Problem(message, file=self.file, line=self.lines[near], path=dotted)
        return Problem(message, file=self.file, path=dotted)


class MisreadError(SpecError):
    """A file that is YAML, but says some things that cannot be meant (a key given twice, a tag).

    Attributes:
        document: the rest of it, so that what is wrong there can be said at the same time.
    """

    def __init__(self, problems: list[Problem], document: Document):
        self.document = document
        super().__init__(problems)


class CoreLoader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of the YAML 1.2 core schema."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 (PyYAML's own class attribute, filled below)


class CoreDumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 would read as something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Dumps have no aliases: people read and edit them."""
        return True


for _tag, _pattern, _first in CORE_SCHEMA:
    CoreLoader.add_implicit_resolver(_tag, _pattern, _first)
    CoreDumper.add_implicit_resolver(_tag, _pattern, _first)


def load_yaml(path: Path | str) -> Document:
    """Read a YAML file.

    Raises:
        NotFoundError: No such file.
        UsageError: It is a folder or cannot be read.
        MisreadError: It has duplicate keys or tags; with every one of them, and the rest of the file.
        SpecError: It is not YAML, or goes beyond a limit.
    """
    file = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{file}: no such file") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); expected a YAML file") from error
    if len(data) > MAX_BYTES:
        raise SpecError([Problem(f"larger than {MAX_BYTES // 1024} KiB, the most a file of this kind may have", file)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError([Problem("not UTF-8 text; save the file as UTF-8", file, line)]) from error
    return parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """`load_yaml` of text that is already here; `file` is how problems name it.

    Raises:
        SpecError: As `load_yaml`.
    """
    try:
        _refuse_large(text, file)
        root = yaml.compose(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise SpecError([Problem(f"not YAML: {what}", file, mark.line + 1 if mark else 1)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(
            [Problem(f"not YAML: character #x{ord(text[error.position]):04x} is not allowed", file, line)]
        ) from error
    builder = _Builder(file)
    value = builder.build(root, ()) if root is not None else None
    document = Document(value, {(): 1} | builder.lines, file)
    if builder.problems:
        raise MisreadError(builder.problems, document)
    return document


def dump_yaml(value: Any) -> str:
    """Plain values as YAML that `parse_yaml` reads back exactly, and readers of YAML 1.1 too; mappings keep their order."""
    return yaml.dump(value, Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=120)


def _refuse_large(text: str, file: str) -> None:
    """Walks events, which cost no stack, so that the recursive composer never sees a deep or long file."""
    depth = values = 0
    for event in yaml.parse(text, Loader=CoreLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        line = event.start_mark.line + 1 if event.start_mark else 1
        if depth > MAX_DEPTH:
            raise SpecError([Problem(f"nested deeper than {MAX_DEPTH} levels", file, line)])
        if values > 2 * MAX_VALUES:  # keys are nodes too
            raise SpecError([Problem(f"more than {MAX_VALUES} values", file, line)])


class _Builder:
    """Turns nodes into values, noting lines, and going on after a problem so that all of them are found."""

    def __init__(self, file: str):
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self.values = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            message = f"more than {MAX_VALUES} values once aliases are written out"
            raise SpecError([*self.problems, Problem(message, self.file, node.start_mark.line + 1)])
        if any(node is ancestor for ancestor in self.open):
            return self.wrong(node, path, "an alias stands inside its own anchor")
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self.sequence(node, path)
            return self.scalar(node, path)
        finally:
            self.open.pop()

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any] | None:
        if node.tag != "tag:yaml.org,2002:map":
            return self.wrong(node, path, f"tag {_shown(node.tag)} is not allowed")
        result: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self.wrong(key_node, path, f"key {shown!r} is not text; put it in quotes")
                continue
            key = key_node.value
            if key == "<<":
                self.wrong(key_node, path, "merge keys (<<) are not supported; write the keys out")
            elif key in first:
                self.wrong(key_node, (*path, key), f"key '{key}' was already given on line {first[key]}; keep one of them")
            else:
                first[key] = line
                self.lines[*path, key] = line
                result[key] = self.build(value_node, (*path, key))
        return result

    def sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any] | None:
        if node.tag != "tag:yaml.org,2002:seq":
            return self.wrong(node, path, f"tag {_shown(node.tag)} is not allowed")
        result = []
        for index, item in enumerate(node.value):
            self.lines[*path, index] = item.start_mark.line + 1
            result.append(self.build(item, (*path, index)))
        return result

    def scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text, kind = node.value, node.tag.removeprefix("tag:yaml.org,2002:")
        try:
            if kind == "str":
                text.encode()  # an escape such as "\\ud800" is half a character: no file could hold it
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text, 0 if text[1:2] in {"x", "o"} else 10)
            if kind == "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except (ValueError, KeyError):
            return self.wrong(node, path, f"{text[:40]!a} cannot be read as {kind}")
        return self.wrong(node, path, f"tag {_shown(node.tag)} is not allowed")

    def wrong(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        dotted = ".".join(str(part) for part in path)
        self.problems.append(Problem(message, self.file, node.start_mark.line + 1, dotted))


def _shown(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
