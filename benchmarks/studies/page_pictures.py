"""The pictures of docs/serve.md: the real page in Chromium, of the demo model or of a run.

python -m benchmarks.studies.page_pictures [RUN [FE2E_RUN]] [--out docs/assets]
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from mesm.runs.files import write_beside
from mesm.web.server import Request, Server, listen, opened

CHROMIUM = "/usr/bin/chromium"
# Colours of a picture, which is a quarter as large then.
COLOURS = 224


def main() -> None:
    """Serve the page, look at it, and write what is seen."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.page_pictures",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("run", nargs="?", default="demo")
    parser.add_argument("dense", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/assets"))
    told = parser.parse_args()
    with (
        closing(listen("127.0.0.1", 0)) as listening,
        opened(Request(told.run, told.dense)) as opening,
    ):
        server = Server(opening)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            _look(f"http://127.0.0.1:{listening.getsockname()[1]}", told.out)
        finally:
            server.should_exit = True
            thread.join()


def _look(address: str, out: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        wide = browser.new_page(viewport={"width": 1180, "height": 900})
        _ask(wide, address)
        _save(wide, out / "page.png", {"x": 0, "y": 0, "width": 1180, "height": 1560})
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        _ask(phone, address)
        phone.locator("#verdict").scroll_into_view_if_needed()
        top = phone.evaluate("document.querySelector('#verdict').getBoundingClientRect().top")
        phone.evaluate(f"window.scrollBy(0, {top} - 12)")
        time.sleep(0.5)
        _save(phone, out / "page-phone.png", None)
        browser.close()


def _ask(page: Any, address: str) -> None:
    page.set_default_timeout(120_000)
    page.goto(address)
    page.click("#example-0")
    page.wait_for_selector("#verdict .verdict")
    page.wait_for_selector("#sites img")
    time.sleep(2)  # bars grow, and the film appears


def _save(page: Any, file: Path, clip: dict[str, int] | None) -> None:
    seen = page.screenshot(full_page=True, clip=clip) if clip else page.screenshot()
    few = Image.open(io.BytesIO(seen)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", optimize=True)
    write_beside(file, buffer.getvalue())
    print(f"{file}: {len(buffer.getvalue()) // 1000} kB")


if __name__ == "__main__":
    main()
