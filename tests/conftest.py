"""What several test files share: small folders of pairs, and one network trained on one of them."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, settings
from PIL import Image

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests share one process: TensorFlow has computed in it before most of them train.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

TINY_CONFIG = {
    "network": {"filters": [4, 8], "head_filters": 4},
    "scale": {"policy": "resize", "height": 32, "width": 48},
    "training": {"steps": 4, "steps_per_validation": 2, "batch_size": 4},
}
# What is traced and drawn fastest, for what is about neither network nor training.
SMALL_CONFIG = {
    **TINY_CONFIG,
    "network": {
        "filters": [2, 4],
        "normalization": "none",
        "residual": False,
        "stem_stride": 1,
        "head_filters": 0,
    },
    "training": {
        "steps": 2,
        "steps_per_validation": 2,
        "batch_size": 4,
        "optimizer": "sgd",
        "momentum": 0.9,
    },
}


# From the longest: begun last, one of these would keep a single process busy.
LONGEST = (
    "test_notebook.py",
    "test_docs.py",
    "test_resume.py",
    "training/test_train.py",
    "cli/test_main.py",
    "evaluation/test_evaluate.py",
    "prediction/test_tiling.py",
    "models/test_unet.py",
    "training/test_trainer.py",
)


def pytest_ignore_collect(collection_path, config):
    """Leaves out files without a `contract` if nothing else is asked for: packages they need."""
    if config.option.markexpr != "contract" or collection_path.suffix not in ("", ".py"):
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("mark.contract" in file.read_text("utf-8") for file in files) else True


def pytest_collection_modifyitems(items):
    """The longest files first, so that the processes end together."""
    folder = Path(__file__).parent
    order = {folder / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_collection_finish():
    """Collections of garbage pass over what was imported: TensorFlow alone takes half a second."""
    gc.collect()
    gc.freeze()


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


def draw_disk(
    rng: np.random.Generator, size: tuple[int, int] = (48, 64)
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness in [0, 1] of a disk on darker ground, and its mask: 0, 1, and 255 on its rim."""
    centre = rng.integers(16, (size[0] - 15, size[1] - 15))
    rows, columns = np.indices(size)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    brightness = 0.2 + 0.6 * (distance < 12) + rng.uniform(-0.2, 0.2, size)
    mask = (distance < 12).astype(np.uint8)
    mask[np.abs(distance - 12) < 2] = 255
    return brightness, mask


def write_disks(
    data: Path,
    *,
    dtype: str = "uint16",
    low: float = 200.0,
    high: float = 3000.0,
    channels: int = 1,
    count: int = 12,
) -> Path:
    """Writes disks as TIFFs whose numbers run from `low` to `high`, a page a channel.

    Every second channel shows the disk dark on brighter ground.
    """
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    for i in range(count):
        brightness, mask = draw_disk(rng)
        bands = [1 - brightness if k % 2 else brightness for k in range(channels)]
        numbers = low + (high - low) * np.stack(bands)
        numbers = np.rint(numbers) if dtype != "float32" else numbers
        tifffile.imwrite(
            data / "images" / f"disk_{i:02d}.tif",
            numbers.astype(dtype)[0] if channels == 1 else numbers.astype(dtype),
            photometric="minisblack",
        )
        Image.fromarray(mask).save(data / "masks" / f"disk_{i:02d}.png")
    return data


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
    from unetkit.datasets.synthetic_pets import write_synthetic_pets

    root = tmp_path_factory.mktemp("synthetic")
    return write_synthetic_pets(root / "pets", count=20, height=48, width=64)


@pytest.fixture(scope="session")
def run(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a tiny network, trained for four steps on the synthetic pets."""
    from unetkit import train

    return train(pets, out=tmp_path_factory.mktemp("runs") / "tiny", config=TINY_CONFIG)


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve disks in 16 bits, of which a fraction is used; 255 in the masks is to be ignored."""
    return write_disks(tmp_path_factory.mktemp("deep") / "disks")


@pytest.fixture(scope="session")
def disks_run(disks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a tiny network, trained for four steps on the disks."""
    from unetkit import train

    config = {**TINY_CONFIG, "classes": {"ignore": 255}}
    return train(disks, out=tmp_path_factory.mktemp("runs") / "disks", config=config)


def export_untrained(
    path: Path, pixels=None, *, num_classes: int = 2, objects=None, temperature=1.0, **scale
) -> Path:
    """Exports a network with random weights, which looks 44 pixels far on a grid of 8.

    Args:
        pixels: What pictures it takes; by default grey ones of 8 bits.
        objects: How objects are told apart, an `ObjectRule`; by default not at all.
        temperature: Of the calibration.
        scale: Of `Scale`; by default the picture's own pixels.
    """
    import keras

    from unetkit import UNetConfig, build_unet
    from unetkit.data.classes import Classes
    from unetkit.data.scale import Scale
    from unetkit.io.pixel_format import PixelFormat
    from unetkit.models.onnx_export import export_onnx
    from unetkit.models.spec import ModelSpec, Normalization
    from unetkit.objects.separation import NO_OBJECTS

    objects = objects or NO_OBJECTS
    pixels = pixels or PixelFormat(1)
    config = UNetConfig(filters=(4, 6, 8), head_filters=4)
    keras.utils.set_random_seed(5)
    outputs = num_classes + objects.channels
    model = build_unet(config, in_channels=pixels.channels, num_classes=outputs)
    spec = ModelSpec(
        preset="fast",
        pixels=pixels,
        classes=Classes(
            tuple(f"class {i}" for i in range(num_classes)), tuple(range(num_classes)), background=0
        ),
        scale=Scale(**{"policy": "native", "height": 64, "width": 64, **scale}),
        normalization=Normalization(1 / 127.5, -1.0),
        geometry=config.geometry,
        seen=(),
        layers=(),
        objects=objects,
        temperature=temperature,
    )
    picture = np.zeros((64, 64, pixels.channels), pixels.dtype)
    export_onnx(model, spec, path, [picture])
    return path


@pytest.fixture(scope="session")
def grey_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes grey pictures of 8 bits at their own scale; two classes."""
    return export_untrained(tmp_path_factory.mktemp("grey") / "grey.onnx")


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes photos at their own scale; three classes."""
    from unetkit.io.pixel_format import PixelFormat

    return export_untrained(
        tmp_path_factory.mktemp("colour") / "colour.onnx", PixelFormat(3), num_classes=3
    )


@pytest.fixture(scope="session")
def half_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes grey pictures of 8 bits at seven tenths of their own scale; two classes."""
    return export_untrained(tmp_path_factory.mktemp("half") / "half.onnx", factor=0.7)


@pytest.fixture(scope="module")
def objects():
    """An object store on loopback, which s3:// means in this process and those it starts."""
    from tests.remote.servers import object_store

    with object_store() as store:
        yield store


@pytest.fixture
def web():
    """A web server on loopback."""
    from tests.remote.servers import web_server

    with web_server() as server:
        yield server
