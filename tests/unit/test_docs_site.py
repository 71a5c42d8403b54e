"""The site is made of the pages without a warning and without a network, and every link in it leads somewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs_blocks import DOCS, ROOT, SITE

# Whoever asks for an address or connects, fails.
ALONE = """
import socket, sys
def refuse(*_): raise OSError("the site is made without a network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


class Page(HTMLParser):
    """What a page of the site names: links and what it loads, its anchors, its headings."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.title = ""
        self._heading = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.anchors |= {said.get("id", ""), said.get("name", "")}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        elif tag == "link" and said.get("rel") not in ("index", "search", "next", "prev"):
            self.loaded.append(said["href"])
        elif "src" in said:
            self.loaded.append(said["src"])
        self._heading = self._heading or (tag == "h1" and not self.title)

    def handle_endtag(self, tag: str) -> None:
        self._heading = self._heading and tag != "h1"

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.title += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What `make docs` makes."""
    out = tmp_path_factory.mktemp("site")
    words = ["--quiet", "--fail-on-warning", "--keep-going", str(DOCS), str(out)]
    done = subprocess.run([sys.executable, "-P", "-c", ALONE, *words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_is_on_the_site_under_its_own_heading(site, pages):
    """No other page takes its place, as Sphinx's own `search.html` would that of a `search.md`."""
    for source in SITE:
        text = source.read_text()
        if included := re.fullmatch(r"```\{include\} (\S+)\n```\n", text):
            text = (source.parent / included[1]).read_text()
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)

        page = pages[(site / source.relative_to(DOCS)).with_suffix(".html")]
        assert heading
        assert page.title.rstrip("¶#").strip() == heading[1].replace("`", "").replace("'", "’"), source


def test_every_link_of_the_site_leads_somewhere(pages):
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            assert target.is_file(), (path.name, link)
            if target in pages and target.name != "search.html":
                assert unquote(parts.fragment) in pages[target].anchors, (path.name, link)


def test_the_site_loads_nothing_from_other_hosts(site, pages):
    assert [each for page in pages.values() for each in page.loaded if urlsplit(each).netloc] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style.name


def test_links_that_leave_the_folder_lead_to_a_page_or_a_copy(site, pages):
    quickstart = [link for link in pages[site / "howto/task.html"].links if link.endswith("finetune.yaml")]
    contributing = pages[site / "contributing.html"].links

    assert len(quickstart) == 1
    assert (site / "howto" / quickstart[0]).resolve().read_bytes() == (ROOT / "jobs/finetune.yaml").read_bytes()
    assert "architecture.html" in contributing  # docs/architecture.md in the repository
    assert "changelog.html" in contributing
    assert "benchmarks.html#what-was-measured" in pages[site / "routing.html"].links
