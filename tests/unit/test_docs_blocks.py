"""Every shell block of every page is run by a test, or says why not."""

import re

import pytest

from tests.docs_blocks import PAGES, ROOT, RUN, blocks_of


def command_words(text: str) -> list[str]:
    """The first word of every line, continued ones joined."""
    return [line.split()[0] for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_shell_block_is_run_or_says_why_not(page):
    shell = [block for block in blocks_of(page) if block.language == "sh"]

    assert len(shell) == page.read_text().count("\n```sh\n")
    assert [str(block) for block in shell if block.order == "file"] == []
    assert [str(block) for block in shell if block.order == "run with" and "ipt-platform submit " not in block.text] == []
    run = [block for block in shell if block.order != "not run"]
    if page not in RUN:
        assert [str(block) for block in run] == []
    # Another program would reach what belongs to whoever runs the tests.
    assert [str(block) for block in run if {*command_words(block.text)} != {"ipt-platform"}] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_reason_points_to_is_there(page):
    for block in blocks_of(page):
        if block.order == "not run":
            for name in re.findall(r"[\w/-]+\.(?:py|md)", block.words):
                assert (ROOT / name).is_file() or (ROOT / "docs" / name).is_file(), (str(block), name)


def test_every_comment_stands_before_a_block():
    for page in PAGES:
        comments = re.findall(r"^<!-- (?:not run|run with|file): ", page.read_text(), re.MULTILINE)
        assert len(comments) == len([block for block in blocks_of(page) if block.order]), page
