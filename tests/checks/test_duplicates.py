"""Pictures that occur twice: copies are found, however saved; other pictures are not."""

import cv2
import numpy as np
import pytest
from PIL import Image

from unetkit.checks import duplicates
from unetkit.checks.duplicates import find_duplicates
from unetkit.checks.statistics import PairStatistics, collect_statistics
from unetkit.data.pairs import Pair
from unetkit.datasets.synthetic_cells import synthetic_cells
from unetkit.datasets.synthetic_pets import synthetic_pet

SIZE = (96, 128)


@pytest.fixture(scope="module")
def pet() -> np.ndarray:
    return synthetic_pet(3, height=SIZE[0], width=SIZE[1])[0]


def stats(folder, *pictures, suffix=".png", **save) -> list[PairStatistics]:
    pairs = []
    for number, picture in enumerate(pictures):
        pair = Pair(f"{number}", folder / f"{number}{suffix}", folder / f"{number}_mask.png")
        Image.fromarray(picture).save(pair.image, **save)
        Image.new("L", picture.shape[1::-1]).save(pair.mask)
        pairs.append(pair)
    return collect_statistics(pairs)


def resized(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (90, 70), interpolation=cv2.INTER_AREA)


def brightened(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture * 0.8 + 40, 0, 255).astype(np.uint8)


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def recompressed(picture: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_equal_files_are_exact_duplicates(tmp_path, pet):
    found = find_duplicates(stats(tmp_path, pet, brightened(pet)[::-1], pet))
    assert found.exact == ((0, 2),)
    assert found.near == ((0, 2),)


@pytest.mark.parametrize("change", [resized, brightened, grey, recompressed, noisy])
def test_changed_copies_are_near_duplicates(tmp_path, pet, change):
    other = synthetic_pet(4, height=SIZE[0], width=SIZE[1])[0]
    found = find_duplicates(stats(tmp_path, pet, other, change(pet)))
    assert found.exact == ()
    assert found.near == ((0, 2),)


def test_mirror_images_and_crops_are_not_duplicates(tmp_path, pet):
    crop = np.ascontiguousarray(pet[20:, 30:])
    assert find_duplicates(stats(tmp_path, pet, pet[:, ::-1].copy(), crop)).near == ()


def test_different_pets_are_not_duplicates(tmp_path):
    pets = [synthetic_pet(i, height=SIZE[0], width=SIZE[1])[0] for i in range(60)]
    found = find_duplicates(stats(tmp_path, *pets))
    assert (found.exact, found.near) == ((), ())


def test_different_cells_are_not_duplicates(tmp_path):
    """Fields of one dish have light and stain in common, but no cell."""
    cells = [synthetic_cells(i, height=128, width=128)[0] for i in range(24)]
    found = find_duplicates(stats(tmp_path, *cells))
    assert (found.exact, found.near) == ((), ())


def eye(seed: int) -> np.ndarray:
    """A round field of view on black, as of an eye's photo: a frame that all have in common."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[0]] / SIZE[0] - 0.5
    inside = np.hypot(rows, columns) < 0.45
    ground = cv2.resize(rng.normal(0, 1, (7, 7)).astype(np.float32), SIZE[:1] * 2)
    picture = np.clip(150 + 22 * ground, 0, 255)[..., None] * np.array([1.0, 0.6, 0.3])
    return (picture * inside[..., None]).astype(np.uint8)


def test_a_common_frame_makes_no_duplicates(tmp_path):
    eyes = [eye(seed) for seed in range(20)]
    statistics = stats(tmp_path, *eyes)
    vectors = np.stack([one.thumbnail.ravel() for one in statistics]).astype(float)
    assert np.median(np.corrcoef(vectors)) > duplicates.NEAR_CORRELATION  # because of the frame
    assert find_duplicates(statistics).near == ()


def saved_again(picture: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("change", [resized, brightened, saved_again])
def test_copies_are_found_despite_a_common_frame(tmp_path, change):
    eyes = [eye(seed) for seed in range(20)]
    copy = change(eyes[4])
    assert find_duplicates(stats(tmp_path, *eyes, copy)).near == ((4, 20),)


def test_frames_of_a_still_video_are_duplicates(tmp_path, pet):
    rng = np.random.default_rng(0)
    frames = [
        np.clip(pet + rng.normal(0, 1, pet.shape), 0, 255).astype(np.uint8) for _ in range(12)
    ]
    assert find_duplicates(stats(tmp_path, *frames)).near == (tuple(range(12)),)


def test_groups_are_linked_through_other_images(tmp_path, pet):
    copies = [pet, brightened(pet), resized(pet), resized(brightened(pet))]
    assert find_duplicates(stats(tmp_path, *copies)).near == ((0, 1, 2, 3),)


def test_pages_of_one_file_are_not_duplicates(tmp_path, pet):
    pictures = [Image.fromarray(picture) for picture in (pet, pet[::-1].copy())]
    pictures[0].save(tmp_path / "a.tif", save_all=True, append_images=pictures[1:])
    pictures[0].convert("L").save(
        tmp_path / "m.tif",
        save_all=True,
        append_images=[picture.convert("L") for picture in pictures[1:]],
    )
    pages = [Pair(f"{i}", tmp_path / "a.tif", tmp_path / "m.tif", i) for i in (0, 1)]
    assert find_duplicates(collect_statistics(pages)).exact == ()


def test_flat_images_are_not_compared(tmp_path):
    flat = [np.full((*SIZE, 3), value, np.uint8) for value in (10, 20)]
    found = find_duplicates(stats(tmp_path, *flat, flat[0]))
    assert found.exact == ((0, 2),)
    assert found.near == ((0, 2),)  # the exact one


def test_one_image_has_no_duplicate(tmp_path, pet):
    found = find_duplicates(stats(tmp_path, pet))
    assert (found.exact, found.near) == ((), ())
    assert find_duplicates([]).near == ()


def test_the_block_size_makes_no_difference(tmp_path, pet, monkeypatch):
    pets = [synthetic_pet(i, height=SIZE[0], width=SIZE[1])[0] for i in range(7)]
    statistics = stats(tmp_path, *pets, pets[2], brightened(pets[6]), pets[2])
    whole = find_duplicates(statistics)
    monkeypatch.setattr(duplicates, "BLOCK_SIZE", 3)
    assert find_duplicates(statistics) == whole
    assert sorted(whole.near) == [(2, 7, 9), (6, 8)]


def test_the_number_of_similar_pairs_is_limited(tmp_path, pet, monkeypatch):
    """Ten equal pictures are alike in 45 ways, of which nine connect them."""
    monkeypatch.setattr(duplicates, "MAX_NEAR_PAIRS", 9)
    statistics = stats(tmp_path, *[noisy(pet) for _ in range(10)])
    assert len(duplicates._find_near(statistics)) == 9
    assert find_duplicates(statistics).near == (tuple(range(10)),)
