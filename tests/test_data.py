"""Finding, reading, surveying and splitting pairs of image and mask."""

import numpy as np
import pytest
from conftest import write_pair
from PIL import Image

from unetkit.classes import TRIMAP_CLASSES, Classes
from unetkit.data import SplitRule, choose_classes, find_dataset, read_pair, split_pairs, survey
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.pictures import read_header, read_image, read_mask


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def write_lists(folder, trainval, test, where="annotations"):
    (folder / where).mkdir(parents=True, exist_ok=True)
    for part, rows in (("trainval", trainval), ("test", test)):
        lines = ["# comment", *(f"{name} {group} 1 1" for name, group in rows)]
        (folder / where / f"{part}.txt").write_text("\n".join(lines))


class TestFinding:
    def test_pairs_match_by_stem_and_not_by_order(self, tmp_path):
        for name in ("a", "b", "c"):
            write_pair(tmp_path, name)
        (tmp_path / "images" / "aa.jpg").write_bytes(b"")  # shifts the order by one
        found = find_dataset(tmp_path)
        assert [(p.name, p.image.stem, p.mask.stem) for p in found.pairs] == [
            (name, name, name) for name in ("a", "b", "c")
        ]
        assert [path.name for path in found.unpaired] == ["aa.jpg"]

    @pytest.mark.parametrize(
        ("images", "masks"),
        [
            ("images", "masks"),
            ("images", "trimaps"),
            ("images", "annotations/trimaps"),
            ("images/original", "images/masks"),
        ],
    )
    def test_each_layout_is_found(self, tmp_path, images, masks):
        save(tmp_path / images / "x.png", np.zeros((4, 4, 3), np.uint8))
        save(tmp_path / masks / "x.png", np.ones((4, 4), np.uint8))
        found = find_dataset(tmp_path)
        assert found.masks_folder == masks
        assert found.pairs[0].image == tmp_path / images / "x.png"

    def test_names_with_dots_and_hidden_files_are_told_apart(self, tmp_path):
        write_pair(tmp_path, "v1.2 ümläut")
        (tmp_path / "masks" / "._v1.2 ümläut.png").write_bytes(b"junk of another system")
        assert [pair.name for pair in find_dataset(tmp_path).pairs] == ["v1.2 ümläut"]

    def test_composed_and_decomposed_letters_are_one_name(self, tmp_path):
        save(tmp_path / "images" / "caf\u00e9.png", np.zeros((4, 4, 3), np.uint8))
        save(tmp_path / "masks" / "cafe\u0301.png", np.ones((4, 4), np.uint8))
        assert [pair.name for pair in find_dataset(tmp_path).pairs] == ["caf\u00e9"]

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"nowhere does not exist; accepted is a folder"
        ):
            find_dataset(tmp_path / "nowhere")

    def test_a_file_instead_of_a_folder(self, tmp_path):
        (tmp_path / "x.jpg").write_bytes(b"")
        with pytest.raises(DataNotFoundError, match=r"x\.jpg is a file; accepted is a folder"):
            find_dataset(tmp_path / "x.jpg")

    def test_a_folder_without_images_names_every_layout(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"images/ with annotations/trimaps/"):
            find_dataset(tmp_path)

    def test_empty_folders_say_so(self, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        with pytest.raises(DataError, match=r"no image in .*images \(0 files\) has a mask"):
            find_dataset(tmp_path)

    def test_names_that_do_not_match_are_shown(self, tmp_path):
        save(tmp_path / "images" / "cat.png", np.zeros((4, 4, 3), np.uint8))
        save(tmp_path / "masks" / "cat_mask.png", np.zeros((4, 4), np.uint8))
        with pytest.raises(DataError, match=r"cat\.png first.*cat_mask\.png first.*rename"):
            find_dataset(tmp_path)

    def test_two_files_of_one_name_are_refused(self, tmp_path):
        write_pair(tmp_path, "a")
        save(tmp_path / "images" / "a.png", np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(DataError, match=r"a\.jpg and .*a\.png share the name 'a'"):
            find_dataset(tmp_path)

    def test_two_folders_of_masks_are_not_chosen_between(self, tmp_path):
        write_pair(tmp_path, "a")
        write_pair(tmp_path, "a", masks="trimaps")
        with pytest.raises(DataError, match=r"several folders of masks: .*masks, .*trimaps"):
            find_dataset(tmp_path)


class TestLists:
    def test_official_lists_decide_the_parts(self, folder):
        names = [f"photo_{i:02d}" for i in range(12)]
        write_lists(folder, [(n, 1) for n in names[:8]], [(n, 1) for n in names[8:]])
        split = split_pairs(find_dataset(folder), SplitRule())
        assert [p.name for p in split.test] == names[8:]
        assert {p.name for p in split.train + split.validation} == set(names[:8])

    def test_lists_may_stand_beside_the_images(self, folder):
        write_lists(folder, [("photo_00", 1), ("photo_01", 1)], [("photo_02", 1)], where=".")
        found = find_dataset(folder)
        assert found.official == {
            "photo_00": "trainval",
            "photo_01": "trainval",
            "photo_02": "test",
        }

    def test_pairs_in_no_list_are_left_out_and_listed_names_may_be_missing(self, folder):
        write_lists(folder, [("photo_00", 1), ("gone", 1)], [("photo_02", 1)])
        assert [p.name for p in find_dataset(folder).pairs] == ["photo_00", "photo_02"]

    def test_pairs_that_lists_leave_out_are_named(self, folder):
        write_lists(folder, [("photo_00", 1), ("photo_01", 1)], [("photo_02", 1)])
        assert find_dataset(folder).unlisted == tuple(f"photo_{i:02d}" for i in range(3, 12))

    def test_lists_of_a_windows_editor_are_read_whole(self, folder):
        (folder / "trainval.txt").write_text("photo_00\nphoto_01\n", encoding="utf-8-sig")
        (folder / "test.txt").write_text("photo_02\r\n", encoding="utf-8-sig", newline="")
        assert len(find_dataset(folder).official) == 3

    def test_lists_in_another_encoding_are_told(self, folder):
        (folder / "trainval.txt").write_bytes("café".encode("latin-1"))
        with pytest.raises(DataError, match=r"trainval\.txt is not UTF-8 .* at byte 3"):
            find_dataset(folder)

    def test_listed_names_may_hold_spaces(self, tmp_path):
        for name in ("my cat", "my dog", "my old dog"):
            write_pair(tmp_path, name)
        (tmp_path / "trainval.txt").write_text("my cat 1 1 1\nmy dog\n")
        (tmp_path / "test.txt").write_text("my old dog 2 2 1\n")
        found = find_dataset(tmp_path)
        assert found.official == {"my cat": "trainval", "my dog": "trainval", "my old dog": "test"}
        assert found.groups == {"my cat": "1", "my old dog": "2"}

    def test_a_name_in_both_lists_is_refused(self, folder):
        write_lists(folder, [("photo_00", 1)], [("photo_00", 1)])
        with pytest.raises(DataError, match=r"names 'photo_00', which trainval\.txt names too"):
            find_dataset(folder)

    def test_lists_of_other_names_are_refused(self, folder):
        write_lists(folder, [("x", 1)], [("y", 1)])
        with pytest.raises(DataError, match=r"none of the pairs .* is named in its trainval\.txt"):
            find_dataset(folder)

    def test_a_test_list_alone_is_refused(self, folder):
        (folder / "test.txt").write_text("photo_00")
        with pytest.raises(DataError, match=r"has a test\.txt but no trainval\.txt"):
            split_pairs(find_dataset(folder), SplitRule())


class TestSplit:
    def test_parts_are_disjoint_and_complete_and_seeded(self, folder):
        found = find_dataset(folder)
        split = split_pairs(found, SplitRule(seed=3))
        names = [p.name for part in split.parts.values() for p in part]
        assert sorted(names) == [p.name for p in found.pairs]
        assert all(split.parts.values())
        assert split == split_pairs(found, SplitRule(seed=3))
        assert split != split_pairs(found, SplitRule(seed=4))

    def test_validation_keeps_the_shares_of_categories(self, tmp_path):
        rows = [(f"n{i:03d}", "cat" if i % 4 else "dog") for i in range(80)]
        for name, _ in rows:
            write_pair(tmp_path, name, size=(4, 4))
        write_lists(tmp_path, rows, [])
        split = split_pairs(find_dataset(tmp_path), SplitRule(validation_fraction=0.25))
        groups = dict(rows)
        # 80 pairs, 20 of them dogs: a quarter of each is 15 cats and 5 dogs.
        assert sorted(groups[p.name] for p in split.validation) == ["cat"] * 15 + ["dog"] * 5

    def test_many_small_categories_do_not_break_the_split(self, tmp_path):
        rows = [(f"n{i:02d}", i // 2) for i in range(20)]
        for name, _ in rows:
            write_pair(tmp_path, name, size=(4, 4))
        write_lists(tmp_path, rows, [])
        split = split_pairs(find_dataset(tmp_path), SplitRule())
        assert (len(split.train), len(split.validation)) == (17, 3)

    def test_three_pairs_are_enough_and_two_are_not(self, tmp_path):
        for name in "abc":
            write_pair(tmp_path, name)
        parts = split_pairs(find_dataset(tmp_path), SplitRule()).parts
        assert [len(part) for part in parts.values()] == [1, 1, 1]
        (tmp_path / "images" / "c.jpg").unlink()
        with pytest.raises(DataError, match=r"has 2 pairs .* take at least 3; add more"):
            split_pairs(find_dataset(tmp_path), SplitRule())

    @pytest.mark.parametrize("name", ["validation_fraction", "test_fraction"])
    def test_fractions_out_of_range_are_refused(self, name):
        with pytest.raises(ConfigError, match=rf"{name} is 1\.5; accepted is a share"):
            SplitRule(**{name: 1.5})


class TestReading:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
    def test_every_usual_mode_becomes_rgb(self, tmp_path, mode):
        picture = Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode)
        picture.save(tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
        image = read_image(next(tmp_path.iterdir()))
        assert image.shape == (3, 5, 3)
        assert image.dtype == np.uint8
        assert (image == 255).all()

    def test_a_photo_is_turned_as_its_tag_says(self, tmp_path):
        pixels = np.zeros((2, 3, 3), np.uint8)
        pixels[0, 0] = 255
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned a quarter clockwise
        save(tmp_path / "x.png", pixels, exif=exif)
        image = read_image(tmp_path / "x.png")
        assert image.shape == (3, 2, 3)
        assert (image[0, 1] == 255).all()  # upper left goes to upper right

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
    def test_header_and_pixels_of_a_turned_picture_agree(self, tmp_path, suffix):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 20)).save(tmp_path / f"x{suffix}", exif=exif)
        assert read_header(tmp_path / f"x{suffix}")[0] == (30, 20)
        assert read_image(tmp_path / f"x{suffix}").shape == (30, 20, 3)

    def test_16_bit_pictures_are_turned_too(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        save(tmp_path / "x.png", np.zeros((20, 30), np.uint16), exif=exif)
        assert read_header(tmp_path / "x.png") == ((30, 20), True)
        assert read_image(tmp_path / "x.png", channels=1).shape == (30, 20, 1)

    def test_16_bit_grey_is_scaled_by_its_type_alone(self, tmp_path):
        save(tmp_path / "x.png", np.array([[0, 256, 65535]], np.uint16))
        # 256 / 65535 of full scale is 1 of 255, though the frame's brightest pixel is white.
        assert read_image(tmp_path / "x.png", channels=1)[..., 0].tolist() == [[0, 1, 255]]

    def test_a_name_that_lies_about_the_format_does_not_matter(self, tmp_path):
        save(tmp_path / "x.png", np.full((2, 2, 4), 9, np.uint8))
        (tmp_path / "x.png").rename(tmp_path / "x.jpg")
        assert (read_image(tmp_path / "x.jpg") == 9).all()

    def test_a_truncated_picture_is_named(self, tmp_path):
        rng = np.random.default_rng(0)
        path = save(tmp_path / "x.jpg", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:-900])
        with pytest.raises(DataError, match=r"x\.jpg cannot be read whole \(image file is trunc"):
            read_image(path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
    def test_a_file_that_is_no_picture_is_named(self, tmp_path, content):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.png (is not a picture|cannot be read)"):
            read_image(tmp_path / "x.png")

    def test_a_picture_that_is_not_there(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"x\.png does not exist"):
            read_image(tmp_path / "x.png")

    def test_a_picture_of_too_many_pixels_is_refused(self, tmp_path, monkeypatch):
        save(tmp_path / "x.png", np.zeros((40, 40), np.uint8))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(DataError, match=r"x\.png is too large .* up to 200 pixels"):
            read_image(tmp_path / "x.png")

    def test_32_bit_pixels_are_refused(self, tmp_path):
        save(tmp_path / "x.tif", np.zeros((2, 2), np.float32))
        with pytest.raises(DataError, match=r"x\.tif has 32-bit pixels \(F\)"):
            read_image(tmp_path / "x.tif")

    def test_two_channels_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match=r"channels is 2; pictures are read with 1"):
            read_image(tmp_path / "x.png", channels=2)

    def test_trimap_values_become_classes(self, tmp_path):
        save(tmp_path / "x.png", np.array([[1, 2, 3]], np.uint8))
        assert read_mask(tmp_path / "x.png", TRIMAP_CLASSES).tolist() == [[0, 1, 2]]

    def test_a_palette_mask_is_read_by_its_indices(self, tmp_path):
        picture = Image.fromarray(np.array([[1, 2, 3]], np.uint8))
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        picture.save(tmp_path / "x.png")
        assert read_mask(tmp_path / "x.png", TRIMAP_CLASSES).tolist() == [[0, 1, 2]]

    def test_a_value_that_is_no_class_is_placed(self, tmp_path):
        save(tmp_path / "x.png", np.array([[1, 2], [3, 7]], np.uint8))
        with pytest.raises(
            DataError, match=r"x\.png has the value 7 \(at row 1, column 1\); accepted are 1 pet"
        ):
            read_mask(tmp_path / "x.png", TRIMAP_CLASSES)

    def test_colour_and_jpeg_masks_are_refused(self, tmp_path):
        save(tmp_path / "rgb.png", np.zeros((2, 2, 3), np.uint8))
        save(tmp_path / "lossy.jpg", np.zeros((2, 2), np.uint8))
        with pytest.raises(DataError, match=r"rgb\.png has 3 channels \(RGB\)"):
            read_mask(tmp_path / "rgb.png", TRIMAP_CLASSES)
        with pytest.raises(DataError, match=r"lossy\.jpg is a JPEG"):
            read_mask(tmp_path / "lossy.jpg", TRIMAP_CLASSES)

    def test_sizes_that_differ_are_named(self, tmp_path):
        write_pair(tmp_path, "x", size=(4, 6))
        save(tmp_path / "masks" / "x.png", np.ones((6, 4), np.uint8))
        pair = find_dataset(tmp_path).pairs[0]
        with pytest.raises(DataError, match=r"x\.jpg is 4x6 .* mask .*x\.png is 6x4"):
            read_pair(pair, TRIMAP_CLASSES, 3)


class TestSurvey:
    def test_sizes_values_and_channels_are_found(self, tmp_path):
        write_pair(tmp_path, "a", size=(4, 6), values=(1, 2))
        write_pair(tmp_path, "b", size=(5, 5), values=(2, 3))
        found = survey(find_dataset(tmp_path).pairs)
        assert found.sizes == ((4, 6), (5, 5))
        assert {value: path.name for value, path in found.values.items()} == {
            1: "a.png",
            2: "a.png",
            3: "b.png",
        }
        assert not found.grey

    def test_grey_pictures_are_told_by_their_headers(self, tmp_path):
        write_pair(tmp_path, "a")
        save(tmp_path / "images" / "a.jpg", np.zeros((20, 24), np.uint8))
        assert survey(find_dataset(tmp_path).pairs).grey

    def test_all_bad_pairs_are_reported_at_once(self, folder):
        for i in range(7):
            (folder / "images" / f"photo_{i:02d}.jpg").write_bytes(b"not a photo")
        with pytest.raises(DataError) as caught:
            survey(find_dataset(folder).pairs)
        lines = str(caught.value).splitlines()
        assert "photo_00.jpg" in lines[0]
        assert lines[-1] == "... and 2 more"

    def test_turned_photos_and_their_masks_agree_in_size(self, tmp_path):
        write_pair(tmp_path, "a", size=(20, 24))
        exif = Image.Exif()
        exif[0x0112] = 8
        save(tmp_path / "images" / "a.jpg", np.zeros((24, 20, 3), np.uint8), exif=exif)
        assert survey(find_dataset(tmp_path).pairs).sizes == ((20, 24),)


class TestClasses:
    def choose(self, folder, values, names=None, masks="masks"):
        for i, value in enumerate(values):
            write_pair(folder, f"m{i}", values=value, masks=masks)
        found = find_dataset(folder)
        return choose_classes(found, survey(found.pairs), names)

    def test_one_two_three_are_a_trimap(self, tmp_path):
        assert self.choose(tmp_path, [(1, 2, 3)]) is TRIMAP_CLASSES

    def test_a_trimap_folder_may_lack_a_value(self, tmp_path):
        assert self.choose(tmp_path, [(1, 2)], masks="trimaps") is TRIMAP_CLASSES

    def test_0_and_255_are_two_classes(self, tmp_path):
        classes = self.choose(tmp_path, [(0, 255)])
        assert classes.values == (0, 255)
        assert classes.names == ("background", "foreground")

    def test_values_count_up_from_the_background(self, tmp_path):
        classes = self.choose(tmp_path, [(0, 1), (0, 2)])
        assert classes.values == (0, 1, 2)
        assert classes.background == 0

    def test_names_fix_the_number_of_classes(self, tmp_path):
        classes = self.choose(tmp_path, [(0, 2)], names=("sky", "road", "car"))
        assert classes.names == ("sky", "road", "car")

    @pytest.mark.parametrize("values", [(0, 255), (1, 2, 3)])
    def test_known_kinds_can_be_renamed(self, tmp_path, values):
        names = ("left", "middle", "right")[: len(values)]
        classes = self.choose(tmp_path, [values], names=names)
        assert (classes.names, classes.values) == (names, values)

    def test_many_classes_have_colours_of_their_own(self):
        classes = Classes(tuple("abcdefghijklmnopqrstuvwxyz"), tuple(range(26)))
        assert len(set(classes.colours)) == 26

    def test_a_gap_is_refused_with_a_file_that_shows_it(self, tmp_path):
        with pytest.raises(DataError, match=r"no class: 128 \(128 in .*m1\.png\).*--classes"):
            self.choose(tmp_path, [(0, 1), (0, 128)])

    def test_more_values_than_names_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"no class: 2 .*accepted are 0 sky, 1 road"):
            self.choose(tmp_path, [(0, 1, 2)], names=("sky", "road"))

    def test_masks_of_one_value_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"hold only the value 0"):
            self.choose(tmp_path, [(0,)])

    def test_classes_that_do_not_fit_together_are_refused(self):
        with pytest.raises(ConfigError, match="2 names, 1 values"):
            Classes(("a", "b"), (0,))
        with pytest.raises(ConfigError, match="repeat"):
            Classes(("a", "a"), (0, 1))

    def test_the_background_is_black_and_other_colours_differ(self):
        classes = Classes(("a", "b", "c"), (0, 1, 2), background=1)
        assert classes.colours[1] == (0, 0, 0)
        assert len(set(classes.colours)) == 3
