"""Official lists of names, and tables of pairs."""

from pathlib import Path, PurePosixPath

import pytest

from unetkit.data.tables import TableRow, read_lists, read_table
from unetkit.errors import DataError

NAMES = ("a", "b", "c", "d")


def write(path: Path, text: str, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, **{"encoding": "utf-8", **options})
    return path


def lists(folder, texts, names=NAMES):
    """Reads lists of these texts, by path."""
    for path, text in texts.items():
        write(folder / path, text)
    return read_lists(folder, [PurePosixPath(path) for path in texts], names)


def splits(folder, texts, names=NAMES):
    return lists(folder, texts, names).splits


class TestLists:
    def test_no_list_says_nothing(self, tmp_path):
        assert lists(tmp_path, {"notes.txt": "a"}).splits == {}

    @pytest.mark.parametrize(
        ("file", "split"),
        [
            ("train.txt", "train"),
            ("val.txt", "validation"),
            ("valid.txt", "validation"),
            ("validation.txt", "validation"),
            ("test.txt", "test"),
            ("trainval.txt", "trainval"),
            ("TRAIN.TXT", "train"),
        ],
    )
    def test_the_file_names_the_split(self, tmp_path, file, split):
        assert splits(tmp_path, {f"lists/{file}": "a\nb\n"}) == {"a": split, "b": split}

    def test_pet_lists_tell_categories_too(self, tmp_path):
        text = "#Image CLASS-ID SPECIES BREED\na 1 1 1\nb 37 2 25\n"
        found = lists(tmp_path, {"annotations/trainval.txt": text})
        assert found.splits == {"a": "trainval", "b": "trainval"}
        assert found.categories == {"a": "1", "b": "37"}

    def test_names_may_hold_spaces(self, tmp_path):
        names = ("my cat", "my dog", "my old dog")
        found = lists(
            tmp_path,
            {"trainval.txt": "my cat 1 1 1\nmy dog\n", "test.txt": "my old dog 2 2 1\n"},
            names,
        )
        assert found.splits == {"my cat": "trainval", "my dog": "trainval", "my old dog": "test"}
        assert found.categories == {"my cat": "1", "my old dog": "2"}

    @pytest.mark.parametrize(
        "line",
        [
            "a",
            "a.jpg",
            "images/a.jpg",
            "/data/CamVid/train/a.png /data/CamVid/trainannot/a.png",
            "JPEGImages/a.jpg SegmentationClass/a.png",
        ],
    )
    def test_a_line_may_be_a_path_or_two(self, tmp_path, line):
        assert splits(tmp_path, {"test.txt": line}) == {"a": "test"}

    def test_the_last_component_of_a_name_is_enough_where_it_is_unique(self, tmp_path):
        names = ("p1/a", "p1/b", "p2/b")
        found = splits(tmp_path, {"test.txt": "a\np2/b\n"}, names)
        assert found == {"p1/a": "test", "p2/b": "test"}

    def test_names_that_are_not_unique_mean_nobody(self, tmp_path):
        found = splits(tmp_path, {"test.txt": "a\nb\n"}, ("p1/a", "p1/b", "p2/b"))
        assert found == {"p1/a": "test", "b": "test"}

    def test_dots_in_names_are_no_ending(self, tmp_path):
        assert splits(tmp_path, {"test.txt": "v1.2\n"}, ("v1.2",)) == {"v1.2": "test"}

    def test_lists_of_a_windows_editor_are_read_whole(self, tmp_path):
        write(tmp_path / "test.txt", "a\r\nb\r\n", encoding="utf-8-sig", newline="")
        found = read_lists(tmp_path, [PurePosixPath("test.txt")], NAMES)
        assert found.splits == {"a": "test", "b": "test"}

    def test_decomposed_letters_are_composed(self, tmp_path):
        found = splits(tmp_path, {"test.txt": "cafe\u0301\n"}, ("caf\u00e9",))
        assert found == {"caf\u00e9": "test"}

    def test_trainval_is_the_sum_of_train_and_val(self, tmp_path):
        texts = {"trainval.txt": "a\nb\nc\n", "train.txt": "a\n", "val.txt": "b\n"}
        assert splits(tmp_path, texts) == {"a": "train", "b": "validation", "c": "trainval"}

    def test_lists_of_another_task_do_not_count(self, tmp_path):
        texts = {
            "ImageSets/Main/train.txt": "a\nb\n",
            "ImageSets/Main/val.txt": "c\nd\n",
            "ImageSets/Segmentation/train.txt": "c\n",
            "ImageSets/Segmentation/val.txt": "a\n",
        }
        assert splits(tmp_path, texts) == {"c": "train", "a": "validation"}

    def test_a_name_in_two_splits_is_refused_with_both_files(self, tmp_path):
        texts = {"fold1/train.txt": "a\nb\n", "fold2/test.txt": "b\n"}
        expected = r"fold2/test\.txt names 'b', which .*fold1/train\.txt names too; accepted"
        with pytest.raises(DataError, match=expected):
            splits(tmp_path, texts)

    def test_lists_of_other_names_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"none of the pairs .* \(test\.txt first\); accepted"):
            splits(tmp_path, {"test.txt": "x\ny\n"})

    def test_another_encoding_is_refused(self, tmp_path):
        (tmp_path / "test.txt").write_bytes("café".encode("latin-1"))
        with pytest.raises(DataError, match=r"test\.txt is not UTF-8 .* at byte 3"):
            read_lists(tmp_path, [PurePosixPath("test.txt")], NAMES)

    def test_a_list_that_cannot_be_opened_is_refused(self, tmp_path):
        (tmp_path / "test.txt").mkdir()
        with pytest.raises(DataError, match=r"test\.txt is no file but a folder"):
            read_lists(tmp_path, [PurePosixPath("test.txt")], NAMES)


class TestTables:
    def test_rows_are_read_relative_to_the_table(self, tmp_path):
        path = write(
            tmp_path / "sets" / "pairs.csv",
            "image,mask,name,part,group\na.jpg,m/a.png,cat,Val,p1\nb.jpg,/x/b.png,,,\n",
        )
        assert read_table(path) == [
            TableRow("cat", path.parent / "a.jpg", path.parent / "m/a.png", "validation", "p1"),
            TableRow("b", path.parent / "b.jpg", Path("/x/b.png"), "", ""),
        ]

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("t.tsv", "image\tmask\na.jpg\ta.png\n"),
            ("t.csv", "image;mask\na.jpg;a.png\n"),
            ("t.csv", '"image","mask"\n"a.jpg","a.png"\n'),
            ("t.csv", " Filename , Label_Path \na.jpg, a.png \n"),
            ("t.csv", "\ufeffimage,mask\r\na.jpg,a.png\r\n"),
            ("t.csv", "mask,note,image\na.png,blurred,a.jpg,more\n\n"),
        ],
    )
    def test_usual_ways_to_write_a_table(self, tmp_path, file, text):
        rows = read_table(write(tmp_path / file, text, newline=""))
        assert rows == [TableRow("a", tmp_path / "a.jpg", tmp_path / "a.png", "", "")]

    def test_paths_of_windows_are_understood(self, tmp_path):
        rows = read_table(write(tmp_path / "t.csv", "image,mask\nimages\\a.jpg,masks\\a.png\n"))
        assert rows == [
            TableRow("images/a", tmp_path / "images/a.jpg", tmp_path / "masks/a.png", "", "")
        ]

    def test_the_first_of_several_known_columns_counts(self, tmp_path):
        rows = read_table(write(tmp_path / "t.csv", "file,image,label,mask\nx,a,y,b\n"))
        assert (rows[0].image.name, rows[0].mask.name) == ("a", "b")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", r"has the columns \(none\), none of them image; accepted are image, images"),
            ("a,b\n1,2\n", r"has the columns a, b, none of them image"),
            (
                "image,notes\n1,2\n",
                r"columns image, notes, none of them mask; .* in the first line",
            ),
            ("image,mask\na.jpg,a.png\nb.jpg,\n", r"row 3 .* has no image or no mask"),
            ("image,mask\n\na.jpg\n", r"row 3 .* has no image or no mask; .* complete or"),
            ("image,mask\na.jpg,x\na.png,y\n", r"rows 2 and 3 .* have the name 'a'; .* remove one"),
            (
                "image,mask,part\na,b,tset\n",
                r"row 2 .* has the split 'tset'; .* did you mean 'test'",
            ),
            ('image,mask\n"a' + "x" * 200_000 + "\n", r"cannot be read \(field larger"),
        ],
    )
    def test_faults_are_placed(self, tmp_path, text, expected):
        with pytest.raises(DataError, match=expected) as caught:
            read_table(write(tmp_path / "t.csv", text))
        assert str(tmp_path / "t.csv") in str(caught.value)

    @pytest.mark.parametrize("image", [".", "..", "/", ".png", "a.b/c"])
    def test_odd_paths_have_names(self, tmp_path, image):
        (row,) = read_table(write(tmp_path / "t.csv", f"image,mask\n{image},b\n"))
        assert row.name

    def test_another_encoding_is_refused(self, tmp_path):
        (tmp_path / "t.csv").write_bytes("image,mask\ncafé.jpg,b\n".encode("latin-1"))
        with pytest.raises(DataError, match=r"t\.csv is not UTF-8"):
            read_table(tmp_path / "t.csv")
