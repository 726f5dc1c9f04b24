"""Folders of images to be labelled."""

import numpy as np
import pytest
from PIL import Image

from unetkit.datasets.synthetic_pets import synthetic_pet
from unetkit.label.project import open_project


@pytest.fixture
def folder(tmp_path):
    """Three images of 40 x 60 pixels, one of them in a folder."""
    images = tmp_path / "images"
    (images / "more").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        image, _ = synthetic_pet(seed, height=40, width=60)
        Image.fromarray(image).save(images / name)
    return images


@pytest.fixture
def project(folder):
    """Their project, with classes background and pet, and the folder of masks."""
    found = open_project(folder, classes={"names": ("background", "pet")})
    found.out.mkdir()
    return found


def entry_of(project, name):
    return next(entry for entry in project.entries.values() if entry.name == name)


def runs(*triples):
    return np.array(triples, np.uint32).reshape(-1, 3)
