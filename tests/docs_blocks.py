"""The blocks of the pages, and what a test does with each.

A comment in the line before a block, which no reader sees, says so:

    <!-- not run: REASON -->      why not
    <!-- run with: WORDS -->      what is added to each `submit` of the block, so that it trains for moments
    <!-- file: NAME -->           the reader writes the block down under this name

The shell blocks of the pages in RUN that have no comment are run as they stand; on all other pages each has a reason.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
PAGES = [*sorted(ROOT.glob("*.md")), *SITE, ROOT / "benchmarks/README.md"]
RUN = [
    DOCS / f"{name}.md" for name in ("start", "howto/researcher", "howto/picture", "howto/task", "howto/operator", "kubernetes")
]
"""The pages whose commands a test gives, in this order, in one folder."""

_BLOCK = re.compile(r"^(?:<!-- (not run|run with|file): ([^\n]+) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: where it stands.
        line: of its first line of text, from 1.
        language: as the page says it.
        text: what is in it.
        order: what the comment before it asks for: `not run`, `run with`, `file`, or nothing.
        words: what that is.
    """

    page: Path
    line: int
    language: str
    text: str
    order: str = ""
    words: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page that name a language, in order."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        order, words, language, inner = found.groups("")
        yield Block(page, text.count("\n", 0, found.start(4)) + 1, language, inner, order, words)
