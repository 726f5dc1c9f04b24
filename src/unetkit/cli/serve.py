"""`unetkit serve`: a model as a service on this machine."""

from contextlib import suppress

import click

from unetkit._shared.installation import install_command
from unetkit.cli.group import Command, open_display
from unetkit.cli.options import NOT_NEGATIVE, PATH, POSITIVE
from unetkit.cli.terminal import echo
from unetkit.errors import ConfigError, MissingExtraError
from unetkit.serve.limits import MIB, Limits

FROM_SERVE_EXTRA = ("fastapi", "starlette", "uvicorn", "prometheus_client")
SHORTEST_TOKEN = 16  # characters
MEMORY, MEMORY_EACH = 1536 * MIB, 256 * MIB  # of the service, and for each process that predicts


@click.command("serve", cls=Command)
@click.argument("model", required=False, type=PATH)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port; 0 for any that is free.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on; others than this machine's own need --token.",
)
@click.option(
    "--token",
    envvar="UNETKIT_TOKEN",
    help="Secret that requests must carry, better given as UNETKIT_TOKEN (default: none).",
)
@click.option(
    "--insecure-no-token",
    is_flag=True,
    help="Serve on another address without a token: whoever reaches it may use it.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME[:PORT]",
    help="Further host that requests may name; may be repeated (default: the printed address).",
)
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Site whose pages may use the service, such as https://example.org; may be repeated "
    "(default: none).",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Path under which a proxy shows the service, such as /segment (default: none).",
)
@click.option(
    "--max-body",
    type=POSITIVE,
    default=Limits.body_bytes // MIB,
    show_default=True,
    help="MiB of a request's body.",
)
@click.option(
    "--max-pixels",
    type=POSITIVE,
    default=Limits.pixels,
    show_default=True,
    help="Number of pixels of an image.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=Limits.seconds,
    show_default=True,
    help="Seconds for a body to arrive, and for its answer.",
)
@click.option(
    "--queue",
    type=NOT_NEGATIVE,
    default=Limits.waiting,
    show_default=True,
    help="Number of requests that may wait for a free process.",
)
@click.option(
    "--processes",
    type=POSITIVE,
    help="Number of images predicted at the same time, each in a process of its own (default: one "
    "for each core, or as many as half of the memory takes).",
)
@click.option(
    "--memory",
    help="Memory of all processes together, such as 4GiB (default: 1.5 GiB, and 0.25 GiB for each "
    "core or process).",
)
def serve_command(
    model: str | None,
    port: int,
    host: str,
    token: str | None,
    insecure_no_token: bool,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    root_path: str,
    max_body: int,
    max_pixels: int,
    timeout: float,
    queue: int,
    processes: int | None,
    memory: str | None,
) -> None:
    """Serve MODEL over HTTP on this machine, until Ctrl-C.

    MODEL is a run folder or a model file; without it, the built-in network for cats and dogs in
    photos is served. POST an image file to /v1/predict to get its mask; /openapi.json describes the
    rest.
    """
    display = open_display()
    display.waiting("loading   the libraries")
    try:
        from unetkit.serve.app import create_app
        from unetkit.serve.guard import Access, headers_of
        from unetkit.serve.segmenter import Segmenter
        from unetkit.serve.server import Server, address_of, bind, hosts_of, is_loopback
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in FROM_SERVE_EXTRA:
            raise
        raise MissingExtraError(
            f"unetkit serve needs {error.name}, which is not installed; it is part of the extra "
            f"serve; {install_command('serve')}"
        ) from error
    from unetkit.prediction.predictor import Predictor

    _require_token(host, is_loopback(host), token, insecure_no_token)
    root_path = _require_root_path(root_path)
    limits = Limits(max_body * MIB, max_pixels, timeout, queue)
    bound = bind(host, port)
    with bound:
        display.waiting("loading   the network")
        predictor = Predictor(model, memory=_memory(memory, processes))
        segmenter = Segmenter(predictor, limits, processes)
        hosts = (*hosts_of(bound), *(name.lower() for name in allow_host))
        access = Access(
            hosts,
            allow_origin,
            token,
            host_remedy="; its operator can accept it with --allow-host",
            origin_remedy="; its operator can accept them with --allow-origin",
        )
        app = create_app(segmenter, access)
        address = address_of(bound, root_path)
        segmenter.wait_until_ready()

        def say_address() -> None:
            display.finish()
            echo(address)

        with suppress(KeyboardInterrupt):  # the way to end it
            Server(
                app,
                bound,
                limits,
                headers=headers_of(predictor.digest),
                root_path=root_path,
                on_start=say_address,
            ).run()


def _memory(memory: str | None, processes: int | None) -> int:
    from unetkit._shared.threads import usable_cores
    from unetkit.prediction.memory import parse_memory

    if memory is not None:
        return parse_memory(memory)
    return MEMORY + (processes or usable_cores()) * MEMORY_EACH


def _require_token(host: str, is_own: bool, token: str | None, insecure: bool) -> None:
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ConfigError(
            f"token has {len(token)} characters; accepted are {SHORTEST_TOKEN} or more; make one "
            "with: openssl rand -hex 16"
        )
    if token is None and not is_own and not insecure:
        raise ConfigError(
            f"host is {host!r}, which other machines reach, without a token; accepted is "
            "127.0.0.1, or a token that requests must carry; give one with --token, or allow "
            "everyone with --insecure-no-token"
        )


def _require_root_path(path: str) -> str:
    path = path.rstrip("/")
    if path and not path.startswith("/"):
        raise ConfigError(f"root_path is {path!r}; accepted is a path such as /segment")
    return path
