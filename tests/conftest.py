"""What several test files share: small folders of pairs, and one network trained on one of them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TINY_CONFIG = {
    "network": {"filters": [4, 8, 8], "head_filters": 4},
    "scale": {"policy": "resize", "height": 32, "width": 48},
    "training": {"steps": 4, "steps_per_validation": 2, "batch_size": 4},
}


def write_pair(
    folder: Path,
    name: str,
    *,
    size: tuple[int, int] = (20, 24),
    values: tuple[int, ...] = (1, 2, 3),
    seed: int = 0,
    masks: str = "masks",
) -> None:
    """Writes a random picture and a mask that holds every one of `values`."""
    rng = np.random.default_rng((seed, len(name), *name.encode()))
    for part in ("images", masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = rng.choice(np.array(values, np.uint8), size)
    mask.flat[: len(values)] = values
    Image.fromarray(image).save(folder / "images" / f"{name}.jpg")
    Image.fromarray(mask).save(folder / masks / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pairs of random noise with trimap values, without lists."""
    data = tmp_path / "data"
    for i in range(12):
        write_pair(data, f"photo_{i:02d}")
    return data


@pytest.fixture(scope="session")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty synthetic pets with official lists."""
    from unetkit.datasets import write_synthetic_pets

    root = tmp_path_factory.mktemp("synthetic")
    return write_synthetic_pets(root / "pets", count=20, height=48, width=64)


@pytest.fixture(scope="session")
def run(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a tiny network, trained for four steps on the synthetic pets."""
    from unetkit import train

    return train(pets, out=tmp_path_factory.mktemp("runs") / "tiny", config=TINY_CONFIG)
