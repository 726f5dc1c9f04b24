"""`unetkit data`: sets that come with the package, or are downloaded."""

from typing import Any

import click

from unetkit._shared.wording import format_count
from unetkit.cli.group import Commands, library, open_display
from unetkit.cli.options import (
    PATH,
    POSITIVE,
    image_seed_option,
    image_size_option,
    parse_sides,
)


@click.group("data", cls=Commands)
def data_group() -> None:
    """Get a data set: Oxford-IIIT Pet, or synthetic images."""


@data_group.command("oxford-pets")
@click.argument("folder", type=PATH)
@click.option(
    "--archives", type=PATH, help="Folder that holds both archives already (default: download)."
)
@click.option(
    "--cache", type=PATH, help="Folder for downloaded archives (default: the user's cache folder)."
)
def oxford_pets_command(folder: str, **options: Any) -> None:
    """Download, verify and unpack Oxford-IIIT Pet into FOLDER.

    The archives have about 800 MB.
    """
    display = open_display()
    library("download_oxford_pets")(folder, display=display, **options)
    display.say(f"next: unetkit check {folder}")


@data_group.command("synthetic-pets")
@click.argument("folder", type=PATH)
@click.option(
    "--count", type=click.IntRange(min=2), default=500, show_default=True, help="Number of images."
)
@image_size_option("128")
@image_seed_option
def synthetic_pets_command(folder: str, count: int, size: str, seed: int) -> None:
    """Write images of pets with trimaps to FOLDER."""
    height, width = parse_sides(size)
    display = open_display()
    display.waiting(f"drawing   {format_count(count, 'image')}")
    library("write_synthetic_pets")(folder, count=count, height=height, width=width, seed=seed)
    display.finish()
    display.say(f"{format_count(count, 'synthetic pet')} in {folder}")


@data_group.command("synthetic-cells")
@click.argument("folder", type=PATH)
@click.option("--count", type=POSITIVE, default=40, show_default=True, help="Number of images.")
@image_size_option("256")
@click.option(
    "--bits",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Bits per pixel of the images.",
)
@image_seed_option
def synthetic_cells_command(folder: str, count: int, size: str, bits: str, seed: int) -> None:
    """Write images of cells with instance masks to FOLDER.

    Some cells touch each other.
    """
    height, width = parse_sides(size)
    display = open_display()
    display.waiting(f"drawing   {format_count(count, 'image')}")
    write = library("write_synthetic_cells")
    write(folder, count=count, height=height, width=width, bits=int(bits), seed=seed)
    display.finish()
    display.say(f"{format_count(count, 'image')} of synthetic cells in {folder}")
