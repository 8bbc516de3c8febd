"""In the end: no gang waits that a joint plan could place on what is left."""

import json
from collections.abc import Sequence

from adapters.files.cluster import load_cluster
from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import read_gangs
from solver.batch.plan import plan_batch
from solver.domain.plan import Assignment
from solver.search.options import Options
from support.audit.judge import Violation
from support.audit.sightings import GANG_LABEL, GANGS, NODES, PATHS, PLACEMENTS, PODS, Json
from support.controlplane.api import Api
from support.controlplane.waiting import TooLate, eventually

SOURCE = "api"


def waiting_gangs(api: Api) -> list[str]:
    """Gangs without any bound pod, `namespace/name`."""
    return [doc.full_name for doc in _waiting(api.items(PATHS[GANGS]), api.items(PATHS[PODS]))]


def unplaced(api: Api, time_limit_s: float = 20.0) -> list[Violation]:
    """Gangs that wait although `plan --batch` places them on the cluster as it is."""
    nodes, pods = api.items(PATHS[NODES]), api.items(PATHS[PODS])
    waiting = _waiting(api.items(PATHS[GANGS]), pods)
    if not waiting:
        return []
    documents = [_document("v1", "Node", node) for node in nodes] + [_document("v1", "Pod", pod) for pod in pods]
    cluster = load_cluster(documents)
    plan = plan_batch(cluster.snapshot, read_gangs(waiting).gangs, Options(time_limit_s=time_limit_s))
    placed = [answer for answer in plan.gangs if answer.status.placed]
    return [Violation("unplaced", 0, answer.name, _where(answer.assignments)) for answer in placed]


def wait_until_placed(api: Api, limit_s: float, pause_s: float = 2.0) -> None:
    """Wait until no gang waits that could be placed; raises TooLate with what their Placements say."""
    try:
        eventually(lambda: not unplaced(api), "every gang is placed that can be", limit_s, pause_s)
    except TooLate as late:
        found = unplaced(api)
        placements = {_full_name(body): body for body in api.items(PATHS[PLACEMENTS])}
        said = [
            f"{each}; its Placement: {json.dumps(placements.get(each.subject, {}).get('status'))}" for each in found
        ]
        raise TooLate("\n".join([str(late), *said])) from late


def _full_name(body: Json) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _waiting(gangs: Sequence[Json], pods: Sequence[Json]) -> list[Document]:
    bound = {
        (pod["metadata"]["namespace"], (pod["metadata"].get("labels") or {}).get(GANG_LABEL))
        for pod in pods
        if pod["spec"].get("nodeName")
    }
    return [
        _document("huddle.scheduler/v1alpha1", "Gang", gang)
        for gang in gangs
        if (gang["metadata"]["namespace"], gang["metadata"]["name"]) not in bound
    ]


def _document(version: str, kind: str, body: Json) -> Document:
    """An entry of a list, which leaves version and kind out."""
    return Document({**body, "apiVersion": version, "kind": kind}, SOURCE)


def _where(assignments: Sequence[Assignment]) -> str:
    nodes = sorted({each.node for each in assignments})
    return f"waits, but a plan puts it on {', '.join(nodes)}"
