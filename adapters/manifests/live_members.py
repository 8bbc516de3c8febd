"""Pods that exist, as members of a gang: which there are, and what they have to have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.kubernetes.pods import PodShape
from adapters.manifests.members import Member
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Notice

Body = Mapping[str, Any]

#: What messages call the objects of a live cluster, which come from no file.
SOURCE = "cluster"


@dataclass(frozen=True, slots=True)
class LivePods:
    """Pods that a gang is made of.

    bodies: those that are members. fixed: `namespace/pod` → node of those of them that stay where they are. done:
    `namespace/pod` of those of them that have succeeded. others: pods of the gang that exist and are no members now.
    """

    bodies: Sequence[Body]
    fixed: Mapping[str, str]
    done: frozenset[str] = frozenset()
    others: Sequence[Body] = ()

    def count(self, label: str, value: str, default: str = "") -> int:
        """Pods that exist, members or not, with this value of a label; those without it have the default."""
        labels = [body["metadata"].get("labels") or {} for body in (*self.bodies, *self.others)]
        return sum((each.get(label) or default) == value for each in labels)


@dataclass(frozen=True, slots=True)
class Joined:
    """A gang of pods that exist.

    gang: None while there is no pod. missing: role → pods that are declared and do not exist. is_open: nobody says how
    many pods there will be. notices: what its reader has to say about it.
    """

    gang: Gang | None
    missing: Mapping[str, int]
    is_open: bool = False
    notices: tuple[Notice, ...] = ()


def pod_name(body: Body) -> str:
    """`namespace/pod`."""
    return f"{body['metadata'].get('namespace') or 'default'}/{body['metadata']['name']}"


def common_shape(role: str, members: Sequence[Member], pods: LivePods) -> PodShape:
    """What every pod of a role asks for that has still to be placed; of the others, if none has.

    Raises InvalidRequest, in one sentence, when two of them differ.
    """
    settled = {*pods.fixed, *pods.done}
    first, *others = [member for member in members if member.name not in settled] or members[:1]
    for other in others:
        if (what := _difference(first.shape, other.shape)) is not None:
            raise InvalidRequest(f"pods {first.name} and {other.name} of role {role} differ in {what}")
    return first.shape


def oldest(bodies: Sequence[Body]) -> datetime | None:
    """When the first of some objects was made; None when none says so."""
    known = [_created(body) for body in bodies]
    return min((moment for moment in known if moment is not None), default=None)


def _difference(one: PodShape, other: PodShape) -> str | None:
    parts = (
        ("what they request", one.requests, other.requests),
        ("their node selectors", one.constraints.selector, other.constraints.selector),
        ("their node affinity", one.constraints.affinity, other.constraints.affinity),
        ("where their volumes are", one.constraints.volumes, other.constraints.volumes),
        ("their tolerations", one.constraints.tolerations, other.constraints.tolerations),
        ("their pod anti-affinity", one.constraints.anti_affinity, other.constraints.anti_affinity),
        ("their pod anti-affinity", one.spread, other.spread),
        ("their labels", one.constraints.labels, other.constraints.labels),
    )
    return next((what for what, mine, theirs in parts if mine != theirs), None)


def _created(body: Body) -> datetime | None:
    text = body["metadata"].get("creationTimestamp")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
