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
    MAX_EXAMPLE_SIDE,
    TYPICAL,
    WORST,
    choose_examples,
    replace_examples,
    require_own_examples,
    write_examples,
)
from unetkit.visualization.figures import Example


def labels(choices):
    return "".join(choice.label[0] for choice in choices)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "b"), (2, "bw"), (3, "bmw"), (5, "bmww"), (9, "bbbmmmwww"), (60, "bbbmmm" + "w" * 20)],
)
def test_best_median_and_worst_are_chosen(count, expected):
    choices = choose_examples(np.linspace(0.1, 0.9, count).tolist())
    assert labels(choices) == expected
    assert choices[0].index == count - 1  # the best
    if "w" in expected:
        assert next(p for p in choices if p.stem == "worst-01").index == 0


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=80))
def test_no_image_is_chosen_twice_or_without_a_score(scores):
    choices = choose_examples(scores)
    indices = [choice.index for choice in choices]
    assert len(set(indices)) == len(indices)
    assert not any(np.isnan(scores[i]) for i in indices)
    assert len(choices) <= WORST + 2 * TYPICAL
    assert bool(choices) == any(not np.isnan(score) for score in scores)
    by_label = {label: [scores[p.index] for p in choices if p.label[0] == label] for label in "bmw"}
    if by_label["w"]:
        assert max(by_label["w"]) <= min(by_label["b"])


def example(size, seed=0):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, 3, (2, *size), dtype=np.uint8)
    truth[0, 0] = IGNORE
    return Example(rng.integers(0, 256, (*size, 3), dtype=np.uint8), truth, prediction, "caption")


def test_masks_of_examples_have_class_indices(tmp_path):
    examples = [example((30, 40), seed) for seed in range(3)]
    made = tmp_path / "new"
    rows = write_examples(made, choose_examples([0.3, 0.2, 0.1]), examples, TRIMAP_CLASSES)
    for row, one in zip(rows, examples, strict=True):
        with Image.open(made / row["truth"]) as truth:
            assert (np.asarray(truth) == one.truth).all()
            assert truth.convert("RGBA").getpixel((0, 0))[3] == 0  # ignored: transparent
        with Image.open(made / row["prediction"]) as prediction:
            assert (np.asarray(prediction) == one.prediction).all()
        with Image.open(made / row["image"]) as image:
            assert image.size == (40, 30)
    assert (made / "cases.png").is_file()


def test_large_examples_are_reduced_and_keep_their_labels(tmp_path):
    made = tmp_path / "new"
    (row,) = write_examples(made, choose_examples([0.3]), [example((700, 1400))], TRIMAP_CLASSES)
    assert row["size"] == [MAX_EXAMPLE_SIDE // 2, MAX_EXAMPLE_SIDE]
    with Image.open(made / row["truth"]) as truth:
        assert set(np.unique(truth)) <= {0, 1, 2, IGNORE}
    with Image.open(made / row["image"]) as image:
        assert image.size == (MAX_EXAMPLE_SIDE, MAX_EXAMPLE_SIDE // 2)


def test_large_examples_are_not_all_in_memory(tmp_path):
    alive = []

    def examples():
        for seed in range(4):
            one = example((900, 900), seed)
            alive.append(weakref.ref(one))
            yield one
            del one
            assert sum(ref() is not None for ref in alive) <= 1

    write_examples(
        tmp_path / "new", choose_examples([0.1, 0.2, 0.3, 0.4, 0.5]), examples(), TRIMAP_CLASSES
    )


def test_examples_of_an_earlier_evaluation_are_replaced(tmp_path):
    for count in (2, 1):
        write_examples(
            tmp_path / "new",
            choose_examples([0.3, 0.2][:count]),
            [example((8, 8))] * count,
            TRIMAP_CLASSES,
        )
        replace_examples(tmp_path / "new", tmp_path)
    assert len(list((tmp_path / "cases").iterdir())) == 3
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_files_is_refused(tmp_path):
    require_own_examples(tmp_path)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "worst-01-image.jpg").touch()
    require_own_examples(tmp_path)
    (tmp_path / "cases" / "patient-7").mkdir()
    with pytest.raises(OutputExistsError, match=r"patient-7 does not belong to an eval.*--out"):
        require_own_examples(tmp_path)


def test_the_figure_shows_as_many_of_the_worst_as_of_the_best(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        "unetkit.evaluation.examples.draw_examples",
        lambda path, examples, classes, across: drawn.append((examples, across)),
    )
    choices = choose_examples(np.linspace(0, 1, 30).tolist())
    write_examples(tmp_path / "new", choices, [example((4, 4))] * len(choices), TRIMAP_CLASSES)
    ((examples, across),) = drawn
    assert (len(examples), across) == (9, 3)
