"""The page of a service in a real browser: what it shows, saves and says, also by keyboard."""

import io
import json
import time
import zipfile
from pathlib import Path

import axe_playwright_python
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.browser import CHROMIUM, Browser
from tests.serving import photo_bytes, serving
from unetkit.datasets.synthetic_pets import synthetic_pet
from unetkit.serve.limits import Limits
from unetkit.serve.page import make_page

TOKEN = "a-token-of-the-tests"
WIDTHS = (390, 1280)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos of pets, and a file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(("one.png", "two.jpg")):
        image, _ = synthetic_pet(seed, height=120, width=160 + 20 * seed)
        Image.fromarray(image).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return [folder / name for name in ("one.png", "two.jpg", "notes.txt")]


class Open:
    """The page of a service, open in a browser."""

    def __init__(self, browser, service, **view):
        self.browser, self.service = browser, service
        browser.open(f"http://{service.host}/", **view)

    def __call__(self, script):
        return self.browser.run(script)

    def wait(self, condition):
        self.browser.wait_until(condition, 30)

    def choose(self, *files):
        before = self("images.length")
        self.browser.choose_files("input[type=file]", *files)
        self.wait(
            f"images.length === {before + len(files)} && "
            "images.every(({state}) => state === 'done' || state === 'failed')"
        )

    def mask_pixels(self):
        """The mask as it is drawn, (H, W, 4)."""
        script = """(() => {
          const {width, height} = mask;
          return [height, width, ...mask.getContext("2d").getImageData(0, 0, width, height).data];
        })()"""
        height, width, *values = self(script)
        return np.array(values, np.uint8).reshape(height, width, 4)

    def problem(self):
        return self("problem.textContent")


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width} px")
def page(request, browser, service):
    page = Open(browser, service, width=request.param, height=900)
    page.wait("!input.disabled")
    return page


class TestResult:
    def test_the_mask_and_the_areas_are_those_of_the_service(self, page, service, photos):
        page.choose(*photos[:2])
        for number, photo in enumerate(photos[:2]):
            page(f"images[{number}].button.click()")
            content = photo.read_bytes()
            labels = cv2.imdecode(
                np.frombuffer(service.post(content).content, np.uint8), cv2.IMREAD_UNCHANGED
            )
            classes = service.get("/v1/model").json()["classes"]
            colours = np.zeros((256, 4), np.uint8)
            for record in classes:
                if not record["background"]:
                    colours[record["index"]] = (*bytes.fromhex(record["colour"][1:]), 255)
            assert (page.mask_pixels() == colours[labels]).all()
            summary = service.post(content, "/v1/predict?output=summary").json()
            shown = page("[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
            for record, row in zip(summary["classes"], shown, strict=True):
                assert row.split() == [
                    record["name"],
                    f"{record['pixels']:,}",
                    f"{100 * record['fraction']:.1f}",
                    "%",
                ]

    def test_nothing_is_asked_of_another_host_and_nothing_overflows(self, page, service, photos):
        page.choose(photos[0])
        own = (f"http://{service.host}/", "blob:")
        assert [url for url in page.browser.requests if not url.startswith(own)] == []
        assert page("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.browser.errors == []

    def test_a_class_that_is_switched_off_is_not_drawn(self, page, photos):
        page.choose(photos[0])
        assert page.mask_pixels()[..., 3].any()
        page("document.querySelectorAll('tbody input').forEach((box) => box.click())")
        assert not page.mask_pixels()[..., 3].any()
        page("document.querySelectorAll('tbody input')[0].click()")
        assert len(np.unique(page.mask_pixels().reshape(-1, 4), axis=0)) <= 2

    def test_sliders_change_opacity_and_divide_the_image(self, page, photos):
        page.choose(photos[0])
        page("opacity.value = 20; opacity.dispatchEvent(new Event('input'))")
        assert page("getComputedStyle(mask).opacity") == "0.2"
        assert page("line.hidden")
        page("divider.value = 30; divider.dispatchEvent(new Event('input'))")
        assert page("getComputedStyle(mask).clipPath") == "inset(0px 0px 0px 30%)"
        assert not page("line.hidden")


class TestKeyboard:
    def test_images_are_chosen_and_zoomed_without_a_mouse(self, page, photos):
        page.choose(*photos[:2])
        reached = []
        page("document.activeElement.blur()")
        for _ in range(30):
            page.browser.press("Tab")
            reached.append(page("document.activeElement.id || document.activeElement.innerText"))
        named = " | ".join(reached)
        for what in ("two.jpg", "opacity", "divider", "stage", "cut-out", "all images", "Fit"):
            assert what in named, (what, named)
        page("images[1].button.focus()")
        page.browser.press("Enter")
        assert page("shown.name") == "two.jpg"
        page("document.querySelector('[data-zoom=in]').focus()")
        before = page("mask.clientWidth")
        page.browser.press("Enter")
        assert page("mask.clientWidth") > before
        page("document.querySelector('[data-zoom=fit]').focus()")
        page.browser.press("Enter")
        assert page("mask.clientWidth") == before


class TestSaving:
    def test_files_have_the_bytes_of_the_service(self, page, service, photos, tmp_path):
        page.browser.save_into(tmp_path)
        page.choose(*photos[:2])
        page("images[1].button.click()")
        for output, end in (("mask", ".png"), ("cutout", "_cutout.png")):
            page(f"document.querySelector('[data-save={output}]').click()")
            page.wait(f"status.textContent === 'two{end} is saved.'")
            expected = service.post(photos[1].read_bytes(), f"/v1/predict?output={output}").content
            assert read_when_written(tmp_path / f"two{end}", len(expected)) == expected

    def test_an_archive_holds_the_results_of_all_images(self, page, service, photos, tmp_path):
        page.browser.save_into(tmp_path)
        page.choose(*photos[:2])
        page("document.querySelector('[data-save=zip]').click()")
        page.wait("status.textContent === 'unetkit.zip is saved.'")
        file = tmp_path / "unetkit.zip"
        read_when_written(file, 1)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            ends = (".png", "_overlay.png", "_cutout.png", ".geojson")
            names = [f"{stem}{end}" for stem in ("one", "two") for end in ends]
            assert archive.namelist() == [*names, "areas.csv"]
            overlay = service.post(photos[0].read_bytes(), "/v1/predict?output=overlay").content
            assert archive.read("one_overlay.png") == overlay
            rows = archive.read("areas.csv").decode().splitlines()
        assert rows[0] == "image,pet,background,border"
        counts = page("JSON.stringify(images[1].counts.slice(0, 3))")
        assert rows[2] == f"two.jpg,{','.join(map(str, json.loads(counts)))}"


def read_when_written(file, size):
    end = time.monotonic() + 20
    while not file.exists() or file.stat().st_size < size:
        assert time.monotonic() < end
        time.sleep(0.02)
    return file.read_bytes()


class TestAxe:
    """Nothing that axe-core knows keeps anyone from using the page, in any of its states."""

    RULES = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")

    def require_none(self, page):
        page(f"{self.RULES}; 0")
        found = page("axe.run().then(({violations, passes}) => ({violations, passes}))")
        assert len(found["passes"]) > 15
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []

    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    @pytest.mark.parametrize("width", WIDTHS)
    def test_with_results_and_an_error(self, browser, service, photos, width, dark):
        page = Open(browser, service, width=width, height=900, dark=dark)
        page.wait("!input.disabled")
        self.require_none(page)
        page.choose(*photos)
        page("divider.value = 30; divider.dispatchEvent(new Event('input'))")
        assert page.problem()
        self.require_none(page)

    def test_with_a_token_to_enter_and_a_server_that_is_gone(self, browser, built_in):
        with serving(built_in, token=TOKEN) as service:
            page = Open(browser, service, width=390)
            page.wait("!document.querySelector('#access').hidden")
            self.require_none(page)
        page("begin()")
        page.wait("problem.textContent.includes('erver does not answer')")
        self.require_none(page)


class TestStates:
    def test_what_is_no_image_is_said_and_the_others_go_on(self, page, photos):
        page.choose(photos[2], photos[0])
        assert page.problem().startswith(
            "notes.txt is not segmented: the format of the image is unknown; accepted are JPEG"
        )
        assert page("images.map(({state}) => state)") == ["failed", "done"]
        assert "the format of the image is unknown" in page("images[0].button.innerText")
        assert page("shown.name") == "one.png"

    def test_dropped_and_pasted_images_are_segmented(self, page):
        page(f"""
          globalThis.bytes = new Uint8Array({list(photo_bytes())});
          const data = new DataTransfer();
          data.items.add(new File([bytes], "dropped.png", {{type: "image/png"}}));
          document.dispatchEvent(new DragEvent("drop", {{dataTransfer: data, bubbles: true}}));
          document.body.dispatchEvent(
            new ClipboardEvent("paste", {{clipboardData: data, bubbles: true}}));
        """)
        page.wait("images.length === 2 && images.every(({state}) => state === 'done')")
        page(
            "document.body.dispatchEvent(new ClipboardEvent('paste', "
            "{clipboardData: new DataTransfer(), bubbles: true}))"
        )
        assert page.problem() == "The clipboard has no image."

    def test_a_file_that_is_too_large_is_not_sent(self, browser, built_in, photos, tmp_path):
        with serving(built_in, Limits(body_bytes=1 << 20)) as service:
            page = Open(browser, service)
            page.wait("!input.disabled")
            (tmp_path / "large.png").write_bytes(bytes(3 << 20))
            page.choose(tmp_path / "large.png", photos[0])
            assert page.problem() == (
                "large.png is not segmented: the file has 3.0 MiB; this server accepts up to "
                "1.0 MiB."
            )
            assert browser.errors == []

    def test_a_busy_server_is_asked_again(self, browser, built_in, photos, monkeypatch):
        with serving(built_in) as service:
            page = Open(browser, service)
            page.wait("!input.disabled")
            monkeypatch.setattr(service.segmenter, "_pending", 1000)
            monkeypatch.setattr(service.segmenter, "_mean_seconds", 0.001)
            browser.choose_files("input[type=file]", photos[0])
            page.wait("status.textContent.startsWith('The server is busy; one.png is sent again')")
            monkeypatch.setattr(service.segmenter, "_pending", 0)
            page.wait("images[0].state === 'done'")

    def test_a_server_that_is_gone_is_said_and_asked_again(self, browser, built_in, photos):
        with serving(built_in) as service:
            page = Open(browser, service)
            page.wait("!input.disabled")
        page.choose(photos[0])
        assert page.problem() == (
            "one.png is not segmented: the server does not answer; it may have ended, or the "
            "connection is lost.Try again"
        )
        page('globalThis.fetch = async () => new Response(\'{"error": "no"}\', {status: 500})')
        page("problem.querySelector('button').click()")
        page.wait("problem.textContent.includes('one.png is not segmented: no.')")

    def test_a_token_is_asked_for(self, browser, built_in, photos):
        with serving(built_in, token=TOKEN) as service:
            page = Open(browser, service, width=390)
            page.wait("!document.querySelector('#access').hidden")
            for token, wanted in (("wrong", "problem.textContent"), (TOKEN, "!input.disabled")):
                page(f"document.querySelector('#token').value = {json.dumps(token)}")
                page("document.querySelector('#access button').click()")
                page.wait(wanted)
                if token == "wrong":
                    assert page.problem() == "The server does not accept this token."
            page.choose(photos[0])
            assert page("images[0].state") == "done"
            assert page("document.querySelector('#access').hidden")

    def test_a_format_that_the_browser_cannot_show_is_said(self, page, tmp_path):
        (tmp_path / "scan.tif").write_bytes(photo_bytes("TIFF"))
        page.choose(tmp_path / "scan.tif")
        words = page("document.querySelector('figcaption').textContent")
        assert "this browser cannot show its format, so that the mask is alone" in words


def test_it_runs_its_own_script_and_style_only(service):
    response = service.get("/")
    policy = response.headers["content-security-policy"]
    assert policy == make_page().policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    assert "[[ " not in response.text
    assert "http" not in response.text.replace("http://www.w3.org", "")


def test_under_a_path_of_a_proxy_its_addresses_are_relative(service):
    text = service.get("/").text
    assert 'ask("v1/model")' in text
    assert "ask(`v1/predict?output=" in text
    assert Image.open(io.BytesIO(service.post(photo_bytes()).content)).mode == "L"
