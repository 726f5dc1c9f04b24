"""Only pixels inside of the field of view are scored; its masks pair with images by name."""

import numpy as np
import pytest
from PIL import Image

from unetkit import Predictor, evaluate
from unetkit.data.dataset import find_dataset
from unetkit.data.masks import read_mask
from unetkit.data.pairs import Pair
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError, DataNotFoundError
from unetkit.evaluation.field_of_view import find_field_of_view
from unetkit.metrics.confusion import confusion_matrix


def write(path, inside=None, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full(size, 255, np.uint8) if inside is None else inside
    Image.fromarray(values).save(path)
    return path


def pairs_of(root, *names):
    return [Pair(name, write(root / name), root / "masks" / name) for name in names]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "a.png"),
        ("images/a.png", "a_mask.png"),
        ("test/images/01_test.tif", "01_test_mask.gif"),  # as in DRIVE
        ("images/left/a.png", "left/a.png"),
        ("a.png", "masks/a.png"),
    ],
)
def test_masks_pair_with_images_by_name(tmp_path, image, mask):
    other = image.replace("a.", "b.").replace("01_", "02_")
    pairs = pairs_of(tmp_path / "data", image, other)
    write(tmp_path / "fov" / mask)
    write(tmp_path / "fov" / mask.replace("a.", "b.").replace("a_", "b_").replace("01_", "02_"))
    field = find_field_of_view(tmp_path / "fov", pairs, tmp_path / "data")
    assert field.masks[pairs[0].image] == tmp_path / "fov" / mask
    assert len(set(field.masks.values())) == 2


def test_images_outside_of_the_data_folder_are_found_too(tmp_path):
    pairs = pairs_of(tmp_path / "elsewhere", "one/a.png", "two/a.png")
    for name in ("one/a.png", "two/a.png"):
        write(tmp_path / "fov" / name)
    field = find_field_of_view(tmp_path / "fov", pairs, tmp_path / "data")
    assert [field.masks[pair.image].parent.name for pair in pairs] == ["one", "two"]


def test_masks_of_other_images_are_left_out(tmp_path):
    pairs = pairs_of(tmp_path, "images/a.png")
    write(tmp_path / "fov" / "a.png")
    write(tmp_path / "fov" / "other.png")
    (tmp_path / "fov" / "notes.txt").write_text("none")
    assert len(find_field_of_view(tmp_path / "fov", pairs, tmp_path).masks) == 1


def test_zero_is_outside_whatever_the_other_value_is(tmp_path):
    pairs = pairs_of(tmp_path, "images/a.png")
    inside = np.zeros((6, 8), np.uint8)
    inside[1:3], inside[3:5] = 1, 255
    write(tmp_path / "fov" / "a.png", inside)
    truth = np.ones((6, 8), np.uint8)
    found = find_field_of_view(tmp_path / "fov", pairs, tmp_path).apply(pairs[0], truth)
    assert (found == np.where(inside > 0, 1, IGNORE)).all()
    assert found.dtype == np.uint8


class TestErrors:
    def test_a_folder_that_does_not_exist(self, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"field of view .*fov does not exist; accepted"
        ):
            find_field_of_view(tmp_path / "fov", [], tmp_path)

    def test_an_image_without_a_mask(self, tmp_path):
        pairs = pairs_of(tmp_path, "images/a.png", "images/b.png")
        write(tmp_path / "fov" / "a.png")
        with pytest.raises(DataError, match=r"b\.png has no mask in the field of view .*fov; acc"):
            find_field_of_view(tmp_path / "fov", pairs, tmp_path)

    def test_an_image_with_several_masks(self, tmp_path):
        pairs = pairs_of(tmp_path, "images/a.png")
        write(tmp_path / "fov" / "a.png")
        write(tmp_path / "fov" / "a.tif")
        with pytest.raises(DataError, match=r"a\.png has 2 masks in the field of view"):
            find_field_of_view(tmp_path / "fov", pairs, tmp_path)

    def test_masks_of_several_kinds(self, tmp_path):
        pairs = pairs_of(tmp_path, "images/a.png")
        write(tmp_path / "both" / "mask" / "a.png")
        write(tmp_path / "both" / "1st_manual" / "a.png")
        with pytest.raises(DataError, match=r"several masks for an image; .* name the subfolder"):
            find_field_of_view(tmp_path / "both", pairs, tmp_path)

    @pytest.mark.parametrize(
        ("inside", "words"),
        [
            (np.ones((6, 9), np.uint8), r"is 6x9 and image .*a\.png 6x8 \(height x width\)"),
            (np.zeros((6, 8), np.uint8), r"is 0 everywhere; accepted are masks"),
        ],
    )
    def test_a_mask_that_does_not_fit(self, tmp_path, inside, words):
        pairs = pairs_of(tmp_path, "images/a.png")
        write(tmp_path / "fov" / "a.png", inside)
        field = find_field_of_view(tmp_path / "fov", pairs, tmp_path)
        with pytest.raises(DataError, match=words):
            field.apply(pairs[0], np.zeros((6, 8), np.uint8))


def test_metrics_are_those_of_the_pixels_inside(disks, disks_run, tmp_path, monkeypatch):
    monkeypatch.setattr("unetkit.evaluation.evaluate.write_report", lambda folder, out: out)
    rng = np.random.default_rng(0)
    expected = np.zeros((2, 2), np.int64)
    predictor = Predictor(disks_run)
    for pair in find_dataset(disks).pairs:
        inside = rng.random((48, 64)) < 0.5
        write(tmp_path / "fov" / f"{pair.name}_mask.png", inside.astype(np.uint8))
        truth = read_mask(pair.source, predictor.spec.classes, (48, 64))
        expected += confusion_matrix(truth[inside], predictor(pair.image)[inside], 2)
    result = evaluate(
        disks_run, disks, part="all", field_of_view=tmp_path / "fov", out=tmp_path / "out"
    )
    assert result["figures"]["original"]["confusion"] == expected.tolist()
    assert str(tmp_path / "fov") in result["protocol"]["field_of_view"]
