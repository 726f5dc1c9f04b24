"""Evaluations read back: whole, or refused by name whatever is wrong with them."""

import copy
import json
import tomllib

import pytest
import tomli_w

from tests.evaluation.test_comparison import records, write_run
from unetkit.errors import DataError, DataNotFoundError
from unetkit.evaluation.results import find_evaluations, loss_text, read_evaluation, run_record


@pytest.fixture(scope="module")
def sound(run, tmp_path_factory):
    """A folder and the content of its evaluation.json, with an example and the record of a run."""
    folder = (
        write_run(tmp_path_factory.mktemp("results"), records(0.8, count=3)) / "evaluation-pets"
    )
    result = json.loads((folder / "evaluation.json").read_text())
    case = {"name": "pet_1", "label": "worst", "number": 1, "size": [4, 5], "image": "a"}
    result |= {"cases": [case], "run": run_record(run / "model.onnx")}
    assert result["run"] is not None
    return folder, result


def test_a_written_evaluation_is_read_unchanged(sound):
    folder, result = sound
    (folder / "evaluation.json").write_text(json.dumps(result))
    read, classes = read_evaluation(folder)
    assert read == {"object_errors": [], **result}
    assert classes.names == ("pet", "background", "border")


def places(value, path=()):
    """Every place within nested tables and lists, but of lists the first entry alone."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def _is_refused(folder):
    """Whether it is refused in words; any other exception fails the test."""
    try:
        read_evaluation(folder)
    except DataError as error:
        text = str(error)
    else:
        return False
    assert "evaluation.json cannot be used (" in text
    assert text.endswith("evaluate again with --overwrite")
    return True


def test_missing_and_invalid_entries_are_refused_by_name(sound):
    folder, result = sound
    tried = refused = 0
    for path in places(result):
        for wrong in ("gone", None, "x", -1, [], {}, 1e300, True):
            damaged = copy.deepcopy(result)
            inner = damaged
            for key in path[:-1]:
                inner = inner[key]
            if wrong == "gone":
                del inner[path[-1]]
            else:
                inner[path[-1]] = wrong
            (folder / "evaluation.json").write_text(json.dumps(damaged))
            tried += 1
            refused += _is_refused(folder)
    assert tried > 1000
    assert refused > 0.7 * tried  # null is an undefined metric, "x" is valid text


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"classes": {"names": ["a"]}}', "[" * 9999])
def test_a_file_that_is_not_an_evaluation_is_refused(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(DataError, match=r"evaluation\.json cannot be used \(.*--overwrite"):
        read_evaluation(tmp_path)


class TestFind:
    def test_evaluations_of_all_folds_are_found(self, tmp_path):
        for number in (1, 2):
            write_run(tmp_path / f"fold-{number}", records(0.8, count=3))
        assert [folder.parent.name for folder in find_evaluations(tmp_path)] == ["fold-1", "fold-2"]

    def test_a_folder_without_evaluation_is_refused_with_a_remedy(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"has no evaluation; .* run: unetkit evaluate"):
            find_evaluations(tmp_path)

    def test_a_path_that_is_not_a_folder_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        for name, words in (("none", "does not exist"), ("file", "is a file")):
            with pytest.raises(
                DataNotFoundError, match=rf"{name} {words}; accepted is a run folder"
            ):
                find_evaluations(tmp_path / name)


class TestRunRecord:
    def test_the_record_describes_the_training(self, run, pets):
        record = run_record(run / "model.onnx")
        assert record["data"] == str(pets)
        assert record["recipe"]["steps"] == 4
        assert record["recipe"]["loss"] == "cross_entropy + dice"
        assert [row["step"] for row in record["curves"]] == [2, 4]
        assert record["parts"]["train"]["images"] > 0

    def test_another_file_in_a_run_folder_has_no_record(self, run):
        assert run_record(run / "other.onnx") is None

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("manifest.json", "[]"),
            ("manifest.json", "{}"),
            ("curves.csv", "a,b\n1,2\n"),
            ("curves.csv", "step,loss\n1,1e308\n"),
            ("manifest.json", "[" * 99999),
            ("config.toml", 'data = "x"\n[training]\nsteps = "x"\n'),
            ("config.toml", "["),
        ],
    )
    def test_an_unreadable_run_has_no_record(self, run, tmp_path, name, text):
        for file in ("manifest.json", "curves.csv", "config.toml"):
            (tmp_path / file).write_bytes((run / file).read_bytes())
        assert run_record(tmp_path / "model.onnx") is not None
        (tmp_path / name).write_text(text)
        assert run_record(tmp_path / "model.onnx") is None

    @pytest.mark.parametrize("loss", ['"dice"', "[1.0]", '{dice = "1"}', "{dice = nan}"])
    def test_a_run_with_an_invalid_loss_has_no_record(self, run, tmp_path, loss):
        for file in ("manifest.json", "curves.csv", "config.toml"):
            (tmp_path / file).write_bytes((run / file).read_bytes())
        config = tomllib.loads((run / "config.toml").read_text())
        config["training"]["loss"] = tomllib.loads(f"loss = {loss}")["loss"]
        (tmp_path / "config.toml").write_text(tomli_w.dumps(config))
        assert run_record(tmp_path / "model.onnx") is None


def test_a_loss_is_written_as_a_sum():
    assert loss_text({"dice": 1}) == "dice"
    assert loss_text({"cross_entropy": 1.0, "focal": 0.25}) == "cross_entropy + 0.25 focal"
    for wrong in ("dice", ["dice"], {"dice": None}, {"dice": True}, {"dice": float("inf")}):
        with pytest.raises((TypeError, ValueError), match=r"loss|dice"):
            loss_text(wrong)
