"""Several models and several orientations: the mean of whole predictions, computed by hand."""

import json
import pickle

import numpy as np
import pytest
import tifffile

from tests.conftest import export_untrained
from tests.prediction.test_predictor import noise
from unetkit import Predictor
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.pixel_format import PixelFormat
from unetkit.objects.separation import ObjectRule
from unetkit.prediction.ensemble import find_models
from unetkit.prediction.orientations import AUGMENTATIONS
from unetkit.prediction.predictor import labels_from_scores
from unetkit.prediction.tiling import smallest_tile
from unetkit.results.files import predict_files

TURNS = {
    "mirror": [(False, 0), (True, 0)],
    "flips": [(False, 0), (True, 0), (False, 2), (True, 2)],
    "turns": [(mirrored, k) for mirrored in (False, True) for k in range(4)],
}


def by_hand(predict, image, tta):
    """Mean of the predictions of an image turned by NumPy, each turned back."""
    found = []
    for mirrored, turns in TURNS[tta]:
        laid = np.rot90(image[:, ::-1] if mirrored else image, turns)
        back = np.rot90(predict(np.ascontiguousarray(laid)), -turns)
        found.append(back[:, ::-1] if mirrored else back)
    return np.mean(np.stack(found).astype(float), axis=0)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """Takes what `grey_model` takes, at another scale, with other weights."""
    return export_untrained(
        tmp_path_factory.mktemp("other") / "other.onnx", policy="resize", height=48, width=64
    )


@pytest.fixture(scope="module")
def bordered_model(tmp_path_factory):
    """Has an output for borders of objects beside its two classes."""
    rule = ObjectRule("border", 0.5, 0, 0)
    return export_untrained(tmp_path_factory.mktemp("border") / "border.onnx", objects=rule)


class TestTestTimeAugmentation:
    @pytest.mark.parametrize("tta", list(AUGMENTATIONS))
    @pytest.mark.parametrize("fixture", ["grey_model", "half_model", "other_model"])
    def test_is_the_mean_of_whole_predictions(self, request, fixture, tta):
        model = request.getfixturevalue(fixture)
        image = noise()
        found = Predictor(model, tta=tta).probabilities(image)
        expected = by_hand(Predictor(model).probabilities, image, tta)
        np.testing.assert_allclose(found, expected, atol=2e-6)
        alone = Predictor(model).probabilities(image)
        assert np.abs(found - alone).max() > 1e-3  # it does something

    def test_labels_and_uncertainty_are_those_of_the_mean(self, grey_model):
        predictor, image = Predictor(grey_model, tta="turns"), noise()
        mean = by_hand(Predictor(grey_model).probabilities, image, "turns")
        is_clear = np.abs(mean[..., 0] - mean[..., 1]) > 1e-5
        assert (predictor(image) == mean.argmax(-1))[is_clear].all()
        entropies = -(mean * np.log(mean)).sum(-1) / np.log(2)
        np.testing.assert_allclose(predictor.uncertainty(image), entropies, atol=1e-5)

        def of_one(laid):
            one = Predictor(grey_model).probabilities(laid).astype(float)
            return -(one * np.log(one)).sum(-1) / np.log(2)

        expected = entropies - by_hand(of_one, image, "turns")
        np.testing.assert_allclose(predictor.disagreement(image), expected, atol=1e-5)

    def test_maps_of_objects_are_averaged(self, bordered_model):
        """Borders and distances are numbers of a place, which a turn leaves as they are."""
        one, image = Predictor(bordered_model), noise()
        found = Predictor(bordered_model, tta="turns")
        from unetkit.prediction.sources import open_source

        def scores_of(predictor):
            def predict(array):
                with open_source(array, predictor.spec.pixels) as source:
                    return predictor.scores(source)[0]

            return predict

        expected = by_hand(scores_of(one), image, "turns")
        assert expected.shape[-1] == 3
        np.testing.assert_allclose(scores_of(found)(image), expected, atol=2e-6)

    @pytest.mark.parametrize("fixture", ["grey_model", "half_model", "bordered_model"])
    def test_tiles_on_disk_give_the_same(self, request, fixture, tmp_path):
        model = request.getfixturevalue(fixture)
        least = smallest_tile(Predictor(model).spec.geometry) ** 2
        tiled = Predictor([model, model], tta="turns", tile_pixels=least)
        whole = Predictor(model, tta="turns")
        tifffile.imwrite(tmp_path / "a.tif", noise())
        kinds = ["mask", "probabilities", "uncertainty", "disagreement"]
        seen = []
        files = predict_files(
            tiled, [tmp_path / "a.tif"], tmp_path / "out", kinds=kinds, format="tiff",
            on_result=seen.append,
        )  # fmt: skip
        mask, planes, uncertain, disagreeing = map(tifffile.imread, files)
        expected = whole.probabilities(noise())
        np.testing.assert_allclose(planes.transpose(1, 2, 0), expected, atol=1e-5)
        assert (mask == labels_from_scores(expected)).mean() > 0.9999
        assert np.abs(uncertain / 65534 - whole.uncertainty(noise())).max() < 1e-4
        assert np.abs(disagreeing / 65534 - whole.disagreement(noise())).max() < 1e-4
        assert seen[0].uncertainty == pytest.approx(uncertain.mean() / 65534, abs=1e-6)
        assert seen[0].disagreement == pytest.approx(disagreeing.mean() / 65534, abs=1e-6)
        left = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
        assert left == {path.name for path in files}  # no tiles

    def test_whole_images_and_windows_give_the_same_bytes(self, half_model, tmp_path):
        """Of a network that is given the image whole, so that tiles change nothing."""
        predictor = Predictor(half_model, tta="flips")
        tifffile.imwrite(tmp_path / "a.tif", noise())
        kinds = ["probabilities", "uncertainty", "disagreement", "areas"]
        windows = predict_files(
            predictor, [tmp_path / "a.tif"], tmp_path / "b", kinds=kinds, format="tiff"
        )
        whole = predict_files(
            predictor, [tmp_path / "a.tif"], tmp_path / "c", kinds=kinds, format="png"
        )
        planes = np.load(whole[0])["probabilities"]
        assert (tifffile.imread(windows[0]).transpose(1, 2, 0) == planes).all()
        import cv2

        for one, other in zip(windows[1:3], whole[1:3], strict=True):
            assert (tifffile.imread(one) == cv2.imread(str(other), cv2.IMREAD_UNCHANGED)).all()
        assert windows[3].read_text() == whole[3].read_text()
        header, *rows = windows[3].read_text().splitlines()
        assert header == "class,pixels,fraction,uncertainty"
        assert all(0 < float(row.split(",")[3]) < 1 for row in rows if row.split(",")[1] != "0")

    def test_an_interrupted_prediction_continues_in_all_orientations(
        self, grey_model, tmp_path, monkeypatch
    ):
        least = smallest_tile(Predictor(grey_model).spec.geometry) ** 2
        predictor = Predictor(grey_model, tta="mirror", tile_pixels=least)
        tifffile.imwrite(tmp_path / "a.tif", noise())
        count = len(predictor.tiling((150, 210)))
        begun, calls = [], 0

        def begin(image, tiling, finished):
            begun.append(finished)

            def on_tile():
                nonlocal calls
                calls += 1
                if calls == count + 2:  # in the second orientation
                    raise KeyboardInterrupt

            return on_tile

        arguments = [tmp_path / "a.tif"], tmp_path / "out"
        with pytest.raises(KeyboardInterrupt):
            predict_files(predictor, *arguments, format="tiff", begin=begin)
        (file,) = predict_files(predictor, *arguments, format="tiff", begin=begin)
        assert begun[0] == begun[1] == 0
        assert begun[2] == count
        assert 1 <= begun[3] < count
        monkeypatch.undo()
        assert (tifffile.imread(file) == Predictor(grey_model, tta="mirror")(noise())).all()
        with tifffile.TiffFile(file) as opened:
            assert json.loads(opened.pages.first.description)["tta"] == "mirror"


class TestSeveralModels:
    def test_their_probabilities_are_averaged_whatever_their_scales(self, grey_model, other_model):
        image = noise()
        found = Predictor([grey_model, other_model])
        expected = (
            Predictor(grey_model).probabilities(image).astype(float)
            + Predictor(other_model).probabilities(image)
        ) / 2
        np.testing.assert_allclose(found.probabilities(image), expected, atol=1e-6)
        assert (next(iter(found.map([image]))) == found(image)).all()
        assert found.paths == (grey_model, other_model)
        assert found.digest not in found.digests
        assert len(set(found.digests)) == 2

    def test_memory_is_limited(self, grey_model, other_model):
        found = Predictor([grey_model, other_model], memory="700MiB")
        expected = Predictor([grey_model, other_model]).probabilities(noise())
        np.testing.assert_allclose(found.probabilities(noise()), expected, atol=1e-5)
        assert found.leaving(1 << 28).most_pixels < found.most_pixels
        found.release_memory()

    def test_they_are_pickled_together(self, grey_model, other_model):
        found = Predictor([grey_model, other_model], tta="mirror")
        again = pickle.loads(pickle.dumps(found))
        assert (again(noise()) == found(noise())).all()
        assert again.digest == found.digest

    def test_those_that_do_not_fit_are_refused(self, tmp_path, grey_model, colour_model):
        three = export_untrained(tmp_path / "three.onnx", num_classes=3)
        with pytest.raises(
            ConfigError, match=r"three.onnx has the classes class 0, class 1, class"
        ):
            Predictor([grey_model, three])
        with pytest.raises(ConfigError, match=r"three.onnx has images of 1 channels of uint8, and"):
            Predictor([colour_model, three])
        deep = export_untrained(tmp_path / "deep.onnx", PixelFormat(1, "uint16", (0,), (4095,)))
        with pytest.raises(ConfigError, match="images of 1 channels of uint16"):
            Predictor([grey_model, deep])
        with pytest.raises(ConfigError, match="no model is given"):
            Predictor([])

    def test_one_alone_has_nothing_to_disagree_with(self, grey_model, tmp_path):
        predictor = Predictor(grey_model)
        with pytest.raises(
            ConfigError, match=r"disagreement is asked for of .* alone; accepted are"
        ):
            predictor.disagreement(noise())
        with pytest.raises(ConfigError, match="several models"):
            predictor.map([noise()], "disagreement")
        tifffile.imwrite(tmp_path / "a.tif", noise())
        with pytest.raises(ConfigError, match="several models"):
            predict_files(predictor, [tmp_path / "a.tif"], tmp_path, kinds=["disagreement"])

    def test_their_scores_have_no_scale_in_common(self, grey_model, other_model):
        with pytest.raises(ConfigError, match="2 models have no scale in common; accepted is one"):
            list(Predictor([grey_model, other_model]).network_scores(noise()))


class TestFoldsOfACrossValidation:
    @pytest.fixture
    def folds(self, tmp_path, grey_model, other_model):
        for number, model in enumerate((grey_model, other_model), start=1):
            (tmp_path / f"folds/fold-{number}").mkdir(parents=True)
            (tmp_path / f"folds/fold-{number}/model.onnx").write_bytes(model.read_bytes())
        plan = {"folds": 2, "epochs": 1, "minutes": None, "config": {}}
        (tmp_path / "folds/plan.json").write_text(json.dumps(plan))
        return tmp_path / "folds"

    def test_one_word_names_them_all(self, folds, grey_model, other_model):
        found = Predictor(folds)
        assert found.paths == tuple(folds / f"fold-{k}/model.onnx" for k in (1, 2))
        expected = Predictor([grey_model, other_model]).probabilities(noise())
        assert (found.probabilities(noise()) == expected).all()

    def test_all_have_to_be_finished(self, folds):
        (folds / "fold-2/model.onnx").unlink()
        with pytest.raises(
            DataNotFoundError, match=r"fold-2/model.onnx of .* 2 folds; run: unetkit"
        ):
            find_models(folds)

    def test_a_damaged_plan_is_refused(self, folds):
        (folds / "plan.json").write_text("{}")
        with pytest.raises(DataError, match=r"plan.json .*folds"):
            find_models(folds)
