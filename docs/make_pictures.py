"""Makes the pages' pictures from built-in data: python docs/make_pictures.py FOLDER.

FOLDER gets the synthetic pets and a run on them, as the page on pets has it (three minutes on two
cores); where they lie there already, they are used again.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import unetkit
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import Scale, image_to_network
from unetkit.visualization.figures import Sample, draw_samples
from unetkit.visualization.overlays import cutout, overlay

PICTURES = Path(__file__).parent / "pictures"
WIDTH = 1200  # pixels: what a page shows, twice over
COLOURS = 64  # of lines on white
QUALITY = 90  # of photos
EPOCHS = 30
NEW_SEED = 1  # of pictures that the network has not seen
SHOWN = (0, 2, 4)  # of these
SQUARE = 12  # of the ground below a cut-out
# The simplest network that shows every part of a U-Net.
PLAIN = unetkit.UNetConfig(
    filters=(16, 32, 64), residual=False, normalization="none", stem_stride=1, head_filters=0
)


def make_contact_sheet(pets: Path, folder: Path) -> None:
    """As `unetkit check --pictures` draws it, of eight pairs."""
    samples = []
    for image in sorted((pets / "images").iterdir())[::62][:8]:
        mask = Image.open(pets / "annotations" / "trimaps" / f"{image.stem}.png")
        indices = np.asarray(mask) - np.uint8(1)
        samples.append(Sample(np.asarray(Image.open(image)), indices, image.stem[10:]))
    sheet = folder / "contact-sheet.png"
    draw_samples(sheet, samples, TRIMAP_CLASSES)
    save(Image.open(sheet), "contact-sheet")


def make_prediction(run: Path) -> None:
    """Photo, overlay and cut-out of some pictures that the network has not seen."""
    predictor = unetkit.Predictor(run)
    classes = predictor.spec.classes
    rows = []
    for index in SHOWN:
        photo, _ = unetkit.synthetic_pet(index, height=240, width=320, seed=NEW_SEED)
        probabilities = predictor.probabilities(photo)
        mask = probabilities.argmax(-1).astype(np.uint8)
        animal = cutout(photo, 1 - probabilities[..., classes.background])
        ground = Image.fromarray(squares(photo.shape[0], photo.shape[1])).convert("RGBA")
        ground.alpha_composite(animal)
        rows.append([photo, overlay(photo, mask, classes), np.asarray(ground.convert("RGB"))])
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    save(Image.fromarray(picture), "predicted")


def squares(height: int, width: int) -> np.ndarray:
    rows, columns = np.indices((height, width)) // SQUARE
    return np.where(((rows + columns) % 2)[..., None], np.uint8([200] * 3), np.uint8([240] * 3))


def make_scales(folder: Path) -> None:
    """One picture as each policy brings it to the network."""
    photo, _ = unetkit.synthetic_pet(7, height=150, width=300, seed=NEW_SEED)
    shown = {
        "the picture, 150x300": photo,
        "resize, squash: 128x128": image_to_network(photo, Scale("resize", 128, 128)),
        "resize, letterbox: 128x128": image_to_network(
            photo, Scale("resize", 128, 128, fit="letterbox")
        ),
        "native: a crop of 128x128": photo[11:139, 90:218],
    }
    figure = Figure(figsize=(9, 2.05), layout="constrained")
    widths = [picture.shape[1] for picture in shown.values()]
    for cell, (title, picture) in zip(
        figure.subplots(1, len(shown), width_ratios=widths), shown.items(), strict=True
    ):
        cell.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
        cell.set_title(title, fontsize=9)
        cell.set_anchor("N")
        cell.axis("off")
    figure.savefig(folder / "scales.png", dpi=140)
    save(Image.open(folder / "scales.png"), "scales")


def make_drawings() -> None:
    """A small U-Net, and the notebook's, from their own layers."""
    matplotlib.rcParams["svg.hashsalt"] = "unetkit"  # or each drawing is another file
    for name, config, size in (("unet", PLAIN, 128), ("unet-notebook", "notebook", 128)):
        model = unetkit.build_unet(config, in_channels=3, num_classes=3)
        unetkit.draw_unet(model, size).savefig(PICTURES / f"{name}.svg", metadata={"Date": None})


def save(picture: Image.Image, name: str) -> None:
    picture = picture.convert("RGB")
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    picture.save(PICTURES / f"{name}.jpg", quality=QUALITY, optimize=True)


def main(folder: Path) -> None:
    pets, run = folder / "pets", folder / "run"
    if not pets.exists():
        unetkit.write_synthetic_pets(pets)
    if not run.exists():
        unetkit.train(pets, epochs=EPOCHS, out=run)
    Image.open(run / "curves.png").convert("RGB").quantize(COLOURS).save(PICTURES / "curves.png")
    make_contact_sheet(pets, folder)
    make_prediction(run)
    make_scales(folder)
    make_drawings()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
