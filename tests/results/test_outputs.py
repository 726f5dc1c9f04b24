"""The table of outputs: one entry is enough for a new kind of output."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from unetkit import Predictor, cutout
from unetkit.data.classes import Classes
from unetkit.errors import ConfigError, DataError
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.prediction.sources import open_source
from unetkit.results import outputs
from unetkit.results.files import predict_files, predict_stream
from unetkit.results.outputs import (
    FORMAT_SUFFIXES,
    OUTPUTS,
    WRITERS,
    Output,
    write_output,
)
from unetkit.results.polygons import POLYGONS
from unetkit.results.predicted_image import PredictedImage, ResultOptions
from unetkit.visualization.overlays import lay_over

FOUR = ("mask", "overlay", "cutout", "probabilities")
PHOTO = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor(colour_model):
    return Predictor(colour_model)


def predicted(predictor, source, **reads):
    return PredictedImage(source, predictor.spec, {"made": "here"}, **reads)


def reader(array):
    return lambda rows, columns: array[rows, columns]


class TestTable:
    def test_every_output_has_a_file_in_every_format(self):
        for output in OUTPUTS.values():
            assert set(output.suffixes) == set(FORMAT_SUFFIXES)
            for suffix in output.suffixes.values() if output.write is None else ():
                assert f".{suffix.rsplit('.')[-1]}" in WRITERS

    def test_names_of_files_differ_between_outputs(self):
        for format in FORMAT_SUFFIXES:
            assert len({output.ending(format) for output in OUTPUTS.values()}) == len(OUTPUTS)

    def test_every_output_but_the_mask_has_an_option(self):
        from unetkit.cli.main import predict

        options = {option.name for option in predict.params}
        own = {"mask", "areas", "disagreement", *POLYGONS}
        assert set(OUTPUTS) - own <= options
        assert {"table", "polygons"} <= options

    @pytest.mark.parametrize("kind", FOUR)
    def test_pixels_have_the_declared_channels_and_type(self, predictor, kind):
        probabilities = predictor.probabilities(PHOTO)
        with open_source(PHOTO, predictor.spec.pixels) as source:
            image = predicted(predictor, source, read_scores=reader(probabilities))
            window = image.window(slice(3, 20), slice(8, 50))
            output = outputs._of_cutout(image) if kind == "cutout" else OUTPUTS[kind]
            pixels = output.pixels(window)
        channels = OUTPUTS[kind].channels or len(predictor.spec.classes)
        assert pixels.shape == (17, 42, channels)
        assert pixels.dtype == OUTPUTS[kind].dtype

    @pytest.mark.parametrize("kind", FOUR)
    @pytest.mark.parametrize("format", ["png", "tiff"])
    def test_a_file_in_memory_and_one_by_windows_hold_the_same(
        self, predictor, kind, format, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(outputs, "WINDOW_BYTES", 40 * 70 * 7)  # seven columns at once
        Image.fromarray(PHOTO).save(tmp_path / "a.png")
        (file,) = predict_files(
            predictor, [tmp_path / "a.png"], tmp_path / "out", kinds=[kind], format=format
        )
        mask, probabilities = predictor(PHOTO), predictor.probabilities(PHOTO)
        expected = {
            "mask": mask,
            "overlay": lay_over(PHOTO, mask, predictor.spec.classes),
            "cutout": cutout(PHOTO, probabilities, predictor.spec.classes, predictor.spec.scale),
            "probabilities": probabilities,
        }[kind]
        if format == "tiff":
            found = tifffile.imread(file)
            found = found.transpose(1, 2, 0) if kind == "probabilities" else found
        elif kind == "probabilities":
            found = np.load(file)["probabilities"]
        else:
            found = np.asarray(Image.open(file))
        assert (found == expected).all()


class TestOptions:
    def write(self, predictor, tmp_path, kind, format="png", image=PHOTO, **options):
        if not (tmp_path / "a.tif").exists():
            tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
        (file,) = predict_files(
            predictor,
            [tmp_path / "a.tif"],
            tmp_path / f"out-{format}",
            kinds=[kind],
            format=format,
            options=ResultOptions(**options),
        )
        return file

    def test_an_overlay_as_jpeg_is_near_that_without_loss(self, predictor, tmp_path):
        photo = cv2.GaussianBlur(PHOTO, (0, 0), 4)
        file = self.write(predictor, tmp_path, "overlay", image=photo, overlay="jpeg")
        assert file.name == "a_overlay.jpg"
        expected = lay_over(photo, predictor(photo), predictor.spec.classes)
        with Image.open(file) as found:
            assert json.loads(found.info["comment"])["model"] == predictor.digest
            difference = np.abs(np.asarray(found).astype(int) - expected)
        assert difference.mean() < 3

    def test_a_large_overlay_stays_a_tiff(self, predictor, tmp_path):
        file = self.write(predictor, tmp_path, "overlay", "tiff", overlay="jpeg")
        assert file.name == "a_overlay.tif"

    @pytest.mark.parametrize("format", ["png", "tiff", "zarr"])
    @pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-11), ("uint8", 0.5 / 255)])
    def test_probabilities_are_rounded(self, predictor, tmp_path, format, dtype, step):
        file = self.write(predictor, tmp_path, "probabilities", format, probabilities=dtype)
        if format == "png":
            found = np.load(file)["probabilities"]
        elif format == "tiff":
            found = tifffile.imread(file).transpose(1, 2, 0)
        else:
            found = zarr.open_group(file)["0"][:].transpose(1, 2, 0)
        assert found.dtype == dtype
        scale = 255 if dtype == "uint8" else 1
        expected = predictor.probabilities(PHOTO)
        # By half a step; another 1e-6 for logits that differ between whole images and tiles.
        assert np.abs(found.astype(np.float64) / scale - expected).max() <= step + 1e-6

    def test_three_classes_of_8_bits_are_no_colours(self, predictor, tmp_path):
        file = self.write(predictor, tmp_path, "probabilities", "tiff", probabilities="uint8")
        with tifffile.TiffFile(file) as tif:
            assert tif.pages[0].photometric.name == "MINISBLACK"

    @pytest.mark.parametrize(("dtype", "missing"), [("float16", np.nan), ("uint8", 0)])
    def test_pixels_without_data_have_no_probability(self, predictor, tmp_path, dtype, missing):
        gaps = PHOTO // 2 + 1
        gaps[10:20, 30:50] = 0
        tag = (42113, 2, 0, "0", True)
        tifffile.imwrite(tmp_path / "a.tif", gaps, photometric="rgb", extratags=[tag])
        file = self.write(predictor, tmp_path, "probabilities", "auto", probabilities=dtype)
        found = tifffile.imread(file)
        assert np.array_equal(
            found[:, 10:20, 30:50].astype(float), np.full((3, 10, 20), missing), equal_nan=True
        )
        if dtype == "uint8":
            sums = found.sum(axis=0, dtype=int)
            sums[10:20, 30:50] = 255
            assert np.abs(sums - 255).max() <= 1  # each of three is off by half at most
            with tifffile.TiffFile(file) as tif:
                assert 42113 not in tif.pages[0].tags

    def test_a_jpeg_is_refused_where_it_cannot_be(self, predictor, tmp_path):
        Image.fromarray(np.zeros((3, 65_501), np.uint8)).save(tmp_path / "long.png")
        jpeg = ResultOptions(overlay="jpeg")
        with pytest.raises(ConfigError, match=r"long\.png has 3x65501 pixels; accepted are sides"):
            predict_files(
                predictor,
                [tmp_path / "long.png"],
                tmp_path / "out",
                kinds=["overlay"],
                options=jpeg,
            )
        names = tuple(f"{i:0200}" for i in range(3 * 110))[:255]
        other = Predictor(predictor.path)
        classes = Classes(tuple(f"{name}{'é' * 50}"[-200:] for name in names), tuple(range(255)))
        other.spec = dataclasses.replace(other.spec, classes=classes)
        with pytest.raises(ConfigError, match=r"the names of the classes of .* accepted are up to"):
            outputs.require_outputs(other, ["overlay"], "png", jpeg)
        outputs.require_outputs(other, ["mask"], "png", jpeg)
        assert not (tmp_path / "out").exists()


class TestNewOutput:
    """An entry is all that a new kind of output needs."""

    @pytest.fixture(autouse=True)
    def inverted(self, monkeypatch):
        entry = Output("_inverted", lambda window: 255 - window.photo, 3)
        monkeypatch.setitem(OUTPUTS, "inverted", entry)

    @pytest.mark.parametrize("format", ["png", "tiff"])
    def test_it_is_written_in_every_format(self, predictor, format, tmp_path):
        Image.fromarray(PHOTO).save(tmp_path / "a.png")
        (file,) = predict_files(
            predictor, [tmp_path / "a.png"], tmp_path / "out", kinds=["inverted"], format=format
        )
        assert file.name == f"a_inverted{FORMAT_SUFFIXES[format]}"
        found = tifffile.imread(file) if format == "tiff" else np.asarray(Image.open(file))
        assert (found == 255 - PHOTO).all()

    def test_it_is_written_to_a_pipe(self, predictor, tmp_path):
        Image.fromarray(PHOTO).save(tmp_path / "a.png")
        found = predict_stream(predictor, (tmp_path / "a.png").read_bytes(), "inverted")
        (tmp_path / "b.png").write_bytes(found)
        assert (np.asarray(Image.open(tmp_path / "b.png")) == 255 - PHOTO).all()


class TestWindows:
    def test_arrays_of_the_whole_image_are_computed_once(self, predictor):
        calls = []

        def read(rows, columns):
            calls.append((rows, columns))
            return np.zeros((70, 90), np.uint8)

        with open_source(PHOTO, predictor.spec.pixels) as source:
            image = predicted(predictor, source, read_labels=read)
            assert image.labels is image.labels
        assert calls == [(slice(0, 70), slice(0, 90))]

    def test_labels_from_probabilities_have_the_gaps_of_the_image(self, predictor, tmp_path):
        gaps = PHOTO // 2 + 1
        gaps[10:20, 30:50] = 0
        tag = (42113, 2, 0, "0", True)
        tifffile.imwrite(tmp_path / "a.tif", gaps, photometric="rgb", extratags=[tag])
        with open_source(tmp_path / "a.tif", predictor.spec.pixels) as source:
            found = predictor.answer(source, "probabilities")
            image = predicted(predictor, source, read_scores=reader(found))
            labels = image.window(slice(5, 25), slice(0, 90)).labels
        expected = np.zeros((20, 90), bool)
        expected[5:15, 30:50] = True
        assert ((labels == NODATA_LABEL) == expected).all()

    def test_probabilities_that_were_not_computed_are_an_error(self, predictor):
        with open_source(PHOTO, predictor.spec.pixels) as source:
            image = predicted(predictor, source, read_labels=reader(np.zeros((70, 90), np.uint8)))
            with pytest.raises(TypeError, match="does not declare that it needs them"):
                _ = image.probabilities


class TestWriting:
    def test_a_mask_is_counted_without_pixels_of_no_class(self, predictor, tmp_path):
        labels = np.zeros((70, 90), np.uint8)
        labels[:3, :5], labels[10:14, :] = 1, NODATA_LABEL
        with open_source(PHOTO, predictor.spec.pixels) as source:
            image = predicted(predictor, source, read_labels=reader(labels))
            counts = [write_output("mask", tmp_path / f"a{end}", image) for end in (".png", ".tif")]
            assert write_output("overlay", tmp_path / "o.png", image) is None
        # 70 * 90 = 6300, less 3 * 5 = 15 and 4 * 90 = 360
        assert [count.tolist() for count in counts] == [[5925, 15, 0]] * 2

    def test_an_output_that_needs_a_background_is_refused_without_one(self, colour_model, tmp_path):
        predictor = Predictor(colour_model)
        classes = dataclasses.replace(predictor.spec.classes, background=None)
        predictor.spec = dataclasses.replace(predictor.spec, classes=classes)
        Image.fromarray(PHOTO).save(tmp_path / "a.png")
        words = r"colour\.onnx has no background class, which the output 'cutout' needs; accepted"
        with pytest.raises(DataError, match=words):
            predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out", kinds=["cutout"])
        assert not (tmp_path / "out").exists()
