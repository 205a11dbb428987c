"""Take the pictures of the page in docs/images from a running service.

Run: ``python -m tests.browser.pictures http://127.0.0.1:9464/ FAMILY docs/images``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.browser.conftest import NAMES

LOOKS = {
    "light": ({"width": 1440, "height": 1360}, 1, "light"),
    "dark": ({"width": 1440, "height": 1360}, 1, "dark"),
    "phone": ({"width": 390, "height": 1100}, 2, "light"),
}
"""Size of the window, pixels for one of CSS, and colours of each picture."""

SETTLE_MS = 3000


def take(url: str, family: str, folder: Path) -> None:
    """Open the page with a family in each look, and write ``page-LOOK.png``."""
    from playwright.sync_api import sync_playwright

    path = next(found for name in NAMES if (found := shutil.which(name)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for look, (size, scale, scheme) in LOOKS.items():
            page = browser.new_page(viewport=size, device_scale_factor=scale, color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]
            page.goto(f"{url}#family={family}")
            page.wait_for_selector("#curve canvas")
            page.wait_for_timeout(SETTLE_MS)
            page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
            page.screenshot(path=folder / f"page-{look}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    url, family, folder = sys.argv[1:]
    take(url, family, Path(folder))
