"""Pods that wait carry the reason: an event and a condition on each, slowly, and only the newest about each gang.

Schedulers say so in the condition `PodScheduled`. Of a pod that carries a scheduling gate that one is the API server's,
so Huddle has a type of its own; where Huddle is the scheduler of a pod it writes both.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from adapters.apply.outcome import sentence, word
from adapters.apply.telling import event_about, is_wrong
from adapters.apply.writes import Calls
from adapters.kubernetes.api_errors import ApiError, Conflict, Invalid, NotFound
from adapters.kubernetes.gang_keys import SCHEDULER
from adapters.kubernetes.placements import Phase, PlacementRecord
from adapters.kubernetes.resources import PODS

Body = Mapping[str, Any]

#: The condition of a pod of a gang: whether the gang has its nodes.
POD_PLACED = "huddle.scheduler/Placed"
#: Seconds between two pods: what is said of many pods does not crowd out what is done for others.
PAUSE_S = 0.05
#: Pods of one gang that are told before another gang has its turn, and longest message.
MOST_AT_A_TIME, LONGEST = 16, 1024
#: Phases of which pods hear; in all others they are on their way, and are left alone.
_SAID = (Phase.PENDING, Phase.REPAIRING, Phase.EVICTING, Phase.BOUND)

_log = structlog.get_logger("huddle.apply")


@dataclass(frozen=True)
class _Word:
    """What is to be said to pods."""

    record: PlacementRecord
    pods: Sequence[Body]


class TellingPods:
    """Tells pods what their gang waits for. In one event loop.

    instance: who tells. now: the time. pause_s: between two pods.
    """

    def __init__(self, calls: Calls, instance: str, now: Callable[[], datetime], pause_s: float = PAUSE_S) -> None:
        self._calls, self._instance, self._now, self._pause_s = calls, instance, now, pause_s
        self._words: dict[str, _Word] = {}
        self._some = asyncio.Event()

    def news(self, record: PlacementRecord, pods: Sequence[Body]) -> None:
        """A Placement says something new; what was to be said of it before is not said any more. pods: as seen."""
        self._words.pop(record.gang, None)
        told = [pod for pod in pods if _condition_for(pod, record) is not None]
        if record.phase in _SAID and told:
            self._words[record.gang] = _Word(record, told)
            self._some.set()

    def drop(self, gang: str) -> None:
        """A gang is gone."""
        self._words.pop(gang, None)

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._some.wait()
            await self.round()

    async def round(self) -> None:
        """Tell some pods of each gang that there is news of."""
        self._some.clear()
        for gang, word_ in list(self._words.items()):
            for pod in word_.pods[:MOST_AT_A_TIME]:
                if self._words.get(gang) is not word_:
                    break
                await self._tell(pod, word_.record)
                await asyncio.sleep(self._pause_s)
            if self._words.get(gang) is word_:
                del self._words[gang]
                if rest := word_.pods[MOST_AT_A_TIME:]:
                    self._words[gang] = _Word(word_.record, rest)
        if self._words:
            self._some.set()

    async def _tell(self, pod: Body, record: PlacementRecord) -> None:
        condition, metadata = _condition_for(pod, record), pod["metadata"]
        if condition is None:
            return
        conditions = [condition]
        if pod["spec"].get("schedulerName") == SCHEDULER and condition["status"] == "False":
            conditions.append({**condition, "type": "PodScheduled", "reason": "Unschedulable"})
        moment = self._now().isoformat(timespec="seconds").replace("+00:00", "Z")
        status = {"conditions": [{**each, "lastTransitionTime": moment} for each in conditions]}
        patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
        try:
            with suppress(NotFound, Conflict, Invalid):  # it is gone, or what has its name now is another one
                await self._calls.patch(
                    PODS.path(metadata["namespace"], metadata["name"], "status"), patch, "strategic"
                )
                await self._event(pod, record)
        except ApiError as error:
            _log.warning("could_not_tell", gang=record.gang, problem=str(error))

    async def _event(self, pod: Body, record: PlacementRecord) -> None:
        if not record.reasons:
            return
        metadata = pod["metadata"]
        names = {key: metadata[key] for key in ("namespace", "name", "uid")}
        regarding = {"apiVersion": "v1", "kind": "Pod", **names}
        note = f"gang {record.gang.partition('/')[2]}: {sentence(record)}"
        kind = "Warning" if is_wrong(record) else "Normal"
        body = event_about(regarding, self._now(), self._instance, word(record), note, kind)
        await self._calls.create(f"/apis/events.k8s.io/v1/namespaces/{metadata['namespace']}/events", body)


def _condition_for(pod: Body, record: PlacementRecord) -> dict[str, Any] | None:
    """The condition the pod should have, without its time; None if it has it, or needs none."""
    known = next((each for each in _conditions(pod) if each.get("type") == POD_PLACED), None)
    is_placed = bool(pod["spec"].get("nodeName"))
    if pod["metadata"].get("deletionTimestamp") or (is_placed and (known is None or record.phase is not Phase.BOUND)):
        return None  # a pod that never waited need not be told that it has its node
    told = {
        "type": POD_PLACED,
        "status": "True" if record.phase is Phase.BOUND and is_placed else "False",
        "reason": word(record),
        "message": sentence(record)[:LONGEST],
    }
    return None if known is not None and all(known.get(name) == value for name, value in told.items()) else told


def _conditions(pod: Body) -> Sequence[Body]:
    return (pod.get("status") or {}).get("conditions") or ()
