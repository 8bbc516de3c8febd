"""`scheduling.run.ai` Queue → `QueueSpec`."""

import re

from adapters.kubernetes.objects import Document, Fields, shown
from solver.domain.resources import CPU, GPU, MEMORY
from solver.domain.snapshot import QueueSpec

#: Resource block → solver resource and units per unit of the limit (GPUs, millicores, megabytes of 10⁶ bytes).
_BLOCKS = {"gpu": (GPU, 1000), "cpu": (CPU, 1), "memory": (MEMORY, 10**6)}

#: Annotations: namespaces whose gangs may be in a queue (all without it), and those that have it by default.
NAMESPACES, DEFAULT_FOR = "huddle.scheduler/namespaces", "huddle.scheduler/default-for"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

#: Limits from here on bind nothing.
_BEYOND = 2**62


def read_queue(doc: Document) -> QueueSpec:
    """A queue with its limits; −1 is no limit, 0 or a block without `limit` allows nothing.

    A resource without a block, and a queue without `resources`, has no limit. Two annotations of ours list namespaces,
    with commas: whose gangs may be in it, and whose are unless they name another. Raises InvalidRequest for malformed
    fields.
    """
    limits: dict[str, int] = {}
    resources = doc.part("spec.resources")
    for block, (resource, unit) in _BLOCKS.items():
        limit = _limit(resources.part(block), unit) if resources.has(block) else None
        if limit is not None:
            limits[resource] = limit
    parent = doc.text("spec.parentQueue", "")
    return QueueSpec(doc.name, limits, parent, _namespaces(doc, NAMESPACES), _namespaces(doc, DEFAULT_FOR))


def _namespaces(doc: Document, annotation: str) -> tuple[str, ...]:
    """The namespaces an annotation lists. Raises InvalidRequest for what is no name of a namespace."""
    if annotation not in doc.annotations:
        return ()
    names = [name.strip() for name in doc.annotations[annotation].split(",")]
    for name in names:
        if not _NAME.fullmatch(name):
            raise doc.refuse(f"metadata.annotations[{annotation}]", f"{shown(name)} is no name of a namespace")
    return tuple(dict.fromkeys(names))


def _limit(block: Fields, unit: int) -> int | None:
    limit = block.number("limit", 0.0, minimum=-1)
    if limit == -1:
        return None
    if limit < 0:
        raise block.refuse("limit", f"must be -1 or not negative, not {limit!r}")
    amount = int(limit * unit)
    return amount if amount < _BEYOND else None
