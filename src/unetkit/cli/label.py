"""`unetkit label`: masks of a folder of images, drawn in a browser."""

from contextlib import suppress
from pathlib import Path

import click

from unetkit._shared.installation import install_command
from unetkit._shared.wording import format_count, printable
from unetkit.cli.group import Command, open_display
from unetkit.cli.options import PARSERS, PATH, out_option
from unetkit.cli.terminal import echo
from unetkit.errors import MissingExtraError

FROM_LABEL_EXTRA = ("fastapi", "starlette", "uvicorn", "tomli_w", "keras", "tensorflow")


@click.command("label", cls=Command)
@click.argument("images", type=PATH)
@click.option(
    "--classes",
    help="Names of the classes in the order of their numbers, such as background,leaf,fruit "
    "(default: those of classes.toml, or background,foreground).",
)
@click.option(
    "--kind",
    type=click.Choice(("classes", "instances")),
    help="What a number in a mask is: a class, or an object (default: that of classes.toml, or "
    "classes).",
)
@out_option("Folder of the masks (default: masks, beside the folder IMAGES).")
@click.option(
    "--model", "-m", type=PATH, help="Run folder or model file that suggests masks (default: none)."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8001,
    show_default=True,
    help="Port; 0 for any that is free.",
)
def label_command(
    images: str,
    classes: str | None,
    kind: str | None,
    out: str | None,
    model: str | None,
    port: int,
) -> None:
    """Draw masks of the images in a folder, in a browser.

    IMAGES is a folder. The page is reachable from this machine alone, at the printed address,
    until Ctrl-C. Masks are PNGs that unetkit check and unetkit train read; images are not changed.
    """
    display = open_display()
    display.waiting("loading   the libraries")
    try:
        import tomli_w  # noqa: F401

        from unetkit.label.app import LIMITS, labelling_app
        from unetkit.label.project import PAIRS_TABLE, open_project, session_token, write_class_file
        from unetkit.label.rounds import Rounds
        from unetkit.label.store import DrawnMasks
        from unetkit.label.tiles import PyramidCache
        from unetkit.serve.guard import SECURITY_HEADERS, Access
        from unetkit.serve.server import Server, address_of, bind, hosts_of
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in FROM_LABEL_EXTRA:
            raise
        raise MissingExtraError(
            f"unetkit label needs {error.name}, which is not installed; it is part of the extra "
            f"label; {install_command('label')}"
        ) from error
    from unetkit._shared.files import writing_into

    given = {} if classes is None else PARSERS["classes"](classes, "--classes")
    if kind is not None:
        given["kind"] = kind
    project = open_project(Path(images), None if out is None else Path(out), given)
    with bind("127.0.0.1", port) as bound, writing_into(project.out):
        wrote = write_class_file(project)
        store = DrawnMasks(project, PyramidCache())
        recovered = store.recover()
        rounds = Rounds(store)
        if model is not None:
            rounds.suggest_with(Path(model))
        token = session_token(project)
        app = labelling_app(store, rounds, Access(hosts_of(bound), token=token))
        address = f"{address_of(bound)}#{token}"

        def say_start() -> None:
            display.finish()
            masks = sum(map(store.has_mask, project.entries.values()))
            display.say(
                f"images    {printable(str(project.images))}: "
                f"{format_count(project.entries, 'image')}, {masks} with a mask"
            )
            display.say(f"masks     {printable(str(project.out))}: {project.classes.describe()}")
            if wrote:
                display.say(f"classes   {project.out / 'classes.toml'} is new")
            display.say(
                f"pairs     {project.out / PAIRS_TABLE} lists images with a mask for training"
            )
            for sentence in (*project.left_out, *recovered):
                display.warn(sentence)
            echo(address)

        with suppress(KeyboardInterrupt):  # the way to end it
            Server(app, bound, LIMITS, headers=SECURITY_HEADERS, on_start=say_start).run()
        if store.problem:
            display.warn(f"{store.problem}; the strokes are kept, and come back at the next start")
