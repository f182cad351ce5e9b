"""What the commands about workflows do. Their docstrings are their help; examples follow the first line."""

import argparse
import asyncio
import shutil
import sys
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from rota import show_workflow
from rota.arguments import UsageError, drawing_format, given, merged
from rota.client import Client
from rota.errors import InvalidRequestError, UnavailableError
from rota.graph import Graph
from rota.graph_looks import state
from rota.graph_mermaid import mermaid, too_large
from rota.graph_svg import svg
from rota.graph_text import WIDTH, text_lines
from rota.output import Line, complain, remark, say, say_all
from rota.screen import Screen
from rota.show import json_line
from rota.show_batch import count
from rota.terminal import has_colours, paint, printable
from rota.whole_file import is_stdout, whole_file
from rota.workflow_file import read_workflow
from rota.workflow_graph import graph_of, plan_of
from rota.workflow_protocol import ENDED_WORKFLOW, WorkflowView

PATIENCE_SECONDS = 60.0
PROGRESS_SECONDS = 0.5
SHARE_OF_TIME = 4
"""A view that takes long to come is asked for less often: so many times as long is waited."""
BEGIN_SECONDS = 30.0
"""A retry that was accepted has begun by then, or was refused."""


async def run(options: argparse.Namespace) -> int:
    """Schedule the workflow that is in a file of YAML or JSON, and print its id; - is stdin.

    rota workflow run nightly.yaml
    rota workflow run nightly.yaml --params date=2026-01-01 --key nightly-2026-01-01 --wait
    ./make-workflow | rota workflow run -
    """
    file = read_workflow(options.file)
    async with Client(options.url, patience_seconds=PATIENCE_SECONDS) as client:
        try:
            id_ = await client.workflows.schedule(
                file.request, params=merged(options.params), **given(options, "key")
            )
        except InvalidRequestError as error:
            raise file.located(error) from error
        say(options, {"id": id_}, id_)
        return await follow(options, client, id_) if options.wait else 0


async def list_(options: argparse.Namespace) -> None:
    """List workflows, newest first.

    rota workflow list --status running
    rota workflow list --name nightly --limit 10 --json
    """
    found: list[WorkflowView] = []
    async with (
        Client(options.url) as client,
        aclosing(client.workflows.list(**given(options, "status", "name"))) as all_,
    ):
        while len(found) < options.limit and (one := await anext(all_, None)):
            found.append(one)
    say_all(options, found, show_workflow.workflow_table(found))


async def show(options: argparse.Namespace) -> int:
    """Draw a workflow with the state of each job, or one in a file that is not scheduled.

    rota workflow show 01k9abc
    rota workflow show 01k9abc --watch
    rota workflow show 01k9abc --output nightly.svg
    rota workflow show --file nightly.yaml --format mermaid
    """
    chosen = options.format or options.output or not options.json
    format_ = drawing_format(options) if chosen else "json"
    if options.watch and (options.file or options.output or format_ not in {"text", "json"}):
        raise UsageError(
            "--watch shows a workflow here till its end: not with --file, --output or another --format"
        )
    if options.file:
        _put(options, _plan(options, format_))
        return 0
    async with Client(options.url, patience_seconds=PATIENCE_SECONDS) as client:
        if options.watch:
            return await _watch(options, client)
        view = await client.workflows.get(options.id)
    now = datetime.now(UTC)
    if format_ == "text":
        _put(options, "\n".join(show_workflow.drawing(view, now, _columns(options), colour=_colour(options))))
    else:
        _put(options, _drawn(format_, graph_of(view, now), view))
    return 0


async def pause(options: argparse.Namespace) -> None:
    """Have a workflow start nothing more for now; what runs goes on.

    rota workflow pause 01k9abc --reason 'the table is full'
    """
    async with Client(options.url) as client:
        await client.workflows.pause(options.id, options.reason)
    say(options, {"id": options.id}, f"{options.id} will be paused")


async def resume(options: argparse.Namespace) -> None:
    """Have a paused workflow go on.

    rota workflow resume 01k9abc
    """
    async with Client(options.url) as client:
        await client.workflows.resume(options.id)
    say(options, {"id": options.id}, f"{options.id} will go on")


async def cancel(options: argparse.Namespace) -> None:
    """Cancel a workflow with all that runs of it.

    rota workflow cancel 01k9abc --reason 'no longer needed'
    """
    async with Client(options.url) as client:
        await client.workflows.cancel(options.id, options.reason)
    say(options, {"id": options.id}, f"{options.id} will be cancelled")


async def retry(options: argparse.Namespace) -> int:
    """Run again what has not succeeded of a workflow; what has is kept, with its outputs.

    rota workflow retry 01k9abc
    rota workflow retry 01k9abc --wait
    """
    async with Client(options.url, patience_seconds=PATIENCE_SECONDS) as client:
        before = await client.workflows.get(options.id) if options.wait else None
        await client.workflows.retry(options.id)
        say(options, {"id": options.id}, f"{options.id} will go on")
        return await follow(options, client, options.id, before.retries + 1) if before else 0


async def rerun(options: argparse.Namespace) -> int:
    """Run all of a workflow again as another one, with other params if some are given, and print its id.

    rota workflow rerun 01k9abc
    rota workflow rerun 01k9abc --params date=2026-01-02 --wait
    """
    async with Client(options.url, patience_seconds=PATIENCE_SECONDS) as client:
        id_ = await client.workflows.rerun(options.id, params=merged(options.params), **given(options, "key"))
        say(options, {"id": id_}, id_)
        return await follow(options, client, id_) if options.wait else 0


async def follow(options: argparse.Namespace, client: Client, id_: str, retries: int = 0) -> int:
    """Show how far a workflow is until it has ended, and print its end; return 0 only if it succeeded.

    Views of fewer retries are old; UnavailableError if they come for too long.
    """
    line = Line()
    view = await _ended(
        client, id_, lambda view: line.show(show_workflow.progress(view, datetime.now(UTC))), retries
    )
    line.clear()
    say(options, view, show_workflow.progress(view, datetime.now(UTC)))
    return _verdict(view)


async def _watch(options: argparse.Namespace, client: Client) -> int:
    """Draw a workflow again and again until it has ended; return 0 only if it succeeded."""
    screen = Screen()

    def drawing(view: WorkflowView) -> list[str]:
        return show_workflow.drawing(view, datetime.now(UTC), _columns(options), colour=_colour(options))

    view = await _ended(client, options.id, lambda view: screen.show([] if options.json else drawing(view)))
    screen.clear()
    say(options, view, "\n".join(drawing(view)))
    return _verdict(view)


async def _ended(client: Client, id_: str, look: Callable[[WorkflowView], None], retries: int = 0) -> WorkflowView:
    """Return a workflow when it has ended, after so many retries; have it looked at until then."""
    clock = asyncio.get_running_loop().time
    begins_by = clock() + BEGIN_SECONDS
    while True:
        asked = clock()
        view = await client.workflows.get(id_)
        if view.retries >= retries:
            if view.status in ENDED_WORKFLOW:
                return view
            look(view)
        elif clock() > begins_by:
            raise UnavailableError(
                f"The retry of {id_} was accepted, but nothing has come of it: the workflow is as it was, "
                f"{state(view.status)}. See rota dead-letters, whether it was refused"
            )
        await asyncio.sleep(max(PROGRESS_SECONDS, SHARE_OF_TIME * (clock() - asked)))


def _verdict(view: WorkflowView) -> int:
    """Return the exit status for a workflow that has ended, and say what is missing."""
    reason = show_workflow.shortfall(view)
    return complain(reason) if reason else 0


def _plan(options: argparse.Namespace, format_: str) -> str:
    """Return the drawing of the workflow in a file."""
    file = read_workflow(options.file)
    try:
        graph = plan_of(file.request)
    except InvalidRequestError as error:
        raise file.located(error) from error
    if format_ != "text":
        return _drawn(format_, graph, file.request)
    colour = _colour(options)
    title = paint(printable(graph.title), "bold", colour=colour)
    jobs = count(len(graph.nodes), "job")
    return "\n".join([title, jobs, "", *text_lines(graph, _columns(options), colour=colour)])


def _drawn(format_: str, graph: Graph, value: Any) -> str:
    """Return a drawing that is no text, or the value as JSON."""
    if format_ == "svg":
        return svg(graph)
    if format_ == "json":
        return json_line(value)
    text = mermaid(graph)
    if too_large(graph, text):
        remark("Mermaid draws a graph of this size only where its limits maxEdges and maxTextSize were raised")
    return text


def _put(options: argparse.Namespace, text: str) -> None:
    """Print a drawing, or write it to a file."""
    body = f"{text.rstrip()}\n"
    if not options.output or is_stdout(options.output):
        sys.stdout.write(body)
        return
    with whole_file(options.output) as file:
        file.write(body.encode())
    say(options, {"file": str(options.output)}, f"The workflow is drawn in {options.output}")


def _columns(options: argparse.Namespace) -> int:
    """Return how wide a drawing may be."""
    wide = sys.stdout.isatty() and not options.output
    return shutil.get_terminal_size((WIDTH, 24)).columns if wide else WIDTH


def _colour(options: argparse.Namespace) -> bool:
    return has_colours() and not options.output
