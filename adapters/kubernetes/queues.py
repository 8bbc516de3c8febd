"""`scheduling.run.ai` Queue → `QueueSpec`."""

from adapters.kubernetes.objects import Document, Fields
from solver.domain.resources import CPU, GPU, MEMORY
from solver.domain.snapshot import QueueSpec

#: Resource block → solver resource and units per unit of the limit (GPUs, millicores, megabytes of 10⁶ bytes).
_BLOCKS = {"gpu": (GPU, 1000), "cpu": (CPU, 1), "memory": (MEMORY, 10**6)}

#: Limits from here on bind nothing.
_BEYOND = 2**62


def read_queue(doc: Document) -> QueueSpec:
    """A queue with its limits; −1 is no limit, 0 or a block without `limit` allows nothing.

    A resource without a block, and a queue without `resources`, has no limit. Raises InvalidRequest for malformed
    fields.
    """
    limits: dict[str, int] = {}
    resources = doc.part("spec.resources")
    for block, (resource, unit) in _BLOCKS.items():
        limit = _limit(resources.part(block), unit) if resources.has(block) else None
        if limit is not None:
            limits[resource] = limit
    return QueueSpec(doc.name, limits, doc.text("spec.parentQueue", ""))


def _limit(block: Fields, unit: int) -> int | None:
    limit = block.number("limit", 0.0, minimum=-1)
    if limit == -1:
        return None
    if limit < 0:
        raise block.refuse("limit", f"must be -1 or not negative, not {limit!r}")
    amount = int(limit * unit)
    return amount if amount < _BEYOND else None
