"""Draws the images of the documentation from built-in data: python docs/make_pictures.py FOLDER.

The synthetic pets and a run on them, as on the page about pets, are written to FOLDER (two
minutes on two cores), or used again if they are already there.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser import Browser
from tests.labelling import Page, labelling

import unetkit
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import Scale, image_to_network
from unetkit.label.project import open_project
from unetkit.models.built_in import BUILT_IN
from unetkit.objects.border_weights import BorderWeight, border_weights
from unetkit.objects.separation import with_ridges
from unetkit.visualization.figures import Sample, draw_samples, draw_weights
from unetkit.visualization.overlays import lay_over

IMAGES = Path(__file__).parent / "pictures"
WIDTH = 1200  # pixels; twice the width on a page, for high-resolution screens
COLOURS = 64  # of images of curves
JPEG_QUALITY = 90
EPOCHS = 8
NEW_SEED = 1  # of images that were not used in training
SHOWN = (0, 2, 4)  # indices of these images
SQUARE = 12  # pixels per side, in the checkerboard below a cut-out
# The simplest network that has every part of a U-Net.
PLAIN = unetkit.UNetConfig(
    filters=(16, 32, 64), residual=False, normalization="none", stem_stride=1, head_filters=0
)


def make_contact_sheet(pets: Path, folder: Path) -> None:
    """Draws a contact sheet of eight pairs, like `unetkit check --pictures`."""
    samples = []
    for image in sorted((pets / "images").iterdir())[::62][:8]:
        mask = Image.open(pets / "annotations" / "trimaps" / f"{image.stem}.png")
        indices = np.asarray(mask) - np.uint8(1)
        samples.append(Sample(np.asarray(Image.open(image)), indices, image.stem[10:]))
    sheet = folder / "contact-sheet.png"
    draw_samples(sheet, samples, TRIMAP_CLASSES)
    save(Image.open(sheet), "contact-sheet")


def make_prediction(run: Path) -> None:
    """Draws image, overlay and cut-out of some images that were not used in training."""
    predictor = unetkit.Predictor(run)
    classes = predictor.spec.classes
    rows = []
    for index in SHOWN:
        photo, _ = unetkit.synthetic_pet(index, height=240, width=320, seed=NEW_SEED)
        probabilities = predictor.probabilities(photo)
        mask = probabilities.argmax(-1).astype(np.uint8)
        animal = unetkit.cutout(photo, probabilities, classes, predictor.spec.scale)
        background = Image.fromarray(draw_checkerboard(photo.shape[0], photo.shape[1])).convert(
            "RGBA"
        )
        background.alpha_composite(Image.fromarray(animal))
        rows.append([photo, lay_over(photo, mask, classes), np.asarray(background.convert("RGB"))])
    grid = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    save(Image.fromarray(grid), "predicted")


def make_web_page(folder: Path) -> None:
    """Shows the web page of the built-in network, in headless Chromium, with a synthetic dog."""
    photo, _ = unetkit.synthetic_pet(2, height=480, width=640, seed=NEW_SEED)
    Image.fromarray(photo).save(folder / "dog.png")
    page = unetkit.export(format="web", out=folder / "pets.html", overwrite=True)
    browser = Browser(folder / "profile")
    browser.open(page, width=1060, height=900)
    browser.wait_until("isReady")
    browser.choose_files("input[type=file]", folder / "dog.png")
    browser.wait_until("canvas.getAttribute('aria-label')")
    browser.screenshot(folder / "web-page.png", whole=False)
    browser.close()
    save(Image.open(folder / "web-page.png"), "web-page")


def make_label_page(folder: Path) -> None:
    """Shows the page on which masks are drawn, with two strokes and a suggestion."""
    images = folder / "label" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        photo, _ = unetkit.synthetic_pet(number, height=300, width=400, seed=NEW_SEED)
        Image.fromarray(photo).save(images / f"pet_{number}.png")
    names = unetkit.Predictor().spec.classes.names
    project = open_project(images, folder / "label" / "masks", {"names": names})
    project.out.mkdir(exist_ok=True)
    browser = Browser(folder / "profile")
    with labelling(project) as service:
        service.rounds.suggest_with(BUILT_IN)
        page = Page(browser, service, width=1200, height=800)
        page.wait("learning.state.state === 'idle' && view.suggestion")
        page.keys("1")
        page.draw((230, 150), (255, 175), (240, 215))
        page.keys("2")
        page.draw((30, 40), (120, 55), (190, 30))
        browser.screenshot(folder / "label-page.png", whole=False)
    browser.close()
    save(Image.open(folder / "label-page.png"), "label-page")


def draw_checkerboard(height: int, width: int) -> np.ndarray:
    rows, columns = np.indices((height, width)) // SQUARE
    return np.where(((rows + columns) % 2)[..., None], np.uint8([200] * 3), np.uint8([240] * 3))


def make_scales(folder: Path) -> None:
    """Draws an image as each scale policy passes it to the network."""
    photo, _ = unetkit.synthetic_pet(7, height=150, width=300, seed=NEW_SEED)
    shown = {
        "image, 150x300": photo,
        "resize, squash: 128x128": image_to_network(photo, Scale("resize", 128, 128)),
        "resize, letterbox: 128x128": image_to_network(
            photo, Scale("resize", 128, 128, fit="letterbox")
        ),
        "native: a crop of 128x128": photo[11:139, 90:218],
    }
    figure = Figure(figsize=(9, 2.05), layout="constrained")
    widths = [image.shape[1] for image in shown.values()]
    for cell, (title, image) in zip(
        figure.subplots(1, len(shown), width_ratios=widths), shown.items(), strict=True
    ):
        cell.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
        cell.set_title(title, fontsize=9)
        cell.set_anchor("N")
        cell.axis("off")
    figure.savefig(folder / "scales.png", dpi=140)
    save(Image.open(folder / "scales.png"), "scales")


def make_border_weights(folder: Path) -> None:
    """Draws two images of cells, and the weights between cells with ridges where they touch."""
    images, objects = zip(*(unetkit.synthetic_cells(index) for index in (1, 3)), strict=True)
    weight = BorderWeight(w0=10.0, sigma=5.0)
    apart = [with_ridges(numbers, numbers, 0) for numbers in objects]
    weights = np.stack([border_weights(numbers, weight) for numbers in apart])
    path = folder / "border-weights.png"
    draw_weights(path, np.stack(images)[..., None], weights, weight.w0)
    save(Image.open(path), "border-weights")


def make_diagrams() -> None:
    """Draws the diagrams of a small U-Net and of the notebook's."""
    matplotlib.rcParams["svg.hashsalt"] = "unetkit"  # for the same bytes in each run
    for name, config, size in (("unet", PLAIN, 128), ("unet-notebook", "notebook", 128)):
        model = unetkit.build_unet(config, in_channels=3, num_classes=3)
        unetkit.draw_unet(model, size).savefig(IMAGES / f"{name}.svg", metadata={"Date": None})


def save(image: Image.Image, name: str) -> None:
    image = image.convert("RGB")
    if image.width > WIDTH:
        height = round(image.height * WIDTH / image.width)
        image = image.resize((WIDTH, height), Image.Resampling.LANCZOS)
    image.save(IMAGES / f"{name}.jpg", quality=JPEG_QUALITY, optimize=True)


def main(folder: Path) -> None:
    pets, run = folder / "pets", folder / "run"
    if not pets.exists():
        unetkit.write_synthetic_pets(pets)
    if not run.exists():
        unetkit.train(pets, epochs=EPOCHS, out=run)
    Image.open(run / "curves.png").convert("RGB").quantize(COLOURS).save(IMAGES / "curves.png")
    make_contact_sheet(pets, folder)
    make_prediction(run)
    make_scales(folder)
    make_border_weights(folder)
    make_web_page(folder)
    make_label_page(folder)
    make_diagrams()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
