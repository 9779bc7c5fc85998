"""Makes the pictures of the page that README.md shows: config/screenshots/*.png.

    .venv/bin/python -m tests.page.screenshots

Needs Chromium and Playwright as the tests do, and Pillow for the sample photographs and to make the
files small (pip install pillow).
"""

from __future__ import annotations

import colorsys
import io
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright

from tests.page.driving import Files
from tests.support.server import Server

PLACE = Path(__file__).resolve().parents[2] / "config" / "screenshots"
WIDE = {"width": 1120, "height": 640}
PHONE = {"width": 390, "height": 780}
TIME = 1_767_000_000
COLOURS = 128
README = """# Garden

What is planted where, and *when*. The plan is in `plan.pdf`.

| bed | this year | last year |
|---|---|---|
| north | beans, peas | potatoes |
| south | tomatoes, basil | beans |

- [x] order seeds
- [ ] mend the fence

> Tomatoes want the southern wall.
"""


def photograph(hue: float) -> Image.Image:
    """Returns hills under a sky."""
    image = Image.new("RGB", (480, 360))
    draw = ImageDraw.Draw(image)
    for x in range(480):
        for y in range(360):
            hill = 200 + 50 * math.sin(x / 70 + hue * 9) + 20 * math.sin(x / 23)
            value = 0.95 - y / 700 if y < hill else 0.5 - (y - hill) / 600
            shade = colorsys.hsv_to_rgb(hue if y < hill else (hue + 0.3) % 1, 0.55, value)
            draw.point((x, y), tuple(int(255 * one) for one in shade))
    return image


def fill(root: Path) -> None:
    for name in ("Documents", "Music", "Photos", "Projects"):
        (root / name).mkdir()
    for number in range(6):
        photograph(number / 7).save(root / f"IMG_{2041 + number}.jpg", quality=80)
    (root / "Garden.md").write_text(README)
    for name, size in [("Budget 2026.ods", 48_213), ("Concert.mp3", 8_412_000)]:
        with (root / name).open("wb") as file:
            file.truncate(size)
    with (root / "Holiday.mp4").open("wb") as file:
        file.truncate(734_003_200)
    for number, path in enumerate(sorted(root.iterdir())):
        os.utime(path, (TIME - number * 262_861, TIME - number * 262_861))


def keep(page: Any, name: str) -> None:
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = image.quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(PLACE / f"{name}.png", optimize=True)


def open_window(browser: Any, server: Server, **options: Any) -> Files:
    context = browser.new_context(locale="en-GB", timezone_id="UTC", **options)
    files = Files(context.new_page(), server, server.url)
    files.go(server.root)
    return files


def take(browser: Any, server: Server) -> None:
    light = open_window(browser, server, viewport=WIDE)
    light.select("IMG_2042.jpg", "IMG_2043.jpg")
    keep(light.page, "light")
    light.press("Escape")
    light.row("Garden.md").get_by_role("link").click()
    light.page.locator("article").wait_for()
    keep(light.page, "markdown")
    dark = open_window(browser, server, viewport=WIDE, color_scheme="dark")
    dark.button("Connect").click()
    keep(dark.page, "dark-connect")
    dark.press("Escape")
    network = dark.page.context.new_cdp_session(dark.page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 900_000}
    network.send("Network.emulateNetworkConditions", slow)
    given = [("Trees.mov", 3_200_000), ("IMG_2051.jpg", 1_400_000), ("Notes.odt", 31_000)]
    dark.upload(
        [{"name": name, "mimeType": "a/b", "buffer": os.urandom(size)} for name, size in given]
    )
    dark.page.get_by_text("left").wait_for()
    keep(dark.page, "dark")
    dark.button("Cancel all").click()
    phone = open_window(browser, server, viewport=PHONE, has_touch=True, is_mobile=True)
    keep(phone.page, "phone")


def main() -> None:
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        fill(server.root)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            take(browser, server)
            browser.close()


if __name__ == "__main__":
    main()
