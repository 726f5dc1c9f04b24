"""An exported web page beside `unetkit predict`: pixels of another class, and time.

    python benchmarks/web_page.py PHOTOS [--model MODEL] [--most 20]

PHOTOS is a folder of images, of which so many are taken at even steps by name. The page is opened
in headless Chromium from its file. For each photo, the mask and the photo itself are saved from the
page and compared with the labels and the pixels that `Predictor` has. A Markdown row is printed:
photos, pixels, pixels that were decoded to other colours, pixels of another class, seconds until
the network is ready, and medians of the seconds for a photo in the page (as it says itself) and
with `Predictor` on one thread, with their ratio. Below follow the photos that differ, by name.
"""

import argparse
import base64
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from subject import machine_line

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser import CHROMIUM, Browser

from unetkit import Predictor, export
from unetkit.io.images import ImageFile, read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--most", type=int, default=20)
    options = parser.parse_args()
    every = sorted(path for path in options.photos.iterdir() if path.is_file())
    photos = every[:: max(1, len(every) // options.most)][: options.most]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = export(options.model, format="web", out=folder / "page.html")
        browser = Browser(folder / "profile")
        started = time.monotonic()
        browser.open(page)
        browser.wait_until("isReady")
        ready = time.monotonic() - started
        predictor = Predictor(options.model, threads=1)
        rows = [compare(browser, predictor, photo) for photo in photos]
        browser.close()
    pixels, colours, classes = (sum(row[i] for row in rows) for i in range(3))
    here, there = (statistics.median(row[i] for row in rows) for i in (3, 4))
    print(f"{machine_line()}, {browser_name()}\n")
    head = "photos, pixels, other colours, other classes, ready s, page s, Predictor s, ratio"
    print(f"| {head.replace(', ', ' | ')} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {len(rows)} | {pixels:,} | {colours:,} | {classes:,} | {ready:.1f} | {here:.2f} | "
        f"{there:.2f} | {here / there:.1f} |"
    )
    for photo, row in zip(photos, rows, strict=True):
        if row[1] or row[2]:
            print(f"{photo.name}: {row[1]:,} colours, {row[2]:,} classes of {row[0]:,} pixels")


def compare(
    browser: Browser, predictor: Predictor, photo: Path
) -> tuple[int, int, int, float, float]:
    """Pixels; those of other colours and other classes; seconds in the page and of `Predictor`."""
    before = browser.run("number")
    browser.choose_files("input[type=file]", photo)
    browser.wait_until(f"number > {before} && (current.tiles || !problem.hidden)", 300)
    problem = browser.run("problem.textContent")
    if problem:
        raise SystemExit(f"{photo}: {problem}")
    seconds = float(browser.run("find('figcaption').textContent.match(/, ([0-9.]+) s/)[1]"))
    labels = saved(browser, "mask")
    colours = saved(browser, "photo")
    started = time.monotonic()
    expected = predictor(photo)
    took = time.monotonic() - started
    image = ImageFile(photo)
    decoded = predictor.spec.pixels.photo(read_image(image, predictor.spec.pixels))
    image.close()
    other_colours = int((colours != decoded).any(axis=2).sum())
    return expected.size, other_colours, int((labels != expected).sum()), seconds, took


def saved(browser: Browser, view: str) -> np.ndarray:
    """Pixels of a view as the page saves it; the page has no button for the image itself."""
    browser.run(
        "answers.saved = ({blob}) => { const reader = new FileReader();"
        "reader.onload = () => { window.content = reader.result; };"
        "reader.readAsDataURL(blob); }; window.content = null;"
        f"worker.postMessage({{kind: 'save', view: '{view}', number}});"
    )
    browser.wait_until("window.content")
    content = base64.b64decode(browser.run("window.content").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)))


def browser_name() -> str:
    done = subprocess.run([str(CHROMIUM), "--version"], capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
