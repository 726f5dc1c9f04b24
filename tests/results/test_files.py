"""From model files and images to masks, overlays, cut-outs and probabilities."""

import io
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.found import find_images
from unetkit import UNetConfig, build_unet, cutout
from unetkit._shared.files import writing_into
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import Scale
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    OutputExistsError,
    SizeError,
)
from unetkit.io.images import read_image
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.onnx_export import export_onnx
from unetkit.models.spec import ModelSpec, Normalization
from unetkit.prediction.predictor import Predictor
from unetkit.results import files as files_module
from unetkit.results.files import predict_files, predict_stream
from unetkit.results.outputs import OUTPUTS
from unetkit.visualization.overlays import lay_over


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run)


def untrained(folder, pixels: PixelFormat) -> Predictor:
    """A predictor with random weights that takes images of this format at their own scale."""
    config = UNetConfig(filters=(4, 8), head_filters=4)
    spec = ModelSpec(
        preset="fast",
        pixels=pixels,
        classes=TRIMAP_CLASSES,
        scale=Scale("native", 32, 32),
        normalization=Normalization(1 / 127.5, -1.0),
        geometry=config.geometry,
        seen=(),
        layers=(),
    )
    model = build_unet(config, in_channels=pixels.channels, num_classes=3)
    picture = np.zeros((32, 32, pixels.channels), pixels.dtype)
    export_onnx(model, spec, folder / "m.onnx", [picture])
    return Predictor(folder / "m.onnx")


DEEP = PixelFormat(1, "uint16", (200.0,), (3000.0,))
REAL = PixelFormat(1, "float32", (-1.5,), (2.5,))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Takes grey images of 16 bits, with levels from 200 to 3000."""
    return untrained(tmp_path_factory.mktemp("deep"), DEEP)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Takes grey images of floats."""
    return untrained(tmp_path_factory.mktemp("real"), REAL)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Takes images of three channels in 16 bits."""
    return untrained(tmp_path_factory.mktemp("three"), PixelFormat(3, "uint16", (0,), (4000,)))


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Takes images of five channels in 16 bits."""
    return untrained(tmp_path_factory.mktemp("five"), PixelFormat(5, "uint16", (0,), (4000,)))


@pytest.fixture
def photos(pets, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((pets / "images").iterdir())[:3]:
        shutil.copy(path, folder)
    return folder


class TestPredictor:
    @pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 47), (48, 64), (301, 200)])
    def test_an_image_of_any_size_gets_a_mask_of_its_size(self, predictor, size):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        mask = predictor(image)
        assert mask.shape == size
        assert mask.dtype == np.uint8
        assert mask.max() < 3

    def test_probabilities_sum_to_one(self, predictor):
        image = np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)
        probabilities = predictor.probabilities(image)
        assert probabilities.shape == (50, 40, 3)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
        assert (probabilities.argmax(-1) == predictor(image)).all()

    def test_a_path_and_its_array_give_the_same(self, predictor, pets):
        path = next((pets / "images").iterdir())
        assert (predictor(path) == predictor(str(path))).all()
        assert (predictor(path) == predictor(read_image(path, PixelFormat()))).all()

    def test_grey_arrays_serve_a_colour_network(self, predictor):
        grey = np.random.default_rng(2).integers(0, 256, (40, 40), dtype=np.uint8)
        assert (predictor(grey) == predictor(np.dstack([grey] * 3))).all()

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((4, 4, 3), bool),
            np.zeros((4, 4, 2), np.uint8),
            np.zeros((4,), np.uint8),
            np.zeros((0, 4, 3), np.uint8),
        ],
    )
    def test_arrays_of_other_types_and_shapes_are_refused(self, predictor, image):
        with pytest.raises(SizeError, match=r"image is \("):
            predictor(image)

    def test_an_exported_file_and_its_run_agree(self, predictor, run, tmp_path):
        shutil.copy(run / "model.onnx", tmp_path / "m.onnx")
        image = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        assert (Predictor(tmp_path / "m.onnx")(image) == predictor(image)).all()


class TestPixelTypes:
    """Pixels that are not of the model's own type."""

    def test_16_bits_are_used_as_they_are(self, deep):
        numbers = np.random.default_rng(0).integers(200, 3000, (40, 48), dtype=np.uint16)
        assert deep(numbers).shape == (40, 48)
        assert (deep.probabilities(numbers) == deep.probabilities(numbers[..., None])).all()

    def test_values_are_clipped_to_the_levels(self, deep):
        rng = np.random.default_rng(0)
        numbers = rng.integers(0, 6000, (40, 48), dtype=np.uint16)
        cut = np.clip(numbers, 200, 3000)
        assert not np.array_equal(numbers, cut)
        np.testing.assert_allclose(deep.probabilities(numbers), deep.probabilities(cut), atol=1e-6)
        assert not np.allclose(deep.probabilities(cut), deep.probabilities(cut // 2), atol=1e-3)

    def test_8_bits_become_16_so_that_white_stays_white(self, deep):
        small = np.random.default_rng(0).integers(0, 12, (40, 48), dtype=np.uint8)
        # 65535 / 255 = 257; 12 * 257 = 3084 is about the upper level
        assert (
            deep.probabilities(small) == deep.probabilities(small.astype(np.uint16) * 257)
        ).all()

    def test_16_bits_become_8_for_a_model_of_photos(self, predictor):
        small = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        large = small.astype(np.uint16) * 257
        assert (predictor.probabilities(large) == predictor.probabilities(small)).all()
        # to the nearest: 128 of 257 are nothing, 129 are one more
        near = predictor.probabilities(large + np.uint16(128) * (large < 65_000))
        assert (near == predictor.probabilities(small)).all()

    def test_a_model_of_floats_takes_floats(self, real):
        numbers = np.random.default_rng(0).uniform(-1.5, 2.5, (40, 48)).astype(np.float32)
        assert real(numbers).shape == (40, 48)
        shifted = real.probabilities(numbers + np.float32(0.5))
        assert not np.allclose(real.probabilities(numbers), shifted, atol=1e-3)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float64"])
    def test_a_model_of_floats_takes_all_numbers(self, real, dtype):
        numbers = np.random.default_rng(0).integers(0, 3, (40, 48))
        expected = real.probabilities(numbers.astype(np.float32))
        assert (real.probabilities(numbers.astype(dtype)) == expected).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite_are_refused(self, real, value):
        numbers = np.zeros((8, 8), np.float32)
        numbers[3, 4] = value
        with pytest.raises(DataError, match="has pixels that are not finite numbers; accepted"):
            real(numbers)

    def test_files_of_another_type_are_named(self, deep, real, tmp_path):
        for name, array in (("r.tif", np.zeros((8, 8), np.float32)), ("w.tif", DISK)):
            tifffile.imwrite(tmp_path / name, array)
        with pytest.raises(DataError, match=r"r\.tif has float32 pixels; accepted are uint16"):
            deep(tmp_path / "r.tif")
        with pytest.raises(DataError, match=r"w\.tif has uint16 pixels; accepted are float32"):
            real(tmp_path / "w.tif")

    def test_files_and_arrays_give_the_same(self, deep, tmp_path):
        tifffile.imwrite(tmp_path / "d.tif", DISK)
        Image.fromarray(DISK).save(tmp_path / "d.png")
        expected = deep.probabilities(DISK)
        assert (deep.probabilities(tmp_path / "d.tif") == expected).all()
        assert (deep.probabilities(tmp_path / "d.png") == expected).all()


DISK = np.random.default_rng(7).integers(200, 3000, (24, 28), dtype=np.uint16)


def write_pages(path, *pages, **options):
    """Writes a TIFF of independent pages."""
    with tifffile.TiffWriter(path) as tif:
        for page in pages:
            tif.write(page, contiguous=False, **{"photometric": "minisblack", **options})
    return path


class TestStacks:
    """Files of several images."""

    def test_each_page_has_outputs_of_its_own(self, deep, tmp_path):
        pages = [np.roll(DISK, 5 * k, axis=1) for k in range(3)]
        film = write_pages(tmp_path / "film.tif", *pages)
        written = predict_files(deep, [film], tmp_path / "out", kinds=("mask", "probabilities"))
        assert [path.name for path in written] == [
            f"film_p{page:03d}{end}" for page in range(3) for end in (".png", "_probabilities.npz")
        ]
        for page, pixels in enumerate(pages):
            mask = np.asarray(Image.open(tmp_path / "out" / f"film_p{page:03d}.png"))
            assert np.array_equal(mask, deep(pixels))

    def test_each_image_is_reported_in_order(self, deep, tmp_path):
        film = write_pages(tmp_path / "film.tif", DISK, DISK)
        single = write_pages(tmp_path / "single.tif", DISK)
        done = []
        predict_files(deep, [film, single], tmp_path / "out", on_result=done.append)
        assert [(result.image, result.page) for result in done] == [
            (film, 0),
            (film, 1),
            (single, None),
        ]
        assert done[2].files == {"mask": tmp_path / "out" / "single.png"}
        assert done[2].counts.sum() == DISK.size
        assert done[2].tiling.is_exact

    def test_each_image_is_reported_with_its_mask(self, deep, tmp_path):
        film = write_pages(tmp_path / "film.tif", DISK, np.roll(DISK, 5, axis=1))
        single = write_pages(tmp_path / "single.tif", DISK)
        seen = []
        predict_files(deep, [film, single], tmp_path / "out", on_result=seen.append)
        assert [result.name for result in seen] == [
            "film.tif, page 0",
            "film.tif, page 1",
            "single.tif",
        ]
        for result in seen:
            assert result.photo.shape == (*result.mask.shape, 3)
            assert result.photo.dtype == np.uint8
        assert np.array_equal(seen[2].mask, deep(DISK))

    @pytest.mark.parametrize("name", ["bands.tif", "bands.png"])  # the content counts
    def test_pages_as_many_as_the_channels_are_the_channels(self, five, name, tmp_path):
        pages = [np.roll(DISK, 5 * k, axis=1) for k in range(5)]
        path = write_pages(tmp_path / name, *pages)
        (mask,) = predict_files(five, [path], tmp_path / "out")
        assert mask.name == "bands.png"
        assert np.array_equal(np.asarray(Image.open(mask)), five(np.dstack(pages)))
        assert np.array_equal(five(path), five(np.dstack(pages)))

    def test_grey_pages_are_images_to_a_model_of_colours(self, three, tmp_path):
        pages = [np.roll(DISK, 5 * k, axis=1) for k in range(3)]
        path = write_pages(tmp_path / "film.tif", *pages)
        written = predict_files(three, [path], tmp_path / "out")
        assert [file.name for file in written] == [f"film_p{page:03d}.png" for page in range(3)]
        for file, pixels in zip(written, pages, strict=True):
            assert np.array_equal(np.asarray(Image.open(file)), three(pixels))

    def test_grey_pages_are_channels_where_the_model_has_them_first(self, tmp_path):
        model = untrained(tmp_path, PixelFormat(3, "uint16", (0,), (4000,), "first"))
        pages = [np.roll(DISK, 5 * k, axis=1) for k in range(3)]
        path = write_pages(tmp_path / "bands.tif", *pages)
        (mask,) = predict_files(model, [path], tmp_path / "out")
        assert np.array_equal(np.asarray(Image.open(mask)), model(np.dstack(pages)))

    def test_pages_that_are_images_are_not_one_image(self, three, tmp_path):
        path = write_pages(tmp_path / "film.tif", DISK, DISK, DISK)
        with pytest.raises(DataError, match=r"film\.tif holds 3 images; accepted is a file of one"):
            three(path)

    def test_colour_pages_as_many_as_the_channels_are_images(self, three, tmp_path):
        colour = np.dstack([DISK, DISK + 3, DISK + 5])
        pages = [np.roll(colour, 5 * k, axis=1) for k in range(3)]
        path = write_pages(tmp_path / "film.tif", *pages, photometric="rgb")
        written = predict_files(three, [path], tmp_path / "out")
        assert [file.name for file in written] == [f"film_p{page:03d}.png" for page in range(3)]
        for file, pixels in zip(written, pages, strict=True):
            assert np.array_equal(np.asarray(Image.open(file)), three(pixels))

    def test_an_animation_is_many_images(self, predictor, tmp_path):
        rng = np.random.default_rng(0)
        frames = [Image.fromarray(rng.integers(0, 256, (9, 8), dtype=np.uint8)) for _ in range(2)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        written = predict_files(predictor, [tmp_path / "a.gif"], tmp_path / "out")
        assert [path.name for path in written] == ["a_p000.png", "a_p001.png"]

    def test_a_page_and_an_image_of_the_same_name_are_refused(self, deep, tmp_path):
        film = write_pages(tmp_path / "a.tif", DISK, DISK)
        other = write_pages(tmp_path / "a_p001.tif", DISK)
        with pytest.raises(OutputExistsError, match=r"would both be written to .*a_p001\.png"):
            predict_files(deep, [film, other], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_pages_are_not_replaced_without_overwrite(self, deep, tmp_path):
        film = write_pages(tmp_path / "a.tif", DISK, DISK)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a_p001.png").write_text("mine")
        with pytest.raises(OutputExistsError, match=r"a_p001\.png exists already"):
            predict_files(deep, [film], tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_p001.png"]

    def test_overlays_and_cutouts_show_16_bits_between_the_levels(self, deep, tmp_path):
        # 200 is black, 3000 white, and (1000 - 200) / 2800 * 255 = 72.9
        ramp = np.repeat(np.array([[200, 1000, 3000]], np.uint16), 4, axis=0)
        path = write_pages(tmp_path / "ramp.tif", ramp)
        (cut,) = predict_files(deep, [path], tmp_path / "out", kinds=("cutout",))
        photo = np.repeat(np.array([[[0], [73], [255]]], np.uint8), 4, axis=0).repeat(3, axis=2)
        scores, scale = deep.probabilities(ramp), deep.spec.scale
        expected = cutout(photo, scores, TRIMAP_CLASSES, scale)
        assert np.array_equal(np.asarray(Image.open(cut)), expected)
        (laid,) = predict_files(deep, [path], tmp_path / "out", kinds=("overlay",))
        expected = lay_over(photo, deep(ramp), TRIMAP_CLASSES)
        assert np.array_equal(np.asarray(Image.open(laid)), expected)


class TestFiles:
    def test_a_mask_has_the_name_and_size_of_the_photo(self, predictor, photos, tmp_path):
        written = predict_files(predictor, find_images([photos]), tmp_path / "out")
        assert sorted(p.name for p in written) == sorted(f"{p.stem}.png" for p in photos.iterdir())
        for photo in photos.iterdir():
            mask = Image.open(tmp_path / "out" / f"{photo.stem}.png")
            assert mask.mode == "L"
            assert mask.size == Image.open(photo).size
            assert (np.asarray(mask) == predictor(photo)).all()

    def test_a_photo_rotated_by_exif_gets_a_rotated_mask(self, predictor, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
        (mask,) = predict_files(predictor, [tmp_path / "turned.jpg"], tmp_path / "out")
        assert Image.open(mask).size == (20, 30)

    def test_every_kind_of_output(self, predictor, photos, tmp_path):
        kinds = ("mask", "overlay", "cutout", "probabilities")
        photo = find_images([photos])[0]
        written = predict_files(predictor, [photo], tmp_path / "out", kinds=kinds)
        ends = ["", "_overlay", "_cutout", "_probabilities"]
        assert [p.stem for p in written] == [photo.stem + end for end in ends]
        probabilities = np.load(written[3])
        assert probabilities["classes"].tolist() == ["pet", "background", "border"]
        np.testing.assert_array_equal(
            probabilities["probabilities"], predictor.probabilities(photo)
        )
        expected = cutout(
            np.asarray(Image.open(photo).convert("RGB")),
            probabilities["probabilities"],
            predictor.spec.classes,
            predictor.spec.scale,
        )
        assert np.array_equal(np.asarray(Image.open(written[2])), expected)
        assert Image.open(written[1]).mode == "RGB"

    def test_files_of_other_origin_are_not_replaced_without_overwrite(
        self, predictor, photos, tmp_path
    ):
        images = find_images([photos])
        (tmp_path / "out").mkdir()
        mine = tmp_path / "out" / f"{images[1].stem}.png"
        mine.write_text("mine")
        with pytest.raises(OutputExistsError, match=r"\.png exists already .*--overwrite"):
            predict_files(predictor, images, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [mine.name]
        assert len(predict_files(predictor, images, tmp_path / "out", overwrite=True)) == 3

    def test_an_image_is_never_replaced(self, predictor, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        with pytest.raises(OutputExistsError, match=r"a\.png is one of the images"):
            predict_files(predictor, [tmp_path / "a.png"], tmp_path)

    def test_overwriting_beside_the_photos_is_refused(self, predictor, photos):
        with pytest.raises(OutputExistsError, match="is the folder of one of the images"):
            predict_files(predictor, find_images([photos]), photos, overwrite=True)

    def test_a_name_of_the_maximum_length_is_written(self, predictor, tmp_path):
        name = "\u732b" * 80 + ".png"  # 240 of 255 bytes
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        (mask,) = predict_files(predictor, [tmp_path / name], tmp_path / "out")
        assert mask.name == name

    def test_two_images_of_one_name_are_refused(self, predictor, tmp_path):
        for name in ("a.png", "a.bmp"):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        with pytest.raises(OutputExistsError, match="would both be written to"):
            predict_files(predictor, find_images([tmp_path]), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_output_that_is_a_file_is_refused(self, predictor, photos, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OutputExistsError, match="out is a file; accepted is a folder"):
            predict_files(predictor, find_images([photos]), tmp_path / "out")

    def test_a_damaged_photo_leaves_no_incomplete_file(self, predictor, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"no photo")
        with pytest.raises(DataError, match=r"a\.jpg"):
            predict_files(predictor, [tmp_path / "a.jpg"], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_patterns_folders_and_files_are_expanded_without_duplicates(self, photos, monkeypatch):
        files = sorted(photos.iterdir())
        assert find_images([photos, files[0]]) == files
        assert find_images([f"{photos}/*.jpg"]) == files
        monkeypatch.chdir(photos)
        assert [p.name for p in find_images(["*.jpg"])] == [p.name for p in files]

    def test_an_input_without_images_is_reported(self, tmp_path):
        for item in ("*.jpg", "gone.jpg", tmp_path):
            with pytest.raises(DataNotFoundError, match="names no image"):
                find_images([item if item is tmp_path else f"{tmp_path}/{item}"])


class TestStream:
    """Content of an image file in, content of an output file out."""

    @pytest.mark.parametrize(
        "kind", [k for k, o in OUTPUTS.items() if not o.needs_objects and not o.needs_several]
    )
    def test_it_equals_the_output_of_predicting_a_file(self, predictor, photos, tmp_path, kind):
        photo = sorted(photos.iterdir())[0]
        (file,) = predict_files(predictor, [photo], tmp_path / "out", kinds=[kind])
        found = predict_stream(predictor, photo.read_bytes(), kind)
        if kind == "probabilities":  # NPZ files contain the time
            expected = np.load(file)["probabilities"]
            assert np.array_equal(np.load(io.BytesIO(found))["probabilities"], expected)
        else:
            named = file.read_bytes().replace(f'"../photos/{photo.name}"'.encode(), b'"../image"')
            assert found == named

    def test_an_output_holds_metadata(self, predictor, photos, tmp_path):
        (file,) = predict_files(predictor, sorted(photos.iterdir())[:1], tmp_path / "out")
        notes = json.loads(Image.open(file).text["unetkit"])
        assert notes["exact"] is True
        assert notes["classes"] == ["pet", "background", "border"]
        assert len(notes["model"]) == 64

    @pytest.mark.parametrize("what", [{"kinds": ["masks"]}, {"format": "jpg"}])
    def test_an_unknown_kind_or_format_is_refused(self, predictor, photos, tmp_path, what):
        with pytest.raises(ConfigError, match=r"(kind|format) is '(masks|jpg)'; accepted are '"):
            predict_files(predictor, sorted(photos.iterdir()), tmp_path / "out", **what)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"", "standard input "), (b"no picture", "standard input .*accepted are")],
    )
    def test_content_that_is_not_an_image_is_refused(self, predictor, content, words):
        with pytest.raises(DataError, match=rf"^{words}"):
            predict_stream(predictor, content)

    def test_several_images_are_refused(self, deep, tmp_path):
        page = np.zeros((8, 9), np.uint16)
        film = write_pages(tmp_path / "film.tif", page, page)
        with pytest.raises(DataError, match="standard input holds 2 images"):
            predict_stream(deep, film.read_bytes())


class TestOneRunAtATime:
    def save(self, folder):
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "a.png")
        return folder / "a.png"

    def test_a_folder_that_another_process_writes_to_is_refused(self, predictor, tmp_path):
        image, out = self.save(tmp_path), tmp_path / "out"
        with writing_into(out), pytest.raises(OutputExistsError, match="another process writes in"):
            predict_files(predictor, [image], out)
        assert predict_files(predictor, [image], out) == [out / "a.png"]
        assert list(out.glob("[!.]*")) == [out / "a.png"]

    def test_results_are_looked_for_when_the_folder_is_locked(
        self, predictor, tmp_path, monkeypatch
    ):
        """Not before: the process that held it may have written them."""
        image, out = self.save(tmp_path), tmp_path / "out"

        @contextmanager
        def after_another(folder, part):
            folder.mkdir()
            (folder / "a.png").write_bytes(b"of another process")
            yield

        monkeypatch.setattr(files_module, "writing_into", after_another)
        with pytest.raises(OutputExistsError, match=r"a\.png exists already"):
            predict_files(predictor, [image], out)

    def test_what_a_kill_left_is_gone_after_the_next_run(self, predictor, tmp_path):
        image, out = self.save(tmp_path), tmp_path / "out"
        out.mkdir()
        (out / ".part-0a1b2c3da.png").write_bytes(b"half")
        predict_files(predictor, [image], out)
        assert list(out.glob("[!.]*")) == [out / "a.png"]


class TestNames:
    @pytest.mark.parametrize(
        ("stem", "kinds", "format", "is_long"),
        [
            ("x" * 251, ["mask"], "png", False),  # and ".png"
            ("x" * 251, ["mask", "overlay"], "png", True),
            ("\u00e4" * 124, ["mask"], "png", False),  # two bytes each
            ("x" * 241, ["mask"], "tiff", True),  # a lock is named after it and after its tiles
            ("x" * 240, ["mask"], "tiff", False),
        ],
    )
    def test_names_too_long_for_a_result(self, predictor, stem, kinds, format, is_long, tmp_path):
        image, out = tmp_path / f"{stem}.png", tmp_path / "out"
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(image)
        if not is_long:
            assert len(predict_files(predictor, [image], out, kinds=kinds, format=format)) == 1
            return
        message = r"would have a name of \d+ bytes; accepted are up to 255; give the image a shorte"
        with pytest.raises(DataError, match=message):
            predict_files(predictor, [image], out, kinds=kinds, format=format)
        assert not out.exists()
