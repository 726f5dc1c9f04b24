"""Every run below a folder is listed: newest first, damaged ones with what is wrong with them."""

import json
import os
import re
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from tests._shared.test_manifest import VALUES
from tests.evaluation.test_comparison import records
from tests.evaluation.test_comparison import write_run as write_evaluation
from unetkit import list_runs
from unetkit._shared.manifest import write_manifest
from unetkit.cli.main import main
from unetkit.errors import DataNotFoundError

CONFIG = 'data = "/data/photos"\npreset = "fast"\n[training]\nsteps = 4\n'


def make_run(folder, *, config=CONFIG, **values):
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config)
    if values.get("state", True) is not None:
        write_manifest(folder, {**VALUES, **values})
    return folder


def names(folder):
    return [os.path.relpath(run["run"], folder).replace(os.sep, "/") for run in list_runs(folder)]


def test_a_run_is_listed_with_its_progress_and_metrics(tmp_path):
    run = make_run(tmp_path / "pets-fast")
    write_evaluation(run, records(0.8, count=3))
    changed = datetime.fromtimestamp((run / "manifest.json").stat().st_mtime, UTC)
    result = json.loads((run / "evaluation-pets" / "evaluation.json").read_text())
    assert list_runs(tmp_path) == [
        {
            "run": str(run),
            "date": "2026-11-26T08:00:00+00:00",
            "preset": "fast",
            "data": "/data/photos",
            "state": "finished",
            "steps_done": 4,
            "steps": 4,
            "minutes": 1.5,
            "best_step": 4,
            "best_mean_iou": 0.75,
            "last_change": changed.isoformat(timespec="seconds"),
            "evaluations": [
                {
                    "folder": "evaluation-pets",
                    "part": "test",
                    "data": "x",
                    "mean_iou": result["figures"]["original"]["summed"]["mean_iou"],
                    "problem": None,
                }
            ],
            "problem": None,
        }
    ]


def test_a_run_that_was_trained_is_found(run):
    (found,) = [one for one in list_runs(run.parent) if one["run"] == str(run)]
    assert (found["state"], found["steps_done"], found["steps"]) == ("finished", 4, 4)
    assert 0 < found["best_mean_iou"] < 1
    assert found["minutes"] is not None
    assert found["problem"] is None


class TestFind:
    def test_runs_are_found_at_any_depth_folds_included(self, tmp_path):
        for name in ("a", "deep/er/b", "photos-folds/fold-1", "photos-folds/fold-2"):
            make_run(tmp_path / name)
        (tmp_path / "photos-folds" / "folds.json").write_text("{}")
        (tmp_path / "empty").mkdir()
        assert names(tmp_path) == ["a", "deep/er/b", "photos-folds/fold-1", "photos-folds/fold-2"]

    def test_the_folder_itself_may_be_one(self, tmp_path):
        make_run(tmp_path / "a")
        assert names(tmp_path / "a") == ["."]

    def test_the_newest_comes_first(self, tmp_path):
        make_run(tmp_path / "noon", date="2026-11-26T12:00:00+00:00")
        make_run(tmp_path / "before", date="2026-11-26T12:30:00+02:00")  # 10:30 in UTC
        make_run(tmp_path / "last", date="2026-11-26T13:00:00+00:00")
        unknown = make_run(tmp_path / "unknown", date="yesterday")
        for file in unknown.iterdir():
            os.utime(file, (0, 0))
        assert names(tmp_path) == ["last", "noon", "before", "unknown"]
        assert list_runs(tmp_path)[-1]["date"] == "1970-01-01T00:00:00+00:00"

    def test_what_a_run_keeps_is_no_run_and_other_folders_within_it_may_be(self, tmp_path):
        run = make_run(tmp_path / "a")
        for name in ("checkpoints", "cache", "pictures", "evaluation-x", ".hidden", "again"):
            make_run(run / name)
        assert names(tmp_path) == ["a", "a/again"]

    def test_another_program_s_files_are_no_run(self, tmp_path):
        make_run(tmp_path / "site", config='title = "x"\n', state=None)
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "manifest.json").write_text("{}")
        assert list_runs(tmp_path) == []

    def test_links_in_circles_are_not_followed(self, tmp_path):
        run = make_run(tmp_path / "a")
        try:
            (run / "again").symlink_to(tmp_path)
        except OSError:
            pytest.skip("links cannot be made here")
        assert names(tmp_path) == ["a"]

    def test_a_path_that_is_no_folder_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        for name, words in (("none", "does not exist"), ("file", "is a file")):
            with pytest.raises(DataNotFoundError, match=rf"{name} {words}; accepted is a folder"):
                list_runs(tmp_path / name)


class TestStates:
    def test_an_interrupted_run_has_its_step(self, tmp_path):
        sessions = [
            {"from_step": 0, "to_step": 1, "seconds": 60.0},
            {"from_step": 1, "to_step": 2, "seconds": 30.0},
            {"from_step": 2},
        ]
        make_run(
            tmp_path / "a",
            state="interrupted",
            steps_done=2,
            sessions=sessions,
            training_seconds=None,
            best={"step": 0, "mean_iou": -1.0},
        )
        (found,) = list_runs(tmp_path)
        assert (found["state"], found["steps_done"], found["steps"]) == ("interrupted", 2, 4)
        assert found["minutes"] == 1.5
        assert found["best_mean_iou"] is None

    def test_a_run_in_training_has_the_time_of_its_last_change(self, tmp_path):
        run = make_run(tmp_path / "a", state="training", sessions=[], training_seconds=None)
        (run / "log.txt").touch()
        os.utime(run / "log.txt", (4e9, 4e9))
        (found,) = list_runs(tmp_path)
        assert found["last_change"] == datetime.fromtimestamp(4e9, UTC).isoformat()
        assert found["minutes"] is None

    def test_a_run_that_has_not_begun_is_reported(self, tmp_path):
        make_run(tmp_path / "a", state=None)
        (found,) = list_runs(tmp_path)
        assert found["state"] is None
        assert (found["preset"], found["steps"]) == ("fast", 4)
        assert (
            "holds no manifest.json: training has not begun, or was done by another"
            in found["problem"]
        )


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            (
                "manifest.json",
                "[]",
                r"manifest\.json cannot be used \(\$ is \[\]; accepted is an object\)",
            ),
            ("manifest.json", '{"schema": 1, "state": "x"}', "state is 'x', none of"),
            (
                "manifest.json",
                '{"schema": 1, "state": "failed", "best": 3}',
                r"best is 3; accepted",
            ),
            ("manifest.json", "[" * 99999, "nested deeper than 100"),
            ("config.toml", "[", r"config\.toml cannot be read"),
            ("config.toml", "a = " + "[" * 9999, r"config\.toml cannot be read"),
        ],
    )
    def test_a_problem_is_reported_and_the_others_are_listed(self, tmp_path, name, text, words):
        bad = make_run(tmp_path / "bad")
        (bad / name).write_text(text)
        make_run(tmp_path / "good")
        found = {os.path.basename(run["run"]): run for run in list_runs(tmp_path)}
        assert found["good"]["problem"] is None
        assert re.search(words, found["bad"]["problem"])

    @pytest.mark.parametrize(
        "config",
        [
            'data = 3\npreset = ["fast"]\ntraining = 3\n',
            'data = {a = 1}\npreset = 1979-05-27\n[training]\nsteps = "4"\n',
            "data = 1\npreset = 1\n[training]\nsteps = 1e999\n",
            f"data = 1\npreset = 1\n[training]\nsteps = {'9' * 60}\n",
            "data = 1\npreset = 1\n[[training]]\n",
            "data = 1\npreset = 1\n[training]\nsteps = true\n",
        ],
    )
    def test_values_of_another_kind_are_not_known(self, tmp_path, config):
        make_run(tmp_path / "a", config=config)
        (found,) = list_runs(tmp_path)
        assert (found["data"], found["preset"], found["steps"]) == (None, None, None)
        json.dumps(found, allow_nan=False)
        assert CliRunner().invoke(main, ["runs", str(tmp_path)]).exit_code == 0

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "Expecting value"),
            ("[]", "$ is []; accepted is an object"),
            ("{}", "$ has no key 'part'"),
            ('{"figures": {"original": {"summed": {"mean_iou": "0.5"}}}}', "mean_iou is '0.5'"),
            (
                '{"figures": {"original": {"summed": {"mean_iou": NaN}}}}',
                "NaN is not a number of JSON",
            ),
            ('{"figures": {"original": {"summed": {"mean_iou": 1e99}}}}', r"mean_iou is 1e\+99"),
            ('{"figures": {"original": {"summed": {"mean_iou": true}}}}', "mean_iou is True"),
            ('{"figures": {"original": {"summed": {"mean_iou": 0.5}}}}', "$ has no key 'part'"),
            ("[" * 99999, "nested deeper than 100"),
        ],
    )
    def test_a_damaged_evaluation_has_a_problem_of_its_own(self, tmp_path, text, words):
        run = make_run(tmp_path / "a")
        write_evaluation(run, records(0.8, count=3))
        (run / "evaluation-bad").mkdir()
        (run / "evaluation-bad" / "evaluation.json").write_text(text)
        (found,) = list_runs(tmp_path)
        assert found["problem"] is None
        bad, good = found["evaluations"]
        assert words.replace("\\", "") in bad["problem"]
        assert bad["problem"].endswith("evaluate again with --overwrite")
        assert good["mean_iou"] > 0

    def test_an_absent_metric_is_none_and_no_damage(self, tmp_path):
        run = make_run(tmp_path / "a")
        write_evaluation(run, records(0.8, count=3))
        file = run / "evaluation-pets" / "evaluation.json"
        result = json.loads(file.read_text())
        result["figures"]["original"]["summed"]["mean_iou"] = None
        file.write_text(json.dumps(result))
        (row,) = list_runs(tmp_path)[0]["evaluations"]
        assert (row["mean_iou"], row["problem"]) == (None, None)


class TestCommand:
    def test_all_are_shown_and_what_is_wrong_below(self, tmp_path):
        make_run(tmp_path / "good")
        (make_run(tmp_path / "bad") / "manifest.json").write_text("[]")
        done = CliRunner().invoke(main, ["runs", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert "0.750" in done.output
        assert f"{tmp_path / 'bad' / 'manifest.json'} cannot be used" in done.output

    def test_json_is_all_that_is_printed(self, tmp_path):
        make_run(tmp_path / "a")
        done = CliRunner().invoke(main, ["runs", str(tmp_path), "--json"])
        assert json.loads(done.stdout) == list_runs(tmp_path)

    def test_without_a_folder_it_is_the_one_that_training_makes(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(main, ["runs"])
        assert done.exit_code == 1
        assert "folder runs does not exist; accepted is a folder with runs below" in done.stderr
        make_run(tmp_path / "runs" / "a")
        assert "fast" in CliRunner().invoke(main, ["runs"]).output

    def test_without_runs_the_command_to_train_one_is_shown(self, tmp_path):
        done = CliRunner().invoke(main, ["runs", str(tmp_path)])
        assert done.exit_code == 0
        assert "no runs in" in done.output
        assert "unetkit train DATA" in done.output
