"""Scores of networks that learnt from scribbles, drawn in a browser from true masks.

    python benchmarks/label.py PETS [--counts 10 20 40] [--minutes 1.5] [--full 100]
                               [--full-minutes 15] [--held-out 100] [--seed 0]

PETS is Oxford-IIIT Pet, as `unetkit data oxford-pets` makes it, or with `images` and `trimaps`
beside each other. Its training images are opened with `unetkit label`. In headless Chromium,
strokes are drawn with the mouse inside the true regions of pet and background, as a person would:
`STROKES` a class, which cover no more than `MOST_LABELLED` of the pixels. After each count of
images the key of "Learn now" is pressed. Each network is scored on held-out test images: foreground
IoU and mean IoU from summed pixels, the border of the trimaps ignored. Beside it, networks are
trained from the full masks of the same images for as long, and of `--full` images. A Markdown row
is printed for each network; seconds are those from the first key to the network, without drawing.
"""

import argparse
import csv
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from subject import machine_line, quiet_environment

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.browser import Browser

STROKES = 3  # of each class of an image
MOST_LABELLED = 0.02  # fraction of the pixels of an image
CLASSES = {"background": 2, "pet": 1}  # value in trimaps, in the order of their numbers here
IGNORED = 255


def true_mask(trimap: Path) -> np.ndarray:
    """Class numbers of a trimap, IGNORED at the border, (H, W) uint8."""
    values = np.asarray(Image.open(trimap))
    mask = np.full(values.shape, IGNORED, np.uint8)
    for number, value in enumerate(CLASSES.values()):
        mask[values == value] = number
    return mask


def choose_images(data: Path, seed: int) -> tuple[list[Path], list[Path], dict[Path, Path]]:
    """Training and test images in random order, and the trimap of each."""
    annotations = data / "annotations"
    trimaps = data / "trimaps" if (data / "trimaps").is_dir() else annotations / "trimaps"
    found, masks = [], {}
    for name in ("trainval", "test"):
        lines = (annotations / f"{name}.txt").read_text().splitlines()
        names = [line.split()[0] for line in lines if line and not line.startswith("#")]
        images = [data / "images" / f"{one}.jpg" for one in names]
        images = [image for image in images if image.exists()]
        random.Random(seed).shuffle(images)
        masks |= {image: trimaps / f"{image.stem}.png" for image in images}
        found.append(images)
    return found[0], found[1], masks


def draw_strokes(region: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Lines inside a region, each of a few points (x, y), that a brush of a size does not leave.

    Args:
        region: Pixels of a class, (H, W) bool.
        size: Diameter of the brush in pixels.
        rng: Random generator.
    """
    padded = np.pad(region.astype(np.uint8), 1)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] > size / 2 + 1
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return []
    longest = MOST_LABELLED * region.size / (2 * STROKES * size) - size
    strokes = []
    for _ in range(STROKES):
        start = rng.integers(len(rows))
        points = [np.array([columns[start], rows[start]], float)]
        left = longest
        for _ in range(40):
            angle, length = rng.uniform(0, 2 * np.pi), min(left, rng.uniform(1, 4) * size)
            end = points[-1] + length * np.array([np.cos(angle), np.sin(angle)])
            along = np.linspace(points[-1], end, 16).astype(int)
            is_within = (along >= 0).all() and (along < inside.shape[::-1]).all()
            if length >= 1 and is_within and inside[along[:, 1], along[:, 0]].all():
                points.append(end)
                left -= length
        strokes.append(np.array(points))
    return strokes


class Labeller:
    """A person at the page.

    Args:
        folder: Folder of images.
        profile: Folder for the browser.
    """

    def __init__(self, folder: Path, profile: Path) -> None:
        command = [sys.executable, "-m", "unetkit", "label", str(folder), "--port", "0"]
        command += ["--classes", ",".join(CLASSES)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=quiet_environment(), text=True
        )
        address = next(
            found[0] for line in self.process.stdout if (found := re.search(r"http://\S+", line))
        )
        self.browser = Browser(profile)
        self.browser.open(address, width=1280, height=900)
        self.browser.wait_until("view.mask", 120)
        self.strokes = 0

    def draw(self, name: str, mask: np.ndarray, rng: np.random.Generator) -> float:
        """Draws on an image; returns the fraction of its pixels that is labelled."""
        browser = self.browser
        browser.run(f"openImage(project.entries.find(({{name}}) => name === {name!r}))")
        browser.wait_until(f"view.mask && entry.name === {name!r} && !waiting.textContent", 120)
        size = max(3, round(0.012 * np.sqrt(mask.size)))
        browser.run(f"drawing.size = {size}")
        for number in range(len(CLASSES)):
            browser.press(str(number + 1))
            for stroke in draw_strokes(mask == number, size, rng):
                places = browser.run(
                    f"(() => {{ const box = stage.getBoundingClientRect(); return "
                    f"{stroke.tolist()}.map(([x, y]) => view.toStage(x + 0.5, y + 0.5))"
                    ".map(([x, y]) => [box.left + x, box.top + y]); })()"
                )
                browser.drag(*places)
                self.strokes += 1
        browser.wait_until("outbox.count === 0", 120)
        return float(browser.run("view.mask.labelled / view.mask.values.length"))

    def learn(self, minutes: float) -> float:
        """Presses the button, and waits for the network; returns the seconds until it suggests."""
        started = time.monotonic()
        before = self.browser.run("learning.state.rounds.length")
        self.browser.run(f"find('#minutes').value = {minutes}")
        self.browser.press("t")
        self.browser.wait_until(
            f"learning.state.problem || learning.state.rounds.length > {before}", 7200
        )
        problem = self.browser.run("learning.state.problem")
        if problem:
            raise RuntimeError(problem)
        return time.monotonic() - started

    def close(self) -> None:
        self.browser.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


@contextmanager
def labeller(folder: Path, profile: Path) -> Iterator[Labeller]:
    made = Labeller(folder, profile)
    try:
        yield made
    finally:
        made.close()


def train_full(
    images: Sequence[Path], masks: dict[Path, Path], folder: Path, minutes: float
) -> Path:
    """Trains a network from the full masks of images; returns its run."""
    from unetkit import train

    folder.mkdir()
    with open(folder / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "mask"))
        for image in images:
            mask = folder / f"{image.stem}.png"
            Image.fromarray(true_mask(masks[image])).save(mask)
            rows.writerow((image, mask))
    classes = {"names": tuple(CLASSES), "values": (0, 1), "ignore": IGNORED, "background": 0}
    config = {"classes": classes, "split": {"test_fraction": 0.0, "validation_fraction": 0.2}}
    return train(folder / "pairs.csv", out=folder / "run", minutes=minutes, config=config)


def score(run: Path, images: Sequence[Path], masks: dict[Path, Path]) -> tuple[float, float]:
    """IoU of the pet, and mean IoU, from the summed pixels of images."""
    from unetkit import Predictor

    predictor = Predictor(run)
    counts = np.zeros((2, 2), np.int64)
    for image in images:
        truth, predicted = true_mask(masks[image]), predictor(image)
        known = truth != IGNORED
        counts += np.bincount(2 * truth[known] + predicted[known], minlength=4).reshape(2, 2)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    iou = np.diag(counts) / union
    return float(iou[1]), float(iou.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--full", type=int, default=100)
    parser.add_argument("--full-minutes", type=float, default=15.0)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    training, test, masks = choose_images(given.data.resolve(), given.seed)
    test, rng = test[: given.held_out], np.random.default_rng(given.seed)
    print(machine_line())
    print("\n| network | images | strokes | labelled | seconds | foreground IoU | mean IoU |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)

    def row(name: str, count: int, strokes: object, labelled: float, seconds: float, run: Path):
        foreground, mean = score(run, test, masks)
        print(
            f"| {name} | {count} | {strokes} | {labelled:.2%} | {seconds:.0f} | {foreground:.3f} | "
            f"{mean:.3f} |",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "images").mkdir()
        used = training[: max(given.counts)]
        for image in used:
            (root / "images" / image.name).symlink_to(image)
        total, spans = 0.0, []
        with labeller(root / "images", root / "profile") as person:
            for place, count in enumerate(given.counts):
                started = time.monotonic()
                for image in used[len(spans) : count]:
                    spans.append(person.draw(image.name, true_mask(masks[image]), rng))
                drawing = time.monotonic() - started
                total += person.learn(given.minutes)
                run = root / "masks" / ".label" / "rounds" / f"{place + 1:03d}" / "run"
                name = f"scribbles ({drawing:.0f} s to draw)"
                row(name, count, person.strokes, float(np.mean(spans)), total, run)
        for place, count in enumerate(given.counts):
            started = time.monotonic()
            minutes = given.minutes * (place + 1)
            run = train_full(training[:count], masks, root / f"full-{count}", minutes)
            row("full masks", count, "-", 1.0, time.monotonic() - started, run)
        started = time.monotonic()
        run = train_full(training[: given.full], masks, root / "full", given.full_minutes)
        row("full masks", given.full, "-", 1.0, time.monotonic() - started, run)


if __name__ == "__main__":
    main()
