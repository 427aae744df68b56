"""How a command of `laion` ends: at a signal, and with one line for an error."""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

import click

from laion_assets.orchestration.interrupts import StoppedError, raise_signals, watch_signals


class StoppableCommand(click.Command):
    """Ends at a signal, after the step that is under way, and at once at a second one."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        with ExitStack() as stack:
            if watch := stack.enter_context(watch_signals(is_second_final=True)):
                stack.enter_context(watch.before_hard_end(say_stopped))
            stack.enter_context(raise_signals())
            try:
                return super().invoke(ctx)
            except click.ClickException:
                raise
            except Exception as error:
                if ctx.params.get("is_json"):
                    _print_error(error)
                raise


class StoppableGroup(click.Group):
    """A group of such commands."""

    command_class = StoppableCommand


class OneLineErrors(click.Group):
    """Says why a command failed in one line on standard error, with exit status 1.

    A command that was stopped has exit status 130 after Ctrl-C, and 143 after SIGTERM.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Runs the command; if it is that of this process, the process ends with it.

        A library's thread that never ends would keep the interpreter, and taking it apart takes
        half a second after a backfill.
        """
        if args is not None:
            return super().main(args, *rest, **options)
        # Imports make some hundred thousand objects that stay, and Python would look through them
        # again and again: a tenth of what a backfill of a small shard takes.
        gc.set_threshold(50_000, 20, 100)
        try:
            return super().main(None, *rest, **options)
        except SystemExit as end:
            _end_process(end.code if isinstance(end.code, int) else int(end.code is not None))

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        _accept_any_text()
        try:
            result = super().invoke(ctx)
            # Else a reader that has gone is noticed when nobody can say anything about it.
            sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as stop:
            say_stopped()
            ctx.exit(stop.exit_status if isinstance(stop, StoppedError) else 128 + signal.SIGINT)
        except BrokenPipeError:
            _forget_output()
            ctx.exit(128 + signal.SIGPIPE)
        except Exception as error:  # noqa: BLE001 - a person gets a reason, never a traceback
            from laion_assets.stores.reasons import give_reason

            click.echo(f"laion: {give_reason(error)}", err=True)
            ctx.exit(1)


def command(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Makes a function a command that can be stopped; its docstring is the help text."""
    return click.command(name, cls=StoppableCommand)


def _print_error(error: Exception) -> None:
    """Prints the error to standard output for the program that reads JSON there."""
    from laion_assets.stores.reasons import give_reason, name_code

    if not isinstance(error, BrokenPipeError | click.exceptions.Exit | click.Abort):
        found = {"code": name_code(error), "message": give_reason(error)}
        click.echo(json.dumps({"error": found}, ensure_ascii=False))


def say_stopped() -> None:
    """Says that a command was stopped, and what goes on from there."""
    click.echo("laion: stopped; `laion backfill --missing` goes on from here", err=True)


def _end_process(status: int) -> NoReturn:
    """Ends the process, with what is registered for its end, but without waiting for threads."""
    # All files and tables were closed when the command was left.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _accept_any_text() -> None:
    """Lets a terminal that has no such letters show their numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Sends what is left to nobody: whoever read it has gone, as `head` does."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
        with suppress(OSError, ValueError):
            os.dup2(nobody, stream.fileno())
