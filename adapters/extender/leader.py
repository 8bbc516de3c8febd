"""Whose pod a Service leads to: the replica that leads labels its own pod, and takes the label off all others."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.apply.writes import Calls
from adapters.kubernetes.api_errors import ApiError
from adapters.kubernetes.resources import PODS

#: Label of the pod that leads; the Service `huddle-extender` selects it.
LEADS_LABEL = "huddle.scheduler/leads"
AGAIN_S = 2.0

_log = structlog.get_logger("huddle.extender")


@dataclass(frozen=True, slots=True)
class PodName:
    """The pod of this replica."""

    namespace: str
    name: str


class Leader:
    """Labels pods in one term. calls: with which only the holder of the Lease can write."""

    def __init__(self, calls: Calls, pod: PodName) -> None:
        self._calls, self._pod = calls, pod

    async def run(self) -> None:
        """Label, tried again until it is done."""
        while True:
            try:
                await self._label()
            except ApiError as error:
                _log.warning("leader_not_labelled", problem=str(error))
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _label(self) -> None:
        namespace, own = self._pod.namespace, self._pod.name
        found = await self._calls.get(PODS.path(namespace), {"labelSelector": LEADS_LABEL})
        for body in found.get("items") or ():
            if body["metadata"]["name"] != own:
                await self._set(namespace, body["metadata"]["name"], None)
        await self._set(namespace, own, "true")

    async def _set(self, namespace: str, name: str, value: str | None) -> None:
        patch: Mapping[str, Any] = {"metadata": {"labels": {LEADS_LABEL: value}}}
        await self._calls.patch(PODS.path(namespace, name), patch)
