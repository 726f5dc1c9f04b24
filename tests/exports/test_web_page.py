"""The web page: it gives what `unetkit predict` gives, loads nothing, and says what went wrong."""

import base64
import gzip
import hashlib
import io
import json
import re
import struct
import time
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.browser import CHROMIUM, Browser
from tests.conftest import export_untrained
from tests.snippets import ROOT
from unetkit import Predictor
from unetkit.data.classes import Classes
from unetkit.data.resampling import resample
from unetkit.data.scale import Scale, image_to_network
from unetkit.datasets.synthetic_pets import synthetic_pet
from unetkit.errors import ModelFileError
from unetkit.exports import web_page
from unetkit.exports.web_page import require_web, web_tile_pixels, write_web_page
from unetkit.io.images import read_image
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.built_in import BUILT_IN
from unetkit.models.geometry import Geometry, unet_geometry
from unetkit.objects.separation import ObjectRule
from unetkit.prediction.engine import Engine
from unetkit.prediction.sources import open_source
from unetkit.prediction.tiling import choose_tiles, smallest_tile
from unetkit.results.files import predict_files
from unetkit.visualization.overlays import opacity

WEB = resources.files("unetkit.exports") / "web"
DEEP = PixelFormat(1, "uint16", (200.0,), (3000.0,))
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


class Page(HTMLParser):
    """Tags, addresses and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.texts, self._open = [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self._open = named.get("id") or named.get("class") or tag
        self.addresses += [named[name] for name in ("src", "href", "action") if name in named]

    def handle_data(self, data):
        self.texts.setdefault(self._open, []).append(data)


def page_of(model, folder, name="a model"):
    write_web_page(Engine(model), name, folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def text(colour_model, tmp_path_factory):
    return page_of(colour_model, tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


class TestPage:
    def test_it_loads_nothing_and_may_send_nothing(self, text):
        assert Page(text).addresses == []
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        # With 'none' as default, neither connections nor images nor forms are allowed.
        assert set(rules) == {"default-src", "style-src", "script-src", "worker-src"}
        assert not re.search(r"https?:", "".join(rules.values()))

    def test_it_holds_the_model_file_and_the_runtime_as_they_are(self, text, colour_model):
        source = json.loads((WEB / "onnxruntime" / "source.json").read_text(encoding="utf-8"))
        texts = [one for one in Page(text).texts["packed"] if one.strip()]
        packed = [gzip.decompress(base64.b64decode(one)) for one in texts[:3]]
        assert packed[2] == colour_model.read_bytes()
        found = [hashlib.sha256(content).hexdigest() for content in packed[:2]]
        assert found == list(source["files"].values())

    def test_the_licences_are_in_it(self, text, tmp_path):
        assert "Copyright (c) Microsoft Corporation" in text
        assert "Permission is hereby granted" in text
        assert "CC BY-SA 4.0" not in text
        built_in = page_of(BUILT_IN, tmp_path).read_text(encoding="utf-8")
        assert "Creative Commons Attribution-ShareAlike 4.0" in built_in
        assert "Parkhi" in built_in

    def test_the_notice_names_version_and_hashes_of_the_runtime(self):
        source = json.loads((WEB / "onnxruntime" / "source.json").read_text(encoding="utf-8"))
        notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
        assert f"{source['package']} {source['version']}" in notice
        for name, digest in source["files"].items():
            assert re.search(rf"{re.escape(name)}\s+{digest}", notice)

    def test_it_is_the_same_at_another_time(self, text, colour_model, tmp_path):
        assert page_of(colour_model, tmp_path).read_text(encoding="utf-8") == text

    def test_names_cannot_break_it(self, colour_model, tmp_path):
        engine = Engine(colour_model)
        hostile = "</script><script>alert(1)</script><!--"
        names = (f"[[ weights ]]{hostile}", "b", "c")
        engine.spec = replace(engine.spec, classes=Classes(names, (0, 1, 2)))
        write_web_page(engine, f"{hostile}[[ script ]]", tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert hostile not in text
        assert len(re.findall(r"<script", text)) == 6
        (found,) = Page(text).texts["model"][:1]
        assert json.loads(found)["classes"]["names"] == list(names)


class TestRefusals:
    @pytest.mark.parametrize(
        ("pixels", "objects", "words"),
        [
            (PixelFormat(5), None, r"takes images of 5 channels; accepted are grey and colour"),
            (
                PixelFormat(3, "float32", (0.0,), (1.0,)),
                None,
                r"takes images of float32; accepted are 8 and 16 bits",
            ),
            (
                None,
                ObjectRule("ridge", 0.5, 20, 0),
                r"tells objects apart \(ridge\); accepted are models of classes alone",
            ),
        ],
        ids=["channels", "floats", "objects"],
    )
    def test_a_model_that_the_page_cannot_run(self, pixels, objects, words, tmp_path):
        model = export_untrained(tmp_path / "m.onnx", pixels, objects=objects)
        with pytest.raises(ModelFileError, match=rf"m\.onnx {words}.*, for a web page; unetkit"):
            write_web_page(Engine(model), "m", tmp_path / "page.html")
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]

    def test_a_model_that_needs_too_much_memory(self, colour_model, monkeypatch):
        monkeypatch.setattr(web_page, "LARGEST_RUN", 1 << 10)
        words = r"needs [\d,]+ MiB for its smallest tile; accepted are up to 0 MiB in a browser"
        with pytest.raises(ModelFileError, match=words):
            require_web(Engine(colour_model))


class TestTilePixels:
    def test_it_fits_and_one_stride_more_does_not(self, colour_model, monkeypatch):
        engine = Engine(colour_model)
        stride = engine.spec.geometry.stride
        for limit in (1 << 22, 1 << 25, 123_456_789):
            monkeypatch.setattr(web_page, "TILE_BYTES", limit)
            side = round(web_tile_pixels(engine) ** 0.5)
            assert engine.cost((side, side)).bytes <= limit
            assert engine.cost((side + stride, side + stride)).bytes > limit

    def test_it_is_never_less_than_the_smallest(self, colour_model, monkeypatch):
        monkeypatch.setattr(web_page, "TILE_BYTES", 1)
        engine = Engine(colour_model)
        assert web_tile_pixels(engine) == smallest_tile(engine.spec.geometry) ** 2


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def scripts(browser, tmp_path_factory):
    """The scripts of the worker, but for the worker itself, in a page of their own."""
    names = [name for name in web_page.WORKER_SCRIPTS if name != "worker"]
    page = tmp_path_factory.mktemp("scripts") / "page.html"
    texts = [(WEB / f"{name}.js").read_text(encoding="utf-8") for name in names]
    page.write_text(
        f"<!doctype html><script>{''.join(texts)}</script><script>"
        "const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));"
        "const plain = (image) => ({...image, data: [...image.data]});"
        "const answer = async (work) => {"
        "  try { return await work(); } catch (error) { return error.message; } };"
        "</script>"
    )

    def run(script):
        if browser.run("typeof plain") != "function":
            browser.open(page)
        return browser.run(script)

    return run


def as_script(image):
    """An image as the scripts have it."""
    kind = {"uint8": "Uint8Array", "uint16": "Uint16Array", "float32": "Float32Array"}
    height, width, channels = image.shape
    data = f"new {kind[str(image.dtype)]}({json.dumps(image.ravel().tolist())})"
    return f"{{height: {height}, width: {width}, channels: {channels}, data: {data}}}"


def as_array(found, dtype):
    shape = found["height"], found["width"], found["channels"]
    return np.array(found["data"], np.float64).astype(dtype).reshape(shape)


def in_base64(content):
    return base64.b64encode(content).decode()


def png(array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


RANDOM = np.random.default_rng(3)
GREY = RANDOM.integers(0, 256, (9, 13), np.uint8)
COLOUR = RANDOM.integers(0, 256, (11, 10, 3), np.uint8)


def palette_png(colours=200):
    image = Image.fromarray(GREY % colours)
    image.putpalette(RANDOM.integers(0, 256, 3 * colours).tolist())
    file = io.BytesIO()
    image.save(file, "PNG", transparency=3)
    return file.getvalue()


def turned_png(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return png(COLOUR, exif=exif)


def deep_png(channels):
    pixels = RANDOM.integers(0, 65536, (7, 8, channels), np.uint16)
    return cv2.imencode(".png", pixels)[1].tobytes()


def written_png(size, bits, colour, lines, interlaced=0):
    """A PNG of kinds that Pillow does not write, from the bytes of its lines."""

    def chunk(kind, body):
        checksum = struct.pack(">L", zlib.crc32(kind + body))
        return struct.pack(">L", len(body)) + kind + body + checksum

    height, width = size
    head = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, interlaced)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def few_bits_png(bits):
    lines = RANDOM.integers(0, 256, (9, -(-13 * bits // 8)), np.uint8)
    return written_png((9, 13), bits, 0, lines)


def interlaced_png(size):
    pixels = RANDOM.integers(0, 256, (*size, 3), np.uint8)
    passes = (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    )  # fmt: skip
    lines = [
        line
        for row, column, down, across in passes
        for line in pixels[row::down, column::across]
        if line.size
    ]
    return written_png(size, 8, 2, lines, interlaced=1)


PNGS = {
    "grey": png(GREY),
    "one bit": png(GREY > 99),
    "two bits": few_bits_png(2),
    "four bits": few_bits_png(4),
    "palette": palette_png(),
    "palette of two bits": palette_png(4),
    "colour": png(COLOUR),
    "opacity": png(np.dstack([COLOUR, COLOUR[..., :1]])),
    "grey and opacity": png(np.dstack([GREY, GREY.T.reshape(GREY.shape)])),
    "16 bits": deep_png(1),
    "16 bits of colour": deep_png(3),
    "16 bits with opacity": deep_png(4),
    "interlaced": interlaced_png((13, 21)),
    "interlaced, small": interlaced_png((3, 1)),
    "interlaced, one pixel": interlaced_png((1, 1)),
    **{f"turned by {number}": turned_png(number) for number in range(1, 9)},
}
FORMATS = {"grey": PixelFormat(1), "colour": PixelFormat(3), "deep": DEEP}


@needs_browser
class TestScripts:
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("name", PNGS)
    def test_a_png_gives_the_pixels_that_prediction_reads(self, name, format, scripts, tmp_path):
        (tmp_path / "image.png").write_bytes(PNGS[name])
        pixels = FORMATS[format]
        expected = read_image(tmp_path / "image.png", pixels)
        rule = {
            "channels": pixels.channels,
            "dtype": pixels.dtype,
            "luma": [float(weight) for weight in web_page.LUMA],
        }
        content = in_base64(PNGS[name])
        found = scripts(
            f"decodePng(bytes('{content}')).then((image) => plain(acceptPixels(image, "
            f"{json.dumps(rule)})))"
        )
        assert np.array_equal(as_array(found, pixels.dtype), expected)

    def test_any_damage_of_a_png_is_refused(self, scripts):
        whole = PNGS["colour"]
        place = whole.index(b"IDAT") + 10
        for damaged, reason in (
            (whole[: len(whole) // 2], "it is cut off"),
            (whole[:20], "it is cut off"),
            (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], "its part IDAT is"),
            (written_png((9, 9), 8, 0, np.zeros((5, 9), np.uint8)), "it is cut off"),
            (written_png((9, 9), 3, 0, np.zeros((9, 9), np.uint8)), "its header is damaged"),
        ):
            found = scripts(f"answer(() => decodePng(bytes('{in_base64(damaged)}')))")
            assert isinstance(found, str)
            assert reason in found

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
    def test_images_are_resized_bit_for_bit(self, dtype, scripts):
        rng = np.random.default_rng(7)
        sizes = [((5, 7), (11, 3)), ((1, 1), (4, 9)), ((40, 3), (2, 3)), ((90, 8), (5, 50))]
        sizes += [(tuple(rng.integers(1, 60, 2)), tuple(rng.integers(1, 60, 2))) for _ in range(20)]
        for (height, width), (new_height, new_width) in sizes:
            image = rng.uniform(0, 255 if dtype == "uint8" else 60_000, (height, width, 2))
            image = image.astype(dtype)
            expected = resample(image, (int(new_height), int(new_width)))
            found = scripts(f"plain(resample({as_script(image)}, {new_height}, {new_width}))")
            assert np.array_equal(as_array(found, dtype), expected)

    @pytest.mark.parametrize(
        "scale",
        [
            Scale("resize", 24, 40),
            Scale("resize", 24, 40, fit="letterbox"),
            Scale("native", 24, 40, factor=0.7),
            Scale("native", 24, 40, factor=2.5),
        ],
        ids=lambda scale: f"{scale.policy}-{scale.fit}-{scale.factor}",
    )
    def test_images_are_brought_to_the_scale_of_the_network(self, scale, scripts):
        rule = json.dumps(scale.__dict__)
        for size in ((24, 40), (9, 100), (31, 31), (5, 1), (1, 1)):
            image = RANDOM.integers(0, 256, (*size, 3), np.uint8)
            found = scripts(
                f"(({{scaled, box}}) => ({{...plain(scaled), box}}))"
                f"(toNetworkScale({as_script(image)}, {rule}))"
            )
            assert np.array_equal(as_array(found, "uint8"), image_to_network(image, scale))
            box = tuple(found["box"][name] for name in ("top", "left", "height", "width"))
            assert box == scale.inner_box(size)

    @pytest.mark.parametrize(
        "geometry",
        [
            unet_geometry(3),
            unet_geometry(2, "valid"),
            unet_geometry(4, stem_stride=2, up_kernel=3, head=True),
            Geometry(32, 32, 0, 487, 518, 458, 489),
        ],
        ids=["padded", "unpadded", "stem", "pretrained"],
    )
    def test_images_are_cut_as_in_prediction(self, geometry, scripts):
        rng = np.random.default_rng(5)
        rule, least = json.dumps(geometry.__dict__), smallest_tile(geometry)
        assert scripts(f"smallestTile({rule})") == least
        for _ in range(25):
            height, width = (int(side) for side in rng.integers(1, 5 * least, 2))
            most = int(rng.integers(least**2, 4 * least**2))
            expected = choose_tiles((height, width), geometry, most)
            found = scripts(f"cutTiles({rule}, {height}, {width}, {most})")
            for name in ("rows", "columns"):
                spans = [
                    {"start": s.start, "size": s.size, "first": s.kept[0], "last": s.kept[1]}
                    for s in getattr(expected, name)
                ]
                assert found[name] == spans

    def test_names_of_classes_are_quoted_in_tables(self, scripts):
        table = scripts("""areasAsCsv(['a', 'b, "c"'], [3, 1])""")
        rows = table.split("\r\n")
        assert rows == [
            "number,class,pixels,fraction", "0,a,3,0.75", '1,"b, ""c""",1,0.25', ""
        ]  # fmt: skip


class Open:
    """The page of a model, open in a browser."""

    def __init__(self, browser, page, folder, **view):
        self.browser, self.folder = browser, folder
        browser.save_into(folder)
        browser.open(page, **view)
        browser.wait_until("isReady || !problem.hidden")

    def run(self, script):
        return self.browser.run(script)

    def segment(self, file):
        """Chooses a file, and waits until it is segmented."""
        before = self.run("number")
        self.browser.choose_files("input[type=file]", file)
        self.browser.wait_until(f"number > {before} && (current.tiles || !problem.hidden)")
        return self.run("problem.textContent")

    def saved(self, kind, file):
        self.run(f"find('[data-save={kind}]').click()")
        end = {"mask": ".png", "table": ".csv"}.get(kind, f"_{kind}.png")
        path = self.folder / f"{file.stem}{end}"
        self.browser.wait_until(f"status.textContent === {json.dumps(path.name + ' is saved.')}")
        ends = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < ends
            time.sleep(0.05)
        return path


def different(found, expected):
    assert found.shape == expected.shape
    return int((found != expected).reshape(*expected.shape[:2], -1).any(axis=2).sum())


MODELS = {
    "tiles": {"pixels": PixelFormat(3), "num_classes": 3},
    "a factor": {"pixels": PixelFormat(1), "factor": 0.7},
    "16 bits": {"pixels": DEEP},
    "calibrated": {"pixels": PixelFormat(1), "temperature": 2.2},
    "calibrated, stretched": {"pixels": PixelFormat(1), "policy": "resize", "temperature": 0.6},
    "stretched": {"pixels": PixelFormat(3), "num_classes": 3, "policy": "resize"},
    "letterbox": {"pixels": PixelFormat(3), "policy": "resize", "width": 96, "fit": "letterbox"},
}


def cut_by_probabilities(predictor, file):
    """The cut-out of a page, which does not follow the edges of the photo."""
    with open_source(file, predictor.spec.pixels) as source:
        photo = predictor.spec.pixels.photo(source.read(*(slice(0, n) for n in source.shape[:2])))
    shown = opacity(predictor.probabilities(file), predictor.spec.classes)
    return np.dstack([photo, shown])


@needs_browser
class TestPrediction:
    @pytest.mark.parametrize("name", MODELS)
    def test_files_are_those_of_prediction(self, name, browser, tmp_path, monkeypatch):
        monkeypatch.setattr(web_page, "TILE_BYTES", 1 << 22)
        model = export_untrained(tmp_path / "m.onnx", **MODELS[name])
        page = Open(browser, page_of(model, tmp_path), tmp_path / "page", width=1000)
        predictor = Predictor(model)
        for size, content in (
            ((203, 317), RANDOM.integers(0, 256, (203, 317, 3), np.uint8)),
            ((1, 50), RANDOM.integers(0, 256, (1, 50), np.uint8)),
        ):
            file = tmp_path / f"image {size[0]}.png"
            file.write_bytes(png(content))
            assert page.segment(file) == ""
            kinds = ("mask", "overlay", "cutout")
            predict_files(predictor, [file], tmp_path / "files", kinds=kinds)
            for kind in kinds:
                saved = page.saved(kind, file)
                found, expected = Image.open(saved), Image.open(tmp_path / "files" / saved.name)
                note = json.loads(found.text["unetkit"])
                assert note["model"] == predictor.digest
                if kind == "cutout":
                    expected = cut_by_probabilities(predictor, file)
                # Random weights leave many pixels between two classes, and a temperature makes
                # more levels of opacity, which round differently.
                most = 1e-3 if (name, kind) == ("calibrated", "cutout") else 2e-4
                assert different(np.asarray(found), np.asarray(expected)) <= most * content.size
            mask = np.asarray(Image.open(tmp_path / "page" / f"{file.stem}.png"))
            rows = page.saved("table", file).read_text().splitlines()
            counts = np.bincount(mask.ravel(), minlength=len(rows) - 1)
            assert [int(row.split(",")[2]) for row in rows[1:]] == counts.tolist()
            if name == "tiles" and size[0] == 203:
                assert page.run("current.tiles.count") > 1
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("blob:", "file:"))] == []

    @pytest.mark.parametrize("suffix", ["jpg", "webp", "gif", "bmp"])
    def test_other_formats_differ_by_what_the_browser_decodes(
        self, suffix, colour_page, colour_model, tmp_path
    ):
        file = tmp_path / f"image.{suffix}"
        photo = Image.fromarray(synthetic_pet(1, height=150, width=200)[0])
        photo.save(file)
        assert colour_page.segment(file) == ""
        found = np.asarray(Image.open(colour_page.saved("mask", file)))
        assert different(found, Predictor(colour_model)(file)) <= 0.001 * found.size

    def test_a_turned_photo_is_upright(self, colour_page, colour_model, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        photo = Image.fromarray(synthetic_pet(2, height=120, width=200)[0])
        photo.save(tmp_path / "turned.jpg", exif=exif)
        assert colour_page.segment(tmp_path / "turned.jpg") == ""
        found = np.asarray(Image.open(colour_page.saved("mask", tmp_path / "turned.jpg")))
        assert found.shape == (200, 120)
        expected = Predictor(colour_model)(tmp_path / "turned.jpg")
        assert different(found, expected) <= 0.001 * found.size


@pytest.fixture
def colour_page(browser, colour_model, tmp_path):
    """Open once for all: each test has its own folder for what is saved."""
    return Open(browser, page_of(colour_model, tmp_path), tmp_path / "saved", width=1280)


def write_photo(folder, name="photo.png"):
    (folder / name).write_bytes(png(synthetic_pet(0, height=90, width=130)[0]))
    return folder / name


# A file dropped on the page, or pasted into it, of base64 content.
GIVEN = """
const file = new File([Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0))], "given.png");
const carried = new DataTransfer();
carried.items.add(file);
"""


@needs_browser
class TestUse:
    def test_the_keyboard_alone_is_enough_and_each_stop_is_seen(self, colour_page, tmp_path):
        page, browser = colour_page, colour_page.browser
        browser.press("Tab")
        assert page.run("document.activeElement === input")
        outline = "getComputedStyle(find('.drop')).outlineStyle"
        assert page.run(outline) == "solid"
        assert page.segment(write_photo(tmp_path)) == ""
        browser.press("Tab")
        assert page.run("document.activeElement.value") == "overlay"
        for view in ("mask", "cutout", "photo"):
            browser.press("ArrowRight")
            assert page.run("chosenView()") == view
            browser.wait_until(
                f"canvas.getAttribute('aria-label')?.endsWith('of photo.png') && "
                f"canvas.classList.contains('clear') === {str(view == 'cutout').lower()}"
            )
        assert (
            page.run("getComputedStyle(find('.views label:focus-within')).outlineStyle") == "solid"
        )
        browser.press("Tab")
        assert page.run("document.activeElement.dataset.save") == "mask"
        browser.press("Enter")
        browser.wait_until("status.textContent === 'photo.png is saved.'")
        for _ in range(4):
            browser.press("Tab")
        assert page.run("document.activeElement.tagName") == "SUMMARY"
        browser.press("Enter")
        assert page.run("find('details').open")

    @pytest.mark.parametrize(
        "event",
        [
            "new DragEvent('drop', {dataTransfer: carried, cancelable: true})",
            "new ClipboardEvent('paste', {clipboardData: carried})",
        ],
        ids=["dropped", "pasted"],
    )
    def test_an_image_is_dropped_or_pasted(self, event, colour_page, tmp_path):
        content = in_base64(write_photo(tmp_path).read_bytes())
        colour_page.run(f"{{{GIVEN % content} document.dispatchEvent({event}); }}")
        colour_page.browser.wait_until("!result.hidden")
        assert colour_page.run("find('figcaption').textContent").startswith(
            "given.png, 130 \u00d7 90 p"
        )

    def test_an_image_that_is_dropped_before_the_network_is_ready_waits(
        self, browser, colour_model, tmp_path
    ):
        content = in_base64(write_photo(tmp_path).read_bytes())
        browser.open(page_of(colour_model, tmp_path))
        early = browser.run(f"{{{GIVEN % content} segment(carried.files); isReady; }}")
        assert not early
        browser.wait_until("!result.hidden")

    def test_what_is_no_image_is_named(self, colour_page, tmp_path):
        (tmp_path / "notes.jpg").write_text("no image")
        Image.fromarray(COLOUR).save(tmp_path / "image.tif")
        (tmp_path / "cut.png").write_bytes(PNGS["colour"][:60])
        for name, words in (
            ("notes.jpg", "it is not an image that this browser shows, or it is damaged; open a P"),
            ("image.tif", "it is a TIFF, which this browser does not show; open a PNG"),
            ("cut.png", "it is cut off."),
        ):
            said = colour_page.segment(tmp_path / name)
            assert said.startswith(f"{name} cannot be segmented: {words}")
            assert colour_page.run("result.hidden")
            assert colour_page.run("status.textContent") == "The network is ready."
        assert colour_page.segment(write_photo(tmp_path)) == ""
        assert not colour_page.run("result.hidden")

    def test_an_image_that_is_too_large_is_refused_by_its_size(
        self, browser, colour_model, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(web_page, "WHOLE_PIXELS", 10_000)
        page = Open(browser, page_of(colour_model, tmp_path), tmp_path)
        Image.fromarray(np.zeros((101, 100), np.uint8)).save(tmp_path / "large.bmp")
        write_photo(tmp_path, "large.png")
        for name, size in (("large.png", "130 \u00d7 90"), ("large.bmp", "100 \u00d7 101")):
            assert f"{name} cannot be segmented: it is {size}, " in page.segment(tmp_path / name)

    def test_of_several_files_the_first_is_segmented_and_it_says_so(self, colour_page, tmp_path):
        content = in_base64(write_photo(tmp_path).read_bytes())
        drop = "new DragEvent('drop', {dataTransfer: carried, cancelable: true})"
        colour_page.run(
            f"{{{GIVEN % content} carried.items.add(new File([file], 'other.png'));"
            f"document.dispatchEvent({drop}); }}"
        )
        colour_page.browser.wait_until("current?.tiles")
        words = "Of 2 files, the first is segmented: given.png."
        assert colour_page.run("problem.textContent") == words

    def test_a_newer_image_takes_the_place_of_one_that_is_not_finished(self, colour_page, tmp_path):
        files = [write_photo(tmp_path, name) for name in ("a.png", "b.png")]
        for file in files:
            colour_page.browser.choose_files("input[type=file]", file)
        colour_page.browser.wait_until("current?.tiles")
        assert colour_page.run("find('figcaption').textContent").startswith("b.png")

    @pytest.mark.parametrize("width", [390, 760, 1280])
    def test_nothing_is_wider_than_the_screen(self, width, browser, tmp_path, colour_model):
        page = Open(browser, page_of(colour_model, tmp_path, "a" * 90), tmp_path, width=width)
        assert page.segment(write_photo(tmp_path)) == ""
        assert page.run("document.documentElement.scrollWidth") == width

    def test_classes_without_a_background_have_no_cut_out(self, browser, colour_model, tmp_path):
        engine = Engine(colour_model)
        engine.spec = replace(engine.spec, classes=Classes(("a", "b", "c"), (0, 1, 2)))
        write_web_page(engine, "m", tmp_path / "page.html")
        page = Open(browser, tmp_path / "page.html", tmp_path)
        assert page.segment(write_photo(tmp_path)) == ""
        assert (
            page.run("document.querySelectorAll('[value=cutout], [data-save=cutout]').length") == 0
        )
