#!/bin/sh
# Typer no longer stands on click but on a copy of its own, so its errors and commands are strangers to click.
#
# Expected: a Typer command can be hung into a click group, `except click.ClickException` catches its usage errors, click
#           errors raised inside it are shown as usage errors, and Ctrl-C with standalone_mode=False raises Abort.
# Happens:  the group takes the command, and a wrong argument leaves it as an exception that click does not know; the
#           except clause catches nothing; click.UsageError passes through; Ctrl-C is turned into the return value 130.
# Seen on 30 November 2026 with typer 0.29.2 and click 8.5.1.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet typer==0.29.2 click==8.5.1
"$dir/venv/bin/python" - <<'EOF'
import sys
from importlib.metadata import requires, version

import click
import typer


def outcome(call):
    try:
        return f"returned {call()!r}"
    except click.ClickException as error:
        return f"click.{type(error).__name__}"
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}"


def command(body):
    app = typer.Typer()
    app.command()(body)
    return app


def count(number: int):
    pass


def interrupted():
    raise KeyboardInterrupt


def refuses():
    raise click.UsageError("wrong")


group = click.Group()
group.add_command(typer.main.get_command(command(count)), "count")
seen = {
    "wrong argument": outcome(lambda: command(count)(["x"], standalone_mode=False)),
    "wrong argument in a click group": outcome(lambda: group.main(["count", "x"])),
    "click.UsageError raised inside": outcome(lambda: command(refuses)([])),
    "Ctrl-C in Typer": outcome(lambda: command(interrupted)([], standalone_mode=False)),
    "Ctrl-C in click": outcome(lambda: click.command()(interrupted).main([], standalone_mode=False)),
}
print("typer", version("typer"), "click", version("click"))
print("typer requires click:", any(line.startswith("click") for line in requires("typer") or []))
for name, value in seen.items():
    print(f"{name}: {value}")
if list(seen.values()) != [
    "typer._click.exceptions.BadParameter",
    "typer._click.exceptions.BadParameter",
    "click.UsageError",
    "returned 130",
    "click.exceptions.Abort",
]:
    sys.exit("This has changed.")
EOF
