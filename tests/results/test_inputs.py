"""Files, folders, patterns, lists and tables become images; each falls into one shard."""

import random
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from tests.found import find_images
from unetkit._shared.installation import install_command
from unetkit.errors import ConfigError, DataError, DataNotFoundError, MissingExtraError
from unetkit.results.inputs import (
    InputImage,
    Shard,
    as_input,
    find_inputs,
    list_folder,
    parse_shard,
)

NAMES = ("b.png", "a.jpg", "day1/x.png", "day1/deep/y.png", "day2/x.png")


@pytest.fixture
def tree(tmp_path):
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / ".hidden").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "photos" / ".hidden" / "z.png")
    return tmp_path / "photos"


def places(images):
    return [(image.path.name, str(image.subfolder)) for image in images]


class TestTree:
    def test_without_subfolders(self, tree):
        assert places(find_inputs([tree])) == [("a.jpg", "."), ("b.png", ".")]

    def test_with_subfolders_the_tree_is_kept(self, tree):
        assert places(find_inputs([tree], recursive=True)) == [
            ("a.jpg", "."),
            ("b.png", "."),
            ("y.png", "day1/deep"),
            ("x.png", "day1"),
            ("x.png", "day2"),
        ]

    def test_the_folder_of_the_results_is_passed_over(self, tree):
        found = find_inputs([tree], recursive=True, skip=tree / "day1")
        assert [image.name for image in found] == ["a", "b", "day2/x"]

    def test_links_to_folders_are_not_followed(self, tree):
        (tree / "day2" / "loop").symlink_to(tree)
        assert len(find_inputs([tree], recursive=True)) == len(NAMES)
        assert tree / "day2" / "loop" in list_folder(tree, recursive=True)

    def test_of_a_pattern_the_tree_begins_after_its_fixed_folders(self, tree):
        found = find_inputs([f"{tree}/*/x.png"], recursive=True)
        assert places(found) == [("x.png", "day1"), ("x.png", "day2")]
        assert places(find_inputs([f"{tree}/*/x.png"])) == [("x.png", "."), ("x.png", ".")]

    def test_a_zarr_image_is_one_image(self, tmp_path):
        zarr = pytest.importorskip("zarr")
        zarr.create_array(tmp_path / "in" / "a.zarr", shape=(8, 8), chunks=(4, 4), dtype="u1")
        found = find_inputs([tmp_path / "in"], recursive=True)
        assert places(found) == [("a.zarr", ".")]

    def test_an_image_that_is_named_twice_is_one(self, tree):
        assert find_images([tree, tree / "b.png"]) == [tree / "a.jpg", tree / "b.png"]


def write_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


class TestLists:
    ENTRIES = ("photos/b.png", "photos/day1/deep/y.png")

    def write(self, folder, suffix):
        path = folder / f"images{suffix}"
        if suffix == ".txt":
            path.write_text("# two\n" + "\n".join(self.ENTRIES) + "\n\n")
        elif suffix == ".csv":
            path.write_text("label,Image\n" + "".join(f"0,{entry}\n" for entry in self.ENTRIES))
        else:
            write_parquet(path, {"label": [0, 0], "image": list(self.ENTRIES)})
        return path

    @pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
    def test_paths_are_from_the_folder_of_the_list(self, tree, suffix):
        path = self.write(tree.parent, suffix)
        assert find_images([path]) == [tree / "b.png", tree / "day1/deep/y.png"]
        assert places(find_inputs([path], recursive=True)) == [
            ("b.png", "photos"),
            ("y.png", "photos/day1/deep"),
        ]

    @pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
    def test_shards_are_those_of_the_folder(self, tree, suffix):
        path = self.write(tree, suffix)
        text = path.read_bytes()
        if suffix != ".parquet":
            path.write_bytes(text.replace(b"photos/", b""))
        else:
            write_parquet(path, {"image": ["b.png", "day1/deep/y.png"]})
        for number in (1, 2, 3):
            shard = Shard(number, 3)
            listed = {image.name for image in find_inputs([path], recursive=True, shard=shard)}
            found = {image.name for image in find_inputs([tree], recursive=True, shard=shard)}
            assert listed == found & {"b", "day1/deep/y"}

    def test_results_stay_below_their_folder(self, tmp_path):
        (tmp_path / "list.txt").write_text("../../a/b.png\n/data/c.png\n")
        found = find_inputs([tmp_path / "list.txt"], recursive=True)
        assert [image.subfolder for image in found] == [PurePosixPath("a"), PurePosixPath("data")]
        assert found[1].path == Path("/data/c.png")

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_table_without_a_column_of_images(self, tmp_path, suffix):
        path = tmp_path / f"t{suffix}"
        if suffix == ".csv":
            path.write_text("weight,height\n1,2\n")
        else:
            write_parquet(path, {"weight": [1], "height": [2]})
        with pytest.raises(DataError, match=r"has the columns weight, height; accepted are image,"):
            find_images([path])

    def test_other_files_named_like_lists(self, tmp_path):
        pytest.importorskip("pyarrow")
        (tmp_path / "t.parquet").write_bytes(b"no table")
        with pytest.raises(DataError, match=r"t\.parquet cannot be read .*accepted is Parquet"):
            find_images([tmp_path / "t.parquet"])
        write_parquet(tmp_path / "n.parquet", {"image": [1, 2]})
        with pytest.raises(DataError, match="has values that are no text; accepted are paths"):
            find_images([tmp_path / "n.parquet"])
        (tmp_path / "t.txt").write_bytes(b"\xff\xfe")
        with pytest.raises(DataError, match="is not UTF-8"):
            find_images([tmp_path / "t.txt"])
        (tmp_path / "e.txt").write_text("\n# nothing\n")
        with pytest.raises(DataNotFoundError, match=r"e\.txt names no image"):
            find_images([tmp_path / "e.txt"])
        (tmp_path / "t.csv").write_text("image\n" + "x" * 200_000)
        with pytest.raises(DataError, match=r"cannot be read .*accepted is CSV"):
            find_images([tmp_path / "t.csv"])

    def test_parquet_without_pyarrow(self, tmp_path, monkeypatch):
        (tmp_path / "t.parquet").touch()
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(MissingExtraError) as caught:
            find_images([tmp_path / "t.parquet"])
        assert install_command("cluster") in str(caught.value)


class TestShards:
    def test_every_image_is_in_exactly_one(self):
        names = [f"day{number % 7}/{number:05}" for number in range(2000)]
        shards = [Shard(number, 8) for number in range(1, 9)]
        owners = [[shard.number for shard in shards if shard.has(name)] for name in names]
        assert {len(found) for found in owners} == {1}
        sizes = [owners.count([number]) for number in range(1, 9)]
        # Binomial: mean 250, standard deviation sqrt(2000 * 1/8 * 7/8) = 14.8; 5 of them are 74.
        assert all(abs(size - 250) < 74 for size in sizes)

    def test_the_hash_is_stable(self):
        """A shard that another version began is finished by this one: BLAKE2b of 8 bytes."""
        owners = [next(n for n in range(1, 65) if Shard(n, 64).has(name)) for name in "abc"]
        assert owners == [48, 54, 28]  # as of `printf a | b2sum -l 64`

    def test_the_order_of_the_images_does_not_matter(self, tree):
        files = find_images([tree / name for name in NAMES])
        first = {image.path for image in find_inputs(files, shard=Shard(1, 2))}
        random.Random(0).shuffle(files)
        assert {image.path for image in find_inputs(files, shard=Shard(1, 2))} == first

    def test_images_with_one_result_are_in_one_shard(self):
        photo, other = (as_input(Path("a", name)) for name in ("1.jpg", "1.ome.tif"))
        assert photo.name == other.name == "1"
        assert InputImage(Path("a/1.jpg"), PurePosixPath("x")).name == "x/1"

    @pytest.mark.parametrize("text", ["3", "3/", "/3", "a/b", "-1/3", "1.5/3", ""])
    def test_text_that_is_no_shard(self, text):
        with pytest.raises(ConfigError, match=rf"shard is '{text}'; accepted are"):
            parse_shard(text)

    @pytest.mark.parametrize("text", ["0/3", "4/3", "1/0"])
    def test_numbers_out_of_range(self, text):
        with pytest.raises(ConfigError, match=rf"shard is {text}; accepted are a number from 1"):
            parse_shard(text)
