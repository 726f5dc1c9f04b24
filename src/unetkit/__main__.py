"""`python -m unetkit` is the command line."""

from unetkit.cli.main import main

main(prog_name="unetkit")
