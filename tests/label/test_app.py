"""The service behind the page, through real sockets."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from tests.label.conftest import entry_of, runs
from tests.labelling import labelling
from unetkit.label.app import REVISION_HEADER
from unetkit.label.project import open_project

KEY = "ab" * 16


@pytest.fixture
def service(project):
    with labelling(project) as running:
        yield running


@pytest.fixture
def id(project):
    return entry_of(project, "a.png").id


def post(service, id, base, *triples, key=KEY, **options):
    path = f"/v1/images/{id}/changes?base={base}&key={key}"
    return service.ask("POST", path, content=runs(*triples).astype("<u4").tobytes(), **options)


class TestWho:
    PATHS = ("/v1/project", "/v1/images/0/mask", "/v1/images/0", "/v1/images/0/thumbnail")

    @pytest.mark.parametrize("path", PATHS)
    def test_every_answer_but_the_page_needs_the_token(self, service, path):
        assert service.ask("GET", path, token="wrong").status_code == 401
        assert service.ask("GET", "/", token="wrong").status_code == 200

    def test_changes_need_it_too(self, service, id):
        assert post(service, id, 0, (0, 1, 1), token="wrong").status_code == 401
        assert (service.mask(id) == 255).all()

    @pytest.mark.parametrize(
        "headers", [{"Host": "rebound.example"}, {"Origin": "https://site.example"}]
    )
    def test_other_hosts_and_sites_are_refused_without_options_that_it_lacks(
        self, service, headers
    ):
        refused = service.ask("GET", "/v1/project", headers=headers)
        assert refused.status_code in (421, 403)
        assert "--allow" not in refused.json()["error"]

    def test_the_page_asks_no_other_host(self, service):
        page = service.ask("GET", "/")
        assert "connect-src 'self'" in page.headers["content-security-policy"]
        assert "://" not in page.text.replace("http://www.w3.org/", "")


class TestImages:
    def test_the_project_lists_images_and_classes(self, service, project):
        found = service.ask("GET", "/v1/project").json()
        assert [entry["name"] for entry in found["entries"]] == ["a.png", "b.jpg", "more/c.png"]
        assert [(c["name"], c["value"]) for c in found["classes"]] == [
            ("background", 0),
            ("pet", 1),
        ]
        assert (found["unlabelled"], found["bits"], found["has_objects"]) == (255, 8, False)
        assert not any(entry["has_mask"] for entry in found["entries"])

    def test_tiles_have_the_pixels_of_the_image(self, service, project, id):
        assert service.ask("GET", f"/v1/images/{id}").json() == {
            "height": 40,
            "width": 60,
            "levels": 1,
            "tile": 512,
        }
        tile = service.ask("GET", f"/v1/images/{id}/tiles/0/0/0").content
        expected = np.asarray(Image.open(project.images / "a.png"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(tile))), expected)
        assert service.ask("GET", f"/v1/images/{id}/tiles/1/0/0").status_code == 404

    def test_a_thumbnail_is_made_once_and_again_for_a_changed_image(self, service, project, id):
        first = service.ask("GET", f"/v1/images/{id}/thumbnail").content
        assert Image.open(io.BytesIO(first)).size == (96, 64)
        assert service.ask("GET", f"/v1/images/{id}/thumbnail").content == first
        kept = project.state / "thumbnails" / f"{id}.png"
        os.utime(kept, (0, 0))
        kept.write_bytes(b"old")
        os.utime(kept, (0, 0))
        assert service.ask("GET", f"/v1/images/{id}/thumbnail").content == first

    @pytest.mark.parametrize("id", ["0", "..%2F..%2Fetc", "%00", "ab" * 8])
    def test_no_path_is_taken_from_a_request(self, service, id):
        refused = service.ask("GET", f"/v1/images/{id}/mask")
        assert refused.status_code == 404

    def test_an_image_that_cannot_be_read_is_an_answer(self, service, project, id):
        (project.images / "a.png").write_bytes(b"no image")
        refused = service.ask("GET", f"/v1/images/{id}")
        assert refused.status_code == 422
        assert "a.png is not an image that can be read" in refused.json()["error"]


class TestChanges:
    def test_a_change_is_in_the_mask_that_is_asked_for_next(self, service, id):
        assert post(service, id, 0, (0, 5, 1), (60, 5, 0)).json() == {"revision": 1, "problem": ""}
        answer = service.ask("GET", f"/v1/images/{id}/mask")
        assert answer.headers[REVISION_HEADER] == "1"
        mask = np.frombuffer(answer.content, np.uint8).reshape(40, 60)
        assert mask[0, :6].tolist() == [1] * 5 + [255]
        assert mask[1, :6].tolist() == [0] * 5 + [255]
        entries = service.ask("GET", "/v1/project").json()["entries"]
        assert [entry["has_mask"] for entry in entries] == [True, False, False]

    def test_a_change_on_another_revision_gets_409_and_the_revision(self, service, id):
        post(service, id, 0, (0, 5, 1))
        refused = post(service, id, 0, (0, 5, 0), key="cd" * 16)
        assert (refused.status_code, refused.json()["revision"]) == (409, 1)
        assert service.mask(id)[0, 0] == 1

    def test_the_same_change_again_is_accepted_once(self, service, id):
        assert post(service, id, 0, (0, 5, 1)).json() == post(service, id, 0, (0, 5, 1)).json()
        assert service.store.journal_path(service.store.project.entries[id]).exists()

    @pytest.mark.parametrize(
        ("content", "key", "words"),
        [
            (b"", KEY, "a change has 0 bytes"),
            (b"\0" * 13, KEY, "a change has 13 bytes"),
            (b"\0" * 12, "xy", "key is 'xy'; accepted are 32 hex digits"),
            (b"\xff" * 12, KEY, "has the pixel"),
            (b"\0" * 4 + b"\1\0\0\0" + b"\7\0\0\0", KEY, "has the value 7"),
        ],
    )
    def test_a_damaged_change_is_refused_with_words(self, service, id, content, key, words):
        path = f"/v1/images/{id}/changes?base=0&key={key}"
        refused = service.ask("POST", path, content=content)
        assert refused.status_code == 422
        assert words in refused.json()["error"]
        assert (service.mask(id) == 255).all()

    def test_a_disk_that_is_full_is_an_answer_and_the_change_can_be_sent_again(
        self, service, id, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
            refused = post(service, id, 0, (0, 5, 1))
        assert refused.status_code == 507
        assert "No space left" in refused.json()["error"]
        assert post(service, id, 0, (0, 5, 1)).status_code == 200

    def test_the_end_of_the_service_writes_the_mask_files(self, project, id):
        with labelling(project, pause_seconds=1e6) as service:
            post(service, id, 0, (0, 2400, 1))
            assert not project.entries[id].mask.exists()
        assert (np.asarray(Image.open(project.entries[id].mask)) == 1).all()

    def test_objects_are_sent_in_16_bits(self, folder):
        project = open_project(folder, classes={"kind": "instances"})
        project.out.mkdir()
        id = entry_of(project, "a.png").id
        with labelling(project) as service:
            post(service, id, 0, (0, 5, 700))
            content = service.ask("GET", f"/v1/images/{id}/mask").content
            mask = np.frombuffer(content, "<u2")
            assert mask[:6].tolist() == [700] * 5 + [65535]


def test_a_region_of_similar_colour_is_answered_as_runs(service, project, id):
    Image.new("RGB", (60, 40)).save(project.images / "a.png")
    post(service, id, 0, (600, 60, 1))  # row 10 bounds it
    found = service.ask("GET", f"/v1/images/{id}/region?row=3&column=3&tolerance=5").content
    assert np.frombuffer(found, "<u4").tolist() == [0, 600]
    refused = service.ask("GET", f"/v1/images/{id}/region?row=99&column=3&tolerance=5")
    assert refused.status_code == 422
    assert "the pixel is 99, 3" in refused.json()["error"]
