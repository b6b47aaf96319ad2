"""A W&B server on loopback that the real client uploads to: it keeps what arrives and fails when it is told to.

It knows as much of the API as wandb 0.31 needs to report a run: GraphQL (viewer, UpsertBucket, CreateRunFiles,
artifacts from CreateArtifact to CommitArtifact, RunResumeStatus, Runs), the stream of a run's history and summary
(file_stream), and uploads of files. An artifact with the files of one that is there is that one.
It tells how many lines a history has and puts new ones where the client says, so that a client that uploads a run
again, without asking, has its points there twice.

And as much as wandb-workspaces 0.4 needs: views, which are saved workspaces and reports. One that comes without an id
is a new one, whatever its name, so that a client that saves a view again, without asking, has it there twice.
"""

import base64
import gzip
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a benchmark uses this server, too
    import pytest

# What a person or a machine may have set for the client.
SETTINGS = ("WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY")
KEY = "0123456789abcdef" * 2 + "01234567"  # 40 hexadecimal digits, as W&B's API keys have


def account(home: Path, patch: "pytest.MonkeyPatch") -> None:
    """A machine on which nobody has logged in to W&B, with this home: the client's settings and files go there."""
    for name in SETTINGS:
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(home))
    patch.setenv("NETRC", str(home / "netrc"))
    patch.setenv("WANDB_CONFIG_DIR", str(home / "config"))


@contextmanager
def known(home: Path, patch: "pytest.MonkeyPatch") -> Iterator[None]:
    """`account`, of which the API key is known; the client has nothing of another test, and leaves nothing."""
    import wandb

    account(home, patch)
    patch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()
    yield
    wandb.teardown()


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


@dataclass
class View:
    """A saved workspace (type project-view) or a report (runs) as it is on the server."""

    id: str
    type: str
    entity: str
    project: str
    name: str
    title: str
    description: str
    spec: dict[str, Any]
    saved: int = 1

    @property
    def node(self) -> dict[str, Any]:
        """As a GraphQL node."""
        return {"id": self.id, "type": self.type, "name": self.name, "displayName": self.title, "user": None,
                "description": self.description, "spec": json.dumps(self.spec), "updatedAt": "2026-01-01T00:00:00Z",
                "createdAt": "2026-01-01T00:00:00Z",
                "project": {"id": "p", "name": self.project, "entityName": self.entity}}


@dataclass
class Version:
    """A version of an artifact, with the content of its files by their paths in it."""

    artifact: str
    type: str
    digest: str
    run: str
    committed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


class WandbServer(ThreadingHTTPServer):
    """Serves on `url` while it is open as a context manager; `status(request)` may answer other than 200."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, Received] = {}
        self.views: list[View] = []
        self.versions: list[Version] = []
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
            run = (variables.get("runName") or variables.get("name") or variables.get("run")
                   or variables.get("input", {}).get("runName"))
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
        kind, owner, name = self.path.removeprefix("/").split("/", 2)
        run = owner if kind == "upload" else self.server.versions[int(owner)].run
        if self._accepted(Request(time.monotonic(), "upload", run)):
            with self.server.lock:
                files = self.server.runs[run].files if kind == "upload" else self.server.versions[int(owner)].files
                files[name] = body
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
        if what == "CreateArtifact":
            return {"createArtifact": {"artifact": self._artifact(variables["input"])}}
        if what == "CreateArtifactFiles":
            nodes = [{"storagePath": file["name"], "uploadHeaders": [], "uploadMultipartUrls": None,
                      "uploadUrl": f"{self.server.url}/artifact/{file['artifactID']}/{file['name']}",
                      "artifact": {"id": file["artifactID"]}} for file in variables["input"]["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if what == "CreateArtifactManifest":
            version = variables["artifactID"]
            return {"createArtifactManifest": {"artifactManifest": {"id": version, "file": {
                "id": "m", "uploadUrl": f"{self.server.url}/artifact/{version}/wandb_manifest.json",
                "uploadHeaders": []}}}}
        if what == "CommitArtifact":
            version = self.server.versions[int(variables["artifactID"])]
            version.committed = True
            return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": version.digest}}}
        if what == "ArtifactByID":
            return {"artifact": self._version(variables["id"])}
        if what == "RunResumeStatus":
            return {"model": self._resumable(variables)}
        if what in ("ProjectViews", "View"):
            return {"project": self._views(variables)}
        if what == "SpecificReport":
            return {"view": next(each.node for each in self.server.views if each.id == variables["reportId"])}
        if what in ("upsertView", "UpsertView2"):
            return {"upsertView": self._save_view(variables)}
        if what == "GetProjects":
            return {"models": {"edges": [{"node": {"__typename": "Project", "id": "p", "name": name, "user": None,
                                                   "entityName": entity, "createdAt": "2026-01-01T00:00:00Z",
                                                   "isBenchmark": False}}
                                         for entity, name in {(run.entity, run.project)
                                                              for run in self.server.runs.values()}],
                               "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}}}
        if what == "ProjectInternalId":
            return {"project": {"id": "p", "internalId": "7"} if self._known(variables) else None}
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

    def _artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """A new version, or the one that has these files."""
        name, digest = given["artifactCollectionName"], given["digest"]
        there = next((n for n, each in enumerate(self.server.versions)
                      if (each.artifact, each.digest, each.committed) == (name, digest, True)), None)
        if there is None:
            self.server.versions.append(Version(name, given["artifactTypeName"], digest, given["runName"]))
        return {"id": str(len(self.server.versions) - 1 if there is None else there),
                "state": "PENDING" if there is None else "COMMITTED",
                "artifactSequence": {"id": "s", "latestArtifact": None}}

    def _version(self, id: str) -> dict[str, Any]:
        version = self.server.versions[int(id)]
        run = self.server.runs[version.run]
        project = {"id": "p", "internalId": "7", "name": run.project, "entity": {"name": run.entity}}
        return {"__typename": "Artifact", "id": id, "versionIndex": int(id), "artifactType": {"name": version.type},
                "artifactSequence": {"__typename": "ArtifactSequence", "name": version.artifact, "project": project},
                "description": None, "metadata": "{}", "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [],
                "historyStep": None, "state": "COMMITTED" if version.committed else "PENDING", "size": 0,
                "digest": version.digest, "commitHash": "c", "fileCount": len(version.files), "aliases": [],
                "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}

    def _known(self, asked: dict[str, Any]) -> bool:
        """Whether there is such a project: W&B makes one when its first run arrives."""
        place = asked.get("entityName") or asked["entity"], asked.get("projectName") or asked["project"]
        return any((run.entity, run.project) == place for run in self.server.runs.values())

    def _views(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        if not self._known(asked):
            return None
        wanted = asked.get("viewType", "runs"), asked.get("viewName")
        found = [view for view in self.server.views if view.type == wanted[0] and wanted[1] in (None, view.name)]
        return {"allViews": {"edges": [{"node": view.node, "cursor": view.id} for view in found],
                             "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def _save_view(self, given: dict[str, Any]) -> dict[str, Any]:
        view = next((each for each in self.server.views if each.id == given.get("id")), None)
        new = view is None
        if view is None:
            id = base64.b64encode(f"View:{len(self.server.views):06}".encode()).decode()
            view = View(id, given["type"], given["entityName"], given["projectName"],
                        given["name"], given["displayName"], given["description"], json.loads(given["spec"]))
            self.server.views.append(view)
        else:
            view.name, view.title, view.description = given["name"], given["displayName"], given["description"]
            view.spec, view.saved = json.loads(given["spec"]), view.saved + 1
        return {"view": view.node, "inserted": new}

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
