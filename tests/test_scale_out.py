"""The simulated cluster does every image once, whatever goes wrong; sizing is arithmetic."""

import runpy
import sys
from dataclasses import replace
from itertools import pairwise, product
from math import ceil
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def simulated():
    import simulated_cluster

    return simulated_cluster


@pytest.fixture(scope="module")
def rough(simulated):
    """A small cluster in which much goes wrong: tasks take a third of the time between failures."""
    return simulated.Cluster(
        images=20_011,
        workers=7,
        rate=1.0,
        batch=250,
        start=5.0,
        failure=800.0,
        restart=60.0,
        slow_workers=0.3,
        slow_every=2000.0,
        slow_for=300.0,
    )


@pytest.mark.parametrize(
    ("recorded", "copies", "seed"), [*product((0, 1, 64), (False, True), range(3))]
)
def test_every_image_is_done_once_and_none_is_lost(simulated, rough, recorded, copies, seed):
    outcome = simulated.simulate(replace(rough, recorded=recorded, copies=copies), seed)
    parts = sorted(outcome.finished)
    assert parts[0][0] == 0
    assert all(first + count == after for (first, count), (after, _) in pairwise(parts))
    assert sum(parts[-1]) == rough.images
    assert outcome.failures > 10
    assert outcome.started > ceil(rough.images / rough.batch)
    # What was done twice is less than a task for each failure, and a task for each copy.
    assert outcome.repeated <= outcome.started * rough.batch
    if recorded == 1 and not copies:
        assert outcome.repeated == 0


def test_records_of_each_image_save_what_a_task_loses(simulated, rough):
    lost = [
        simulated.simulate(replace(rough, recorded=recorded, copies=False), 1).repeated
        for recorded in (1, 64, 0)
    ]
    assert lost == sorted(lost)
    assert lost[0] < lost[1] < lost[2]


def test_time_where_nothing_goes_wrong(simulated):
    calm = simulated.Cluster(
        images=1000,
        workers=5,
        rate=2.0,
        batch=100,
        start=3.0,
        speed_spread=0.0,
        slow_workers=0.0,
        failure=1e12,
        slow_every=1e12,
        folder=50,
        name_seconds=0.1,
    )
    # Each of 5 workers has 2 of 10 tasks, each of 3 s, 50 names and 100 images of half a second.
    assert simulated.simulate(calm).seconds == pytest.approx(2 * (3 + 50 * 0.1 + 100 / 2))
    # Where the storage is slow all the time, images take five times as long; so does the start.
    slow = replace(calm, slow_every=1e-9, slow_for=1e12)
    assert simulated.simulate(slow).seconds == pytest.approx(5 * 116)


def test_copies_shorten_the_end(simulated, rough):
    seconds = [
        sum(simulated.simulate(replace(rough, copies=copies), seed).seconds for seed in range(5))
        for copies in (True, False)
    ]
    assert seconds[0] < seconds[1]


def test_same_seed_same_outcome(simulated, rough):
    assert simulated.simulate(rough, 3) == simulated.simulate(rough, 3)


def test_what_never_ends_is_refused(simulated, rough):
    with pytest.raises(ValueError, match="would never end; accepted are positive numbers"):
        simulated.simulate(replace(rough, workers=0))


def test_table_has_a_row_for_each_decision(simulated, rough):
    text = simulated.table(replace(rough, images=2000, failure=1e7), seeds=1)
    assert text.count("\n") >= 12
    assert "1,000,000, whole tasks, none" in text


def test_sizing():
    from scale_out import Rates, sizing

    rates = Rates(0.0864, 1.0, read=1000, written=100, recorded=10, listed=30, parquet=5)
    rows = dict(line.strip("| ").split(" | ", 1) for line in sizing(rates, 1000).splitlines()[2:])
    # 1e6 x 0.0864 s is a day of a core.
    assert rows["core-days"] == "1.0 | 100.0 | 1,000.0"
    assert rows["read, GB"] == "1 | 100 | 1,000"
    # 1e9 requests to read cost $400, and 1e9 (1 + 1/64) to write $5,078; 2e6 to list $10.
    assert rows["cost of these requests, $"].endswith("5,488")


def test_measurement_on_few_names(tmp_path):
    from scale_out import make_names, run

    names = make_names(130, tmp_path)
    assert len(names) == 130
    # It ends without an error only if every result is finished.
    seconds, memory = run("list.csv", "--recursive", "--out", "out", "--list-missing", cwd=tmp_path)
    assert seconds > 0
    assert memory > 20


def test_benchmarks_say_what_they_do(monkeypatch, capsys):
    for name in ("scale_out.py", "simulated_cluster.py"):
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
        assert ended.value.code == 0
        assert "--workers" in capsys.readouterr().out
