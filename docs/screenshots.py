"""The pictures of docs/page.md and docs/pictures.md, but that of a picture that was tried; from a page that serves real runs:

    python docs/screenshots.py http://127.0.0.1:8260 quickstart other search task

where the names are those of two runs, the first of them of the quickstart, of a search, and of a registered task. Needs
Debian's chromium and the package playwright.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
WIDE, PHONE = {"width": 1180, "height": 860}, {"width": 390, "height": 900}
COLOURS = 200


def main() -> None:
    """Take them all."""
    address, first, second, search, task = sys.argv[1:]
    pictures = f"/runs/{first}/pictures?picture=sample-test-denoise-chelsea"
    pages = (
        ("fleet", "/", WIDE, "light"),
        ("runs", "/runs", {**WIDE, "height": 460}, "light"),
        ("run", f"/runs/{first}", {**WIDE, "height": 1250}, "light"),
        ("run-dark", f"/runs/{first}", PHONE, "dark"),
        ("logs", f"/runs/{second}/logs?level=info", {**WIDE, "height": 600}, "light"),
        ("compare", f"/compare?run={first}&run={second}", {**WIDE, "height": 1100}, "light"),
        ("pictures", pictures, {"width": 1280, "height": 940}, "light"),
        ("pictures-side", f"{pictures}&mode=side&zoom=6&x=160&y=120", {**WIDE, "height": 760}, "light"),
        ("pictures-difference", f"{pictures}&mode=difference", {**WIDE, "height": 760}, "dark"),
        ("tasks", "/tasks", {**WIDE, "height": 420}, "light"),
        ("task", f"/tasks/{task}", {**WIDE, "height": 900}, "light"),
        ("search", f"/search/{search}", {**WIDE, "height": 1250}, "light"),
    )
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
        for name, path, size, scheme in pages:
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(address + path)
            if page.locator("[data-curves]").count():
                page.wait_for_selector(".uplot")
            if page.locator("ipt-comparer").count():
                page.wait_for_selector('ipt-comparer[data-measured="true"]')
            page.wait_for_timeout(1500)  # checkpoints are being checked
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / f"page-{name}.png", optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
