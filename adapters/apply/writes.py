"""What the reconciler writes: the calls it makes, and Placements through them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, Protocol

from adapters.apply.own_writes import OwnWrites
from adapters.kubernetes.api_errors import Conflict, NotFound
from adapters.kubernetes.placement_objects import new_placement, plan_patch, read_placement, status_patch
from adapters.kubernetes.placements import PlacementRecord
from adapters.kubernetes.resources import PLACEMENTS
from solver.service.failpoints import failpoint

Json = dict[str, Any]


class Calls(Protocol):
    """The calls of `adapters.kubernetes.api.Api` that are made here."""

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """An object."""

    async def create(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> Json:
        """POST."""

    async def patch(
        self,
        path: str,
        body: Any,
        kind: Literal["merge", "json", "strategic", "apply"] = "merge",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """PATCH."""

    async def delete(
        self, path: str, uid: str | None = None, resource_version: str | None = None, grace_s: int | None = None
    ) -> Json:
        """DELETE."""

    async def bind(self, namespace: str, pod: str, node: str, uid: str, resource_version: str | None = None) -> None:
        """Bind a pod to a node."""

    async def evict(self, namespace: str, pod: str, uid: str, grace_s: int | None = None) -> None:
        """Evict a pod."""


class Placements:
    """Writes Placements, each over exactly the object that was read.

    Every method raises Conflict when the object is not the one that was read, and other errors of the API.
    """

    def __init__(self, calls: Calls, own: OwnWrites) -> None:
        self._calls, self._own = calls, own

    async def write_plan(self, record: PlacementRecord) -> PlacementRecord:
        """The record as it is after its spec was written, made if it does not exist."""
        failpoint("apply.plan.before_write")
        if record.uid:
            body = await self._patched(record, "", plan_patch(record))
        else:
            body = await self._calls.create(PLACEMENTS.path(record.namespace), new_placement(record))
        self._own.wrote(body)
        failpoint("apply.plan.after_write")
        return read_placement(body)

    async def write_status(self, record: PlacementRecord, bound: int | None = None, wanted: int = 0) -> PlacementRecord:
        """The record as it is after its status was written. The object has to exist.

        bound: members that are. wanted: pods that the gang asks for.
        """
        failpoint("apply.status.before_write")
        body = await self._patched(record, "status", status_patch(record, bound, wanted))
        self._own.wrote(body)
        failpoint("apply.status.after_write")
        return read_placement(body)

    async def write(
        self, before: PlacementRecord | None, after: PlacementRecord, bound: int | None = None, wanted: int = 0
    ) -> PlacementRecord:
        """Both, the spec only where it differs and before the status, so that the status is about this spec."""
        if before is None or not before.uid:
            made = await self.write_plan(after)
            after = replace(after, uid=made.uid, resource_version=made.resource_version)
        elif _spec(before) != _spec(after):
            after = replace(after, resource_version=(await self.write_plan(after)).resource_version)
        return await self.write_status(after, bound, wanted)

    async def forget(self, record: PlacementRecord) -> None:
        """Delete it, if it is there still."""
        failpoint("apply.forget.before")
        with suppress(NotFound):
            await self._calls.delete(PLACEMENTS.path(record.namespace, record.name), uid=record.uid)
        self._own.deleted(record.uid)
        failpoint("apply.forget.after")

    async def _patched(self, record: PlacementRecord, subresource: str, patch: Json) -> Json:
        path = PLACEMENTS.path(record.namespace, record.name, subresource)
        try:
            return await self._calls.patch(path, patch)
        except (Conflict, NotFound) as error:
            self._own.forget(record.uid)
            raise Conflict(error.status, error.reason, str(error)) from error


def _spec(record: PlacementRecord) -> tuple[object, ...]:
    return (
        record.seats, record.left_out, record.hand, record.attempt, record.planned_from, record.avoid, record.objective,
    )  # fmt: skip
