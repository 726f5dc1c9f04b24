"""Writes weights that the present Keras backend has trained, or compares those of others with it.

    KERAS_BACKEND=jax python -m tests.backends.weights write FOLDER own pretrained
    KERAS_BACKEND=torch python -m tests.backends.weights compare FOLDER

`write` makes NETWORK-BACKEND.weights.h5, .keras and .npy, the logits of `IMAGES`. `compare` prints
the largest difference of a logit from each such file. The files beside this one were written
with Keras 3.15.1 on TensorFlow 2.21.0, JAX 0.10.2 and PyTorch 2.13.0.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

from unetkit.losses import combined_loss
from unetkit.models.unet import UNetConfig, build_unet

STORED = Path(__file__).parent
NETWORKS = {
    "own": UNetConfig(filters=(3, 4), up_kernel=3, up_activation="relu", head_filters=2),
    "pretrained": UNetConfig(
        filters=(2, 3), residual=False, stem_stride=1, encoder="efficientnet_lite0"
    ),
}
IMAGES = np.random.default_rng(0).normal(0.3, 1, (2, 16, 24, 3)).astype(np.float32)
MASKS = (IMAGES.sum(-1) > 0.9).astype(np.uint8)
STEPS = 12


def build(network: str) -> keras.Model:
    return build_unet(NETWORKS[network], in_channels=3, num_classes=2)


def logits(model: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(IMAGES, training=False))


def write(folder: Path, network: str) -> None:
    """Trains a network, so that no weight and no statistic is as it was built."""
    keras.utils.set_random_seed(0)
    model = build(network)
    loss = combined_loss({"cross_entropy": 1.0, "dice": 1.0})
    model.compile(keras.optimizers.AdamW(0.02), loss)
    for _ in range(STEPS):
        model.train_on_batch(IMAGES, MASKS)
    stem = f"{network}-{keras.backend.backend()}"
    np.save(folder / f"{stem}.npy", logits(model))
    bare = build(network)  # without the state of the optimizer
    bare.set_weights(model.get_weights())
    bare.save_weights(folder / f"{stem}.weights.h5")
    bare.save(folder / f"{stem}.keras")


def differences(folder: Path) -> dict[str, float]:
    """Largest difference of a logit here from where the weights were trained, by file."""
    found = {}
    for file in sorted([*folder.glob("*.weights.h5"), *folder.glob("*.keras")]):
        stem = file.name.split(".")[0]
        if file.suffix == ".keras":
            model = keras.saving.load_model(file, safe_mode=True)
        else:
            model = build(stem.split("-")[0])
            model.load_weights(file)
        expected = np.load(folder / f"{stem}.npy")
        found[file.name] = float(np.abs(logits(model) - expected).max())
    return found


if __name__ == "__main__":
    what, place, *networks = sys.argv[1:]
    for network in networks:
        write(Path(place), network)
    if what == "compare":
        sys.stdout.write(json.dumps(differences(Path(place))))
