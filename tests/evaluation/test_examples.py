"""Which pictures are worth looking at, and what is kept of them."""

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.scale import IGNORE
from unetkit.errors import OutputExistsError
from unetkit.evaluation.examples import (
    LARGEST_KEPT,
    TYPICAL,
    WORST,
    choose_examples,
    put_in_place,
    require_own,
    write_examples,
)
from unetkit.visualization.figures import Example


def labels(places):
    return "".join(place.label[0] for place in places)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "b"), (2, "bw"), (3, "bmw"), (5, "bmww"), (9, "bbbmmmwww"), (60, "bbbmmm" + "w" * 20)],
)
def test_best_median_and_worst_are_chosen(count, expected):
    places = choose_examples(np.linspace(0.1, 0.9, count).tolist())
    assert labels(places) == expected
    assert places[0].index == count - 1  # the best
    if "w" in expected:
        assert next(p for p in places if p.stem == "worst-01").index == 0


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=80))
def test_none_is_chosen_twice_nor_one_without_a_score(scores):
    places = choose_examples(scores)
    indices = [place.index for place in places]
    assert len(set(indices)) == len(indices)
    assert not any(np.isnan(scores[i]) for i in indices)
    assert len(places) <= WORST + 2 * TYPICAL
    assert bool(places) == any(not np.isnan(score) for score in scores)
    by_label = {label: [scores[p.index] for p in places if p.label[0] == label] for label in "bmw"}
    if by_label["w"]:
        assert max(by_label["w"]) <= min(by_label["b"])


def case(size, seed=0):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, 3, (2, *size), dtype=np.uint8)
    truth[0, 0] = IGNORE
    return Example(rng.integers(0, 256, (*size, 3), dtype=np.uint8), truth, prediction, "caption")


def test_what_is_kept_are_the_class_indices(tmp_path):
    cases = [case((30, 40), seed) for seed in range(3)]
    made = tmp_path / "new"
    rows = write_examples(made, choose_examples([0.3, 0.2, 0.1]), cases, TRIMAP_CLASSES)
    for row, one in zip(rows, cases, strict=True):
        with Image.open(made / row["truth"]) as truth:
            assert (np.asarray(truth) == one.truth).all()
            assert truth.convert("RGBA").getpixel((0, 0))[3] == 0  # ignored: transparent
        with Image.open(made / row["prediction"]) as prediction:
            assert (np.asarray(prediction) == one.prediction).all()
        with Image.open(made / row["image"]) as image:
            assert image.size == (40, 30)
    assert (made / "cases.png").is_file()


def test_large_pictures_shrink_and_keep_their_labels(tmp_path):
    made = tmp_path / "new"
    (row,) = write_examples(made, choose_examples([0.3]), [case((700, 1400))], TRIMAP_CLASSES)
    assert row["size"] == [LARGEST_KEPT // 2, LARGEST_KEPT]
    with Image.open(made / row["truth"]) as truth:
        assert set(np.unique(truth)) <= {0, 1, 2, IGNORE}
    with Image.open(made / row["image"]) as image:
        assert image.size == (LARGEST_KEPT, LARGEST_KEPT // 2)


def test_large_cases_are_not_all_in_memory(tmp_path):
    alive = []

    def cases():
        for seed in range(4):
            one = case((900, 900), seed)
            alive.append(weakref.ref(one))
            yield one
            del one
            assert sum(ref() is not None for ref in alive) <= 1

    write_examples(
        tmp_path / "new", choose_examples([0.1, 0.2, 0.3, 0.4, 0.5]), cases(), TRIMAP_CLASSES
    )


def test_cases_of_an_earlier_evaluation_go(tmp_path):
    for count in (2, 1):
        write_examples(
            tmp_path / "new",
            choose_examples([0.3, 0.2][:count]),
            [case((8, 8))] * count,
            TRIMAP_CLASSES,
        )
        put_in_place(tmp_path / "new", tmp_path)
    assert len(list((tmp_path / "cases").iterdir())) == 3
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_files_is_refused(tmp_path):
    require_own(tmp_path)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "worst-01-image.jpg").touch()
    require_own(tmp_path)
    (tmp_path / "cases" / "patient-7").mkdir()
    with pytest.raises(OutputExistsError, match=r"patient-7 is not of an evaluation.*--out"):
        require_own(tmp_path)


def test_the_sheet_shows_as_many_of_the_worst_as_of_the_best(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        "unetkit.evaluation.examples.draw_examples",
        lambda path, cases, classes, across: drawn.append((cases, across)),
    )
    places = choose_examples(np.linspace(0, 1, 30).tolist())
    write_examples(tmp_path / "new", places, [case((4, 4))] * len(places), TRIMAP_CLASSES)
    ((cases, across),) = drawn
    assert (len(cases), across) == (9, 3)
