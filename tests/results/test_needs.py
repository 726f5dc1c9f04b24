"""What images need in memory is what they take: measured in processes of their own."""

import json
import re
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

from unetkit._shared.memory_budget import BUDGET
from unetkit.cli.main import main
from unetkit.data.scale import Scale
from unetkit.io.images import ImageFile
from unetkit.models.built_in import BUILT_IN
from unetkit.objects.separation import ObjectRule
from unetkit.prediction.engine import Engine
from unetkit.results.needs import bytes_to_predict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")

SIDE = 2500


@pytest.fixture(autouse=True)
def unlimited(monkeypatch):
    """The limit of this process, which a command sets, as it was."""
    monkeypatch.setattr(BUDGET, "limit", BUDGET.limit)


MEASURE = """
import json, re, sys
from pathlib import Path
def peak(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(key + r":\\s+(\\d+)", status)[1]) << 10
from unetkit import Predictor
from unetkit.io.images import ImageFile
import unetkit.results.files as files
import unetkit.results.objects
image, model, out = sys.argv[1:]
if model:
    predictor = Predictor(model, memory="1GiB")
    before = peak("VmRSS")
    files.predict_files(predictor, [Path(image)], out, format="png")
else:
    before = peak("VmRSS")
    with ImageFile(image) as file:
        pixels = file.read()
print(json.dumps([before, peak("VmHWM")]))
"""  # fmt: skip


def colours(depth=np.uint8):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    grey = ((rows // 7 + columns // 9) % 256).astype(depth)
    return np.dstack([grey, grey.T, grey])


def with_palette(path):
    image = Image.fromarray(colours()[..., 0])
    image.putpalette([i for i in range(256) for _ in range(3)])
    image.save(path)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colours()).save(path, exif=exif)


FILES = {
    "rgb.png": lambda path: Image.fromarray(colours()).save(path, compress_level=1),
    "palette.png": with_palette,
    "deep.png": lambda path: cv2.imwrite(
        str(path), np.dstack([colours(np.uint16), colours(np.uint16)[..., 0]]) * 257
    ),
    "rgb.jpg": lambda path: Image.fromarray(colours()).save(path),
    "turned.jpg": turned,
    "inks.jpg": lambda path: Image.fromarray(colours()).convert("CMYK").save(path),
    "photo.webp": lambda path: Image.fromarray(colours()).save(path, quality=20, method=0),
    "photo.jp2": lambda path: Image.fromarray(colours()).save(path),
    "map.bmp": lambda path: Image.fromarray(colours()).save(path),
    "deep.tif": lambda path: tifffile.imwrite(path, colours(np.uint16), photometric="rgb"),
    "array.npy": lambda path: np.save(path, colours()),
}


def measured(image, model="", out=""):
    """Bytes that a process takes beyond those before it reads an image."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(image), str(model), str(out)],
        capture_output=True,
        check=True,
    )
    before, peak = json.loads(done.stdout.splitlines()[-1])
    return peak - before


@pytest.mark.parametrize("name", FILES)
def test_decoding_takes_no_more_than_was_computed(name, tmp_path):
    path = tmp_path / name
    FILES[name](path)
    with ImageFile(path) as file:
        needed = file.needed_bytes()
    taken = measured(path)
    assert SIDE * SIDE < taken < needed + (8 << 20)
    assert needed < 3 * taken  # and is no wild guess


@pytest.mark.parametrize("name", ["rgb.png", "deep.png"])
def test_a_prediction_keeps_to_the_memory_it_is_allowed(name, tmp_path):
    path = tmp_path / name
    FILES[name](path)
    taken = measured(path, BUILT_IN, tmp_path / "out")
    with ImageFile(path) as file:
        decoding = file.needed_bytes()
    spec = Engine(BUILT_IN).spec
    tile = Engine(BUILT_IN).cost((256, 256)).bytes
    needed = bytes_to_predict(decoding, (SIDE, SIDE), spec, ["mask"])
    assert taken < needed + tile + (32 << 20)


def small_file_of_a_large_image(path):
    """A PNG of 8190x8190 pixels of four channels of 16 bits, of which few rows are there."""
    chunks = [
        (b"IHDR", struct.pack(">2L5B", 8190, 8190, 16, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1 << 20))),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">L", len(content)) + kind + content
            + struct.pack(">L", zlib.crc32(content, zlib.crc32(kind)))
            for kind, content in chunks
        )
    )  # fmt: skip
    return path


@pytest.mark.parametrize("command", ["predict", "check"])
def test_a_small_file_of_a_large_image_is_refused_with_what_it_needs(command, tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
        image = small_file_of_a_large_image(tmp_path / "data" / name / "a.png")
    arguments = ["predict", str(image), "--out", str(tmp_path / "out")]
    if command == "check":
        arguments = ["check", str(tmp_path / "data"), "--json"]
    result = CliRunner().invoke(main, [*arguments, "--memory", "600MiB"])
    assert result.exit_code == 1
    said = str(result.exception) + result.output
    words = (
        r"a\.png needs [\d,]+ MiB to be read, and the program \d+ MiB; accepted are up to 600 MiB"
    )
    assert re.search(words, said)
    if command == "predict":
        assert re.search(r" together; allow more \(--memory \d+MiB\), or cut it into pieces", said)


def test_needs_grow_with_what_is_asked_for():
    members = {"channels": 3, "scale": Scale("native", 64, 64), "objects": ObjectRule()}
    spec = type("Spec", (), members)
    size = (100, 100)
    labels = bytes_to_predict(1000, size, spec, ["mask"])
    assert labels == 700 + 10_000 * 20 + 10_000
