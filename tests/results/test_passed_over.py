"""What is passed over in a folder is counted by kind, with the reason."""

from unetkit.results.passed_over import describe_passed_over, find_passed_over


def test_files_that_are_no_images_are_found_but_not_hidden_ones(tmp_path):
    for name in ("a.png", "b.czi", "c.txt", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    found = find_passed_over([tmp_path, tmp_path / "a.png", "photos/*.jpg"])
    assert [path.name for path in found] == ["b.czi", "c.txt", "more"]


def test_each_kind_has_its_reason(tmp_path):
    for name in ("b.czi", "d.czi", "c.txt", "e.SVS", "f.mat", "g"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    assert describe_passed_over(find_passed_over([tmp_path])) == (
        "passed over: 1 .svs (TIFFs under another name: name the files to predict them); "
        "1 .txt, 1 without a suffix (no images); "
        "1 folder (only files of the folder itself are predicted: add --recursive); "
        "2 .czi, 1 .mat (image formats that are not read: convert them to TIFF or PNG)"
    )


def test_many_kinds_are_counted_only(tmp_path):
    paths = [tmp_path / f"x.a{number}" for number in range(11)]
    assert describe_passed_over(paths).endswith("1 .a7 and 3 more kinds (no images)")


def test_nothing_is_said_of_a_folder_of_images(tmp_path):
    (tmp_path / "a.png").touch()
    assert describe_passed_over(find_passed_over([tmp_path])) == ""


def test_subfolders_are_looked_into_but_for_that_of_the_results(tmp_path):
    for name in ("a.txt", "day/b.csv", "day/c.png", "out/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_passed_over([tmp_path], recursive=True, skip=tmp_path / "out")
    assert [path.name for path in found] == ["a.txt", "b.csv"]
