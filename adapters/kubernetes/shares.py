"""Shares of GPUs: what running pods use of devices beside whole ones, and which of them are on one device.

A share counts as a whole device, since nobody can have the rest of it whole. Pods of one group share one device, which
counts once: in the request of a pod of the group that asks for a whole one, as reservation pods do, else for the first
of the others by name.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import fraction_kind
from solver.domain.pods import BoundPod
from solver.domain.resources import GPU, MILLI_GPU, Resources

#: Label of pods that share a device, with the device's group; one that shares several has a label for each below it.
GROUP_LABEL = "runai-gpu-group"
_GROUP_PREFIX = f"{GROUP_LABEL}/"
_DEVICES = "gpu-fraction-num-devices"
_MOST_DIGITS = 3

#: Resources that are shares of devices: how much of one is a device; None where any amount is on a single device.
SHARE_RESOURCES: dict[str, int | None] = {
    "aliyun.com/gpu-count": 1,
    "aliyun.com/gpu-mem": None,
    "koordinator.sh/gpu": 100,
    "koordinator.sh/gpu-core": 100,
    "koordinator.sh/gpu-memory": None,
    "koordinator.sh/gpu-memory-ratio": 100,
    "nvidia.com/gpucores": 100,
    "nvidia.com/gpumem": None,
    "nvidia.com/gpumem-percentage": None,
    "tencent.com/vcuda-core": 100,
    "tencent.com/vcuda-memory": None,
    "volcano.sh/gpu-memory": None,
    "volcano.sh/gpu-number": 1,
    "volcano.sh/vgpu-cores": 100,
    "volcano.sh/vgpu-memory": None,
    "volcano.sh/vgpu-memory-percentage": None,
    "volcano.sh/vgpu-number": 1,
}


@dataclass(frozen=True, slots=True)
class Share:
    """What a pod uses of devices beside what it asks for whole.

    field: what says so, empty for a pod that only holds shared devices whole. groups: of the devices that are known.
    others: devices of which it is not known which; they count whole. holds: whether it asks for those of its groups.
    """

    field: str
    groups: frozenset[str]
    others: int
    holds: bool

    @property
    def message(self) -> str:
        """What the user is told."""
        if self.holds:
            return "its share of a GPU is counted as the whole GPUs that it asks for"
        if self.groups:
            return f"the GPU that it shares is counted as taken whole, once for group {', '.join(sorted(self.groups))}"
        count = "a whole one" if self.others == 1 else f"{self.others} whole ones"
        return f"its share of a GPU is counted as {count}: which one is not known"


def read_share(pod: Document, requests: Resources) -> Share | None:
    """What a pod that asks for `requests` shares; None for pods that share nothing. Malformed numbers count as 1."""
    field, devices = _asked(pod, requests)
    groups = frozenset(_groups(pod))
    if not field and groups:
        field = "" if requests.gpus else f"metadata.labels[{GROUP_LABEL}]"
    elif not field:
        return None
    others = max(0, devices - max(len(groups), requests.gpus))
    return Share(field, groups, others, requests.gpus >= max(1, len(groups)))


def charged(pod: BoundPod, devices: int) -> BoundPod:
    """The pod with so many devices more."""
    if not devices:
        return pod
    amount = pod.requests[GPU] + devices * MILLI_GPU
    return replace(pod, requests=Resources.of({**dict(pod.requests), GPU: amount}))


class SharedDevices:
    """Which pod each shared device is counted for, kept up to date pod by pod and whatever the order.

    Keys of pods have to be comparable.
    """

    def __init__(self) -> None:
        self._shares: dict[Any, tuple[str, Share]] = {}
        self._holders: dict[Hashable, dict[Any, None]] = {}  # by node and group: pods that ask for the device
        self._users: dict[Hashable, dict[Any, None]] = {}  # the same of those that do not

    def devices(self, key: Any) -> int:
        """Devices that count for a pod beside what it asks for."""
        known = self._shares.get(key)
        if known is None:
            return 0
        node, share = known
        return share.others + sum(1 for group in share.groups if self._bearer((node, group)) == key)

    def set(self, key: Any, node: str, share: Share | None) -> set[Any]:
        """Learn what a pod on a node shares, or that it shares nothing; the pods whose devices that may change."""
        before = self._shares.pop(key, None)
        touched = set(_places(before))
        if share is not None:
            touched |= set(_places((node, share)))
        bearers = {self._bearer(place) for place in touched}
        for place in _places(before):
            for index in (self._holders, self._users):
                _discard(index, place, key)
        if share is not None:
            self._shares[key] = node, share
            index = self._holders if share.holds else self._users
            for place in _places((node, share)):
                index.setdefault(place, {})[key] = None
        bearers |= {self._bearer(place) for place in touched}
        return bearers - {None, key}

    def _bearer(self, place: Hashable) -> Any:
        """The pod that a device counts for, or None: it is asked for, or nobody shares it."""
        if place in self._holders or place not in self._users:
            return None
        return min(self._users[place])


def _asked(pod: Document, requests: Resources) -> tuple[str, int]:
    """The field by which a pod asks for shares, or empty, and of how many devices."""
    annotation = next((key for key in pod.annotations if _is_share(fraction_kind(key), requests)), "")
    if annotation:
        told = pod.annotations.get(_DEVICES, "")
        number = int(told) if told.isascii() and told.isdigit() and len(told) <= _MOST_DIGITS else 1
        return f"metadata.annotations[{annotation}]", max(1, number)
    found = [(name, amount, SHARE_RESOURCES[name]) for name, amount in requests if name in SHARE_RESOURCES]
    if not found:
        return "", 0
    devices = [1 if whole is None else -(-amount // whole) for _, amount, whole in found]
    return f"spec.containers: {found[0][0]}", max(devices)


def _is_share(kind: str | None, requests: Resources) -> bool:
    """Whether annotations of this kind ask for what the requests do not count: MIG devices may be counted there."""
    return kind is not None and not (kind and any("/mig-" in name for name, _ in requests))


def _groups(pod: Document) -> Iterator[str]:
    for key, value in pod.labels.items():
        if key == GROUP_LABEL and value:
            yield value
        elif key.startswith(_GROUP_PREFIX):
            yield key.removeprefix(_GROUP_PREFIX)


def _places(known: tuple[str, Share] | None) -> list[tuple[str, str]]:
    return [(known[0], group) for group in known[1].groups] if known else []


def _discard(index: dict[Hashable, dict[Any, None]], place: Hashable, key: Any) -> None:
    keys = index.get(place)
    if keys is not None:
        keys.pop(key, None)
        if not keys:
            del index[place]
