"""From model files and pictures to masks, overlays, cut-outs and probabilities."""

import dataclasses
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from unetkit.classes import TRIMAP_CLASSES
from unetkit.errors import (
    DataError,
    DataNotFoundError,
    ModelFileError,
    OutputExistsError,
    SizeError,
)
from unetkit.outputs import cutout, overlay, write_whole
from unetkit.pictures import read_image
from unetkit.pixels import PixelFormat
from unetkit.prediction import Predictor, find_images, mirror_pad, predict_files


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run)


@pytest.fixture
def photos(pets, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((pets / "images").iterdir())[:3]:
        shutil.copy(path, folder)
    return folder


class TestPredictor:
    @pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 47), (48, 64), (301, 200)])
    def test_a_picture_of_any_size_gets_a_mask_of_its_size(self, predictor, size):
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
            np.zeros((4, 4, 3), np.float32),
            np.zeros((4, 4, 2), np.uint8),
            np.zeros((4,), np.uint8),
            np.zeros((0, 4, 3), np.uint8),
        ],
    )
    def test_arrays_that_do_not_fit_are_refused(self, predictor, image):
        with pytest.raises(SizeError, match=r"image is \("):
            predictor(image)

    def test_an_exported_file_and_its_run_agree(self, predictor, run, tmp_path):
        shutil.copy(run / "model.onnx", tmp_path / "m.onnx")
        image = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        assert (Predictor(tmp_path / "m.onnx")(image) == predictor(image)).all()

    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"model .*nothing\.onnx does not exist"):
            Predictor(tmp_path / "nothing.onnx")

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"holds no model\.onnx; .*unetkit export"):
            Predictor(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 50])
    def test_a_file_that_is_no_model(self, tmp_path, content):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"m\.onnx is not a model that can be loaded"):
            Predictor(tmp_path / "m.onnx")

    def test_a_truncated_model(self, run, tmp_path):
        whole = (run / "model.onnx").read_bytes()
        (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelFileError, match=r"m\.onnx is not a model that can be loaded"):
            Predictor(tmp_path / "m.onnx")

    def test_a_network_of_another_tool_is_told(self, run, tmp_path):
        model = onnx.load(run / "model.onnx")
        del model.metadata_props[:]
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(ModelFileError, match=r"m\.onnx was not exported by unetkit"):
            Predictor(tmp_path / "m.onnx")

    def test_a_network_that_fails_is_worded(self, run, predictor, tmp_path):
        model = onnx.load(run / "model.onnx")
        entry = next(entry for entry in model.metadata_props if entry.key == "unetkit")
        wrong = dataclasses.replace(predictor.spec.scale, height=64)  # the file takes 32 rows only
        entry.value = dataclasses.replace(predictor.spec, scale=wrong).to_json()
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(ModelFileError, match=r"failed on a picture of 64x48"):
            Predictor(tmp_path / "m.onnx")(np.zeros((9, 9, 3), np.uint8))

    def test_metadata_of_another_network_is_told(self, run, predictor, tmp_path):
        model = onnx.load(run / "model.onnx")
        other = dataclasses.replace(predictor.spec, pixels=PixelFormat(1))
        entry = next(entry for entry in model.metadata_props if entry.key == "unetkit")
        entry.value = other.to_json()
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(ModelFileError, match="other arrays than its metadata says"):
            Predictor(tmp_path / "m.onnx")


class TestFiles:
    def test_masks_bear_the_photo_s_name_and_size_and_a_palette(self, predictor, photos, tmp_path):
        written = predict_files(predictor, find_images([photos]), tmp_path / "out")
        assert sorted(p.name for p in written) == sorted(f"{p.stem}.png" for p in photos.iterdir())
        for photo in photos.iterdir():
            mask = Image.open(tmp_path / "out" / f"{photo.stem}.png")
            assert mask.mode == "P"
            assert mask.size == Image.open(photo).size
            assert mask.getpalette()[:9] == [v for c in TRIMAP_CLASSES.colours for v in c]
            assert (np.asarray(mask) == predictor(photo)).all()

    def test_a_turned_photo_gets_a_mask_that_lies_as_it_is_shown(self, predictor, tmp_path):
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
        alpha = np.asarray(Image.open(written[2]))[..., 3]
        expected = 255 * (1 - probabilities["probabilities"][..., 1])
        assert np.abs(alpha - expected).max() <= 0.51
        assert Image.open(written[1]).mode == "RGB"

    def test_results_are_not_replaced_unless_asked(self, predictor, photos, tmp_path):
        images = find_images([photos])
        predict_files(predictor, images, tmp_path / "out")
        with pytest.raises(OutputExistsError, match=r"\.png exists already; .*--overwrite"):
            predict_files(predictor, images, tmp_path / "out")
        assert len(predict_files(predictor, images, tmp_path / "out", overwrite=True)) == 3

    def test_an_image_is_never_replaced(self, predictor, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        with pytest.raises(OutputExistsError, match=r"a\.png is one of the images"):
            predict_files(predictor, [tmp_path / "a.png"], tmp_path)

    def test_overwriting_beside_the_photos_is_refused(self, predictor, photos):
        with pytest.raises(OutputExistsError, match="is a folder of the images"):
            predict_files(predictor, find_images([photos]), photos, overwrite=True)

    def test_a_name_as_long_as_names_can_be_is_written(self, predictor, tmp_path):
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

    def test_a_broken_photo_leaves_nothing_half_written(self, predictor, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"no photo")
        with pytest.raises(DataError, match=r"a\.jpg"):
            predict_files(predictor, [tmp_path / "a.jpg"], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_patterns_folders_and_files_are_expanded_once_each(self, photos, monkeypatch):
        files = sorted(photos.iterdir())
        assert find_images([photos, files[0]]) == files
        assert find_images([f"{photos}/*.jpg"]) == files
        monkeypatch.chdir(photos)
        assert [p.name for p in find_images(["*.jpg"])] == [p.name for p in files]

    def test_a_pattern_that_finds_nothing_is_named(self, tmp_path):
        for item in ("*.jpg", "gone.jpg", tmp_path):
            with pytest.raises(DataNotFoundError, match="names no image"):
                find_images([item if item is tmp_path else f"{tmp_path}/{item}"])


class TestPictures:
    def test_an_overlay_leaves_the_background_alone(self):
        photo = np.full((1, 3, 3), 100, np.uint8)
        result = overlay(photo, np.array([[0, 1, 2]], np.uint8), TRIMAP_CLASSES)
        assert (result[0, 1] == 100).all()
        # half photo, half colour: (100 + 230) / 2, (100 + 159) / 2, (100 + 0) / 2
        assert result[0, 0].tolist() == [165, 130, 50]

    def test_a_cutout_is_the_photo_with_its_alpha(self):
        photo = np.full((1, 2, 3), 7, np.uint8)
        result = np.asarray(cutout(photo, np.array([[0.0, 1.0]], np.float32)))
        assert result.tolist() == [[[7, 7, 7, 0], [7, 7, 7, 255]]]

    def test_mirroring_goes_on_beyond_a_small_picture(self):
        image = np.arange(4).reshape(2, 2, 1)
        padded = mirror_pad(image, [(3, 3), (0, 1)])[..., 0]
        # rows 0 1 mirrored without repeating: 1 0 1 | 0 1 | 0 1 0
        assert padded[:, 0].tolist() == [2, 0, 2, 0, 2, 0, 2, 0]
        assert padded[3].tolist() == [0, 1, 0]

    def test_a_picture_of_one_pixel_can_be_mirrored(self):
        assert (mirror_pad(np.full((1, 1, 1), 5), [(2, 2), (2, 2)]) == 5).all()

    def test_a_failed_write_leaves_no_file(self, tmp_path):
        def fail(part):
            part.write_text("half")
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            write_whole(tmp_path / "x.png", fail)
        assert list(tmp_path.iterdir()) == []
