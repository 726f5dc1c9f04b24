"""The report is complete, and loads nothing from outside."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.browser import CHROMIUM, Browser
from unetkit import evaluate, report
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError
from unetkit.evaluation.report import ADDED, CONFUSED, MISSED, compute_error_map


@pytest.fixture(scope="module")
def evaluated(run, pets, tmp_path_factory):
    """A run folder with an evaluation of all its twenty pictures."""
    copy = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(run, copy)
    evaluate(copy, pets, part="all")
    return copy


@pytest.fixture(scope="module")
def page(evaluated):
    return (evaluated / "evaluation-pets-all" / "report.html").read_text(encoding="utf-8")


class Links(HTMLParser):
    """All addresses, ids and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.words.append(data)


def text_of(page):
    return re.sub(r"\s+", " ", " ".join(Links(page).words))


def test_the_page_loads_nothing_from_outside(page):
    links = Links(page)
    assert {address[:5] for address in links.addresses} == {
        "data:",
        *{f"#{i}"[:5] for i in links.ids},
    } & {address[:5] for address in links.addresses}
    assert all(address.startswith(("data:image/", "#")) for address in links.addresses)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_every_internal_reference_has_exactly_one_target(page):
    links = Links(page)
    assert len(set(links.ids)) == len(links.ids)
    assert {a[1:] for a in links.addresses if a.startswith("#")} <= set(links.ids)


def test_the_page_has_the_metrics_of_the_evaluation(page, evaluated):
    result = json.loads((evaluated / "evaluation-pets-all" / "evaluation.json").read_text())
    text = text_of(page)
    figures = result["figures"]["original"]["summed"]
    low, high = result["intervals"]["original"]["summed"]["mean_iou"]
    assert f"mean IoU {figures['mean_iou']:.3f} {low:.3f} to {high:.3f}" in text
    for name in result["classes"]["names"]:
        assert f"{figures['iou'][name]:.3f}" in text
    assert f"calibration error {result['calibration']['error']:.3f}" in text
    assert f"mean boundary IoU {result['boundary_iou']['mean']:.3f}" in text
    for pixels in np.ravel(result["figures"]["original"]["confusion"]):
        assert f"{pixels:,} px" in text


def test_the_page_describes_training_and_evaluation(page, pets):
    text = text_of(page)
    assert f"training data {pets}" in text
    assert "4 steps of 4 samples, adamw" in text
    assert "unetkit.train, from Python" in text
    assert "onnxruntime" in text
    assert "one confusion matrix summed over all pixels of the part" in text
    for part in ("train", "validation", "test"):
        assert re.search(rf"{part} \d+ \d+\.\d % \d+\.\d % \d+\.\d %", text)


def test_all_charts_have_an_accessible_name(page):
    names = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert {
        "loss against step",
        "validation scores against step",
        "reliability: accuracy against confidence",
        "accuracy against distance from the boundary",
        "histogram of the images&#x27; mean IoU",
        "mean IoU by group",
        "IoU of pet by its fraction of the image",
        "IoU of border by its fraction of the image",
    } <= set(names)


def test_the_values_of_each_chart_are_in_a_table(page, evaluated):
    result = json.loads((evaluated / "evaluation-pets-all" / "evaluation.json").read_text())
    charts = page.count('<figure class="chart">')
    assert charts == page.count("<details><summary>values</summary>") >= 8
    near = result["distance"]["0"]
    low, high = result["intervals"]["distance"]["0"]
    assert f"0 {near:.3f} {low:.3f} to {high:.3f}" in re.sub(r"\s+", " ", text_of(page))


def test_the_page_has_the_cautions(page):
    assert "16 of these 20 images were used in training" in text_of(page)


def test_examples_are_shown_from_the_worst(page, evaluated):
    result = json.loads((evaluated / "evaluation-pets-all" / "evaluation.json").read_text())
    scores = {image["name"]: image["mean_iou"] for image in result["images"]}
    worst = min(scores, key=scores.get)
    shown = re.findall(r"<figcaption>(\d+)\. <b>([^<]+)</b>, mean IoU ([\d.]+)", page)
    assert shown[0] == ("1", worst, f"{scores[worst]:.3f}")
    assert len(shown) == len(result["cases"])


def test_error_maps_have_the_kind_of_error():
    truth = np.array([[0, 0, 1, 1, 2, IGNORE]], np.uint8)
    prediction = np.array([[0, 1, 1, 0, 0, 1]], np.uint8)
    # of pet 0, background 1, border 2: right, missed, right, added, mixed up, ignored
    assert compute_error_map(truth, prediction, TRIMAP_CLASSES).tolist() == [
        [0, MISSED, 0, ADDED, CONFUSED, 0]
    ]
    plain = Classes(("a", "b"), (0, 1))  # without a background everything wrong is mixed up
    assert compute_error_map(truth % 2, prediction % 2, plain)[0, 1] == CONFUSED


def test_names_cannot_break_the_page(evaluated, tmp_path):
    folder = tmp_path / "run" / "evaluation-pets-all"
    shutil.copytree(evaluated, tmp_path / "run")
    file = folder / "evaluation.json"
    result = json.loads(file.read_text())
    hostile = '<script>alert("x")</script>'
    for row in (*result["images"], *result["cases"]):
        row["name"] = hostile + row["name"]
    result["classes"]["names"][0] = "a$b<i>"
    text = json.dumps(result).replace('"pet":', '"a$b<i>":')
    file.write_text(text)
    (written,) = report(folder)
    page = written.read_text()
    assert hostile not in page
    assert "<i>" not in page
    assert page.count("<script>") == 1


def test_of_two_classes_the_report_leads_with_the_foreground(disks, disks_run, tmp_path):
    result = evaluate(disks_run, disks, part="all", out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    cards = re.findall(r'<div class="name">([^<]+)</div>\s*<div class="value">([^<]+)<', page)
    summed = result["figures"]["original"]["summed"]
    assert cards[:2] == [
        ("foreground Dice", f"{summed['foreground_dice']['all']:.3f}"),
        ("foreground IoU", f"{summed['foreground_iou']['all']:.3f}"),
    ]
    assert not any("mean" in name for name, _ in cards)


class TestCommand:
    def test_a_report_can_be_written_again_without_data_and_model(self, evaluated, tmp_path, page):
        shutil.copytree(evaluated, tmp_path / "run")
        (tmp_path / "run" / "model.onnx").unlink()
        (tmp_path / "run" / "evaluation-pets-all" / "report.html").unlink()
        (written,) = report(tmp_path / "run")
        assert written == tmp_path / "run" / "evaluation-pets-all" / "report.html"
        assert text_of(written.read_text()) == text_of(page)

    def test_every_evaluation_of_a_run_gets_a_report(self, evaluated, tmp_path):
        shutil.copytree(evaluated, tmp_path / "run")
        folder = tmp_path / "run" / "evaluation-pets-all"
        shutil.copytree(folder, tmp_path / "run" / "evaluation-other")
        assert len(report(tmp_path / "run")) == 2
        with pytest.raises(OutputExistsError, match=r"has 2 evaluations \(.*for one file"):
            report(tmp_path / "run", out=tmp_path / "report.html")

    def test_an_existing_file_is_replaced_only_with_overwrite(self, evaluated, tmp_path):
        out = tmp_path / "new" / "report.html"
        assert report(evaluated, out=out) == [out]
        with pytest.raises(OutputExistsError, match=r"report\.html exists already; .*--overwrite"):
            report(evaluated, out=out)
        report(evaluated, out=out, overwrite=True)

    def test_an_evaluation_contains_the_record_of_its_training(self, evaluated, tmp_path, page):
        shutil.copytree(evaluated / "evaluation-pets-all", tmp_path / "alone")
        (written,) = report(tmp_path / "alone")
        assert text_of(written.read_text()) == text_of(page)

    def test_an_evaluation_of_a_model_file_has_no_training(self, evaluated, pets, tmp_path):
        shutil.copy(evaluated / "model.onnx", tmp_path / "m.onnx")
        evaluate(tmp_path / "m.onnx", pets, out=evaluated / "evaluation-other")  # beside a run
        text = text_of((evaluated / "evaluation-other" / "report.html").read_text())
        shutil.rmtree(evaluated / "evaluation-other")
        assert "evaluated as a file, without its run folder" in text
        assert "Trained for" not in text

    def test_a_run_of_another_version_is_ignored(self, evaluated, pets, tmp_path):
        shutil.copytree(evaluated, tmp_path / "run")
        (tmp_path / "run" / "manifest.json").write_text("{}")
        result = evaluate(tmp_path / "run", pets, out=tmp_path / "out")
        assert result["run"] is None
        assert (tmp_path / "out" / "report.html").is_file()

    def test_a_run_without_evaluation_is_refused_with_a_remedy(self, run, tmp_path):
        (tmp_path / "run").mkdir()
        with pytest.raises(DataNotFoundError, match=r"has no evaluation; .*unetkit evaluate"):
            report(tmp_path / "run")

    def test_a_folder_is_refused_as_a_file(self, evaluated, tmp_path):
        with pytest.raises(OutputExistsError, match=r"is a folder; accepted is the path of a file"):
            report(evaluated, out=tmp_path, overwrite=True)

    def test_images_of_another_size_are_refused(self, evaluated, tmp_path):
        shutil.copytree(evaluated / "evaluation-pets-all", tmp_path / "run")
        for name, picture in (
            ("best-01-truth.png", Image.new("P", (3, 3))),
            ("best-01-truth.png", Image.new("RGB", (64, 48))),
            ("best-01-image.jpg", Image.new("RGB", (3, 3))),
        ):
            file = tmp_path / "run" / "cases" / name
            kept = file.read_bytes()
            picture.save(file)
            with pytest.raises(DataError, match=rf"has the image 'cases/{name}', which cannot"):
                report(tmp_path / "run")
            file.write_bytes(kept)

    @pytest.mark.parametrize("name", ["../secret.png", "cases/../secret.png", "cases/no.png", 3])
    def test_images_from_other_folders_are_refused(self, evaluated, tmp_path, name):
        shutil.copytree(evaluated / "evaluation-pets-all", tmp_path / "run")
        Image.new("P", (64, 48)).save(tmp_path / "run" / "secret.png")
        file = tmp_path / "run" / "evaluation.json"
        result = json.loads(file.read_text())
        result["cases"][0]["truth"] = name
        file.write_text(json.dumps(result))
        with pytest.raises(DataError, match=r"has the image .* which cannot be read"):
            report(tmp_path / "run")

    def test_links_to_elsewhere_are_not_followed(self, evaluated, tmp_path):
        shutil.copytree(evaluated / "evaluation-pets-all", tmp_path / "run")
        secret = tmp_path / "worst-01-truth.png"
        shutil.move(tmp_path / "run" / "cases" / "worst-01-truth.png", secret)
        (tmp_path / "run" / "cases" / "worst-01-truth.png").symlink_to(secret)
        with pytest.raises(DataError, match=r"has the image 'cases/worst-01-truth\.png'"):
            report(tmp_path / "run")

    def test_a_single_image_has_no_intervals(self, run, folder, tmp_path):
        for path in [*(folder / "images").iterdir()][1:]:
            path.unlink()
        result = evaluate(run, folder, part="all", out=tmp_path / "out")
        assert result["intervals"] == {}
        text = text_of((tmp_path / "out" / "report.html").read_text())
        assert "There are no intervals for a single image" in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


class TestInABrowser:
    """Tests that need a browser."""

    @pytest.fixture(autouse=True)
    def _folder(self, evaluated):
        self.file = evaluated / "evaluation-pets-all" / "report.html"

    @pytest.mark.parametrize("dark", [False, True])
    def test_there_are_no_errors_and_no_requests(self, browser, dark):
        browser.open(self.file, dark=dark)
        assert browser.requests == [self.file.as_uri()]
        assert browser.errors == []

    def test_the_page_is_dark_if_the_reader_prefers_it(self, browser):
        ground = "getComputedStyle(document.body).backgroundColor"
        browser.open(self.file)
        light = browser.run(ground)
        browser.open(self.file, dark=True)
        assert (light, browser.run(ground)) == ("rgb(255, 255, 255)", "rgb(21, 24, 28)")

    def test_the_page_fits_the_width_of_a_phone(self, browser):
        browser.open(self.file, width=390, height=800)
        assert browser.run("document.documentElement.scrollWidth") == 390

    @pytest.mark.parametrize("dark", [False, True])
    def test_the_metrics_are_on_the_first_screen_of_a_phone(self, browser, dark):
        browser.open(self.file, width=375, height=667, dark=dark)
        cards = "[...document.querySelectorAll('.card .value')]"
        bottoms = browser.run(f"{cards}.map((each) => each.getBoundingClientRect().bottom)")
        assert len(bottoms) >= 6
        assert max(bottoms) < 667

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("panel", ["truth", "prediction", "errors"])
    def test_colours_of_the_legend_are_those_of_the_images(self, browser, tmp_path, dark, panel):
        browser.open(self.file, width=375, height=800, dark=dark)
        legend = f".legend:nth-of-type({2 if panel == 'errors' else 1}) .swatch rect"
        shown = f"""[...document.querySelectorAll("#cases {legend}")]
            .filter((each) => each.getBoundingClientRect().width)
            .map((each) => getComputedStyle(each).fill.match(/\\d+/g).map(Number))"""
        colours = {tuple(colour) for colour in browser.run(shown)}
        assert len(colours) == (3 if panel == "errors" else 2)
        found = set()
        for number in range(4):
            place = f"""(() => {{
                const image = document.querySelectorAll(".case .{panel} svg")[{number}];
                image.scrollIntoView({{block: "center"}});
                const box = image.getBoundingClientRect();
                return [box.left, box.top, box.right, box.bottom];
            }})()"""
            box = browser.run(place)
            browser.screenshot(tmp_path / "page.png", whole=False)
            pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB").crop(box))
            found |= set(map(tuple, pixels.reshape(-1, 3).tolist()))
        assert colours & found
        if panel == "truth":
            assert colours <= found

    @pytest.mark.parametrize("dark", [False, True])
    def test_photos_under_error_maps_are_as_light_or_dark_as_the_page(self, browser, dark):
        browser.open(self.file, dark=dark)
        used = browser.run("getComputedStyle(document.querySelector('.errors .photo')).filter")
        brightness = float(re.search(r"brightness\(([\d.]+)\)", used)[1])
        assert brightness < 0.6 if dark else brightness > 1.5

    def test_every_image_is_decoded(self, browser):
        browser.open(self.file)
        broken = """Promise.all([...document.querySelectorAll("svg image")].map((each) => {
            const image = new Image();
            image.src = each.getAttribute("href");
            return image.decode().then(() => 0, () => 1);
        })).then((found) => [found.length, found.reduce((a, b) => a + b, 0)])"""
        count, failed = browser.run(broken)
        assert count >= 4 * 9
        assert failed == 0

    def test_an_example_can_be_enlarged(self, browser):
        browser.open(self.file)
        boxes = """[...document.querySelectorAll("dialog svg")]
            .map((each) => each.getAttribute("viewBox"))"""
        browser.run("document.querySelector('.case .panel').click()")
        assert browser.run("document.querySelector('dialog').open")
        assert browser.run(boxes) == ["0 0 64 48"] * 4
        browser.run("document.querySelector('dialog [data-zoom=\"1.5\"]').click()")
        (closer,) = set(browser.run(boxes))  # all four move together
        left, top, width, height = map(float, closer.split())
        assert (left, top, width, height) == pytest.approx((32 / 3, 8, 128 / 3, 32))
        browser.run("document.querySelector('dialog [data-close]').click()")
        assert not browser.run("document.querySelector('dialog').open")
        assert browser.errors == []

    def test_an_enlarged_example_can_be_moved_with_the_keyboard(self, browser):
        browser.open(self.file)
        browser.run("document.querySelector('.case .panel').click()")
        press = """for (const key of {}) document.querySelector("dialog").dispatchEvent(
            new KeyboardEvent("keydown", {{key, bubbles: true}}))"""
        browser.run(press.format('["+", "+", "ArrowRight", "ArrowDown"]'))
        box = browser.run("document.querySelector('dialog svg').getAttribute('viewBox')").split()
        # 64 / 2.25 wide, from the middle an eighth to the right
        assert float(box[2]) == pytest.approx(64 / 2.25)
        assert float(box[0]) == pytest.approx((64 - 64 / 2.25) / 2 + 64 / 2.25 / 8)
        browser.run(press.format('["-", "-", "-"]'))
        assert (
            browser.run("document.querySelector('dialog svg').getAttribute('viewBox')")
            == "0 0 64 48"
        )

    def test_long_names_fit_a_phone(self, browser, evaluated, tmp_path):
        shutil.copytree(evaluated / "evaluation-pets-all", tmp_path / "run")
        file = tmp_path / "run" / "evaluation.json"
        name = "Photoreceptor_inner_segment_left_of_the_fovea"
        text = file.read_text().replace('"pet"', f'"{name}"')
        file.write_text(text.replace("synthetic_", "synthetic_" * 6))
        (page,) = report(tmp_path / "run")
        browser.open(page, width=390, height=800)
        assert browser.run("document.documentElement.scrollWidth") == 390

    def test_the_page_can_be_printed(self, browser, tmp_path):
        browser.open(self.file)
        browser.pdf(tmp_path / "report.pdf")
        assert (tmp_path / "report.pdf").read_bytes().count(b"/Type /Page\n") >= 3
