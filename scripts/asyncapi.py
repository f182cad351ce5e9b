"""Writes docs/reference/asyncapi.yaml from the code: `python -m scripts.asyncapi`.

The document describes Rota: it receives commands and requests, and sends work, status and answers.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import msgspec
import yaml
from msgspec import Struct

from events.catalog import COMMANDS, EVENTS, split_tag
from events.jetstream import topology
from events.jetstream.dead_letters import DeadLetter
from events.jetstream.service import QUEUE_GROUP
from gateway.callers import KEY_HEADER
from gateway.service import DESCRIPTION, OPERATIONS, PREFIX, VERSION
from rota.protocol import (
    CALLER,
    CAUSATION_ID,
    COMMAND_ID,
    CONTENT_TYPE,
    REPLY_TO,
    Outcome,
    PayloadForm,
)
from scripts.stack import ROOT

PATH = ROOT / "docs" / "reference" / "asyncapi.yaml"
WIDTH = 116

SENDERS: dict[str, str] = {
    "batch.advance": "reader",
    "batch.cancel": "anybody",
    "batch.change": "anybody",
    "batch.collect_results": "anybody",
    "batch.count_jobs": "reader",
    "batch.cut_job": "reader",
    "batch.fail": "reader",
    "batch.fail_file": "reader",
    "batch.fail_results": "collector",
    "batch.find_file": "reader",
    "batch.finish_cancel": "reader",
    "batch.finish_file": "reader",
    "batch.finish_redrive": "reader",
    "batch.finish_results": "collector",
    "batch.list_files": "reader",
    "batch.open": "anybody",
    "batch.pause": "anybody",
    "batch.quarantine_rows": "reader",
    "batch.redrive": "anybody",
    "batch.resume": "anybody",
    "job.cancel": "anybody",
    "job.fail": "worker",
    "job.progress": "worker",
    "job.redrive": "reader",
    "job.release": "timer",
    "job.schedule": "anybody",
    "job.start": "worker",
    "job.succeed": "worker",
    "spec.register": "anybody",
    "workflow.advance": "rota",
    "workflow.cancel": "anybody",
    "workflow.end_job": "rota",
    "workflow.expand_job": "rota",
    "workflow.expire": "timer",
    "workflow.expire_job": "timer",
    "workflow.pause": "anybody",
    "workflow.resume": "anybody",
    "workflow.retry": "anybody",
    "workflow.schedule": "anybody",
    "workflow.start_job": "rota",
}
"""Who sends each command: collectors, readers and timers are parts of Rota, and nobody else sends theirs.

Those of Rota itself follow from events of jobs, batches and workflows, and are carried out with them.
"""

Tree = dict[str, Any]


def document() -> Tree:
    """Return the AsyncAPI document."""
    with _raw_defaults():
        _, schemas = msgspec.json.schema_components(_structs(), ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "id": "urn:rota",
        "info": {
            "title": "Rota over NATS",
            "version": VERSION,
            "description": f"{DESCRIPTION}. The rules stand in protocol.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "nats-server 2.14 or newer"}
        },
        "channels": _streams() | {_key(name): _endpoint(name) for name in OPERATIONS} | _answers(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": schemas | _HEADERS | {"Problem": _PROBLEM}},
    }


def text() -> str:
    """Return the document as YAML."""
    # Through JSON, so that what stands in two places is written twice, not as a reference of YAML's own.
    plain = msgspec.json.decode(msgspec.json.encode(document()))
    body: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=WIDTH)
    return "# Made by `python -m scripts.asyncapi`: change the code, or that script.\n" + body


def answer_of(name: str) -> type[Struct]:
    """Return the type of an operation's answer."""
    answer: type[Struct] = OPERATIONS[name].answer
    return answer


def requests_of(name: str) -> list[type[Struct]]:
    """Return the types that an operation takes."""
    request = OPERATIONS[name].request
    return list(get_args(request)) or [request]


def _structs() -> list[type[Any]]:
    requests = [type_ for name in OPERATIONS for type_ in requests_of(name)]
    answers = [answer_of(name) for name in OPERATIONS]
    return [*EVENTS.values(), *COMMANDS.values(), *dict.fromkeys([*requests, *answers]), Outcome, DeadLetter]


@contextmanager
def _raw_defaults() -> Iterator[None]:
    """Let msgspec show a default that is MessagePack: it has no way to be told how."""
    module = msgspec._json_schema  # type: ignore[attr-defined] # noqa: SLF001 - see above
    before = module.to_builtins
    module.to_builtins = functools.partial(msgspec.to_builtins, enc_hook=msgspec.msgpack.decode)
    try:
        yield
    finally:
        module.to_builtins = before


def _streams() -> Tree:
    """Return the channels that are kept in streams, or published from one."""
    commands = {tag: {"$ref": f"#/components/messages/{tag}"} for tag in COMMANDS}
    events = {tag: {"$ref": f"#/components/messages/{tag}"} for tag in EVENTS}
    queued = {"job.queued": {"$ref": "#/components/messages/job.queued"}}
    ended = {
        tag: {"$ref": f"#/components/messages/{tag}"}
        for tag in ("job.cancelled", "job.failed", "job.redriven", "job.succeeded", "job.timed_out")
    }
    rows = {f"rows.{form}": {"$ref": f"#/components/messages/rows.{form}"} for form in _ROWS}
    return {
        "command": _channel("rota.command.{kind}.{group}.{verb}", commands, topology.COMMANDS),
        "event": _channel("rota.event.{kind}.{id}.{name}", events, topology.EVENTS),
        "status": _channel("rota.status.{kind}.{id}.{name}", events),
        "statusQueued": _channel("rota.status.job.{id}.queued.{queue}.{priority}.{spec}", queued),
        "statusEnded": _channel("rota.status.job.{id}.{name}.{batch}", ended),
        "work": _channel("rota.work.{queue}.{priority}.{spec}.{id}", queued, topology.WORK),
        "rows": _channel("rota.payload.{batch}.{file}.{block}.{index}.{digest}", rows, topology.PAYLOADS),
        "inputs": _channel(
            "rota.payload.{workflow}.{job}.{run}.inputs.{digest}",
            {"inputs": {"$ref": "#/components/messages/inputs"}},
            topology.PAYLOADS,
        ),
        "result": _channel(
            "rota.result.{id}", {"result": {"$ref": "#/components/messages/result"}}, topology.RESULTS
        ),
        "deadLetter": _channel(
            "rota.dead_letter.{status}.{kind}.{id}",
            {"deadLetter": {"$ref": "#/components/messages/deadLetter"}},
            topology.DEAD_LETTERS,
        ),
    }


def _channel(address: str, messages: Tree, stream: str = "") -> Tree:
    names = [part.strip("{}") for part in address.split(".") if part.startswith("{")]
    channel: Tree = {
        "address": address,
        "messages": messages,
        "parameters": {name: {"description": _PARAMETERS[name]} for name in names},
    }
    return channel | ({"x-nats-stream": stream} if stream else {})


def _endpoint(name: str) -> Tree:
    return {
        "address": f"{PREFIX}.{name}",
        "messages": {"request": {"$ref": f"#/components/messages/{name}.request"}},
        "x-nats-service": {"name": "rota", "endpoint": _key(name)},
    }


def _answers() -> Tree:
    """Return the channels of answers, whose addresses the asker chooses."""
    answers = {
        f"{_key(name)}-answer": {
            "address": None,
            "messages": {
                "answer": {"$ref": f"#/components/messages/{name}.answer"},
                "problem": {"$ref": "#/components/messages/problem"},
            },
        }
        for name in OPERATIONS
    }
    outcomes = {"address": None, "messages": {"outcomes": {"$ref": "#/components/messages/outcomes"}}}
    return {"outcomes": outcomes, **answers}


def _operations() -> Tree:
    received: Tree = {
        "action": "receive",
        "channel": {"$ref": "#/channels/command"},
        "summary": "Carry out commands, and tell the outcomes to who names a subject for them.",
        "reply": {
            "address": {"location": f"$message.header#/{REPLY_TO}"},
            "channel": {"$ref": "#/channels/outcomes"},
        },
    }
    sent = {
        f"send-{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}, "summary": summary}
        for name, summary in _SENT.items()
    }
    result = {
        "action": "receive",
        "channel": {"$ref": "#/channels/result"},
        "summary": "Keep a result that is too large for a report.",
    }
    asked = {
        f"answer-{_key(name)}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{_key(name)}"},
            "summary": OPERATIONS[name].carry_out.__doc__,
            "bindings": {"nats": {"queue": QUEUE_GROUP}},
            "reply": {"channel": {"$ref": f"#/channels/{_key(name)}-answer"}},
        }
        for name in OPERATIONS
    }
    return {"receive-command": received, "receive-result": result, **sent, **asked}


def _messages() -> Tree:
    messages: Tree = {}
    for tag, command in COMMANDS.items():
        one = {"$ref": f"#/components/schemas/{command.__name__}"}
        messages[tag] = _message(tag, command, {"oneOf": [one, {"type": "array", "items": one}]}, "CommandHeaders")
        messages[tag]["x-rota-sender"] = SENDERS[tag]
    for tag, event in EVENTS.items():
        name, version = split_tag(tag)
        stored: Tree = {"$ref": f"#/components/schemas/{event.__name__}"}
        messages[tag] = _message(f"rota.{name}.v{version}", event, stored, "EventHeaders", "application/msgpack")
    for name in OPERATIONS:
        payloads: list[Tree] = [{"$ref": f"#/components/schemas/{type_.__name__}"} for type_ in requests_of(name)]
        payload = payloads[0] if len(payloads) == 1 else {"oneOf": payloads}
        messages[f"{name}.request"] = _message(f"{name}.request", requests_of(name)[-1], payload, "RequestHeaders")
        answer = answer_of(name)
        payload = {"$ref": f"#/components/schemas/{answer.__name__}"}
        messages[f"{name}.answer"] = _message(f"{name}.answer", answer, payload, "AnswerHeaders")
    outcomes = {"type": "array", "items": {"$ref": "#/components/schemas/Outcome"}}
    messages["outcomes"] = _message("outcomes", Outcome, outcomes)
    letter = {"$ref": "#/components/schemas/DeadLetter"}
    messages["deadLetter"] = _message("deadLetter", DeadLetter, letter, "", "application/msgpack")
    problem = {"$ref": "#/components/schemas/Problem"}
    messages["problem"] = {"summary": "A problem document (RFC 9457).", "payload": problem} | _headers(
        "AnswerHeaders"
    )
    for form, (summary, content_type) in _ROWS.items():
        messages[f"rows.{form}"] = {"summary": summary, "contentType": content_type, "payload": {}}
    messages["inputs"] = {
        "summary": "Params of a workflow's job that are too large for an event: a map.",
        "contentType": "application/msgpack",
        "payload": {"type": "object"},
    }
    messages["result"] = {"summary": "Any MessagePack value.", "contentType": "application/msgpack", "payload": {}}
    return messages


def _message(name: str, type_: type[Any], payload: Tree, headers: str = "", content_type: str = "") -> Tree:
    summary = " ".join((type_.__doc__ or "").split("\n\n")[0].split())
    message: Tree = {"name": name, "summary": summary, "payload": payload}
    return message | _headers(headers) | ({"contentType": content_type} if content_type else {})


def _headers(name: str) -> Tree:
    return {"headers": {"$ref": f"#/components/schemas/{name}"}} if name else {}


def _key(name: str) -> str:
    return name.replace(".", "-")


def _header_schema(required: list[str], **headers: str) -> Tree:
    properties = {name: {"type": "string", "description": text} for name, text in headers.items()}
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


_ROWS: dict[PayloadForm, tuple[str, str]] = {
    "arrow": ("The rows of a batch's job, as an Arrow IPC stream.", "application/vnd.apache.arrow.stream"),
    "json": ("The rows of a batch's job, as an array of objects.", "application/json"),
    "messagepack": ("The rows of a batch's job, as an array of maps.", "application/msgpack"),
}
_PARAMETERS = {
    "batch": "The batch's id.",
    "block": "A hundred neighbouring jobs.",
    "file": "The number of the file in the batch, from 0.",
    "group": "The id up to its first `-`.",
    "id": "The id of the job, batch or workflow, or the name of the spec.",
    "index": "The number of the job in the file, from 0.",
    "digest": "The first 16 digits of the SHA-256 of the rows or params.",
    "job": "The number of the job in the workflow, from 0.",
    "kind": "`batch`, `job`, `spec` or `workflow`; of events also `log`.",
    "name": "The event's type without its kind.",
    "priority": "`normal`.",
    "queue": "The queue where the job waits.",
    "run": "The number of the run in its fan-out, from 0.",
    "spec": "The name of the job's spec.",
    "status": "`refused` or `failed`.",
    "verb": "The command's type without its kind, or `report`.",
    "workflow": "The workflow's id.",
}

_SENT = {
    "event": "Keep each event.",
    "status": "Publish each event that was stored.",
    "statusQueued": "Publish each attempt that waits for a worker.",
    "statusEnded": "Publish each end of a batch's job, and that it runs again.",
    "work": "Offer each attempt to workers.",
    "rows": "Keep the rows of a batch's job.",
    "inputs": "Keep the large params of a workflow's job.",
    "deadLetter": "Keep a command that was refused or could not be carried out.",
}

_EVENT_HEADERS = {
    "ce-specversion": "`1.0`.",
    "ce-id": "`<id>.<version>`.",
    "ce-source": "`/rota`.",
    "ce-type": "`rota.<type>.v<version of the type>`.",
    "ce-datacontenttype": "`application/msgpack`.",
}
_NATS_HEADERS = {
    "Nats-Sequence": "On `rota.status.>`: the event's sequence in the log.",
    "Nats-Last-Sequence": "On `rota.status.>`: the sequence of the event before on the same subject.",
}
_HEADERS: Tree = {
    "CommandHeaders": _header_schema(
        [],
        **{
            CONTENT_TYPE: "`application/json`, or `application/msgpack`, which is meant if it is missing.",
            CALLER: "Who asks.",
            COMMAND_ID: "The sender's id of the message.",
            CAUSATION_ID: "The event that made the sender ask.",
            REPLY_TO: "A subject for the outcomes.",
        },
    ),
    "EventHeaders": _header_schema(list(_EVENT_HEADERS), **_EVENT_HEADERS, **_NATS_HEADERS),
    "RequestHeaders": _header_schema(
        [],
        **{
            CONTENT_TYPE: "`application/msgpack`, or `application/json`, which is meant if it is missing.",
            CALLER: "Who asks.",
            KEY_HEADER: "The same key gives the same ids.",
        },
    ),
    "AnswerHeaders": _header_schema(
        [CONTENT_TYPE],
        **{
            CONTENT_TYPE: "As that of the request; a problem in JSON is `application/problem+json`.",
            "Nats-Service-Error-Code": "The status of the problem; an answer without it is none.",
            "Nats-Service-Error": "The detail of the problem, in one line.",
        },
    ),
}
_PROBLEM: Tree = {
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail", "pointer"],
                "properties": {"detail": {"type": "string"}, "pointer": {"type": "string"}},
            },
        },
    },
}

if __name__ == "__main__":
    PATH.write_text(text())
