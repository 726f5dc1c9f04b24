"""Which images of a folder are labelled, with which classes, and what other commands read of it."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from tests.label.conftest import entry_of
from unetkit._shared.display import Display
from unetkit.checks.examine import examine
from unetkit.data.classes import read_class_file
from unetkit.data.dataset import find_dataset
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.label.project import PAIRS_TABLE, open_project, write_class_file, write_pairs


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4)).save(path)


def draw(project, *values):
    """A mask for each image, of columns with the values."""
    for entry in project.entries.values():
        entry.mask.parent.mkdir(parents=True, exist_ok=True)
        mask = np.resize(np.array(values, project.dtype), (40, 60))
        Image.fromarray(mask).save(entry.mask)


class TestImages:
    def test_masks_mirror_the_folder_of_images(self, project):
        masks = {
            e.name: e.mask.relative_to(project.out).as_posix() for e in project.entries.values()
        }
        assert masks == {"a.png": "a.png", "b.jpg": "b.png", "more/c.png": "more/c.png"}
        assert project.out == project.images.parent / "masks"

    def test_an_id_stays_the_same_when_images_are_added(self, project):
        image(project.images / "0.png")
        again = open_project(project.images)
        assert entry_of(again, "b.jpg").id == entry_of(project, "b.jpg").id
        assert len(again.entries) == 4

    def test_images_that_would_share_a_mask_are_left_out_by_name(self, project):
        image(project.images / "a.bmp")
        again = open_project(project.images)
        assert [entry.name for entry in again.entries.values()] == ["b.jpg", "more/c.png"]
        assert "a.bmp, a.png would share the mask a.png" in again.left_out[0]

    def test_folders_of_masks_hidden_files_and_the_folder_of_masks_are_left_out(self, folder):
        for name in ("labels/a.png", ".hidden/x.png", ".x.png", "drawn/a.png"):
            image(folder / name)
        found = open_project(folder, folder / "drawn", {"names": ("background", "pet")})
        assert len(found.entries) == 3
        assert "1 image in folders of masks (labels/a.png)" in found.left_out[0]

    @pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not have")
    def test_hostile_names_are_listed_or_said(self, tmp_path):
        names = ('"quoted", comma.png', "=cmd|' .png", "é 漢字 \u202e.png", "x" * 250 + ".png")
        for name in names:
            image(tmp_path / "images" / name)
        for name in ("two\nlines.png", os.fsdecode(b"\xff.png")):
            (tmp_path / "images" / name).write_bytes(b"")
        found = open_project(tmp_path / "images")
        assert {entry.name for entry in found.entries.values()} == set(names)
        assert all(entry.shown.isprintable() for entry in found.entries.values())
        assert r"two\nlines.png, \udcff.png cannot be named in a table" in found.left_out[0]
        found.out.mkdir()
        for entry in found.entries.values():
            image(entry.mask)
        write_pairs(found)
        pairs = find_dataset(found.out / PAIRS_TABLE, Sources()).pairs
        assert {pair.image.resolve() for pair in pairs} == {
            entry.path.resolve() for entry in found.entries.values()
        }

    def test_what_is_no_folder_of_images_is_refused(self, tmp_path, folder):
        with pytest.raises(DataNotFoundError, match="is no folder"):
            open_project(tmp_path / "absent")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataNotFoundError, match="empty contains no images"):
            open_project(tmp_path / "empty")
        with pytest.raises(ConfigError, match="the folder of the images"):
            open_project(folder, folder)
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=r"file is no folder.*--out"):
            open_project(folder, tmp_path / "file")


class TestClasses:
    def test_numbers_count_from_0_and_255_is_unlabelled(self, project):
        assert project.classes.values == (0, 1)
        assert project.unlabelled == 255
        assert project.dtype == np.uint8

    def test_without_names_there_are_two_classes(self, folder):
        assert open_project(folder).classes.names == ("background", "foreground")

    def test_unlabelled_is_a_number_that_is_no_class(self, folder):
        given = {"names": ("ground", "cell"), "values": (0, 255)}
        assert open_project(folder, classes=given).unlabelled == 254

    def test_objects_have_16_bits_and_65535_is_unlabelled(self, folder):
        found = open_project(folder, classes={"kind": "instances"})
        assert found.classes.names == ("background", "object")
        assert (found.dtype, found.unlabelled) == (np.uint16, 65535)
        assert found.accepts(np.array([0, 1, 65534, 65535])).all()

    def test_masks_without_named_classes_are_refused(self, project):
        draw(project, 0, 1)
        with pytest.raises(DataError, match=r"no classes.toml says.*--classes background,leaf"):
            open_project(project.images)
        assert open_project(project.images, classes={"names": ("a", "b")}).classes.names == (
            "a",
            "b",
        )

    def test_the_class_file_decides_and_may_only_be_added_to(self, project):
        assert write_class_file(project)
        assert not write_class_file(project)
        assert open_project(project.images).classes == project.classes
        more = open_project(project.images, classes={"names": ("background", "pet", "toy")})
        assert write_class_file(more)
        assert read_class_file(more.out / "classes.toml")["names"] == ("background", "pet", "toy")
        with pytest.raises(ConfigError, match=r"--classes differs from .*classes.toml"):
            open_project(project.images, classes={"names": ("pet", "background")})

    def test_a_class_file_of_finished_masks_gets_an_unlabelled_value_beside_the_masks(
        self, project
    ):
        outer = project.images.parent / "classes.toml"
        outer.write_text("[classes]\nground = 0\ncell = 1\n")
        again = open_project(project.images)
        assert (again.classes.names, again.unlabelled) == (("ground", "cell"), 255)
        assert write_class_file(again)
        assert "ignore" not in outer.read_text()
        assert read_class_file(again.out / "classes.toml")["ignore"] == 255

    def test_colours_and_json_without_an_unlabelled_value_are_refused(self, project):
        file = project.out / "classes.toml"
        file.write_text('[classes]\nground = "#000000"\ncell = "#ffffff"\n')
        with pytest.raises(DataError, match="are colours, labels or have a threshold"):
            open_project(project.images)
        file.unlink()
        (project.out / "classes.json").write_text('{"classes": {"ground": 0, "cell": 1}}')
        with pytest.raises(DataError, match=r"does not say which pixels are unlabelled.*= 255"):
            write_class_file(open_project(project.images))
        (project.out / "classes.json").unlink()
        file.write_text("ignore = -1\n[classes]\nground = 0\ncell = 1\n")
        with pytest.raises(DataError, match="ignores -1"):
            open_project(project.images)


class TestOtherCommands:
    """`check` and `train` read the folder of images and masks, and the table, as they are."""

    @pytest.mark.parametrize("kind", ["classes", "instances"])
    @pytest.mark.parametrize("by", ["folder", "table"])
    def test_they_know_classes_and_unlabelled_pixels(self, folder, kind, by):
        given = {"kind": kind} if kind == "instances" else {"names": ("background", "pet")}
        project = open_project(folder, classes=given)
        project.out.mkdir()
        draw(project, 0, 1, 2 if kind == "instances" else 1, project.unlabelled)
        write_class_file(project)
        assert write_pairs(project) == 3
        source = folder.parent if by == "folder" else project.out / PAIRS_TABLE
        dataset = find_dataset(source, Sources())
        report = examine(dataset, Sources(), SplitRule(), {}, Display())
        assert [issue.text for issue in report.issues if issue.level == "error"] == []
        assert report.classes == project.classes
        assert len(report.good) == 3
