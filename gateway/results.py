"""Results of a batch in a file: ask for it, look how far it is, download it."""

from aiohttp import web
from msgspec import Struct

from events.batch_results import CollectResults, ResultsCollected, ResultsFailed, ResultsRequested
from events.jetstream.collections import Collection, find_collection
from events.jetstream.results_files import ResultsFiles
from gateway.answers import answer
from gateway.batch_operations import connections
from gateway.bodies import read_optional, read_query
from gateway.callers import Asker, http_asker
from gateway.downloads import Download, answer_download
from gateway.edge import Edge, edge_of
from gateway.encodings import JSON
from gateway.lookup import ID, ask_batch, find_last
from gateway.messages import PageLimit, ResultsList
from gateway.operations import carry_out, group_for
from gateway.problems import Faults, document
from gateway.results_requests import check_results
from rota.batch_protocol import CollectionResponse, ResultsFormat, ResultsRequest, ResultsView
from rota.errors import ConflictError, KeyReusedError, NotFoundError, Problem, RotaError

MEDIA_TYPES: dict[ResultsFormat, str] = {
    "ndjson": "application/x-ndjson",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "parquet": "application/vnd.apache.parquet",
}
FIELDS = ("format", "connection", "path", "origin_columns")
COLLECTION = ID.replace("{id:", "{collection:")

routes = web.RouteTableDef()


class RangeError(RotaError):
    """The file has nothing in the range that is asked for."""

    status = 416
    slug = "range-not-satisfiable"
    title = "There is nothing in this range"


class CollectionsQuery(Struct, frozen=True):
    """How many collections."""

    limit: PageLimit = 100


@routes.post(f"/batches/{ID}/results")
async def post_results(request: web.Request) -> web.Response:
    """Have the results collected that there are by now; the answer names the collection."""
    asked = await read_optional(request, ResultsRequest)
    batch = request.match_info["id"]
    id_ = await collect_results(edge_of(request), batch, asked, http_asker(request))
    return answer(CollectionResponse(id_), 202, {"Location": f"/batches/{batch}/results/{id_}"})


@routes.get(f"/batches/{ID}/results")
async def get_collections(request: web.Request) -> web.Response:
    """Answer the collections of a batch, newest first."""
    query = read_query(request, CollectionsQuery)
    return answer(ResultsList(await list_results(edge_of(request), request.match_info["id"], query.limit)))


@routes.get(f"/batches/{ID}/results/{COLLECTION}")
async def get_results(request: web.Request) -> web.Response:
    """Answer how far a collection is, and with which manifest it has ended."""
    return answer(await find_results(edge_of(request), request.match_info["id"], request.match_info["collection"]))


@routes.get(f"/batches/{ID}/results/{COLLECTION}/file")
async def get_file(request: web.Request) -> web.StreamResponse:
    """Answer the file of a collection that is for download."""
    edge, batch, id_ = edge_of(request), request.match_info["id"], request.match_info["collection"]
    view = await find_results(edge, batch, id_)
    if view.status == "collecting":
        raise ConflictError(f"The file of the collection {id_} is not ready; see /batches/{batch}/results/{id_}")
    if view.manifest is None:
        raise ConflictError(f"There is no file of the collection {id_}: {view.error}")
    if view.connection is not None:
        raise ConflictError(f"The file of the collection {id_} is {view.path} of the connection {view.connection}")
    files, manifest = ResultsFiles(edge.connection), view.manifest
    await files.check(batch, id_, manifest.sha256, manifest.size)
    file = Download(
        name=f"{batch}.{view.format}",
        media_type=MEDIA_TYPES[view.format],
        size=manifest.size,
        sha256=manifest.sha256,
        read=lambda start, stop: files.read(batch, id_, manifest.sha256, start, stop),
    )
    response = await answer_download(request, file, edge.pace.write_seconds)
    return _out_of_range(response, manifest.size) if response.status == RangeError.status else response


async def collect_results(edge: Edge, batch: str, request: ResultsRequest, asker: Asker) -> str:
    """Have the results of a batch collected; return the id of the collection, which is the same for the same key.

    InvalidRequestError names what is wrong, NotFoundError says that there is no batch, KeyReusedError that the key
    has stood for another collection.
    """
    await find_last(edge, "batch", batch)
    faults = Faults()
    check_results(request, connections(edge) if request.connection else {}, "#", faults)
    faults.check()
    id_ = group_for(asker, "results")
    if asker.key and (first := await find_collection(edge.connection, batch, id_)):
        _check_same(first.asked, request)
    command = CollectResults(
        id=batch,
        collection=id_,
        format=request.format,
        connection=request.connection,
        path=request.path,
        origin_columns=request.origin_columns,
    )
    await carry_out(edge, command, asker)
    return id_


async def list_results(edge: Edge, batch: str, limit: int) -> list[ResultsView]:
    """Return the newest collections of a batch, whose manifests name no jobs.

    NotFoundError if there is no such batch; UnavailableError if the views do not have it yet.
    """
    return await ask_batch(edge, batch, lambda views: views.results(batch, limit))


async def find_results(edge: Edge, batch: str, collection: str) -> ResultsView:
    """Return how far a collection is; NotFoundError if there is none of this id."""
    found = await find_collection(edge.connection, batch, collection)
    if found is None:
        raise NotFoundError(f"The batch {batch} has no collection of results {collection}")
    return _view(found)


def _view(found: Collection) -> ResultsView:
    asked, ended = found.asked, found.ended
    return ResultsView(
        id=asked.collection,
        status="collecting" if ended is None else "failed" if isinstance(ended, ResultsFailed) else "collected",
        format=asked.format,
        connection=asked.connection,
        path=asked.path,
        manifest=ended.manifest if isinstance(ended, ResultsCollected) else None,
        error=ended.reason if isinstance(ended, ResultsFailed) else None,
    )


def _out_of_range(response: web.StreamResponse, size: int) -> web.Response:
    error = RangeError(f"The file has {size} bytes, and none of them is in the range")
    return web.Response(
        body=JSON.encode(document(error)),
        status=error.status,
        headers={name: response.headers[name] for name in ("Accept-Ranges", "Content-Range")},
        content_type="application/problem+json",
    )


def _check_same(first: ResultsRequested, request: ResultsRequest) -> None:
    others = [name for name in FIELDS if getattr(first, name) != getattr(request, name)]
    if others:
        problems = [Problem("It was another one under this key", f"#/{name}") for name in others]
        raise KeyReusedError("The key was used for another request; nothing was done", problems=problems)
