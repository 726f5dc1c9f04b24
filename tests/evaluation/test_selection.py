"""Which pairs a model is evaluated on: those of a recorded or official split, or new images."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_spec import SPEC
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.reading import file_sha256
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.evaluation.selection import (
    SPLIT_CHOICES,
    choose_pairs,
    count_seen,
    recorded_config,
    recorded_groups,
    recorded_sources,
    require_split_name,
)
from unetkit.models.spec import ModelSpec, image_digest

NAMES = ("a", "b", "c", "d")
TRAINED = {"train": ["a", "d"], "validation": ["b"], "test": ["c"]}
DAMAGED = {
    "an empty file": "",
    "no TOML": "data = ",
    "no text": "\x00",
    "no data": "[sources]\nmasks = 'labels/'\n",
    "a number as data": "data = 5",
}


def write_dataset(folder: Path, names=NAMES, **options) -> Dataset:
    """A data set whose image files have their name as content."""
    folder.mkdir()
    pairs = tuple(Pair(name, folder / f"{name}.png", folder / f"{name}_mask.png") for name in names)
    for pair in pairs:
        pair.image.write_text(pair.name)
    return Dataset(source=folder, pairs=pairs, masks="_mask", **options)


def spec_of(dataset: Dataset, *names: str) -> ModelSpec:
    """The specification of a model that was trained on the images of these names."""
    pairs = [pair for pair in dataset.pairs if pair.name in names]
    return replace(SPEC, seen=tuple(image_digest(file_sha256(p.image), p.page) for p in pairs))


def write_run(folder: Path, data: Path, splits=None, **config) -> Path:
    """A run folder with a configuration and a split file."""
    folder.mkdir(exist_ok=True)
    text = tomli_w.dumps({"data": str(data.resolve()), **config})
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (folder / "split.json").write_text(json.dumps(splits or {"train": [], "validation": []}))
    return folder


def names_of(pairs) -> list[str]:
    return [pair.name for pair in pairs]


@pytest.fixture
def model(tmp_path) -> Path:
    """A model file; only its name is used."""
    return tmp_path / "m.onnx"


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return write_dataset(tmp_path / "data")


class TestNames:
    @pytest.mark.parametrize("split", SPLIT_CHOICES)
    def test_every_choice_is_accepted(self, split):
        require_split_name(split)

    def test_an_unknown_name_gets_a_suggestion(self):
        expected = (
            r"^split 'tests' is unknown; accepted are test, validation, train, all; "
            r"did you mean 'test'\?$"
        )
        with pytest.raises(ConfigError, match=expected):
            require_split_name("tests")

    def test_a_name_unlike_all_others_gets_none(self):
        with pytest.raises(ConfigError, match=r"accepted are test, validation, train, all$"):
            require_split_name("xyz")


class TestAllPairs:
    def test_all_are_chosen_even_if_they_were_used_in_training(self, dataset, model):
        pairs, how = choose_pairs(spec_of(dataset, *NAMES), model, dataset, "all")
        assert pairs == dataset.pairs
        assert how == "every pair, whatever it was used for"


class TestTestSplit:
    def test_without_lists_images_of_the_training_are_left_out(self, dataset, model):
        pairs, how = choose_pairs(spec_of(dataset, "a", "c"), model, dataset, "test")
        assert names_of(pairs) == ["b", "d"]
        assert how == "the 2 pairs whose pictures training looked at are left out"

    def test_an_image_is_recognised_by_its_content(self, dataset, model):
        dataset.pairs[1].image.write_text("a")  # b is now a copy of a
        dataset.pairs[0].image.write_text("new")
        spec = replace(SPEC, seen=(image_digest(file_sha256(dataset.pairs[1].image), None),))
        assert names_of(choose_pairs(spec, model, dataset, "test")[0]) == ["a", "c", "d"]

    def test_pages_of_a_stack_are_different_images(self, tmp_path, model):
        stack = tmp_path / "stack.tif"
        stack.write_text("stack")
        pairs = tuple(Pair(f"p{i}", stack, tmp_path / "mask.tif", i) for i in range(3))
        dataset = Dataset(tmp_path, pairs, "mask")
        spec = spec_of(dataset, "p1")
        assert names_of(choose_pairs(spec, model, dataset, "test")[0]) == ["p0", "p2"]

    def test_the_official_test_split_is_used(self, dataset, model):
        splits = {"a": "train", "b": "test", "c": "validation"}  # d is in no list
        dataset = replace(dataset, splits=splits)
        pairs, how = choose_pairs(spec_of(dataset, "a", "c"), model, dataset, "test")
        assert names_of(pairs) == ["b"]
        assert how == "the test part that the data name"

    def test_lists_without_a_test_split_are_not_used(self, dataset, model):
        dataset = replace(dataset, splits=dict.fromkeys(NAMES, "trainval"))
        pairs, _ = choose_pairs(spec_of(dataset, "a"), model, dataset, "test")
        assert names_of(pairs) == ["b", "c", "d"]

    def test_an_official_test_split_with_images_of_the_training_is_refused(self, dataset, model):
        dataset = replace(dataset, splits=dict.fromkeys(NAMES, "test") | {"a": "train"})
        expected = (
            rf"^2 of the 3 pairs in the test split of {dataset.source} were used in training, "
            "c first; accepted is a test split without training images; train with these splits, "
            "or use another model$"
        )
        with pytest.raises(DataError, match=expected):
            choose_pairs(spec_of(dataset, "a", "c", "d"), model, dataset, "test")

    def test_an_image_that_cannot_be_read_is_kept(self, dataset, model):
        """The error of a missing image is raised where the pair is read."""
        spec = spec_of(dataset, "a", "b")
        dataset.pairs[1].image.unlink()
        assert names_of(choose_pairs(spec, model, dataset, "test")[0]) == ["b", "c", "d"]

    def test_the_test_split_of_a_split_file_is_used(self, dataset, tmp_path):
        splits = {"train": ["a"], "validation": ["b"], "test": ["d"]}
        run = write_run(tmp_path / "run", dataset.source, splits, split={"file": "my.json"})
        pairs, how = choose_pairs(spec_of(dataset, "a", "b"), run, dataset, "test")
        assert names_of(pairs) == ["d"]  # c was not used in training, but is not in the file
        assert how == "as the run's split file says, my.json"

    def test_a_split_file_with_images_of_the_training_is_refused(self, dataset, tmp_path):
        splits = {"train": ["a"], "validation": ["b"], "test": ["c", "d"]}
        run = write_run(tmp_path / "run", dataset.source, splits, split={"file": "my.json"})
        with pytest.raises(DataError, match=r"^1 of the 2 pairs .* in training, d first"):
            choose_pairs(spec_of(dataset, "a", "d"), run, dataset, "test")

    def test_the_split_file_of_other_data_is_not_used(self, dataset, tmp_path):
        splits = {"train": ["a"], "validation": ["b"], "test": ["d"]}
        run = write_run(tmp_path / "run", tmp_path / "other", splits, split={"file": "my.json"})
        pairs, _ = choose_pairs(spec_of(dataset, "a", "b"), run, dataset, "test")
        assert names_of(pairs) == ["c", "d"]

    def test_a_random_split_does_not_decide_the_test_split(self, dataset, tmp_path):
        """Pairs that were added after training are tested as well."""
        splits = {"train": ["a"], "validation": ["b"], "test": ["d"]}
        run = write_run(tmp_path / "run", dataset.source, splits, split={"seed": 3})
        pairs, _ = choose_pairs(spec_of(dataset, "a", "b"), run, dataset, "test")
        assert names_of(pairs) == ["c", "d"]

    @pytest.mark.parametrize("split", [3, "file", ["file"], {"file": 3}, {"seed": -1}])
    def test_a_damaged_split_section_is_ignored(self, dataset, tmp_path, split):
        run = write_run(tmp_path / "run", dataset.source, split=split)
        pairs, _ = choose_pairs(spec_of(dataset, "a"), run, dataset, "test")
        assert names_of(pairs) == ["b", "c", "d"]
        assert recorded_groups(run, dataset) == {}

    @given(seen=st.sets(st.sampled_from(NAMES)))
    @settings(max_examples=16)
    def test_chosen_pairs_and_images_of_the_training_are_disjoint_and_complete(
        self, tmp_path_factory, seen
    ):
        dataset = write_dataset(tmp_path_factory.mktemp("law") / "data")
        spec = spec_of(dataset, *seen)
        pairs, _ = choose_pairs(spec, Path("m.onnx"), dataset, "test")
        assert set(names_of(pairs)) == set(NAMES) - seen
        assert count_seen(spec, pairs) == 0
        assert count_seen(spec, dataset.pairs) == len(seen)


class TestSplitsOfTraining:
    @pytest.mark.parametrize(("split", "names"), [("train", ["a", "d"]), ("validation", ["b"])])
    def test_they_are_read_from_the_run(self, dataset, tmp_path, split, names):
        run = write_run(tmp_path / "run", dataset.source, TRAINED)
        pairs, how = choose_pairs(spec_of(dataset, "a", "b", "d"), run, dataset, split)
        assert names_of(pairs) == names
        assert how == "as training recorded it in split.json"

    def test_pairs_that_are_gone_are_left_out(self, dataset, tmp_path):
        run = write_run(tmp_path / "run", dataset.source, TRAINED)
        dataset = replace(dataset, pairs=dataset.pairs[1:])
        assert names_of(choose_pairs(SPEC, run, dataset, "train")[0]) == ["d"]

    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_they_need_the_run_folder(self, dataset, model, split):
        expected = (
            rf"^{model} has no split\.json; accepted for the {split} split is a run folder; use "
            "the run folder of the model$"
        )
        with pytest.raises(DataNotFoundError, match=expected):
            choose_pairs(SPEC, model, dataset, split)

    def test_a_damaged_split_file_is_named(self, dataset, tmp_path):
        run = write_run(tmp_path / "run", dataset.source)
        (run / "split.json").write_text("[]")
        with pytest.raises(DataError, match=r"split\.json cannot be used \(\$ is \[\]"):
            choose_pairs(SPEC, run, dataset, "train")


class TestRecordedConfiguration:
    SOURCES = Sources(images="raw/", masks="labels/", channel_axis="last", skip_bad=True)

    def written(self, folder: Path, data: Path) -> Path:
        sources = {"images": "raw/", "masks": "labels/", "channel_axis": "last", "skip_bad": True}
        return write_run(folder, data, sources=sources)

    def test_it_is_that_of_the_run(self, tmp_path):
        run = self.written(tmp_path / "run", tmp_path / "data")
        assert recorded_sources(run, tmp_path / "data") == self.SOURCES
        written = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
        assert recorded_config(run, tmp_path / "data") == written

    def test_it_is_found_for_any_path_to_the_data(self, tmp_path, monkeypatch):
        (tmp_path / "data").mkdir()
        run = self.written(tmp_path / "run", tmp_path / "data")
        (tmp_path / "link").symlink_to(tmp_path / "data")
        monkeypatch.chdir(tmp_path)
        for path in ("data", "link", "data/../data"):
            assert recorded_sources(run, Path(path)) == self.SOURCES

    def test_it_is_not_used_for_other_data(self, tmp_path):
        run = self.written(tmp_path / "run", tmp_path / "data")
        assert recorded_sources(run, tmp_path / "copy") == Sources()
        assert recorded_config(run, tmp_path / "copy") == {}

    def test_a_model_file_has_none(self, tmp_path, model):
        model.write_bytes(b"model")
        assert recorded_sources(model, tmp_path) == Sources()

    @pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
    def test_a_damaged_one_is_ignored(self, tmp_path, text):
        run = write_run(tmp_path / "run", tmp_path)
        (run / "config.toml").write_text(text)
        assert recorded_config(run, tmp_path) == {}
        assert recorded_sources(run, tmp_path) == Sources()

    @pytest.mark.parametrize(
        "sources", [3, ["masks"], {"masks": 5}, {"channel_axis": "middle"}, {"mask": "x"}]
    )
    def test_sources_of_another_version_are_ignored(self, tmp_path, sources):
        run = write_run(tmp_path / "run", tmp_path, sources=sources)
        assert recorded_sources(run, tmp_path) == Sources()


class TestRecordedGroups:
    @pytest.fixture
    def pets(self, tmp_path) -> Dataset:
        return write_dataset(tmp_path / "pets", ("pug_1", "pug_2", "lab_1"))

    def test_categories_come_first(self, pets, tmp_path):
        run = write_run(tmp_path / "run", pets.source, split={"group_by": "^(...)"})
        pets = replace(pets, categories={"pug_1": "dog"}, groups={"pug_1": "patient"})
        assert recorded_groups(run, pets) == {"pug_1": "dog"}

    def test_groups_of_the_split_are_found_again(self, pets, tmp_path):
        run = write_run(tmp_path / "run", pets.source, split={"group_by": "^([a-z]+)_"})
        expected = {"pug_1": "pug", "pug_2": "pug", "lab_1": "lab"}
        assert recorded_groups(run, pets) == expected

    def test_groups_of_a_table_need_no_run(self, pets, model):
        pets = replace(pets, groups={"pug_1": "7", "pug_2": "7"})
        # The third is in no group, and so in one of its own.
        expected = {"pug_1": "7", "pug_2": "7", "lab_1": "lab_1 alone"}
        assert recorded_groups(model, pets) == expected

    def test_there_are_none_without_a_rule(self, pets, tmp_path):
        assert recorded_groups(write_run(tmp_path / "run", pets.source), pets) == {}

    def test_a_rule_that_no_longer_matches_is_ignored(self, pets, tmp_path):
        run = write_run(tmp_path / "run", pets.source, split={"group_by": "cat"})
        assert recorded_groups(run, pets) == {}

    def test_a_rule_that_is_not_a_regular_expression_is_ignored(self, pets, tmp_path):
        run = write_run(tmp_path / "run", pets.source, split={"group_by": "("})
        assert recorded_groups(run, pets) == {}
