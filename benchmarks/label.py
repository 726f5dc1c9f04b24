"""Scores of networks that learnt from scribbles, drawn in a browser from true masks.

    python benchmarks/label.py pets PETS [--counts 10 20 40] [--rounds 3] [--minutes 2]
                               [--full 100] [--full-minutes 6] [--held-out 100] [--seed 0]
                               [--folder FOLDER] [--rows FILE]
    python benchmarks/label.py dic-hela DATA ...

PETS is Oxford-IIIT Pet, as `unetkit data oxford-pets` makes it, or with `images` and `trimaps`
beside each other: pet or background, the border of the trimaps ignored, scored on test images.
DATA are the training videos of DIC-C2DH-HeLa: cell or background, drawn from the silver truth of
sequence 01, scored on the hand-made truth of sequence 02.

The training images are opened with `unetkit label`. In headless Chromium, strokes are drawn with
the mouse inside the true regions, as a person would: `STROKES` of each class of an image. Then the
key of "Learn now" is pressed. In each further round, every image is opened again, and its largest
mistakes in the suggestion get a stroke of the right class: `CORRECTIONS` an image, at most. All
strokes together cover no more than `MOST_LABELLED` of the pixels of an image. After each round, the
network is scored on held-out images: foreground IoU and mean IoU from summed pixels.

With `--full`, networks are trained from the full masks of the same images, and of `--full` images;
no count at all leaves the scribbles out. A Markdown row is printed for each network; seconds are
those from the key to the network, summed over rounds, without drawing. With `--folder`, the
project stays there, and the same command with the next count goes on with it.
"""

import argparse
import base64
import csv
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from subject import machine_line, quiet_environment

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.browser import Browser

STROKES = 3  # of each class of an image, before the first round
CORRECTIONS = 3  # strokes on an image in each further round
CHOSEN_ON = 60  # test photos by which learning from strokes was chosen (docs/log.md)
FIRST_FRACTION = 0.01  # of the pixels of an image, which the first strokes cover at most
MOST_LABELLED = 0.02  # fraction of the pixels of an image
BRUSH = 0.012  # diameter, in sides of a square as large as the image
IGNORED = 255
ROW = (
    "| {name} | {images} | {strokes} | {labelled} | {drawing} | {seconds:.0f} | {foreground:.3f} | "
    "{mean:.3f} |"
)
HEADER = (
    "| masks | images | strokes | labelled | drawing, s | training, s | foreground IoU | mean IoU |"
)


@dataclass(frozen=True)
class Labelled:
    """Images with true masks.

    Args:
        classes: Names of the classes; the first one is the background.
        training: Images to draw on, in random order.
        held_out: Images to score on.
        truth: File of the true mask of each image.
        values: Value of each class in these files; without any, all but 0 is foreground.
    """

    classes: tuple[str, str]
    training: list[Path]
    held_out: list[Path]
    truth: dict[Path, Path]
    values: tuple[int, ...] = ()

    def mask(self, image: Path) -> np.ndarray:
        """Class numbers of an image, IGNORED where there is none, (H, W) uint8."""
        values = np.asarray(Image.open(self.truth[image]))
        if not self.values:
            return (values > 0).astype(np.uint8)
        mask = np.full(values.shape, IGNORED, np.uint8)
        for number, value in enumerate(self.values):
            mask[values == value] = number
        return mask


def open_pets(data: Path, seed: int) -> Labelled:
    annotations = data / "annotations"
    trimaps = data / "trimaps" if (data / "trimaps").is_dir() else annotations / "trimaps"
    found = []
    for name in ("trainval", "test"):
        lines = (annotations / f"{name}.txt").read_text().splitlines()
        names = [line.split()[0] for line in lines if line and not line.startswith("#")]
        images = [data / "images" / f"{one}.jpg" for one in names]
        images = [image for image in images if image.exists()]
        random.Random(seed).shuffle(images)
        found.append(images)
    truth = {image: trimaps / f"{image.stem}.png" for image in found[0] + found[1]}
    found[1] = found[1][CHOSEN_ON:]
    return Labelled(("background", "pet"), *found, truth, values=(2, 1))


def open_hela(data: Path, seed: int) -> Labelled:
    found, truth = [], {}
    for sequence, masks in (("01", "01_ST"), ("02", "02_GT")):
        files = sorted((data / masks / "SEG").glob("man_seg*.tif"))
        images = [data / sequence / f"t{file.stem.removeprefix('man_seg')}.tif" for file in files]
        truth |= dict(zip(images, files, strict=True))
        random.Random(seed).shuffle(images)
        found.append(images)
    return Labelled(("background", "cell"), *found, truth)


SETS = {"pets": open_pets, "dic-hela": open_hela}


def brush_of(mask: np.ndarray) -> int:
    """Diameter of the brush for an image, in pixels."""
    return max(3, round(BRUSH * np.sqrt(mask.size)))


def draw_strokes(
    region: np.ndarray, count: int, pixels: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Lines inside a region, each of a few points (x, y), which the brush does not leave.

    Args:
        region: Where to draw, (H, W) bool.
        count: Number of lines.
        pixels: Number of pixels that they may cover together.
        rng: Random generator.
    """
    size = brush_of(region)
    padded = np.pad(region.astype(np.uint8), 1)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] > size / 2 + 1
    rows, columns = np.nonzero(inside)
    longest = pixels / (count * size) - size
    if not len(rows) or longest < 0:
        return []
    strokes = []
    for _ in range(count):
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


def largest_mistakes(suggested: np.ndarray, mask: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The true class of each connected mistake and its pixels, the largest mistakes first."""
    found = []
    for number in (0, 1):
        wrong = ((mask == number) & (suggested != number)).astype(np.uint8)
        count, regions, boxes, _ = cv2.connectedComponentsWithStats(wrong)
        found += [(boxes[i, cv2.CC_STAT_AREA], number, regions == i) for i in range(1, count)]
    found.sort(key=lambda one: -one[0])
    return [(number, region) for _, number, region in found[: 2 * CORRECTIONS]]


class Labeller:
    """A person at the page.

    Args:
        folder: Folder of images.
        classes: Names of the classes.
        profile: Folder for the browser.
    """

    def __init__(self, folder: Path, classes: Sequence[str], profile: Path) -> None:
        command = [sys.executable, "-m", "unetkit", "label", str(folder), "--port", "0"]
        command += ["--classes", ",".join(classes)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=quiet_environment(), text=True
        )
        address = next(
            found[0] for line in self.process.stdout if (found := re.search(r"http://\S+", line))
        )
        self.browser = Browser(profile)
        self.browser.open(address, width=1280, height=900)
        self.browser.wait_until("view.mask && learning.state", 120)

    def open(self, name: str) -> None:
        self.browser.run(f"openImage(project.entries.find(({{name}}) => name === {name!r}))")
        self.browser.wait_until(
            f"view.mask && entry.name === {name!r} && !waiting.textContent", 120
        )

    def begin(self, name: str, mask: np.ndarray, rng: np.random.Generator) -> int:
        """Draws the first strokes on an image; returns their number."""
        self.open(name)
        pixels = FIRST_FRACTION * mask.size / 2
        return sum(
            self._draw(number, draw_strokes(mask == number, STROKES, pixels, rng), mask)
            for number in (0, 1)
        )

    def correct(self, name: str, mask: np.ndarray, rng: np.random.Generator) -> int:
        """Draws on the largest mistakes in the suggestion for an image; returns how many."""
        self.open(name)
        self.browser.wait_until("view.suggestion && view.round === learning.state.rounds.length")
        text = self.browser.run(
            "(() => { let text = ''; for (const value of view.suggestion) "
            "text += String.fromCharCode(value); return btoa(text); })()"
        )
        suggested = np.frombuffer(base64.b64decode(text), np.uint8).reshape(mask.shape)
        left, drawn = MOST_LABELLED * mask.size - self.labelled(), 0
        for number, region in largest_mistakes(suggested, mask):
            pixels = min(left / CORRECTIONS, FIRST_FRACTION * mask.size / STROKES)
            strokes = draw_strokes(region, 1, pixels, rng)
            drawn += self._draw(number, strokes, mask)
            if drawn == CORRECTIONS:
                break
        return drawn

    def labelled(self) -> int:
        """Number of labelled pixels of the open image."""
        self.browser.wait_until("outbox.count === 0", 120)
        return int(self.browser.run("view.mask.labelled"))

    def learn(self, minutes: float) -> float:
        """Presses the key, and waits for the network and its suggestions.

        Returns:
            Seconds until there is a network.
        """
        browser, started = self.browser, time.monotonic()
        before = browser.run("learning.state.rounds.length")
        browser.run(f"find('#minutes').value = {minutes}")
        browser.press("t")
        browser.wait_until(
            f"learning.state.problem || learning.state.rounds.length > {before}", 7200
        )
        seconds = time.monotonic() - started
        browser.wait_until("!learning.isActive", 600)
        if problem := browser.run("learning.state.problem"):
            raise RuntimeError(problem)
        return seconds

    def close(self) -> None:
        self.browser.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def _draw(self, number: int, strokes: Sequence[np.ndarray], mask: np.ndarray) -> int:
        browser = self.browser
        browser.run(f"drawing.size = {brush_of(mask)}")
        browser.press(str(number + 1))
        for stroke in strokes:
            places = browser.run(
                f"(() => {{ const box = stage.getBoundingClientRect(); return "
                f"{stroke.tolist()}.map(([x, y]) => view.toStage(x + 0.5, y + 0.5))"
                ".map(([x, y]) => [box.left + x, box.top + y]); })()"
            )
            browser.drag(*places)
        return len(strokes)


@contextmanager
def labeller(*arguments: object) -> Iterator[Labeller]:
    made = Labeller(*arguments)
    try:
        yield made
    finally:
        made.close()


def train_full(data: Labelled, count: int, folder: Path, minutes: float) -> Path:
    """Trains a network from the full masks of the first training images; returns its run."""
    from unetkit import train

    folder.mkdir()
    with open(folder / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "mask"))
        for image in data.training[:count]:
            mask = folder / f"{image.stem}.png"
            Image.fromarray(data.mask(image)).save(mask)
            rows.writerow((image, mask))
    classes = {"names": data.classes, "values": (0, 1), "ignore": IGNORED, "background": 0}
    config = {
        "classes": classes,
        "split": {"test_fraction": 0.0, "validation_fraction": 0.2},
        "training": {"deterministic": False},
    }
    return train(folder / "pairs.csv", out=folder / "run", minutes=minutes, config=config)


def score(run: Path, data: Labelled, held_out: int) -> dict[str, float]:
    """IoU of the foreground, and mean IoU, from the summed pixels of held-out images."""
    from unetkit import Predictor

    predictor = Predictor(run)
    counts = np.zeros((2, 2), np.int64)
    for image in data.held_out[:held_out]:
        truth, predicted = data.mask(image), predictor(image)
        known = truth != IGNORED
        counts += np.bincount(2 * truth[known] + predicted[known], minlength=4).reshape(2, 2)
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    return {"foreground": float(iou[1]), "mean": float(iou.mean())}


@dataclass
class Work:
    """What was done in a project so far; kept in a file beside it."""

    strokes: int = 0
    drawing: float = 0.0  # seconds
    seconds: float = 0.0  # of training
    images: int = 0
    rounds: int = 0


def label_images(data: Labelled, root: Path, given: argparse.Namespace) -> Iterator[str]:
    """Draws, learns and corrects; yields the row of each round."""
    record, rng = root / "work.json", np.random.default_rng(given.seed)
    work = Work(**json.loads(record.read_text())) if record.exists() else Work()
    for image in data.training[: max(given.counts)]:
        link = root / "images" / image.name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(image)
    started = time.monotonic()
    with labeller(root / "images", data.classes, root / "profile") as person:
        for count in given.counts:
            used = data.training[:count]
            for number in range(given.rounds):
                before = time.monotonic()
                for image in used[work.images :] if number == 0 else used:
                    draw = person.begin if number == 0 else person.correct
                    work.strokes += draw(image.name, data.mask(image), rng)
                work.images = count
                spans = []
                for image in used:
                    person.open(image.name)
                    spans.append(person.labelled() / data.mask(image).size)
                work.drawing += time.monotonic() - before
                work.seconds += person.learn(given.minutes)
                work.rounds += 1
                if work.rounds == 1:
                    waited = time.monotonic() - started
                    yield f"\nFirst suggestions {waited:.0f} s after the command.\n\n{HEADER}\n"
                    yield "| --- " * HEADER.count(" | ") + "| --- |\n"
                record.write_text(json.dumps(vars(work)))
                run = root / "masks" / ".label" / "rounds" / f"{work.rounds:03d}" / "run"
                yield (
                    ROW.format(
                        name=f"scribbles, round {number + 1}",
                        images=count,
                        strokes=work.strokes,
                        labelled=f"{np.mean(spans):.2%}, at most {max(spans):.2%}",
                        drawing=f"{work.drawing:.0f}",
                        seconds=work.seconds,
                        **score(run, data, given.held_out),
                    )
                    + "\n"
                )


def compare_full(data: Labelled, root: Path, given: argparse.Namespace) -> Iterator[str]:
    """Trains from full masks; yields the row of each network."""
    for count in given.full:
        folder, started = root / f"full-{count}", time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        run = train_full(data, count, folder, given.full_minutes)
        seconds = time.monotonic() - started
        yield (
            ROW.format(
                name="full masks",
                images=min(count, len(data.training)),
                strokes="-",
                labelled="100 %",
                drawing="-",
                seconds=seconds,
                **score(run, data, given.held_out),
            )
            + "\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--counts", type=int, nargs="*", default=[10, 20, 40])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--full", type=int, nargs="*", default=[10, 20, 40, 100])
    parser.add_argument("--full-minutes", type=float, default=6.0)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", type=Path)
    given = parser.parse_args()
    data = SETS[given.set](given.data.resolve(), given.seed)

    def say(text: str) -> None:
        print(text, end="", flush=True)
        if given.rows is not None:
            with open(given.rows, "a", encoding="utf-8") as file:
                file.write(text)

    say(f"{machine_line()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        root = (given.folder or Path(temporary)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        if given.counts:
            for text in label_images(data, root, given):
                say(text)
        for text in compare_full(data, root, given):
            say(text)


if __name__ == "__main__":
    main()
