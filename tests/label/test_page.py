"""The page in a real browser: what is drawn by mouse, pen, fingers and keys is in the masks."""

import time

import numpy as np
import pytest
from PIL import Image

from tests.browser import CHROMIUM, Browser
from tests.label.conftest import entry_of, runs
from tests.labelling import Page, labelling
from unetkit.label.journal import Change
from unetkit.label.page import SCRIPTS, labelling_page
from unetkit.label.project import open_project
from unetkit.label.rounds import Round
from unetkit.prediction.predictor import Predictor

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def service(project):
    with labelling(project) as running:
        yield running


@pytest.fixture
def page(browser, service):
    return Page(browser, service)


def disc(y, x, radius, shape=(40, 60)):
    rows, columns = np.indices(shape) + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


class TestDrawing:
    def test_a_click_with_the_brush_covers_the_pixels_whose_centres_are_in_its_disc(self, page):
        page.resize_brush(11)
        page.click(30.2, 20.4)
        expected = np.where(disc(20.4, 30.2, 5.5), 1, 255)
        difference = page.mask() != expected
        rim = disc(20.4, 30.2, 5.8) & ~disc(20.4, 30.2, 5.2)  # the mouse is at whole pixels
        assert not (difference & ~rim).any()
        assert difference.sum() <= 8

    def test_a_stroke_covers_the_way_of_the_disc(self, page):
        page.resize_brush(7.5)  # no pixel's centre is at its edge
        page.draw((10, 10), (50, 10), (50, 30))
        expected = np.zeros((40, 60), bool)
        for step in np.linspace(0, 1, 400):
            expected |= disc(10, 10 + 40 * step, 3.75) | disc(10 + 20 * step, 50, 3.75)
        assert ((page.mask() == 1) != expected).mean() < 0.01

    def test_the_eraser_makes_pixels_unlabelled_again(self, page):
        page.resize_brush(20)
        page.click(30, 20)
        page.keys("e")
        page.draw((30, 5), (30, 35))
        assert (page.mask()[:, 30] == 255).all()

    def test_number_keys_choose_the_class(self, page):
        page.keys("1")
        page.click(10, 10)
        page.keys("2")
        page.click(50, 30)
        mask = page.mask()
        assert (mask[10, 10], mask[30, 50]) == (0, 1)

    def test_a_brush_of_one_pixel_draws_a_line_of_one_pixel(self, page):
        page.resize_brush(1)
        page.draw((10.5, 20.5), (49.5, 20.5))
        drawn = page.mask() == 1
        assert drawn[20, 10:50].all()
        assert drawn.sum() == 40

    def test_a_polygon_is_closed_by_enter_and_by_a_click_on_its_first_corner(self, page):
        page.keys("p")
        for corner in ((10, 10), (30, 10), (30, 30), (10, 30)):
            page.click(*corner)
        page.keys("Enter")
        page.settle()
        expected = np.full((40, 60), 255)
        expected[10:30, 10:30] = 1
        assert (page.mask() != expected).sum() <= 80  # the mouse is at whole pixels
        assert (page.mask()[12:28, 12:28] == 1).all()
        page.keys("1")
        page.keys("p")
        for corner in ((40, 10), (50, 10), (50, 30), (40, 10)):
            page.click(*corner)
        assert page.mask()[15, 47] == 0

    def test_a_lasso_fills_what_it_goes_around(self, page):
        page.keys("l")
        page.draw((10, 10), (40, 10), (40, 30), (10, 30))
        assert (page.mask()[12:28, 12:38] == 1).all()
        assert page.mask()[5, 5] == 255

    def test_fill_stops_at_edges_of_the_image_and_of_strokes(self, browser, project):
        pixels = np.full((40, 60, 3), 200, np.uint8)
        pixels[:, 40:] = 20
        Image.fromarray(pixels).save(project.images / "a.png")
        with labelling(project) as service:
            page = Page(browser, service)
            page.keys("1")
            page.resize_brush(1)
            page.draw((0.5, 20.5), (39.5, 20.5))
            page.keys("2", "f")
            page.click(10, 5)
            page.wait("view.mask.undos.length === 2")
            page.settle()
            mask = page.mask()
            assert (mask[:20, :40] == 1).all()
            assert (mask[21:] == 255).all()
            assert (mask[:, 40:] == 255).all()

    def test_only_unlabelled_pixels_are_drawn_on_if_that_is_wished(self, page):
        page.keys("1")
        page.click(30, 20)
        before = page.mask() == 0
        page("find('#protect').click()")
        page.keys("2")
        page.draw((10, 20), (50, 20))
        assert (page.mask()[before] == 0).all()
        assert page.mask()[20, 12] == 1

    def test_a_pen_draws_and_its_eraser_erases(self, page):
        page.click(30, 20, pointerType="pen")
        assert page.mask()[20, 30] == 1
        x, y = page.place(30, 20)
        eraser = {"pointerId": 7, "pointerType": "pen", "buttons": 32, "button": 5}
        page(
            "stage.setPointerCapture = () => {}; for (const kind of ['pointerdown', 'pointerup']) "
            f"stage.dispatchEvent(new PointerEvent(kind, {{...{eraser}, clientX: {x}, "
            f"clientY: {y}}}))"
        )
        page.settle()
        assert page.mask()[20, 30] == 255


class TestUndo:
    def test_a_thousand_strokes_are_undone_and_drawn_again(self, page):
        page.resize_brush(3)
        script = """(() => {
          const kept = [];
          for (let i = 0; i < 1000; i++) {
            drawing.value = i % 2;
            drawing.begin((i * 7) % 60, (i * 11) % 40, "brush");
            drawing.go((i * 13) % 60, (i * 5) % 40);
            drawing.complete();
            if (i % 100 === 99) kept.push([view.mask.undos.length, [...view.mask.values]]);
          }
          return kept;
        })()"""
        states = page(script)
        page.settle()
        assert states[-1][0] > 950  # the others changed nothing
        assert page.mask().ravel().tolist() == states[-1][1]
        for count, state in reversed(states[:-1]):
            page(f"while (view.mask.undos.length > {count}) drawing.step(true)")
            page.settle()
            assert page.mask().ravel().tolist() == state
        page("while (view.mask.undos.length) drawing.step(true)")
        page.settle()
        assert (page.mask() == 255).all()
        assert page("view.mask.labelled") == 0
        page("while (view.mask.redos.length) drawing.step(false)")
        page.settle()
        assert page.mask().ravel().tolist() == states[-1][1]
        assert page("view.mask.bytes") < 40e6

    def test_keys_undo_and_redo_and_a_new_stroke_ends_redo(self, page):
        page.click(10, 10)
        page.click(50, 30)
        page.keys("z", control=True)
        page.settle()
        assert (page.mask()[30, 50], page.mask()[10, 10]) == (255, 1)
        page.keys("y", control=True)
        page.settle()
        assert page.mask()[30, 50] == 1
        page.keys("z", control=True)
        page.click(30, 20)
        page.keys("y", control=True)
        page.settle()
        assert page.mask()[30, 50] == 255

    def test_memory_of_strokes_is_bounded(self, page):
        page(
            "(() => { for (let i = 0; i < 50; i++) { view.mask.keep(view.mask.undos, {before: "
            "new Uint32Array(1), after: {byteLength: 2 ** 24}}); } view.mask.begin(); "
            "view.mask.set(0, 5, 1); view.mask.end(); })()"
        )
        assert page("view.mask.bytes") <= 2**28
        assert page("view.mask.undos.length") >= 15


class TestView:
    def test_the_wheel_zooms_at_the_pointer(self, page):
        x, y = page.place(15, 10)
        page.browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-400, button="none")
        page.wait("view.scale > 10")
        assert page.place(15, 10) == pytest.approx((x, y), abs=1.5)

    def test_the_space_bar_and_the_right_button_move_the_image(self, page):
        before = page("view.left")
        page("drawing.isSpace = true")
        page.draw((30, 20), (20, 20))
        page("drawing.isSpace = false")
        assert page("view.left") == pytest.approx(before + 10, abs=0.3)
        page.draw((30, 20), (40, 20), button="right")
        assert page("view.left") == pytest.approx(before, abs=0.3)
        assert (page.mask() == 255).all()

    def test_the_image_never_leaves_the_stage(self, page):
        page("for (let i = 0; i < 9; i++) view.pan(9999, 9999)")
        assert page("view.toStage(0, 0).every((at, i) => at < view.size[i])")

    def test_what_is_seen_is_the_mask_over_the_image(self, page):
        page("drawing.size = 30; view.labels.style.opacity = 1")
        page.click(30, 20)
        page("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seen = page(
            "(() => { const [x, y] = view.toStage(30, 20).map(Math.round), c = view.labels;"
            "return [...c.getContext('2d').getImageData(x, y, 1, 1).data]; })()"
        )
        assert seen == [230, 159, 0, 255]
        assert page("view.tiles.size") == 1

    def test_nothing_is_asked_of_another_host_and_nothing_fails(self, page):
        page.click(30, 20)
        own = (page.service.address, "blob:")
        assert [url for url in page.browser.requests if not url.startswith(own)] == []
        assert page.browser.errors == []


class TestTouch:
    def test_one_finger_draws_and_two_zoom_and_move(self, page):
        start = page.place(20, 20)
        page.browser.touch("touchStart", start)
        page.browser.touch("touchMove", page.place(40, 20))
        page.browser.touch("touchEnd")
        page.settle()
        assert (page.mask()[20, 21:39] == 1).all()
        before, drawn = page("view.scale"), page.mask()
        (x, y), apart = page.place(30, 20), 40
        page.browser.touch("touchStart", (x - apart, y))
        page.browser.touch("touchStart", (x - apart, y), (x + apart, y))
        for more in range(10, 90, 10):
            page.browser.touch("touchMove", (x - apart - more, y), (x + apart + more, y))
        page.browser.touch("touchEnd")
        page.settle()
        assert page("view.scale") > 2 * before
        assert np.array_equal(page.mask(), drawn)  # the first finger's dot was taken back

    def test_after_a_pen_was_seen_a_finger_moves_the_image(self, page):
        page.click(10, 10, pointerType="pen")
        drawn, before = page.mask(), page("view.left")
        page.browser.touch("touchStart", page.place(30, 20))
        page.browser.touch("touchMove", page.place(20, 20))
        page.browser.touch("touchEnd")
        page.settle()
        assert np.array_equal(page.mask(), drawn)
        assert page("view.left") > before


class TestKeyboard:
    def test_a_stroke_is_drawn_without_a_mouse(self, page):
        page("stage.focus()")
        page.resize_brush(3)
        page.keys("ArrowRight", "Enter", *["ArrowRight"] * 9, "Enter")
        page.settle()
        drawn = np.argwhere(page.mask() == 1)
        assert len(drawn) > 20
        assert np.ptp(drawn[:, 1]) > 3 * np.ptp(drawn[:, 0])

    def test_a_polygon_is_drawn_without_a_mouse(self, page):
        page("stage.focus()")
        page.keys("p", "ArrowRight", "Enter", *["ArrowRight"] * 9, "Enter", *["ArrowDown"] * 9)
        page.keys("Enter", "Enter")
        page.settle()
        assert (page.mask() == 1).sum() > 20

    def test_everything_is_reached_by_tab(self, page):
        page("document.activeElement.blur()")
        reached = []
        for _ in range(60):
            page.keys("Tab")
            reached.append(page("document.activeElement.id || document.activeElement.innerText"))
        named = " | ".join(reached)
        for what in ("Undo", "Fit", "b.jpg", "stage", "Lasso", "pet", "size", "opacity", "protect"):
            assert what in named, (what, named)

    def test_page_keys_change_the_image_and_the_list_follows(self, page):
        page.keys("PageDown")
        page.wait("view.mask && entry.name === 'b.jpg'")
        assert page("document.querySelector('[aria-current]').innerText").startswith("b.jpg")
        page.keys("PageUp")
        page.wait("view.mask && entry.name === 'a.png'")

    def test_the_list_of_keys_names_every_tool(self, page):
        page.keys("?")
        words = page("find('#help').innerText")
        for tool in page("Object.values(allTools()).map(([words]) => words)"):
            assert tool in words
        page.keys("Escape")


class TestNothingIsLost:
    def test_strokes_during_a_lost_connection_arrive_later(self, browser, project):
        with labelling(project) as service:
            page = Page(browser, service)
            page.resize_brush(9)
            page.click(10, 10)
        browser.drag(page.place(30, 20))  # the server has ended
        page.wait("saved.classList.contains('lost')")
        browser.drag(page.place(50, 30))
        assert "2 strokes kept here" in page("saved.textContent")
        with labelling(project, service.port) as service:
            page.service = service
            page.settle()
            mask = page.mask()
            assert [mask[10, 10], mask[20, 30], mask[30, 50]] == [1, 1, 1]
            assert page("saved.textContent") == "Saved"

    def test_a_reload_amid_a_stroke_costs_what_was_not_yet_sent(self, page):
        page.resize_brush(5)
        page.browser.mouse("mousePressed", *page.place(10, 20))
        for x in range(11, 30):
            page.browser.mouse("mouseMoved", *page.place(x, 20))
        page.wait("view.mask.stroke.sent > 0")
        page.settle()
        page.browser.open("about:blank")
        again = Page(page.browser, page.service)
        assert (again.mask()[20, 10:29] == 1).all()
        assert again("view.mask.labelled") == (again.mask() == 1).sum()
        page.browser.mouse("mouseReleased", 5, 5)

    def test_another_window_is_not_overwritten(self, page):
        project = page.service.store.project
        entry = entry_of(project, "a.png")
        page.click(10, 10)
        page.service.store.change(entry, 1, Change(b"w" * 16, runs((2300, 60, 0))))
        page.draw((30, 20))
        page.wait("!problem.hidden && view.mask && view.mask.revision === 2")
        assert "drawn on in another window" in page("problem.textContent")
        assert "without the last stroke of this window" in page("problem.textContent")
        mask = page.mask()
        assert (mask[38, 20:] == 0).all()
        assert mask[20, 30] == 255
        page.click(30, 20)
        assert page.mask()[20, 30] == 1

    def test_a_mask_file_that_cannot_be_written_is_said(self, page, monkeypatch):
        page.service.store._problems["x"] = "x.png cannot be written (No space left)"
        page.click(10, 10)
        page.wait("saved.textContent.includes('cannot be written')")


class TestMany:
    def test_a_folder_of_2000_images_opens_and_its_end_is_reached(self, browser, tmp_path):
        (tmp_path / "images").mkdir()
        for number in range(2000):
            Image.new("L", (8, 8), number % 256).save(tmp_path / "images" / f"{number:04}.png")
        project = open_project(tmp_path / "images")
        project.out.mkdir()
        with labelling(project) as service:
            page = Page(browser, service)
            assert page("document.querySelectorAll('#images button').length") == 2000
            page("project.entries[1999].button.click()")
            page.wait("view.mask && entry.name === '1999.png'")
            page.wait("entry.picture.src")
            page.click(4, 4)
            assert (page.mask("1999.png") == 1).any()
            page("find('#filter').value = 'with'; filterList()")
            shown = page("project.entries.filter((one) => !one.button.hidden).length")
            assert shown == 1

    def test_an_image_of_100_megapixels_is_shown_in_tiles_and_drawn_on(self, browser, tmp_path):
        (tmp_path / "images").mkdir()
        ramp = np.arange(10_000, dtype=np.uint32)
        pixels = ((ramp[:, None] + ramp) // 80).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / "large.png", compress_level=1)
        project = open_project(tmp_path / "images")
        project.out.mkdir()
        with labelling(project) as service:
            page = Page(browser, service)
            assert page("view.mask.values.length") == 100_000_000
            page.wait("[...view.tiles.values()].some(Boolean)")
            page("drawing.size = 400")
            page.draw((2000, 5000), (8000, 5000))
            mask = page.mask("large.png")
            assert (mask[4900:5100, 2100:7900] == 1).all()
            page("view.zoom(1 / view.scale)")
            page.wait("view.fetching === 0 && [...view.tiles.keys()].some((k) => k[0] === '0')")
            assert page("view.tiles.size") < 40
            assert page.browser.errors == []

    def test_hostile_names_are_text(self, browser, tmp_path):
        (tmp_path / "images").mkdir()
        names = (
            "<img src=x onerror=alert(1)>.png",
            "'; alert(1) ;'.png",
            "\u202egnp.png",
            "ä 漢.png",
        )
        for name in names:
            Image.new("RGB", (9, 9)).save(tmp_path / "images" / name)
        project = open_project(tmp_path / "images")
        project.out.mkdir()
        with labelling(project) as service:
            page = Page(browser, service)
            for entry in project.entries.values():
                page(f"openImage(project.entries.find(({{id}}) => id === '{entry.id}'))")
                page.wait(f"view.mask && view.mask.id === '{entry.id}'")
                assert page("find('h1').textContent") == entry.shown
                page.click(4, 4)
                assert (page.mask(entry.name) == 1).any()
            assert page("document.querySelectorAll('img[src=x]').length") == 0
            assert page.browser.errors == []
        assert sorted(path.name for path in project.out.glob("*.png")) == sorted(names)

    def test_an_image_that_cannot_be_read_is_said_and_the_others_go_on(self, browser, project):
        (project.images / "a.png").write_bytes(b"no image")
        with labelling(project) as service:
            browser.open("about:blank")
            browser.open(service.page)
            browser.wait_until("!problem.hidden", 20)
            assert "a.png is not an image that can be read" in browser.run("problem.textContent")
            browser.run("go(1)")
            browser.wait_until("view.mask && entry.name === 'b.jpg'", 20)


class TestObjects:
    @pytest.fixture
    def page(self, browser, folder):
        project = open_project(folder, classes={"kind": "instances"})
        project.out.mkdir()
        with labelling(project) as service:
            yield Page(browser, service)

    def test_a_key_begins_a_new_object(self, page):
        page.resize_brush(7)
        page.click(10, 10)
        page.keys("n")
        page.click(30, 20)
        page.keys("n")
        page.click(50, 30)
        page.keys("1")
        page.click(50, 5)
        mask = page.mask()
        assert [mask[10, 10], mask[20, 30], mask[30, 50], mask[5, 50]] == [1, 2, 3, 0]

    def test_two_objects_are_merged_and_that_is_undone(self, page):
        page.resize_brush(7)
        page.click(10, 10)
        page.keys("n")
        page.click(30, 20)
        page.keys("m")
        page.click(10, 10)
        assert set(np.unique(page.mask())) == {2, 65535}
        page.keys("z", control=True)
        page.settle()
        assert set(np.unique(page.mask())) == {1, 2, 65535}

    def test_a_line_cuts_an_object_in_two(self, page):
        page.resize_brush(9)
        page.draw((10, 20), (50, 20))
        whole = page.mask() == 1
        page.keys("c")
        page.draw((25.5, 5), (25.5, 35))
        mask = page.mask()
        assert set(np.unique(mask)) == {1, 2, 65535}
        assert np.array_equal(mask != 65535, whole)
        assert (mask[20, 28], mask[20, 22]) == (1, 2)

    def test_suggested_objects_are_new_or_complete_a_stroke_but_never_fringe_an_outline(self, page):
        page.resize_brush(5)
        for x in (6, 26, 44, 56):  # objects 1 to 4
            page.click(x, 6)
            page.keys("n")
        page.keys("1")
        page.click(6, 34)  # background
        drawn = page.mask()
        suggestion = np.zeros((40, 60), np.uint16)
        suggestion[1:12, 1:20] = 11  # object 1 is a small part of it
        suggestion[4:9, 24:29] = 12  # object 2 is most of it
        suggestion[1:12, 40:60] = 13  # objects 3 and 4 are in it
        suggestion[20:30, 20:40] = 14  # nothing is drawn there
        page(f"view.suggestion = new Uint16Array({suggestion.ravel().tolist()})")
        page("view.certainty = new Uint8Array(2400).fill(255); accept(0)")
        page.settle()
        expected = np.where(suggestion == 0, 0, drawn)
        expected[(suggestion == 11) & (drawn == 65535)] = 1
        expected[suggestion == 14] = 5
        assert np.array_equal(page.mask(), np.where(drawn == 65535, expected, drawn))
        page.keys("z", control=True)
        page.settle()
        assert np.array_equal(page.mask(), drawn)

    def test_a_picked_object_goes_on(self, page):
        page.resize_brush(7)
        page.click(10, 10)
        page.keys("n")
        page.click(30, 20)
        page.click(10, 10, modifiers=1)  # Alt
        page.click(20, 30)
        assert page.mask()[30, 20] == 1


@pytest.mark.parametrize(("width", "height"), [(390, 800), (820, 1180), (1280, 860)])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_overflows_on_any_screen(browser, service, width, height, dark):
    page = Page(browser, service, width=width, height=height, dark=dark)
    assert page("document.documentElement.scrollWidth <= innerWidth")
    assert page("document.documentElement.scrollHeight <= innerHeight")
    assert page("stage.clientHeight > innerHeight / 2")
    if width <= 1000:
        page("document.querySelector('[data-drawer=side]').click()")
    assert page("find('#classes').getBoundingClientRect().width > 100")
    x, y = page(
        "(() => { const b = stage.getBoundingClientRect(); return [b.left + 9, b.top + 9]; })()"
    )
    browser.drag((x, y))  # closes it, and draws nothing
    assert not page("document.body.dataset.open")


def test_the_page_is_one_file_of_its_sources():
    content = labelling_page().content
    assert content.count("<script") == content.count("<style") == 1
    assert "[[ " not in content
    assert len(SCRIPTS) == len(set(SCRIPTS))


def test_every_stroke_is_drawn_within_its_part_of_the_screen(browser, tmp_path):
    """4000 x 3000 pixels: a stroke repaints the labels around it, not all of them."""
    (tmp_path / "images").mkdir()
    Image.new("L", (4000, 3000)).save(tmp_path / "images" / "a.png")
    project = open_project(tmp_path / "images")
    project.out.mkdir()
    with labelling(project) as service:
        page = Page(browser, service)
        page(
            "window.drawn = []; const draw = view.drawLabels.bind(view);"
            "view.drawLabels = (part) => { drawn.push(part); draw(part); };"
        )
        page("drawing.size = 40")
        page.browser.mouse("mousePressed", *page.place(1000, 1000))
        page.wait("drawn.length > 0")
        time.sleep(0.05)
        page("drawn.length = 0")
        page.browser.mouse("mouseMoved", *page.place(1100, 1000))
        page.wait("drawn.length > 0")
        left, top, right, bottom = page("drawn[0]")
        scale = page("view.scale")
        assert right - left < 150 * scale + 4
        assert bottom - top < 50 * scale + 4
        page.browser.mouse("mouseReleased", *page.place(1100, 1000))


class TestLearning:
    @pytest.fixture
    def page(self, browser, folder, run):
        names = Predictor(run).spec.classes.names
        project = open_project(folder, classes={"names": names})
        project.out.mkdir()
        with labelling(project) as service:
            service.rounds.suggest_with(run)
            page = Page(browser, service)
            page.wait("learning.state && learning.state.state === 'idle' && view.suggestion")
            yield page

    def suggested(self, page, name="a.png"):
        return page.service.rounds.read(entry_of(page.service.store.project, name))

    def test_a_suggestion_is_shown_and_accepted_where_nothing_is_drawn(self, page):
        page.keys("1")
        page.resize_brush(9)
        page.click(30, 20)
        drawn = page.mask() == 0
        assert not page("find('#suggestion').hidden")
        page.keys("a")
        page.settle()
        suggestion, _, _ = self.suggested(page)
        assert np.array_equal(page.mask(), np.where(drawn, 0, suggestion))
        page.keys("z", control=True)
        page.settle()
        assert np.array_equal(page.mask() == 0, drawn)

    def test_only_certain_pixels_are_accepted_if_that_is_wished(self, page):
        suggestion, certainty, _ = self.suggested(page)
        least = round(2.55 * 3)
        page("find('#certain').value = 3; find('#certain').dispatchEvent(new Event('input'))")
        page.keys("s")
        page.settle()
        assert np.array_equal(page.mask(), np.where(certainty >= least, suggestion, 255))

    def test_the_most_uncertain_come_first_and_those_with_a_mask_last(self, page):
        uncertain = {one: known.uncertainty for one, known in page.service.rounds.known.items()}
        page("find('#order').value = 'uncertain'; orderList()")
        order = page("project.entries.map(({id}) => id)")
        assert order == sorted(uncertain, key=uncertain.get, reverse=True)
        page("openImage(project.entries[0])")
        page.wait("view.mask && entry === project.entries[0]")
        page.click(30, 20)
        page("orderList()")
        assert page("project.entries.map(({id}) => id)") == [*order[1:], order[0]]
        page("find('#order').value = 'name'; orderList()")
        assert page("project.entries.map(({name}) => name)") == ["a.png", "b.jpg", "more/c.png"]

    def test_an_image_without_a_suggestion_says_why(self, page):
        entry = entry_of(page.service.store.project, "b.jpg")
        del page.service.rounds.known[entry.id]
        page.service.rounds.failures[entry.id] = "b.jpg needs 9,000 MiB"
        page("learning.ask()")
        page.wait("project.entries.some(({failure}) => failure)")
        found = "project.entries.find(({name}) => name === 'b.jpg')"
        assert page(f"{found}.button.querySelector('small').textContent") == "no suggestion"
        assert page(f"{found}.button.title") == "b.jpg needs 9,000 MiB"
        page(f"openImage({found})")
        page.wait("waiting.textContent === 'No suggestion: b.jpg needs 9,000 MiB.'")
        assert page("find('#suggestion').hidden")

    def test_too_few_images_are_said(self, page):
        page.keys("t")
        page.wait("!problem.hidden")
        assert "0 images are labelled; accepted to train are 2 or more" in (
            page("problem.textContent")
        )

    def test_scores_are_a_curve_and_advice_is_words(self, page):
        rounds = page.service.rounds
        rounds.finished = [
            Round(n, "gone", 5, 900, 60.0, ((50, 5, 0), (n, 40, 0), (0, 0, 9)), 4)
            for n in (1, 2, 3)
        ]
        page("learning.ask()")
        page.wait("find('#curve svg circle')")
        assert page("document.querySelectorAll('#curve circle').length") == 3
        words = page("find('#curve figcaption').textContent")
        assert "on 4 images; you changed 7.5 % of their labelled pixels" in words
        assert "more labels of this kind no longer pay" in page("find('#advice').textContent")
        assert page.browser.errors == []

    def test_a_round_goes_on_beside_drawing(self, page):
        for name in ("a.png", "b.jpg"):
            page(f"openImage(project.entries.find(({{name}}) => name === '{name}'))")
            page.wait(f"view.mask && entry.name === '{name}' && waiting.textContent === ''")
            for key, x in (("1", 10), ("2", 30), ("3", 50)):
                page.keys(key)
                page.click(x, 20)
        page("find('#minutes').value = 0.01")
        page.keys("t")
        page.wait("learning.isActive")
        page.keys("1")
        page.click(30, 35)
        assert page.mask("b.jpg")[35, 30] == 0
        page.browser.wait_until("learning.state.rounds.length > 1 && !learning.isActive", 300)
        assert page("learning.state.problem") == ""
        assert page("learning.state.rounds.at(-1).images") == 2

    def test_it_begins_by_itself_after_some_images(self, page, monkeypatch):
        begun = []
        monkeypatch.setattr(page.service.rounds, "start", begun.append)
        page("find('#alone').checked = true; find('#every').value = 2")
        for name in ("a.png", "b.jpg", "more/c.png"):
            page(f"openImage(project.entries.find(({{name}}) => name === '{name}'))")
            page.wait(f"view.mask && entry.name === '{name}' && waiting.textContent === ''")
            assert begun == ([1.5] if name == "more/c.png" else [])
            page.click(30, 20)
