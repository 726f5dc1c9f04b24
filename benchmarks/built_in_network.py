"""Trains the built-in network, and prints the figures of its card.

    python benchmarks/built_in_network.py ../pets --more ../pets_extra --out built-in

PETS is a folder of Oxford-IIIT Pet with its lists; all pairs of its trainval list are used, one in
sixteen of them for validation. MORE is a folder of further pairs, for training only; none may be in
the test list. The exported file is OUT/pets.onnx; test pairs are scored once, at the end.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from unetkit import Predictor, evaluate, export, train
from unetkit.metrics.confusion import iou_score, mean_score

SIZE = 256
VALIDATED = 16  # one in so many pairs
CONFIG = {
    "split": {"test_fraction": 0.0},
    "augmentation": {"zoom": 0.5},  # animals fill some photos, and are far away in others
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pets", type=Path)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--minutes", type=float, default=65)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = write_table(options.out / "pairs.csv", options.pets, options.more)
    run = train(
        table,
        preset="pretrained",
        size=SIZE,
        minutes=options.minutes,
        config=CONFIG,
        out=options.out / "run",
    )
    model = export(run, weights="float16", out=options.out / "pets.onnx", overwrite=True)
    result = evaluate(model, options.pets, part="test", out=options.out / "test", overwrite=True)
    print_figures(result, options.pets, model)


def write_table(path: Path, pets: Path, more: Path | None) -> Path:
    """Writes the table of pairs to train on; no test pair is among them."""
    lists = {name: read_list(pets / "annotations" / f"{name}.txt") for name in ("trainval", "test")}
    pairs = [(pets / "images" / f"{name}.jpg", find_mask(pets, name)) for name in lists["trainval"]]
    pairs = [(image, mask) for image, mask in pairs if image.exists() and mask is not None]
    rows = [
        [image, mask, "train" if number % VALIDATED else "validation"]
        for number, (image, mask) in enumerate(pairs)
    ]
    for image in sorted((more / "images").iterdir()) if more else []:
        mask = find_mask(more, image.stem)
        if image.stem in lists["test"]:
            raise ValueError(f"{image} is in the test list; accepted are other pairs")
        if mask is not None:
            rows.append([image, mask, "train"])
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "split"])
        writer.writerows(
            [[Path(image).resolve(), mask.resolve(), part] for image, mask, part in rows]
        )
    return path


def read_list(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def find_mask(folder: Path, name: str) -> Path | None:
    """The mask of a photo, in whichever folder of trimaps there is."""
    found = sorted(folder.glob(f"*trimaps*/{name}.png"))
    return found[0] if found else None


def print_figures(result: dict, pets: Path, model: Path) -> None:
    """Prints the metrics of the card, in all and by groups of breeds."""
    figures = result["figures"]["original"]
    low, high = result["intervals"]["original"]["summed"]["mean_iou"]
    megabytes = model.stat().st_size / 1e6
    print(f"\n{model}: {megabytes:.1f} MB; {result['pairs']} test pairs at original resolution")
    print(
        json.dumps({**figures["summed"], "mean_iou_interval": [low, high]}, indent=1, default=str)
    )
    by_breed: dict[str, list[np.ndarray]] = defaultdict(list)
    for image in result["images"]:
        breed = image["name"].rpartition("_")[0]
        by_breed[breed].append(np.array(image["confusion"]["original"]))
    common = sorted(by_breed, key=lambda breed: -len(by_breed[breed]))[:3]
    groups = {breed: by_breed[breed] for breed in common}
    rest = [counts for breed in by_breed if breed not in common for counts in by_breed[breed]]
    groups[f"{len(by_breed) - len(common)} other breeds"] = rest
    print("| breeds | test pairs | mean IoU | foreground IoU, border as foreground |")
    print("| --- | --- | --- | --- |")
    background = result["classes"]["background"]
    for name, matrices in groups.items():
        counts = np.sum(matrices, axis=0)
        print(
            f"| {name} | {len(matrices)} | {mean_score(iou_score(counts)):.3f} | "
            f"{foreground_iou(counts, background):.3f} |"
        )
    print(f"parameters {Predictor(model).spec.parameters:,}")


def foreground_iou(counts: np.ndarray, background: int) -> float:
    """IoU of everything but the background, from a confusion matrix (rows truth)."""
    missed = counts[:, background].sum() + counts[background].sum()
    hits = counts.sum() - missed + counts[background, background]
    return float(hits / (counts.sum() - counts[background, background]))


if __name__ == "__main__":
    main()
