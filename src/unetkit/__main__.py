"""`python -m unetkit` is the command line."""

from unetkit.cli import main

main(prog_name="unetkit")
