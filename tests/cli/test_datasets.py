"""`unetkit data`: names, suggestions, and counts."""

import pytest
from click.testing import CliRunner

from unetkit.cli.main import main


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("pets", "'oxford-pets' or 'synthetic-pets'?"),
        ("oxfordpets", "'oxford-pets'?"),
        ("cells", "'synthetic-cells'?"),
    ],
)
def test_an_unknown_data_set_gets_a_suggestion(word, meant):
    done = CliRunner().invoke(main, ["data", word])
    assert done.exit_code == 2
    assert f"did you mean {meant}" in done.output


@pytest.mark.parametrize(("count", "text"), [(1, "1 image of"), (2, "2 images of")])
def test_the_number_of_images_agrees_with_its_noun(tmp_path, count, text):
    arguments = ["data", "synthetic-cells", str(tmp_path / "cells"), "--count", str(count)]
    done = CliRunner().invoke(main, [*arguments, "--size", "48x64"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"{text} synthetic cells in {tmp_path / 'cells'}"
