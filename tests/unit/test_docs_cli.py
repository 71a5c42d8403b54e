"""The pages say what the commands are: docs/cli.md against the commands, and every command line of every page."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from ipt_platform.cli.main import app
from ipt_platform.errors import ExitCode
from tests.docs_blocks import PAGES, ROOT

SECTION = re.compile(r"^## ipt-platform (.+?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| (`-.*?) \| (.*?) ?\| .*\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def sections() -> dict[tuple[str, ...], str]:
    return {tuple(words.split()): text for words, text in SECTION.findall((ROOT / "docs/cli.md").read_text())}


def options(command) -> dict[frozenset[str], str]:
    """Names and default of each option, as the page writes them."""
    return {
        frozenset(option.opts): "required" if option.required else f"`{option.default}`" if option.default else ""
        for option in command.params
        if option.param_type_name == "option"
    }


def arguments(command) -> list[str]:
    return [argument.metavar for argument in command.params if argument.param_type_name == "argument"]


def documented(section: str) -> dict[frozenset[str], str]:
    return {frozenset(re.findall(r"`(--?[a-z-]+)", names)): default for names, default in ROW.findall(section)}


def test_every_command_has_its_section_with_its_options(sections, commands):
    assert list(sections) == list(commands)
    for words, command in commands.items():
        expected, found = options(command), documented(sections[words])
        assert found.keys() == expected.keys(), words
        for names, default in expected.items():
            # Without a default of its own, an option's cell may say in words what happens then.
            assert found[names] == default or (not default and "`" not in found[names]), (words, names)


def test_every_usage_line_names_what_must_be_given_in_order(sections, commands):
    for words, command in commands.items():
        (usage,) = re.findall(r"^```\n(.*)\n```$", sections[words], re.MULTILINE)

        required = [name for option in command.params if option.required for name in option.opts if name.startswith("--")]
        program, *rest = usage.split()
        assert (program, rest[: len(words)], rest[-1] == "[OPTIONS]") == ("ipt-platform", list(words), True)
        assert rest[len(words) : len(words) + len(arguments(command))] == arguments(command)
        assert [word for word in rest if word.startswith("--")] == required, words


def test_the_table_of_exit_codes_is_the_one_of_the_code():
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)

    assert {name: int(code) for code, name in rows} == {name: code for name, code in vars(ExitCode).items() if name.isupper()}


def command_lines(page: Path) -> list[str]:
    """The lines of a page's shell blocks, continued ones joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_of_a_page_can_be_given(page):
    group = typer.main.get_command(app)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in command_lines(page):
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "ipt-platform":
            # Parses the arguments of command and subcommand without running them.
            context, command = typer.Context(group, info_name="ipt-platform"), group
            while hasattr(command, "get_command"):
                command = command.get_command(context, words.pop(0))
                assert command, line
            command.make_context(command.name, words)
        elif program == "make":
            assert words[0] in targets, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_or_heading_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]
            assert heading in anchors, target
