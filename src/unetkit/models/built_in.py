"""The network that comes with the package: it segments cats and dogs in photos.

It was trained by unetkit itself on photos of Oxford-IIIT Pet, from an encoder with weights of
ImageNet; its card says on which, how well it does, and under which licence it stands.
"""

from pathlib import Path

BUILT_IN = Path(__file__).parent / "pets" / "pets.onnx"
PURPOSE = "cats and dogs in photos"
NOTICE = (
    f"no --model is given: the built-in network segments {PURPOSE}; to train a network of your "
    "own: unetkit train DATA"
)


def built_in_card() -> str:
    """The card of the network, in Markdown."""
    return (BUILT_IN.parent / "README.md").read_text(encoding="utf-8")


def built_in_licence() -> str:
    """The licence of the network, with its attribution."""
    return (BUILT_IN.parent / "LICENSE").read_text(encoding="utf-8")


def is_built_in(model: Path) -> bool:
    """Whether a model file is the one that comes with the package."""
    return model.resolve() == BUILT_IN.resolve()
