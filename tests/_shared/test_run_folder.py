"""Run folders: whose they are, and what is left of a failed one."""

import pytest

from unetkit._shared import run_folder
from unetkit.errors import OutputExistsError


def test_what_a_killed_process_left_before_it_trained_is_taken_over(tmp_path):
    run = tmp_path / "run"
    (run / "cache").mkdir(parents=True)
    (run / "log.txt").write_text("12:00:00  data\n")
    (run / ".lock").touch()
    (run / ".part-0a1b2c3d-0a1b2c3dconfig.toml").write_text("half")
    assert run_folder.claim(run, "x") == (run, False)


def test_a_run_that_another_process_finished_meanwhile_is_left_alone(tmp_path):
    run, _ = run_folder.claim(tmp_path / "run", "x")
    run_folder.require_unused(run)
    (run / "config.toml").touch()
    with pytest.raises(OutputExistsError, match="exists and is not empty"):
        run_folder.require_unused(run)


def test_a_run_that_was_killed_is_continued_by_what_the_message_names(tmp_path):
    (tmp_path / "config.toml").touch()
    with pytest.raises(OutputExistsError, match=rf"in it: unetkit train --resume {tmp_path}$"):
        run_folder.claim(tmp_path, "x")


@pytest.mark.parametrize("name", ["config.toml", "mine.txt"])
def test_anything_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("keep")
    with pytest.raises(OutputExistsError, match="exists and is not empty"):
        run_folder.claim(tmp_path, "x")
    assert (tmp_path / name).read_text() == "keep"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputExistsError, match="accepted is a new or an empty folder"):
        run_folder.claim(tmp_path / "run", "x")


def test_a_new_folder_goes_as_a_whole(tmp_path):
    run, is_new = run_folder.claim(tmp_path / "run", "x")
    (run / "config.toml").write_text("")
    run_folder.discard(run, is_new)
    assert not run.exists()


def test_of_an_older_folder_only_what_a_run_writes_goes(tmp_path):
    for folder in ("pictures", "checkpoints", "tensorboard", "cache"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("")
    for file in ("config.toml", "log.txt", "mine.txt"):
        (tmp_path / file).write_text("")
    run_folder.discard(tmp_path, False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("content", [b"[", b"\xff", b"a = " + b"[" * 9000])
def test_a_configuration_that_is_no_toml_is_a_value_error(tmp_path, content):
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        run_folder.load_config(tmp_path)


def test_a_configuration_is_read_unchecked(tmp_path):
    (tmp_path / "config.toml").write_text("seed = 'x'\n[training]\nsteps = 4\n")
    assert run_folder.load_config(tmp_path) == {"seed": "x", "training": {"steps": 4}}
