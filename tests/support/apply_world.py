"""A made-up API server with a scheduler, controllers that make pods, and a mirror that may lag behind.

Nothing here knows how the reconciler works: it keeps objects with versions as the API server does, binds pods as
kube-scheduler does, and fails when told to.
"""

import asyncio
import copy
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from adapters.apply.gate import gates, pinned_node
from adapters.apply.naming_node import NO_EXTENDER, Extended
from adapters.apply.observed import LiveGang
from adapters.apply.reconciler import Reconciler
from adapters.apply.settings import Settings
from adapters.kubernetes.api_errors import ApiError, Conflict, Invalid, NotFound, Unreachable
from adapters.kubernetes.gang_keys import GANG_LABEL, ROLE_LABEL
from adapters.kubernetes.nodes import read_node
from adapters.kubernetes.objects import Document
from adapters.kubernetes.placements import Owner
from adapters.kubernetes.resources import NODES, PLACEMENTS, PODS, Resource
from adapters.kubernetes.running import read_bound_pod
from solver.batch.plan import plan_batch
from solver.domain.budget import Stop
from solver.domain.constraints import NodeConstraints, Toleration
from solver.domain.gang import BoundMember, Gang, Group, Pack, Role
from solver.domain.plan import Notice, Plan
from solver.domain.snapshot import Snapshot, build_snapshot
from solver.planner import Options, WarmTables, plan
from solver.service.state import HeldCluster
from support.controlplane.fleet import RACK, gpu_node, gpu_pod
from support.json_patches import json_patched, merge_patched

Json = dict[str, Any]
NAMESPACE = "test"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """The process was killed here."""


@dataclass
class Fault:
    """What happens at a call. after: calls that go well first. kills: the process dies. done: the call took effect."""

    after: int
    kills: bool
    done: bool


@dataclass(frozen=True)
class Wish:
    """What is to run: role → (pods, least), each pod with so many GPUs. required: level of the pack.

    extended: pods have no gate, since a scheduler asks the extender about them. notices: what its reader says.
    """

    roles: Mapping[str, tuple[int, int]]
    gpus: int = 1
    required: str | None = None
    priority: int = 0
    binds: bool = False
    controlled: bool = True
    extended: bool = False
    tolerations: tuple[Toleration, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def least(self) -> int:
        """Fewest pods."""
        return sum(low for _, low in self.roles.values())


@dataclass
class World:
    """The API server and everybody else around the reconciler."""

    now: datetime = START
    objects: dict[Resource, dict[tuple[str, str], Json]] = field(
        default_factory=lambda: {PODS: {}, NODES: {}, PLACEMENTS: {}}
    )
    gangs: dict[str, Wish] = field(default_factory=dict)
    fault: Fault | None = None
    is_dead: bool = False
    refusing: set[str] = field(default_factory=set)
    first_uids: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    _revisions: Any = field(default_factory=lambda: itertools.count(1))
    _uids: Any = field(default_factory=lambda: itertools.count(1))

    def add_node(self, name: str, gpus: int, rack: str = "r0") -> None:
        """A ready node."""
        self._put(NODES, gpu_node(name, gpus=gpus, labels={RACK: rack}), "")

    def drop_node(self, name: str) -> None:
        """A node is gone; pods bound to it stay until somebody deletes them."""
        del self.objects[NODES]["", name]

    def add_gang(self, name: str, wish: Wish) -> None:
        """Somebody wants a gang; its pods come with `controllers`."""
        self.gangs[name] = wish

    def drop_gang(self, name: str) -> None:
        """Nobody wants it any more: its pods go."""
        del self.gangs[name]
        for key in [key for key, pod in self.objects[PODS].items() if gang_of(pod) == name]:
            del self.objects[PODS][key]

    def change_node(self, node: str, what: str) -> None:
        """A node becomes tainted, cordoned, gone, not ready, or in another rack."""
        if what == "gone":
            self.drop_node(node)
            return
        if what == "not ready":
            self.silence(node)
            return
        body = self.objects[NODES]["", node]
        if what == "tainted":
            body["spec"]["taints"] = [{"key": "maintenance", "effect": "NoSchedule"}]
        elif what == "cordoned":
            body["spec"]["unschedulable"] = True
        else:
            body["metadata"]["labels"][RACK] = "elsewhere"
        self._renew(body)

    def silence(self, node: str) -> None:
        """A node is not ready from now on."""
        body = self.objects[NODES]["", node]
        body["status"]["conditions"] = [
            {"type": "Ready", "status": "Unknown", "lastTransitionTime": self.now.isoformat()}
        ]
        self._renew(body)

    def controllers(self) -> None:
        """Make the pods that are missing."""
        for gang, wish in self.gangs.items():
            for role, (count, _) in wish.roles.items():
                for at in range(count):
                    name = f"{gang}-{role}-{at}"
                    if (NAMESPACE, name) not in self.objects[PODS]:
                        made = self._put(PODS, self._pod(gang, role, name, wish), NAMESPACE)
                        self.first_uids |= set() if self.calls else {made["metadata"]["uid"]}

    def foreign(self, name: str, node: str, gpus: int, heeds: bool = True) -> bool:
        """A pod of another scheduler is bound to a node, if it has room. heeds: whether they look."""
        if heeds and self.free(node) < gpus:
            return False
        pod = gpu_pod(name, gpus)
        pod["spec"]["nodeName"] = node
        self._put(PODS, pod, NAMESPACE)
        return True

    def drop_foreign(self) -> None:
        """Everybody else's pods go."""
        for key in [key for key, pod in self.objects[PODS].items() if not gang_of(pod)]:
            del self.objects[PODS][key]

    def drop_pod(self, name: str) -> None:
        """A pod goes."""
        del self.objects[PODS][NAMESPACE, name]

    def drop_pods_on(self, node: str) -> None:
        """Pods that are bound to a node go."""
        for key in [key for key, pod in self.objects[PODS].items() if pod["spec"].get("nodeName") == node]:
            del self.objects[PODS][key]

    def scheduler(self, most: int = 1000) -> int:
        """Bind pods without gates where their affinity lets them; how many."""
        done = 0
        for pod in list(self.objects[PODS].values()):
            if pod["spec"].get("nodeName") or gates(pod) or pod["spec"]["schedulerName"] != "default-scheduler":
                continue
            node = pinned_node(pod)
            fits = ("", node) in self.objects[NODES] and self.free(node) >= asked(pod) and node not in self.refusing
            if fits and done < most:
                pod["spec"]["nodeName"] = node
                done += 1
            elif not fits:
                refusal = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
                if refusal in pod.setdefault("status", {}).get("conditions", []):
                    continue
                pod["status"]["conditions"] = [refusal]
            self._renew(pod)
        return done

    def free(self, node: str) -> int:
        """GPUs of a node that no bound pod has."""
        body = self.objects[NODES].get(("", node))
        if body is None:
            return 0
        taken = sum(asked(pod) for pod in self.pods() if pod["spec"].get("nodeName") == node)
        return int(body["status"]["allocatable"]["nvidia.com/gpu"]) - taken

    def copied(self) -> dict[Resource, dict[tuple[str, str], Json]]:
        """All objects as they are now."""
        return {resource: copy.deepcopy(objects) for resource, objects in self.objects.items()}

    def pods(self, gang: str | None = None) -> list[Json]:
        """All pods, or those of a gang."""
        return [pod for pod in self.objects[PODS].values() if gang is None or gang_of(pod) == gang]

    def bound(self, gang: str) -> dict[str, str]:
        """Pods of a gang that are bound to a node that is there: name → node."""
        nodes = self.objects[NODES]
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in self.pods(gang)
            if ("", pod["spec"].get("nodeName")) in nodes
        }

    def freed(self, gang: str) -> list[Json]:
        """Pods of a gang that were let go and are not bound."""
        return [pod for pod in self.pods(gang) if pinned_node(pod) and not pod["spec"].get("nodeName")]

    def is_partial(self, gang: str) -> bool:
        """Whether some of its pods are bound, and fewer than it needs."""
        wish, bound = self.gangs[gang], self.bound(gang)
        counts = {role: sum(name.startswith(f"{gang}-{role}-") for name in bound) for role in wish.roles}
        return bool(bound) and any(counts[role] < least for role, (_, least) in wish.roles.items())

    def placement(self, gang: str) -> Json | None:
        """The Placement of a gang."""
        return self.objects[PLACEMENTS].get((NAMESPACE, gang))

    def _pod(self, gang: str, role: str, name: str, wish: Wish) -> Json:
        labels = {GANG_LABEL: gang, ROLE_LABEL: role}
        scheduler = "huddle" if wish.binds else "default-scheduler"
        pod = gpu_pod(name, wish.gpus, gated=not (wish.binds or wish.extended), scheduler=scheduler, labels=labels)
        if wish.controlled:
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": gang, "uid": gang, "controller": True}
            pod["metadata"]["ownerReferences"] = [owner]
        return pod

    def _put(self, resource: Resource, body: Json, namespace: str) -> Json:
        metadata = body["metadata"]
        key = namespace, metadata["name"]
        if key in self.objects[resource]:
            raise Conflict(409, "AlreadyExists", f"{key} exists")
        metadata["uid"] = f"uid-{next(self._uids)}"
        metadata["creationTimestamp"] = self.now.isoformat()
        if namespace:
            metadata["namespace"] = namespace
        self.objects[resource][key] = body
        return self._renew(body)

    def _renew(self, body: Json) -> Json:
        body["metadata"]["resourceVersion"] = str(next(self._revisions))
        return body

    # The calls of the API, as `adapters.apply.writes.Calls` asks for them.

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """An object."""
        self._before("get", path)
        return copy.deepcopy(self._find(path))

    async def create(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> Json:
        """POST."""
        if "/events" in path:
            self.events.append(dict(body))
            return dict(body)
        return self._call("create", path, lambda: self._put(PLACEMENTS, copy.deepcopy(dict(body)), NAMESPACE))

    async def patch(self, path: str, body: Any, kind: str = "merge", query: Mapping[str, str] | None = None) -> Json:
        """PATCH."""
        return self._call(f"patch {kind}", path, lambda: self._patched(path, body, kind))

    async def delete(
        self, path: str, uid: str | None = None, resource_version: str | None = None, grace_s: int | None = None
    ) -> Json:
        """DELETE."""
        return self._call("delete", path, lambda: self._deleted(path, uid))

    async def bind(self, namespace: str, pod: str, node: str, uid: str, resource_version: str | None = None) -> None:
        """Bind a pod."""
        path = PODS.path(namespace, pod)
        self._call("bind", path, lambda: self._bound(path, node, uid, resource_version))

    async def evict(self, namespace: str, pod: str, uid: str, grace_s: int | None = None) -> None:
        """Evict a pod."""
        self._call("evict", PODS.path(namespace, pod), lambda: self._deleted(PODS.path(namespace, pod), uid))

    def _call(self, verb: str, path: str, effect: Any) -> Json:
        fault = self._before(verb, path)
        answer = copy.deepcopy(effect())
        if fault is not None:
            self._fail(fault)
        return answer

    def _fail(self, fault: Fault) -> NoReturn:
        self.is_dead = fault.kills
        raise Killed if fault.kills else Unreachable(0, "", "no answer")

    def _before(self, verb: str, path: str) -> Fault | None:
        """Fails without effect, or tells of a failure with effect."""
        if self.is_dead:
            raise Killed
        self.calls.append(f"{verb} {path.rpartition('/namespaces/')[2]}")
        fault = self.fault
        if fault is None:
            return None
        fault.after -= 1
        if fault.after >= 0:
            return None
        self.fault = None
        if not fault.done:
            self._fail(fault)
        return fault

    def _find(self, path: str) -> Json:
        parts = path.split("/")
        at = parts.index("namespaces")
        resource = PODS if parts[at + 2] == "pods" else PLACEMENTS
        found = self.objects[resource].get((parts[at + 1], parts[at + 3]))
        if found is None:
            raise NotFound(404, "NotFound", f"{path} is not there")
        return found

    def _patched(self, path: str, patch: Any, kind: str) -> Json:
        body = self._find(path)
        if kind == "json":
            try:
                later = json_patched(body, patch)
            except AssertionError as error:
                raise Invalid(422, "Invalid", str(error)) from error
        else:
            expected = patch.get("metadata", {})
            for name, value in expected.items():
                if body["metadata"].get(name) != value:
                    raise Conflict(409, "Conflict", f"{name} is not {value}")
            part = "status" if path.endswith("/status") else "spec"
            later = merge_patched(body, {part: patch[part]})
        body.clear()
        body.update(later)
        return self._renew(body)

    def _deleted(self, path: str, uid: str | None) -> Json:
        body = self._find(path)
        if uid is not None and body["metadata"]["uid"] != uid:
            raise Conflict(409, "Conflict", "another uid")
        for objects in self.objects.values():
            for key in [key for key, found in objects.items() if found is body]:
                del objects[key]
        return body

    def _bound(self, path: str, node: str, uid: str, version: str | None) -> Json:
        body = self._find(path)
        is_same = body["metadata"]["uid"] == uid and version in (None, body["metadata"]["resourceVersion"])
        if not is_same or body["spec"].get("nodeName") or gates(body):
            raise Conflict(409, "Conflict", "it cannot be bound")
        body["spec"]["nodeName"] = node
        return self._renew(body)


@dataclass(frozen=True)
class News:
    """As the mirror's."""

    gangs: frozenset[str]
    room: bool


class Lagging:
    """What a mirror shows of a world: everything as it was at the last `catch_up`, in one consistent state."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.held = HeldCluster("cluster")
        self._hooks: dict[Resource, list[Any]] = {}
        self._shown: dict[Resource, dict[tuple[str, str], Json]] = {PODS: {}, NODES: {}, PLACEMENTS: {}}
        self._puts = 0
        self.catch_up()

    def catch_up(self) -> None:
        """Show everything as it is now."""
        before, self._shown = self._shown, self._world.copied()
        self._puts += 1
        self.held.put(str(self._puts), snapshot_of(self._shown))
        for resource, hooks in self._hooks.items():
            for key in {*before[resource], *self._shown[resource]}:
                was, now = before[resource].get(key), self._shown[resource].get(key)
                if was != now:
                    for hook in hooks:
                        hook(key, was, now)

    async def synced(self) -> None:
        """It always is."""

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """One object."""
        return self._shown.get(resource, {}).get((namespace if resource.namespaced else "", name))

    def pods_of(self, gang_key: str) -> list[Json]:
        """Pods of a gang."""
        return [pod for pod in self._shown[PODS].values() if gang_of(pod) == gang_key.partition("/")[2]]

    def gang_of(self, pod: Mapping[str, Any]) -> str:
        """The gang that a pod names."""
        return f"{NAMESPACE}/{gang_of(pod)}" if gang_of(pod) else ""

    def pods_on(self, node: str) -> list[Json]:
        """Pods bound to a node."""
        return [pod for pod in self._shown[PODS].values() if pod["spec"].get("nodeName") == node]

    def gang_keys(self) -> frozenset[str]:
        """All gangs anybody knows of."""
        names = {*self._world.gangs, *(gang_of(pod) for pod in self._shown[PODS].values())} - {""}
        return frozenset(f"{NAMESPACE}/{name}" for name in names | {name for _, name in self._shown[PLACEMENTS]})

    def subscribe(self) -> Any:
        """Tests say themselves what is looked at."""
        raise NotImplementedError

    def on_change(self, resource: Resource, hook: Any) -> None:
        """Call `hook` with what is there, and with every change."""
        self._hooks.setdefault(resource, []).append(hook)
        for key, body in self._shown[resource].items():
            hook(key, None, body)


class WishReader:
    """Makes gangs of wishes (`adapters.apply.observing.GangReader`)."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(
        self, key: str, pods: Sequence[Mapping[str, Any]], fixed: Mapping[str, str], done: Sequence[Mapping[str, Any]]
    ) -> LiveGang:
        """The gang of a wish with the pods that are there."""
        wish = self._world.gangs.get(key.partition("/")[2])
        if wish is None:
            return LiveGang()
        names: dict[str, list[str]] = {role: [] for role in wish.roles}
        for pod in pods:
            names[pod["metadata"]["labels"][ROLE_LABEL]].append(f"{NAMESPACE}/{pod['metadata']['name']}")
        there = [pod["metadata"]["labels"][ROLE_LABEL] for pod in self._world.pods(key.partition("/")[2])]
        short = {role: count - there.count(role) for role, (count, _) in wish.roles.items()}
        missing = {role: number for role, number in short.items() if number > 0}
        owner = Owner("huddle.scheduler/v1alpha1", "Gang", key.partition("/")[2], f"gang-{key}")
        if not pods:
            return LiveGang(None, missing, "", owner, True, True)
        requests = read_bound_pod(Document(pods[0], "test"), "").requests
        where = NodeConstraints(tolerations=wish.tolerations)
        roles = tuple(
            Role(role, len(names[role]), least, requests=requests, constraints=where, pods=tuple(sorted(names[role])))
            for role, (_, least) in wish.roles.items()
        )
        running = tuple(BoundMember(pod, node) for pod, node in sorted(fixed.items()))
        created = min(datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in pods)
        root = Group(key, roles, pack=Pack(wish.required))
        gang = Gang(key, root, priority=wish.priority, running=running, created=created)
        return LiveGang(gang, missing, "", owner, True, True, notices=wish.notices)


class InProcess:
    """Plans here (`adapters.apply.planning.Solver`)."""

    def __init__(self, joint_s: float = 20.0) -> None:
        self._warm = WarmTables()
        self._options, self._joint = Options(certificate=False, time_limit_s=20.0), Options(time_limit_s=joint_s)

    def plan(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop) -> Plan:
        """One after another."""
        return plan(snapshot, gangs, self._options, warm=self._warm, stop=stop)

    def plan_jointly(self, snapshot: Snapshot, gangs: Sequence[Gang], stop: Stop, fair_before: datetime) -> Plan:
        """All together."""
        return plan_batch(snapshot, gangs, self._joint, warm=self._warm, stop=stop, fair_before=fair_before)


def snapshot_of(objects: Mapping[Resource, Mapping[tuple[str, str], Json]]) -> Snapshot:
    """The solver's state of some objects."""
    nodes = [read_node(Document(body, "test")) for body in objects[NODES].values()]
    names = {node.name for node in nodes}
    pods = [
        read_bound_pod(Document(pod, "test"), pod["spec"]["nodeName"])
        for pod in objects[PODS].values()
        if pod["spec"].get("nodeName") in names
    ]
    return build_snapshot(nodes, pods)


def gang_of(pod: Mapping[str, Any]) -> str:
    """The gang that a pod names, or empty."""
    return str(pod["metadata"].get("labels", {}).get(GANG_LABEL, ""))


def asked(pod: Mapping[str, Any]) -> int:
    """GPUs of a pod."""
    amounts = pod["spec"]["containers"][0]["resources"]["requests"]
    return int(amounts.get("nvidia.com/gpu", 0))


def target(pod: Mapping[str, Any]) -> str:
    """The node a pod is bound to, or else let go to; empty for one that is held."""
    return str(pod["spec"].get("nodeName") or (not gates(pod) and pinned_node(pod)) or "")


def later(world: World, seconds: float) -> None:
    """Time goes by."""
    world.now += timedelta(seconds=seconds)


def four_nodes() -> World:
    """Four nodes of four GPUs in two racks."""
    world = World()
    for at in range(4):
        world.add_node(f"n{at}", 4, f"r{at // 2}")
    return world


class Runner:
    """A reconciler in a world, one turn after another, without anybody's clock."""

    def __init__(
        self,
        world: World,
        settings: Settings | None = None,
        joint_s: float = 20.0,
        extended: Extended = NO_EXTENDER,
    ) -> None:
        self.extended = extended
        self.world, self.settings, self._joint_s = world, settings or Settings(gather_s=0), joint_s
        self._loop = asyncio.Runner()
        self.restart()

    def close(self) -> None:
        """End the process."""
        self._loop.close()

    def restart(self) -> None:
        """A new process: it knows what the API server has and nothing else."""
        self.world.is_dead, self.world.fault = False, None
        self.mirror = Lagging(self.world)
        self.reconciler = Reconciler(
            self.mirror,
            self.world,
            WishReader(self.world),
            InProcess(self._joint_s),
            self.settings,
            now=lambda: self.world.now,
            extended=self.extended,
        )
        self._loop.run(self.reconciler.learn())

    def turn(self, *gangs: str) -> None:
        """Look at some gangs, or at all, and plan those that want it; a process that is killed starts anew."""
        try:
            self._loop.run(self._turn([f"{NAMESPACE}/{gang}" for gang in gangs]))
        except Killed:
            self.restart()

    async def _turn(self, keys: Sequence[str]) -> None:
        self.mirror.catch_up()
        try:
            for _ in range(3):
                for key in keys or sorted(self.mirror.gang_keys()):
                    with suppress(ApiError):
                        await self.reconciler.reconcile(key)
                while len(self.reconciler.planning):
                    with suppress(ApiError):
                        await self.reconciler.planning.round()
            await asyncio.sleep(0)
        finally:
            self.reconciler.close()

    def try_one(self, gang: str) -> None:
        """What a worker does when something about a gang may have changed."""
        self._loop.run(self._try_one(f"{NAMESPACE}/{gang}"))

    async def _try_one(self, key: str) -> None:
        self.mirror.catch_up()
        await self.reconciler.attempt(key)
        while len(self.reconciler.planning):
            with suppress(ApiError):
                await self.reconciler.planning.round()
        await self.reconciler.attempt(key)
        self.reconciler.close()

    def look_for_overcommits(self) -> None:
        """What the reconciler does some time after anything has changed."""
        self._loop.run(self._look_for_overcommits())

    async def _look_for_overcommits(self) -> None:
        self.mirror.catch_up()
        self.reconciler.look_for_overcommits()
        await asyncio.sleep(0)
        self.reconciler.close()

    def gain_room(self) -> None:
        """What the reconciler does some time after the mirror told of room."""
        self.turn()
        self.reconciler.room_came()

    def settle(self, rounds: int = 60, seconds: float = 5.0) -> None:
        """Let everybody do their work until nothing changes, or for so many rounds."""
        for _ in range(rounds):
            before = self.world.copied()
            self.world.controllers()
            self.turn()
            self.world.scheduler()
            self.turn()
            later(self.world, seconds)
            if before != self.world.objects:
                self.reconciler.room_came()
