"""Annotation files, written and read."""

import json
from typing import Any

import pytest

from unetkit.data.annotations.formats import AnnotationFile, read_annotations


@pytest.fixture(scope="session")
def read(tmp_path_factory):
    """Reads what is written into a file."""
    path = tmp_path_factory.mktemp("annotations") / "drawn"

    def write_and_read(content: Any, suffix: str | None = None) -> AnnotationFile:
        if suffix is None:
            suffix = ".xml" if isinstance(content, str) else ".json"
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        file = path.with_suffix(suffix)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_annotations(file)

    return write_and_read
