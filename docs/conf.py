"""The documentation site: `make docs` makes it of the pages in this folder, without asking the network for anything.

The pages are written to be read on a code host too, where a link leads to whatever file or folder it names. The site holds
pages alone, so links that leave this folder are turned here: to a page, to a copy of the file, or into plain words.
"""

import logging
import os
import re
from pathlib import Path

from sphinx.application import Sphinx

from ipt_platform import __version__

DOCS = Path(__file__).parent
ELSEWHERE = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "benchmarks": "benchmarks/README.md",
    "index": "README.md",
}
"""Pages of this folder, and the files of the repository whose place they take on the site."""

LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]*)((?:#[^)\s]*)?)\)")
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)

project = "ipt-platform"
version = release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"ipt-platform {version}"
html_show_copyright = False
html_use_index = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

# A pattern in a table of contents may match nothing. Sphinx gives that warning no type by which it could be suppressed.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: getattr(record, "subtype", None) != "empty_glob")


def turned(text: str, folder: Path) -> str:
    """Markdown of a file in `folder`, with links as the site needs them: from the folder of the pages on."""
    homes = {DOCS.parent / file: name for name, file in ELSEWHERE.items()}

    def turn(link: re.Match[str]) -> str:
        words, path, heading = link.groups()
        target = (folder / path).resolve()
        if target in homes:
            return f"[{words}](/{homes[target]}.md{heading})"
        if target.is_dir():
            return words
        return f"[{words}](/{os.path.relpath(target, DOCS)}{heading})"

    return LINK.sub(turn, text)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """A page as it is read: with the files that it includes, whose links are relative to where they lie."""
    folder = Path(app.env.doc2path(name)).parent

    def included(fence: re.Match[str]) -> str:
        file = (folder / fence[1]).resolve()
        app.env.note_dependency(str(file))
        return turned(file.read_text(encoding="utf-8"), file.parent)

    source[0] = INCLUDE.sub(included, turned(source[0], folder))


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", read)
