"""Nothing from outside reaches the terminal as it is: names, metadata, annotations, exceptions."""

import ast
import io
import json
import logging
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.table import Table
from rich.text import Text

from tests.cli.test_group import every_command
from tests.conftest import SMALL_CONFIG
from tests.test_architecture import MODULES
from unetkit._shared.wording import is_shown
from unetkit.cli.console import ConsoleDisplay, GatedConsole, shown
from unetkit.cli.group import Commands
from unetkit.cli.main import main
from unetkit.cli.terminal import echo, gate_logs, print_json
from unetkit.errors import DataError

# The title of the window, a forged line, the order of reading reversed, C1 controls, bad bytes.
ORDERS = "a\x1b]0;PWNED\x07\x1b[2J\nunetkit: forged\r\x9b2J\u202e\u2066\u2028\udcff\x7f[red]:pig:"
WITH_SUCH_NAMES = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="file names are bytes on Linux only"
)
WRITERS = re.compile(
    r"(?<![.\w])print\(|click\.(s?echo|style|confirm|prompt|progressbar)\b|sys\.(std(out|err)|__std)"
    r"|(?<!Gated)\bConsole\(|\bos\.write\("
)


def texts_of(result):
    """Standard output and standard error of a command, neither of which holds an order."""
    for text in (result.stdout, result.stderr):
        assert [c for c in text if not is_shown(c) and c != "\n"] == []
        assert not any(line.startswith("unetkit: forged") for line in text.splitlines())
    return result.stdout, result.stderr


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    output, errors = texts_of(result)
    assert result.exit_code == code, (output, errors, result.exception)
    return output, errors


class TestPrintable:
    def test_plain_text_is_one_line_with_escapes(self, capsys):
        echo(ORDERS)
        text = capsys.readouterr().out
        assert text == (
            "a\\x1b]0;PWNED\\x07\\x1b[2J\\nunetkit: forged\\r\\x9b2J\\u202e\\u2066\\u2028\\udcff"
            "\\x7f[red]:pig:\n"
        )

    def test_names_of_all_scripts_stay_readable(self, capsys):
        names = "Füße 細胞\u3000画像 Ткань\xa0№1 🐱.png"
        echo(names)
        assert capsys.readouterr().out == f"{names}\n"

    def test_json_is_one_line_that_keeps_names(self, capsys):
        value = {"Füße.png": [1, None], ORDERS: ["\U000e0001", "🐱"]}
        print_json(value)
        text = capsys.readouterr().out
        assert all(map(is_shown, text.removesuffix("\n")))
        assert json.loads(text) == value
        assert "Füße.png" in text
        assert "🐱" in text

    def test_log_records_and_warnings_of_libraries_pass(self, capsys, monkeypatch):
        monkeypatch.setattr(logging.lastResort, "formatter", None)
        monkeypatch.setattr(logging.getLogger("unetkit.x"), "propagate", False)
        logging.captureWarnings(False)  # a command of another test may have left it on
        gate_logs()
        try:
            logging.getLogger("unetkit.x").warning("cannot read %s", ORDERS)
            text = capsys.readouterr().err
            assert text.startswith("WARNING: cannot read a\\x1b]0;")
            assert text.count("\n") == 1
            assert warnings.showwarning is logging._showwarning
        finally:
            logging.captureWarnings(False)


def test_a_message_of_several_lines_keeps_them_and_no_others():
    @click.group(cls=Commands)
    def group():
        pass

    @group.command("fail")
    def fail():
        raise DataError("a\n.png is cut", "b\x1b.png is cut")

    done = CliRunner().invoke(group, ["fail"])
    assert done.exit_code == 1
    assert done.stderr == "unetkit: error: a\\n.png is cut\nb\\x1b.png is cut\n"


class TestConsole:
    def terminal(self):
        return GatedConsole(file=io.StringIO(), force_terminal=True, width=300)

    def text_of(self, console):
        """What is shown, once the console's own orders are taken out."""
        text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", console.file.getvalue())
        assert [c for c in text if not is_shown(c) and c != "\n"] == []
        return text

    def test_what_a_display_says_is_one_line(self):
        console = self.terminal()
        display = ConsoleDisplay(console)
        display.say(ORDERS)
        display.warn(ORDERS)
        lines = self.text_of(console).splitlines()
        assert len(lines) == 2
        assert all(line.endswith("\\x7f[red]:pig:") for line in lines)

    def test_what_a_progress_line_is_called(self):
        console = self.terminal()
        display = ConsoleDisplay(console)
        display.waiting(ORDERS)
        display.task(ORDERS, 2)()
        display.finish()
        assert "PWNED\\x07" in self.text_of(console)

    @pytest.mark.parametrize("make", [str, Text, Text.from_ansi, lambda text: shown(text, "red")])
    def test_cells_of_a_table_hold_no_orders_however_they_are_made(self, make):
        console = self.terminal()
        table = Table("x", title=make(ORDERS))
        table.add_row(make(ORDERS))
        console.print(table)
        console.print(make(ORDERS))
        self.text_of(console)


def test_only_the_gate_writes():
    """Elsewhere, no code of the package writes to the standard streams, or makes a console."""
    allowed = {
        "cli.terminal": {"echo"},
        "cli.group": {"main", "_output_fails", "_discard_output", "quiet_stderr"},  # descriptors
        "cli.main": {"main"},  # how its characters are encoded
        "cli.predict": {"predict_pipe"},  # the bytes of an image
        "cli.console": {"GatedConsole"},
        # to the process that started it: numbers, answers, frames
        "prediction.memory": {"_print_needs"},
        "serve.worker": {"run"},
        "video.decoder": {"run_decoder"},
        "results.records": {"Records", "_open_to_append"},  # lines of an open file
    }
    found = set()
    for name, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            code = ast.unparse(ast.Module([node], []))
            if WRITERS.search(code):
                found.add((name, getattr(node, "name", "?")))
    known = {(module, name) for module, names in allowed.items() for name in names}
    known |= {("cli.group", "Commands"), ("cli.terminal", "print_json")}
    assert found - known == set()


@pytest.fixture(scope="module")
def place(pets, run, tmp_path_factory):
    """A data set and a run in folders of such names."""
    place = tmp_path_factory.mktemp("orders") / ORDERS
    shutil.copytree(pets, place / "data")
    shutil.copytree(run, place / "run")
    return place


@WITH_SUCH_NAMES
class TestEveryCommand:
    def test_arguments_and_values_of_options(self, tmp_path, monkeypatch):
        """Whatever refuses them, Click or the library."""
        monkeypatch.chdir(tmp_path)
        seen = 0
        for command in every_command():
            prefix = ["data"] if command.name not in main.commands else []
            arguments = [p for p in command.params if isinstance(p, click.Argument)]
            words = [*prefix, command.name, *(ORDERS for _ in arguments)]
            for extra in ([], [ORDERS], [f"--{ORDERS}"]):
                if command.name in ("demo", "synthetic-pets", "synthetic-cells") and not extra:
                    continue  # they succeed, which takes long
                texts_of(CliRunner().invoke(main, [*words, *extra]))
            for parameter in command.params:
                if isinstance(parameter, click.Option) and not parameter.is_flag:
                    if command.name == "demo" and parameter.name == "out":
                        continue
                    result = CliRunner().invoke(main, [*words, parameter.opts[0], ORDERS])
                    texts_of(result)
                    assert result.exit_code != 0, (words, parameter.opts)
                    seen += 1
        assert seen > 60

    def test_commands_that_do_not_exist(self):
        for words in ([ORDERS], ["data", ORDERS], [f"--{ORDERS}"]):
            assert "PWNED\\x07" in invoke(*words, code=2)[1]

    @pytest.mark.parametrize("kind", ["pets", "cells"])
    def test_synthetic_data(self, kind, tmp_path):
        # OpenCV takes no names of undecodable bytes
        folder = tmp_path / ORDERS.replace("\udcff", "")
        output, _ = invoke("data", f"synthetic-{kind}", folder, "--count", 2)
        assert "PWNED\\x07" in output

    def test_demo(self, tmp_path):
        (tmp_path / ORDERS).mkdir()
        (tmp_path / ORDERS / "x").touch()
        assert "PWNED\\x07" in invoke("demo", "--out", tmp_path / ORDERS, code=1)[1]

    def test_check(self, place, tmp_path):
        data = tmp_path / "data"
        shutil.copytree(place / "data", data)
        for part in ("images", "annotations/trimaps"):
            folder = data / part
            first = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))[0]
            first.rename(folder / f"{ORDERS}{first.suffix}")
        (data / "images" / f"{ORDERS}.jpg").write_bytes(b"\xff\xd8\x1b]0;broken")
        output, errors = invoke("check", data, code=1)
        assert "PWNED" in output + errors
        output, _ = invoke("check", data, "--json", code=1)
        assert "PWNED" in str(json.loads(output))
        invoke("check", place / "data")

    def test_predict(self, place, tmp_path):
        (tmp_path / "in").mkdir()
        source = next((place / "data" / "images").glob("*.jpg"))
        shutil.copy(source, tmp_path / "in" / f"{ORDERS}.jpg")
        (tmp_path / "in" / f"b{ORDERS}.png").write_bytes(b"\x89PNG\r\n\x1a\n\x1b]0;broken\n")
        words = ["predict", tmp_path / "in", "-m", place / "run"]
        output, _ = invoke(*words, "-o", tmp_path / ORDERS, code=1)
        assert "PWNED\\x07" in output
        output, _ = invoke(*words, "-o", tmp_path / "o", "--json", code=1)
        found = [json.loads(line) for line in output.splitlines()]
        assert {Path(row["image"]).name for row in found} == set(os.listdir(tmp_path / "in"))

    def test_info_export_verify_runs_and_report(self, place, tmp_path):
        assert "PWNED" in invoke("info", place / "run", "--layers")[0]
        assert "PWNED" in invoke("export", place / "run", "--out", tmp_path / f"{ORDERS}.onnx")[0]
        assert "PWNED" in invoke("verify", place / "run", "--data", place / "data")[0]
        output, _ = invoke("verify", place / "run", "--data", place / "data", "--json")
        assert json.loads(output)["run"] == str(place / "run")
        assert "PWNED" in invoke("runs", place)[0].replace("\n", "")
        assert json.loads(invoke("runs", place, "--json")[0])[0]["run"] == str(place / "run")
        words = ["evaluate", place / "run", "--data", place / "data"]
        assert "PWNED\\x07" in invoke(*words)[0]
        assert "PWNED\\x07" in invoke(*words, code=1)[1]  # there are results
        assert "PWNED\\x07" in invoke("report", place / "run")[0]
        invoke("compare", place / "run", place / "run")
        invoke("compare", place / "run", place / "run", "--json")

    def test_train(self, place, tmp_path):
        config = tmp_path / "small.toml"
        text = "".join(
            f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())
            for name, values in SMALL_CONFIG.items()
        )
        config.write_text(text)
        out = place / "trained"
        result = CliRunner().invoke(
            main, ["train", str(place / "data"), "--config", str(config), "--out", str(out)]
        )
        output, errors = texts_of(result)
        assert "PWNED\\x07" in output
        assert result.exit_code == 1
        assert "accepted are names in UTF-8; rename the file or folder" in errors
