"""Oxford-IIIT Pet: what its folder holds, when there is none, and what is said of its files."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.loopback import Impatient, Listener, Server, pack, refuse, stay_on_loopback
from unetkit.datasets.oxford_pets import OXFORD_PETS, download_oxford_pets
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError, UnetkitError

NAMES = ("cat_1", "cat_2", "dog_1")


def picture(format: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12, 10), 1 if mode == "L" else (200, 90, 30)).save(file, format)
    return file.getvalue()


JPEG, PNG, TRIMAP = picture("JPEG"), picture("PNG"), picture("PNG", "L")


def photos(*names: str, data: bytes = JPEG) -> list[tuple[str, bytes]]:
    return [(f"images/{name}.jpg", data) for name in names]


def trimaps(*names: str) -> list[tuple[str, bytes]]:
    return [(f"annotations/trimaps/{name}.png", TRIMAP) for name in names]


def lists(trainval: str, test: str) -> list[tuple[str, bytes]]:
    """The official lists, each name of which stands for a line."""
    texts = {"trainval": trainval, "test": test, "list": f"#NAME CLASS SPECIES\n{trainval} {test}"}
    return [
        (f"annotations/{part}.txt", "".join(f"{n} 1 1 1\n" for n in text.split()).encode())
        for part, text in texts.items()
    ]


ANNOTATIONS = pack(
    ("annotations/README", b"Read me"),
    *lists("cat_1 cat_2", "dog_1"),
    *trimaps(*NAMES),
    ("annotations/xmls/cat_1.xml", b"<annotation/>"),
    ("./._annotations", b"macOS"),
    ("annotations/trimaps/._cat_1.png", b"macOS"),
)
IMAGES = pack(*photos(*NAMES), ("images/cat_1.mat", b"MATLAB"))


class Setting:
    """A server of archives, a cache and a folder to make."""

    def __init__(self, server, root):
        self.server = server
        self.cache = root / "cache"
        self.home = root / "home"
        self.home.mkdir()
        self.folder = self.home / "pets"
        self.display = Listener()

    def publish(self, **contents):
        self.server.files |= {f"{name}.tar.gz": data for name, data in contents.items()}

    def download(self, **options):
        options = {"cache": self.cache, "display": self.display} | options
        publication = self.server.publication("/a")
        return download_oxford_pets(self.folder, publication=publication, **options)

    def fail(self, kind, match, **options):
        """The error's text; nothing of the folder is left."""
        with pytest.raises(kind, match=match) as caught:
            self.download(**options)
        assert isinstance(caught.value, UnetkitError)
        assert list(self.home.iterdir()) == []
        return str(caught.value)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    stay_on_loopback(monkeypatch)
    with Server({"annotations.tar.gz": ANNOTATIONS, "images.tar.gz": IMAGES}) as server:
        yield Setting(server, tmp_path)


class TestWholeRun:
    def test_the_folder_has_the_published_layout(self, setting):
        found = setting.download()
        files = {
            path.relative_to(setting.folder).as_posix()
            for path in setting.folder.rglob("*")
            if path.is_file()
        }
        assert files == {
            *(f"images/{name}.jpg" for name in NAMES),
            *(f"annotations/trimaps/{name}.png" for name in NAMES),
            *(f"annotations/{part}.txt" for part in ("list", "trainval", "test")),
            "annotations/README",
            "annotations/xmls/cat_1.xml",
        }
        assert found.folder == setting.folder
        assert (setting.folder / "images/cat_1.jpg").read_bytes() == JPEG
        assert (setting.folder / "annotations/test.txt").read_bytes() == b"dog_1 1 1 1\n"
        assert found.pairs == 3

    def test_strays_are_left_out_and_named(self, setting):
        found = setting.download()
        assert found.left_out == (
            "./._annotations",
            "annotations/trimaps/._cat_1.png",
            "images/cat_1.mat",
        )
        assert any("MATLAB, left out: 3" in text for text in setting.display.said)

    def test_a_sound_set_has_nothing_else_to_say(self, setting):
        found = setting.download()
        assert (found.misnamed, found.broken, found.unpaired) == ((), (), ())
        assert (found.unlisted, found.absent) == ((), ())
        assert len(setting.display.said) == 3  # pairs, strays, source
        assert f"{setting.folder}: 3 pairs" in setting.display.said[0]
        assert "CC BY-SA 4.0" in setting.display.said[2]

    def test_the_second_folder_is_made_from_the_cache(self, setting):
        setting.download()
        setting.folder = setting.home / "second"
        assert setting.download().pairs == 3
        assert len(setting.server.log) == 2

    def test_archives_that_lie_in_a_folder_are_not_downloaded(self, setting, tmp_path):
        for name, data in setting.server.files.items():
            (tmp_path / name).write_bytes(data)
        assert setting.download(archives=str(tmp_path)).pairs == 3
        assert setting.server.log == []

    def test_progress_counts_pictures_to_the_end(self, setting):
        setting.download()
        assert setting.display.tasks["checking the images"] == [6, 6]

    def test_nothing_is_printed(self, setting, capfd):
        setting.download(display=None)
        assert capfd.readouterr() == ("", "")

    def test_the_published_archives_lie_where_their_authors_put_them(self):
        annotations, images = OXFORD_PETS.archives
        assert OXFORD_PETS.mirrors[0] + images.name == (
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz"
        )
        assert all(url.startswith("https://") and url.endswith("/") for url in OXFORD_PETS.mirrors)
        assert (images.size, images.md5) == (791_918_971, "5c4f3ee8e5d25df40f4fd59a7f44e54c")
        assert annotations.md5 == "95a8c909bbe2e81eed6a22bccdf3f68f"
        assert all(a.max_unpacked_size > a.size for a in OXFORD_PETS.archives)

    def test_the_published_servers_are_named(self, setting):
        with pytest.raises(DataNotFoundError, match=r"www\.robots\.ox\.ac\.uk, thor\.robots"):
            download_oxford_pets(setting.folder, cache=setting.cache)


class TestFolder:
    @pytest.mark.parametrize("make", [Path.touch, lambda p: (p / "file").mkdir(parents=True)])
    def test_what_stands_there_is_kept_and_nothing_is_asked(self, setting, make):
        make(setting.folder)
        with pytest.raises(OutputExistsError, match="pets exists and is not an empty folder"):
            setting.download()
        assert setting.folder.exists()
        assert setting.server.log == []

    def test_an_empty_folder_is_filled(self, setting):
        setting.folder.mkdir()
        assert setting.download().pairs == 3

    @pytest.mark.parametrize(
        "task",
        ["downloading images.tar.gz", "unpacking images.tar.gz", "checking the images"],
    )
    def test_an_interruption_leaves_no_folder(self, setting, task):
        with pytest.raises(KeyboardInterrupt):
            setting.download(display=Impatient(task))
        assert list(setting.home.iterdir()) == []
        assert setting.download().pairs == 3

    def test_a_server_that_does_not_deliver_leaves_no_folder(self, setting):
        setting.server.answers["/a", "images.tar.gz"] = [refuse(404)]
        setting.fail(DataNotFoundError, "images.tar.gz could not be downloaded")

    def test_missing_archives_leave_no_folder(self, setting, tmp_path):
        setting.fail(DataNotFoundError, "does not exist", archives=tmp_path)

    @pytest.mark.parametrize(
        ("images", "reason"),
        [
            (pack(*photos("cat_1"), ("../evil.jpg", JPEG)), "a path outside the folder at"),
            (pack(*photos("cat_1", "cat_1")), "a path that exists already at"),
            (pack(*photos("cat_1"), ("._cat_1", bytes(1 << 23))), "8,388,608 unpacked bytes at"),
            (IMAGES[: len(IMAGES) // 2], "is damaged at"),
        ],
        ids=["out", "twice", "bomb", "half"],
    )
    def test_archives_that_must_not_be_unpacked_leave_no_folder(self, setting, images, reason):
        setting.publish(images=images)
        setting.fail(DataError, reason)


class TestLooking:
    @pytest.fixture
    def found(self, setting):
        images = {
            "cat_1": JPEG,
            "cat_2": PNG,
            "cat_3": picture("GIF"),
            "cat_4": picture("BMP"),
            "dog_1": JPEG[:-40],
            "dog_2": b"<html>",
            "dog_3": b"",
            "dog_4": JPEG,
            "dog_5": JPEG,
            "alone": JPEG,
            "extra": JPEG,
        }
        masks = {name: TRIMAP for name in images if name != "alone"}
        masks |= {"dog_4": JPEG, "dog_5": TRIMAP[:-30], "lonely": TRIMAP}
        listed = ("cat_1 cat_2 cat_3 cat_4 ghost_2", "dog_1 dog_2 dog_3 dog_4 dog_5 alone ghost_1")
        setting.publish(
            images=pack(*((f"images/{name}.jpg", data) for name, data in images.items())),
            annotations=pack(
                *lists(*listed),
                *((f"annotations/trimaps/{name}.png", data) for name, data in masks.items()),
            ),
        )
        return setting.download()

    def test_pictures_of_another_format_are_misnamed(self, found):
        assert found.misnamed == (
            "images/cat_2.jpg",
            "images/cat_3.jpg",
            "images/cat_4.jpg",
            "annotations/trimaps/dog_4.png",
        )

    def test_pictures_that_cannot_be_decoded_are_broken(self, found):
        assert found.broken == (
            "images/dog_1.jpg",
            "images/dog_2.jpg",
            "images/dog_3.jpg",
            "annotations/trimaps/dog_5.png",
        )

    def test_files_without_a_counterpart_are_unpaired(self, found):
        assert found.unpaired == ("images/alone.jpg", "annotations/trimaps/lonely.png")

    def test_lists_and_files_are_held_against_each_other(self, found):
        assert found.unlisted == ("extra",)
        assert found.absent == ("ghost_1", "ghost_2")
        assert found.pairs == 9

    def test_all_of_it_is_said(self, found, setting):
        text = "\n".join(setting.display.said)
        assert "of another format than their suffix: 4 (images/cat_2.jpg, " in text
        assert "cannot be decoded: 4 (images/dog_1.jpg, " in text
        assert "without a counterpart: 2 (images/alone.jpg, " in text
        assert "pairs in no official list: 1 (extra)" in text
        assert "names in the lists without a file: 2 (ghost_1, ghost_2)" in text

    def test_they_stay_as_published(self, found):
        assert (found.folder / "images/cat_2.jpg").read_bytes() == PNG
        assert (found.folder / "images/dog_2.jpg").read_bytes() == b"<html>"

    def test_a_phones_jpeg_of_several_pictures_is_a_jpeg(self, setting):
        file = io.BytesIO()
        first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        first.save(file, "MPO", save_all=True, append_images=[second])
        setting.publish(images=pack(*photos(*NAMES, data=file.getvalue())))
        assert setting.download().misnamed == ()

    def test_long_lists_are_cut_in_what_is_said_only(self, setting):
        names = [f"photo_{i:02d}" for i in range(30)]
        setting.publish(images=pack(*photos("cat_1", *names, data=PNG)))
        assert len(setting.download().misnamed) == 31
        text = "\n".join(setting.display.said)
        assert "suffix: 31 (images/cat_1.jpg, images/photo_00.jpg, " in text
        assert "images/photo_10.jpg and 19 more)" in text

    def test_comments_and_empty_lines_of_the_lists_are_no_names(self, setting):
        text = b"#NAME CLASS\n\ncat_1 1 1 1\ncat_2\n\xff 1 1 1\n"
        setting.publish(annotations=pack(("annotations/trainval.txt", text), *trimaps(*NAMES)))
        found = setting.download()
        assert (found.pairs, found.unlisted, found.absent) == (2, ("dog_1",), ("\ufffd",))

    def test_archives_without_a_listed_pair_are_refused(self, setting):
        setting.publish(images=pack(*photos("other")))
        reason = "pets have 1 images, 3 trimaps and 3 names, and no listed pair"
        setting.fail(DataError, reason)
