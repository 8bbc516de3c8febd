"""A service without gRPC that does what its parent says, line by line, and is there to be killed.

Every line on standard input is one thing to do, as JSON; every line on standard output says that it was done, and what
the ledger and the state are like then.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from solver.domain.changes import PodBound, PodGone
from solver.ledger import Promise
from solver.service.errors import Conflict
from solver.service.promises import PromiseLimits
from support.builders import bound
from support.promising import CLUSTER, HOUR_MS, Office, Time, asked, nodes, wish, workers

#: Something to do, and how things are.
Task = dict[str, Any]
Picture = dict[str, Any]


class Party:
    """The service on a ledger file. bound: pods of the gangs that run in the cluster, name → node."""

    def __init__(self, path: Path, bound_pods: dict[str, str]) -> None:
        self.time = Time()
        self.office = Office.open(path, self.time, PromiseLimits(max_lease_ms=HOUR_MS))
        self.office.put(nodes().with_pods([_pod(*each) for each in sorted(bound_pods.items())]))
        self.sequence = 0

    def do(self, task: Task) -> str:
        """Id of the promise concerned, or empty; `conflict` when it was refused."""
        try:
            match task["do"]:
                case "reserve":
                    lease_ms, wanted = task["lease_ms"], workers(task["gang"])
                    return self.office.promises.reserve(
                        wish(task["id"], wanted, *task["nodes"], lease_ms=lease_ms)
                    ).promise.id
                case "confirm":
                    return self.office.promises.confirm(asked(task["id"]), task["promise"]).id
                case "release":
                    return self.office.promises.release(asked(task["id"]), task["promise"]).id
                case "bind":
                    self.apply(PodBound(_pod(task["pod"], task["node"])))
                case "unbind":
                    self.apply(PodGone("", task["pod"]))
                case "pass":
                    self.time.passes(task["ms"])
                    self.office.promises.settle()
                case "tidy":
                    self.office.ledger.tidy()
        except Conflict:
            return "conflict"
        return ""

    def apply(self, change: PodBound | PodGone) -> None:
        """Change the state of the cluster."""
        self.sequence += 1
        self.office.clusters.get(CLUSTER).apply("1", self.sequence, [change])

    def picture(self, ids: list[str], requests: list[str]) -> Picture:
        """All promises that are known, what the state holds, and to which promise requests led."""
        ledger = self.office.ledger
        answers = {each: (ledger.answered(asked(each)) or _NOTHING).id for each in requests}
        ids = sorted({*ids, *answers.values(), *(promise.id for promise in ledger.holding(CLUSTER))} - {""})
        return {
            "promises": {each: _told(ledger.get(each)) for each in ids},
            "held": self.office.promised(),
            "answers": answers,
            "revision": ledger.revision,
        }


class _Nothing:
    id = ""


_NOTHING = _Nothing()


def _pod(name: str, node: str) -> Any:
    return replace(bound(name, node, 2), uid="")


def _told(promise: Promise | None) -> Any:
    if promise is None:
        return None
    return {
        "gang": promise.gang,
        "phase": promise.phase.value,
        "pods": [[pod.holds.name, pod.holds.node, pod.seen_on] for pod in promise.pods],
        "lease_until_ms": promise.lease_until_ms,
    }


def main() -> None:
    """Do what is said until standard input ends."""
    party = Party(Path(sys.argv[1]), json.loads(sys.argv[2]))
    for line in sys.stdin:
        task = json.loads(line)
        answer = party.do(task)
        print(json.dumps({"answer": answer, **party.picture(task["ids"], task["requests"])}), flush=True)


if __name__ == "__main__":
    main()
