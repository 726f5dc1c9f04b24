"""`check`: statistics by hand, the report as JSON, contact sheets, split file, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from unetkit._shared.display import Display
from unetkit.checks.report import PER_ISSUE, PER_SHEET, check
from unetkit.cli.main import main
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule, read_split_names
from unetkit.errors import DataNotFoundError, OutputExistsError

SHARED = Path(__file__).parents[3] / "shared" / "data"
COUNT = 14


class RecordingDisplay(Display):
    """Records the lines, and how much of each task is done."""

    def __init__(self):
        self.lines, self.tasks = [], {}

    def say(self, text):
        self.lines.append(text)

    def task(self, name, total):
        self.tasks[name] = [total, 0]

        def advance():
            self.tasks[name][1] += 1

        return advance


def write(folder: Path, name: str, mask: list, seed: int = 0, color: bool = True) -> None:
    mask = np.array(mask)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    shape = (*mask.shape[:2], 3) if color else mask.shape[:2]
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    kind = np.uint16 if mask.max() > 255 else np.uint8
    Image.fromarray(mask.astype(kind)).save(folder / "masks" / f"{name}.png")


@pytest.fixture
def data(tmp_path) -> Path:
    """Masks of 4 x 6: in even ones 6 pixels of 255, in odd ones a column of 4."""
    for number in range(COUNT):
        mask = np.zeros((4, 6), int)
        if number % 2:
            mask[:, 2] = 255
        else:
            mask[:2, 1:3] = mask[3, 4:] = 255
        write(tmp_path / "data", f"p{number:02d}", mask, number)
    return tmp_path / "data"


@pytest.fixture
def cells(tmp_path) -> Path:
    """Objects of 9 pixels, the second of which touches the first: 2, 3, 4, 2, 3, 4 and so on."""
    for number in range(COUNT):
        mask = np.zeros((8, 20), int)
        for index in range(2 + number % 3):
            mask[1:4, 3 * index : 3 * index + 3] = 300 + index
        write(tmp_path / "cells", f"c{number:02d}", mask, number, color=False)
    return tmp_path / "cells"


# Statistics


def test_the_report_describes_the_folder(data):
    report = check(data)
    assert (report["pairs"], report["usable"], report["masks"]) == (COUNT, COUNT, "masks")
    assert report["images"] == {
        "sizes": [{"size": [4, 6], "images": COUNT}],
        "num_sizes": 1,
        "smallest": [4, 6],
        "largest": [4, 6],
        "channels": {3: COUNT},
        "dtypes": {"uint8": COUNT},
        "formats": {"PNG": COUNT},
        "rotated": 0,
        "levels": "3 channels, uint8, 0 to 255",
    }
    assert report["kind"] == "classes"
    # 7 masks with 6 and 7 with 4 of 24 pixels: 70 of 336.
    assert report["classes"] == [
        {"name": "background", "value": "0", "pixels": pytest.approx(266 / 336), "images": 1.0},
        {"name": "foreground", "value": "255", "pixels": pytest.approx(70 / 336), "images": 1.0},
    ]
    # Even masks have regions of 4 and 2 pixels, odd ones one of 4: 14 of 4 and 7 of 2; numbers 2
    # and 1 seven times each, median 1.5. Of 21 areas the fifth per cent is 2, the others are 4.
    assert report["objects"] == [
        {"what": "regions of foreground", "count": 21, "per_image": [1, 1.5, 2], "area": [2, 4, 4]}
    ]
    assert sum(report["split"].values()) == COUNT
    assert report["findings"] == []


def test_the_fraction_of_images_counts_those_where_a_class_occurs(data):
    write(data, "p00", np.zeros((4, 6)), 0)
    report = check(data)
    assert [row["images"] for row in report["classes"]] == [1.0, 13 / 14]
    assert [issue["code"] for issue in report["findings"]] == ["empty-mask"]


def test_ignored_pixels_have_their_own_row(data):
    write(data, "p00", [[0, 255, 7, 7, 0, 0]] + [[255] * 6] * 3, 0)
    row = check(data, classes={"ignore": 7})["classes"][-1]
    # 2 of 14 x 24 pixels, in one of 14 images.
    assert row == {"name": "(ignored)", "value": "7", "pixels": 2 / 336, "images": 1 / 14}


def test_touching_objects_are_counted_by_their_number(cells):
    report = check(cells, classes={"kind": "instances"})
    # 2, 3, 4 in turn over 14 masks: 5 x 2 + 5 x 3 + 4 x 4 = 41 objects of 9 pixels.
    assert report["objects"] == [
        {"what": "objects", "count": 41, "per_image": [2, 3.0, 4], "area": [9.0, 9.0, 9.0]}
    ]
    assert report["classes"][1]["pixels"] == pytest.approx(41 * 9 / (14 * 160))
    assert report["kind"] == "instances"


def test_ignored_objects_are_not_counted(cells):
    report = check(cells, classes={"kind": "instances", "ignore": 300})
    assert report["objects"][0]["count"] == 41 - 14


def test_objects_of_polygon_files_are_counted(tmp_path):
    for number in range(COUNT):
        write(tmp_path, f"d{number:02d}", np.zeros((4, 6)), number)
        (tmp_path / "masks" / f"d{number:02d}.png").unlink()
        box = {"label": "cell", "points": [[0, 0], [2, 3]], "shape_type": "rectangle"}
        document = {"shapes": [box], "imagePath": f"d{number:02d}.png"}
        (tmp_path / "masks" / f"d{number:02d}.json").write_text(json.dumps(document))
    report = check(tmp_path)
    assert report["kind"] == "classes"
    assert report["objects"][0] == {
        "what": "objects",
        "count": COUNT,
        "per_image": [1, 1.0, 1],
        "area": [6.0, 6.0, 6.0],
    }


def test_sizes_are_listed_by_frequency(data):
    write(data, "p00", np.full((9, 5), 255), 0)
    images = check(data)["images"]
    assert images["sizes"] == [{"size": [4, 6], "images": 13}, {"size": [9, 5], "images": 1}]
    assert (images["smallest"], images["largest"]) == ([4, 6], [9, 5])


def test_colours_and_thresholds_have_no_regions(data):
    assert check(data, classes={"kind": "colours"})["objects"] == []
    assert check(data, classes={"threshold": 127})["objects"] == []


def test_undecided_values_are_none_in_the_report(data):
    write(data, "p00", [[0, 1, 255, 9]], 0)
    report = check(data)
    assert (report["kind"], report["classes"], report["objects"]) == (None, [], [])
    assert {issue["level"] for issue in report["findings"]} == {"error"}


@pytest.mark.parametrize("given", [{}, {"kind": "colours"}, {"ignore": 9}, {"threshold": 3}])
def test_the_report_is_json(data, given):
    report = check(data, classes=given)
    assert json.loads(json.dumps(report, allow_nan=False))["pairs"] == COUNT


def test_the_report_of_objects_is_json(cells):
    report = check(cells, classes={"kind": "instances"})
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again["objects"] == report["objects"]


def test_the_report_without_usable_pairs_is_json(data):
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    report = check(data)
    assert json.loads(json.dumps(report, allow_nan=False))["usable"] == 0
    assert report["images"]["smallest"] is None
    assert report["split"] is None


def test_progress_is_shown(data):
    display = RecordingDisplay()
    check(data, display=display)
    assert display.tasks == {"reading the pairs": [COUNT, COUNT]}


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="does not exist"):
        check(tmp_path / "nowhere")


# Contact sheets


def test_contact_sheets_are_written(data, tmp_path):
    display = RecordingDisplay()
    report = check(data, pictures=tmp_path / "new" / "sheets", display=display)
    assert report["pictures"] == [str(tmp_path / "new" / "sheets" / "pairs_1.png")]
    assert display.tasks["drawing contact sheets"] == [1, 1]
    with Image.open(report["pictures"][0]) as sheet:
        assert sheet.width == 1800


def test_pairs_with_issues_have_their_own_sheets(data, tmp_path):
    for number in range(4):
        write(data, f"p{number:02d}", np.zeros((4, 6)), number)
    report = check(data, pictures=tmp_path / "sheets")
    names = [Path(path).name for path in report["pictures"]]
    assert names == ["pairs_1.png", "findings_1.png"]


def test_sheets_take_pairs_evenly_from_many(tmp_path, monkeypatch):
    drawn = {}

    def keep(path, samples, classes):
        drawn[path.name] = [sample.caption for sample in samples]

    monkeypatch.setattr("unetkit.checks.report.draw_samples", keep)
    for number in range(100):
        mask = np.full((5, 6), 255) * (number % 2)
        write(tmp_path / "data", f"p{number:03d}", mask, number)
    check(tmp_path / "data", pictures=tmp_path / "sheets")
    names = [name for i in (1, 2, 3) for name in drawn[f"pairs_{i}.png"]]
    assert len(names) == len(set(names)) == 3 * PER_SHEET
    assert (names[0], names[-1]) == ("p000", "p099")
    # 50 masks are empty; a dozen are shown.
    assert drawn["findings_1.png"] == [
        f"p{number:03d}\nempty-mask" for number in range(0, 2 * PER_ISSUE, 2)
    ]
    assert "findings_2.png" not in drawn


def test_duplicates_are_side_by_side(data, tmp_path, monkeypatch):
    captions = []

    def keep(path, samples, classes):
        captions[:] = [sample.caption for sample in samples]

    monkeypatch.setattr("unetkit.checks.report.draw_samples", keep)
    for source, target in ((0, 9), (3, 5)):
        picture = data / "images" / f"p{source:02d}.png"
        (data / "images" / f"p{target:02d}.png").write_bytes(picture.read_bytes())
    check(data, pictures=tmp_path / "sheets", rule=SplitRule(test_fraction=0))
    names = [caption.split("\n")[0] for caption in captions]
    assert abs(names.index("p00") - names.index("p09")) == 1
    assert abs(names.index("p03") - names.index("p05")) == 1


def test_there_are_no_sheets_while_masks_are_ambiguous(data, tmp_path):
    write(data, "p00", [[0, 1, 255, 9]], 0)
    display = RecordingDisplay()
    report = check(data, pictures=tmp_path / "sheets", display=display)
    assert report["pictures"] == []
    assert display.lines[-1].startswith("contact sheets are not drawn: ")


def test_sheets_need_an_empty_folder(data, tmp_path):
    (tmp_path / "sheets").mkdir()
    check(data, pictures=tmp_path / "sheets")
    with pytest.raises(OutputExistsError, match="sheets exists already; accepted is a new name"):
        check(data, pictures=tmp_path / "sheets")


def test_instances_are_drawn_with_their_objects(cells, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        "unetkit.checks.report.draw_samples", lambda path, samples, classes: found.extend(samples)
    )
    check(cells, classes={"kind": "instances"}, pictures=tmp_path / "sheets")
    assert np.unique(found[2].objects).tolist() == [0, 300, 301, 302, 303]
    assert np.unique(found[2].mask).tolist() == [0, 1]


# The split file


def test_the_split_is_written(data, tmp_path):
    file = tmp_path / "new" / "split.json"
    report = check(data, write_split=file, rule=SplitRule(seed=3))
    assert report["write_split"] == str(file)
    names = read_split_names(file)
    assert {part: len(members) for part, members in names.items()} == report["split"]
    every = sorted(name for members in names.values() for name in members)
    assert every == [f"p{number:02d}" for number in range(COUNT)]
    assert check(data, rule=SplitRule(file=str(file)))["split"] == report["split"]


def test_a_split_file_omits_bad_pairs_and_gives_the_reason(data, tmp_path):
    (data / "images" / "p04.png").write_bytes(b"")
    check(data, write_split=tmp_path / "split.json")
    record = json.loads((tmp_path / "split.json").read_text())
    assert [entry["name"] for entry in record["skipped"]] == ["p04"]
    assert "is empty" in record["skipped"][0]["why"]
    assert len(record["train"][0]["image_sha256"]) == 64


def test_an_existing_split_file_is_kept(data, tmp_path):
    (tmp_path / "split.json").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"split\.json exists already"):
        check(data, write_split=tmp_path / "split.json")
    assert (tmp_path / "split.json").read_text() == "mine"


def test_without_a_split_there_is_no_split_file_but_a_report(data, tmp_path):
    display = RecordingDisplay()
    file = tmp_path / "split.json"
    report = check(data, write_split=file, rule=SplitRule(group_by="patient"), display=display)
    assert report["write_split"] is None
    assert not file.exists()
    assert display.lines[-1].startswith(f"{file} is not written: ")
    assert [issue["code"] for issue in report["findings"]] == ["split"]


# The command line


def run(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_a_clean_folder_ends_with_0(data):
    done = run(data)
    assert done.exit_code == 0, done.output
    assert "14 of 14 pairs" in done.stdout
    assert "20.83% of the pixels, in 100.0% of the images" in done.stdout
    assert "no issues found" in done.stdout


def test_errors_end_with_1(data):
    (data / "images" / "p04.png").write_bytes(b"")
    done = run(data)
    assert done.exit_code == 1
    assert "13 of 14 pairs" in done.stdout
    assert "1 pair cannot be read" in " ".join(done.stdout.split())


def test_warnings_end_with_0(data):
    write(data, "p00", np.zeros((4, 6)), 0)
    assert run(data).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "colors"], "did you mean 'colours'?"),
        (["--classes", "a,b,c", "--kind", "instances"], "3 class names are given"),
        (["--group-by", "("], "not a regular expression"),
        (["--channel-axis", "middle"], "--channel-axis is 'middle'"),
        (["--test-fraction", "2"], "--test-fraction 2.0"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_usage_ends_with_2(data, arguments, message):
    done = run(data, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout in ("", "loading   the libraries\n")  # before the values are seen


def test_no_folder_ends_with_2():
    assert run().exit_code == 2


def test_a_folder_without_pairs_ends_with_1(tmp_path):
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "contains no images" in done.stderr


@pytest.mark.parametrize("bad", [False, True])
def test_only_json_is_printed(data, tmp_path, bad):
    if bad:
        (data / "images" / "p04.png").write_bytes(b"")
    done = run(data, "--json", "--pictures", tmp_path / "sheets")
    report = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert (report["pairs"], report["usable"]) == (COUNT, COUNT - bad)
    assert done.exit_code == int(bad)
    assert Path(report["pictures"][0]).is_file()


def test_json_of_a_failure_is_json_too(tmp_path):
    done = run(tmp_path / "nowhere", "--json")
    assert done.exit_code == 1
    assert "does not exist" in json.loads(done.stdout)["error"]


def test_options_choose_the_files(data, tmp_path):
    options = ["--classes", "glass, cell", "--ignore", "9", "--seed", "5", "--test-fraction", "0"]
    done = run(data, "--json", *options, "--write-split", tmp_path / "split.json")
    report = json.loads(done.stdout)
    assert [row["name"] for row in report["classes"]] == ["glass", "cell", "(ignored)"]
    assert report["split"]["test"] == 0
    assert (tmp_path / "split.json").is_file()


def test_a_class_file_beside_the_data_is_read(data):
    (data / "classes.json").write_text('{"classes": {"background": 0, "cell": 255}}')
    done = run(data, "--json")
    assert [row["name"] for row in json.loads(done.stdout)["classes"]] == ["background", "cell"]


# Real data


@pytest.mark.skipif(not (SHARED / "dic-hela").is_dir(), reason="needs the shared pictures")
def test_microscope_images_of_cells_are_read(tmp_path):
    sources = Sources(masks="GT/SEG")
    report = check(SHARED / "dic-hela", sources=sources, pictures=tmp_path / "sheets")
    assert (report["pairs"], report["kind"]) == (18, "instances")
    found = {issue["code"]: issue for issue in report["findings"]}
    assert found["few-objects"]["names"] == ("01/t067",)
    assert "--group-by '^([^/]+)/'" in found["folders"]["remedy"]
    assert len(report["pictures"]) == 2
