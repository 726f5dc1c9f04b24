"""Where results are written; which names they have is tested with `files`."""

import pytest

from unetkit.errors import ConfigError, OutputExistsError
from unetkit.results.plan import find_destination


@pytest.mark.parametrize(
    ("name", "format"),
    [("m.png", "png"), ("a/m.PNG", "png"), ("m.tiff", "tiff"), ("m.ome.zarr", "zarr")],
)
def test_a_name_with_a_suffix_is_that_of_a_mask(tmp_path, name, format):
    found = find_destination(tmp_path / name, "auto")
    assert (found.mask, found.stem, found.format) == (tmp_path / name, "m", format)
    with pytest.raises(ConfigError, match="accepted is a name that ends as files of the format"):
        find_destination(tmp_path / name, "png" if format != "png" else "tiff")


def test_a_folder_may_have_a_dot_in_its_name(tmp_path):
    (tmp_path / "old.png").mkdir()
    for name in ("v1.2", "old.png", "plain"):
        assert find_destination(tmp_path / name, "auto").mask is None


def test_a_mask_is_never_a_jpeg(tmp_path):
    with pytest.raises(ConfigError, match=r"not written as \.jpg; accepted .* end with \.png"):
        find_destination(tmp_path / "mask.jpg", "auto")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "notes").write_text("x")
    with pytest.raises(OutputExistsError, match="is a file; accepted is a folder"):
        find_destination(tmp_path / "notes", "auto")
