"""U-Nets of several configurations."""

import pytest

CASES = {  # preset or configuration, channels, classes, size
    "fast": ("fast", 3, 3, 128),
    "notebook": ("notebook", 3, 3, 128),
    "paper": ("paper", 1, 2, 572),
    "not square": ("fast", 1, 2, (96, 160)),
    "two levels": ({"filters": (4, 8), "stem_stride": 1, "head_filters": 0}, 3, 2, 20),
    "two levels, unpadded": (
        {
            "filters": (2, 3),
            "padding": "valid",
            "normalization": "none",
            "residual": False,
            "stem_stride": 1,
            "head_filters": 0,
        },
        1,
        2,
        40,
    ),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    # Imported here: Keras is slow to import, and most files of this folder do not need it.
    from unetkit.models.unet import UNetConfig, build_unet

    config, in_channels, num_classes, size = request.param
    config = UNetConfig(**config) if isinstance(config, dict) else config
    return build_unet(config, in_channels=in_channels, num_classes=num_classes), size
