"""A W&B server on loopback that the real client uploads to: it keeps what arrives and fails when it is told to.

It knows as much of the API as wandb 0.31 needs to report a run: GraphQL (viewer, UpsertBucket, CreateRunFiles,
CreateArtifact, RunResumeStatus, Runs), the stream of a run's history and summary (file_stream), and uploads of files.
It tells how many lines a history has and puts new ones where the client says, so that a client that uploads a run
again, without asking, has its points there twice.
"""

import gzip
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"  # 40 hexadecimal digits, as W&B's API keys have


@dataclass(frozen=True)
class Request:
    """One request: when, what (a GraphQL operation, `file_stream` or `upload`), and of which W&B run, if of one."""

    at: float
    what: str
    run: str | None


@dataclass
class Received:
    """A W&B run as it is on the server."""

    entity: str
    project: str
    name: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the client has said that the run is over."""
        return self.exit_code is not None

    @property
    def last_step(self) -> int:
        """The last step of the history, -1 where there is none."""
        return json.loads(self.lines[-1])["_step"] if self.lines else -1

    @property
    def history(self) -> list[dict[str, Any]]:
        """The logged points, without the client's own keys."""
        return [{name: value for name, value in json.loads(line).items() if not name.startswith("_")}
                for line in self.lines]

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of a wandb.Table that was logged."""
        content = json.loads(self.files[self.summary[key]["path"]])
        return content["columns"], content["data"]


class WandbServer(ThreadingHTTPServer):
    """Serves on `url` while it is open as a context manager; `status(request)` may answer other than 200."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, Received] = {}
        self.requests: list[Request] = []
        self.status: Callable[[Request], int] = lambda request: 200
        self.lock = threading.Lock()

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """The client drops its connections when it has been killed."""

    def counts(self) -> Counter[str]:
        """How many requests of each kind came."""
        return Counter(request.what for request in self.requests)

    def uploads(self, run: str) -> int:
        """How many times a W&B run was begun."""
        return sum(request.what == "UpsertBucket" and request.run == run for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a header and a body are two packets, the second of which would wait

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        if self.path.startswith("/graphql"):
            query = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
            variables = query.get("variables") or {}
            what = operation[1] if operation else "anonymous"
            run = variables.get("name") or variables.get("run") or variables.get("input", {}).get("runName")
            if self._accepted(Request(time.monotonic(), what, run)):
                with self.server.lock:
                    self._answer({"data": self._graphql(what, variables)})
        elif match := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path):
            if self._accepted(Request(time.monotonic(), "file_stream", match[3])):
                with self.server.lock:
                    self._stream(self.server.runs[match[3]], json.loads(body))
                    self._answer({"exitcode": None, "limits": {}})
        else:
            self._answer({})  # the client's own telemetry

    def do_PUT(self) -> None:
        body = self._body()
        run, name = self.path.removeprefix("/upload/").split("/", 1)
        if self._accepted(Request(time.monotonic(), "upload", run)):
            with self.server.lock:
                self.server.runs[run].files[name] = body
                self._answer({})

    def _graphql(self, what: str, variables: dict[str, Any]) -> dict[str, Any]:
        if what == "UpsertBucket":
            new = variables["name"] not in self.server.runs
            return {"upsertBucket": {"bucket": self._upsert(variables), "inserted": new}}
        if what == "Runs":
            return {"project": self._listed(json.loads(variables["filters"])["name"]["$in"])}
        if what == "RunHistoryKeys":
            return {"project": {"run": {"historyKeys": {"lastStep": self.server.runs[variables["name"]].last_step}}}}
        if what == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.server.url}/upload/{variables['run']}/{name}"}
                     for name in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        if what == "CreateArtifact":  # "committed": the server has its files already, the client need not send them
            return {"createArtifact": {"artifact": {
                "id": "artifact", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}}}
        if what == "RunResumeStatus":
            return {"model": self._resumable(variables)}
        if what == "ArtifactType":
            return {"project": None}
        if what == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        return {"viewer": {"id": "viewer", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}},
                "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None}}

    def _resumable(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        run = self.server.runs.get(asked["name"])
        if run is None:
            return None
        return {"id": "model", "name": run.project, "entity": {"id": "e", "name": run.entity}, "bucket": {
            "id": asked["name"], "name": asked["name"], "displayName": run.name, "notes": None, "tags": run.tags,
            "config": json.dumps({name: {"value": value} for name, value in run.config.items()}),
            "wandbConfig": '{"t": {}}', "summaryMetrics": json.dumps(run.summary), "historyLineCount": len(run.lines),
            "historyTail": json.dumps(run.lines[-1:]), "eventsLineCount": 0, "eventsTail": "[]", "logLineCount": 0}}

    def _listed(self, names: list[str]) -> dict[str, Any] | None:
        nodes = [{"id": name, "name": name, "displayName": run.name, "tags": run.tags, "state": "finished",
                  "historyLineCount": len(run.lines), "projectId": "1", "sweepName": None,
                  "user": {"name": "me", "username": "me"}}
                 for name, run in self.server.runs.items() if name in names]
        return {"internalId": "p", "runCount": len(nodes), "readOnly": False, "runs": {
            "edges": [{"node": node, "cursor": node["id"]} for node in nodes],
            "pageInfo": {"endCursor": None, "hasNextPage": False}}} if self.server.runs else None

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.server.runs.setdefault(
            given["name"], Received(given.get("entity") or "me", given["project"]))
        run.name, run.group = given.get("displayName") or run.name, given.get("groupName") or run.group
        run.tags = given["tags"] if given.get("tags") is not None else run.tags
        if given.get("config"):
            run.config = {name: item["value"] for name, item in json.loads(given["config"]).items() if name != "_wandb"}
        return {"id": given["name"], "name": given["name"], "displayName": run.name, "description": None,
                "config": "{}", "sweepName": None, "historyLineCount": len(run.lines),
                "project": {"id": "p", "name": run.project, "entity": {"id": "e", "name": run.entity}}}

    def _stream(self, run: Received, sent: dict[str, Any]) -> None:
        for name, chunk in sent.get("files", {}).items():
            if name == "wandb-history.jsonl":
                run.lines[chunk["offset"]:chunk["offset"] + len(chunk["content"])] = chunk["content"]
            elif name == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]

    def _accepted(self, request: Request) -> bool:
        """Note the request; answer it here where it is to fail."""
        with self.server.lock:
            self.server.requests.append(request)
            status = self.server.status(request)
        if status != 200:
            self._answer({"errors": [{"message": "told to fail"}]}, status)
        return status == 200

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
