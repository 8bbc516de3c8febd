"""A gang is as large as the pods that exist, whatever numbers its object declares, and means the same."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from adapters.apply.decide import decide
from adapters.apply.minimum import can_be_enough, is_enough
from adapters.apply.observed import LiveGang, Observed
from adapters.apply.settings import Settings
from solver.domain.gang import BoundMember, Gang, Group, Pack, Role
from solver.domain.replicas import Replica
from solver.planner import Options, plan
from support.builders import cluster, node, role

Read = Callable[..., LiveGang]
Spec = dict[str, Any]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLE = {"name": "r", "replicas": 1}


def nested(*replicas: int, **more: Any) -> Spec:
    """Groups inside groups, with one role in the innermost."""
    group: Spec = {"name": "g0", "replicas": replicas[-1], "min": 1, **more, "roles": [ROLE]}
    for depth, count in enumerate(reversed(replicas[:-1]), 1):
        group = {"name": f"g{depth}", "replicas": count, "min": 1, "groups": [group]}
    return {"root": {"groups": [group]}}


HOSTILE: Mapping[str, Spec] = {
    "flat": nested(90_000),
    "flat, all needed": nested(90_000, min=90_000),
    "nested": nested(10, 10, 10, 10),
    "nested more": nested(2, 50, 10, 90),
    "many roles": {"root": {"roles": [{"name": f"r{i or ''}", "replicas": 10_000, "min": 0} for i in range(10)]}},
    "nothing needed": {
        "root": {
            "groups": [
                {
                    "name": "g",
                    "replicas": 50_000,
                    "min": 1,
                    "roles": [{**ROLE, "min": 0}, {"name": "s", "replicas": 1, "min": 0}],
                }
            ]
        }
    },
    "groups of no pod": {
        "root": {
            "roles": [ROLE],
            "groups": [{"name": "g", "replicas": 90_000, "min": 1, "roles": [{"name": "none", "replicas": 0}]}],
        }
    },
    "groups of no pod inside": {
        "root": {
            "groups": [
                {
                    "name": "g",
                    "replicas": 2,
                    "roles": [ROLE],
                    "groups": [{"name": "h", "replicas": 40_000, "min": 1, "roles": [{"name": "none", "replicas": 0}]}],
                }
            ]
        }
    },
}  # fmt: skip


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[type]:
    """How many groups, roles and replicas were made since the start of the test."""
    found: Counter[type] = Counter()
    for kind in (Group, Role, Replica):
        before = kind.__init__

        def counting(self: Any, *args: Any, _kind: type = kind, _before: Any = before, **more: Any) -> None:
            found[_kind] += 1
            _before(self, *args, **more)

        monkeypatch.setattr(kind, "__init__", counting)
    return found


def text(spec: Spec, *pods: Spec) -> str:
    """The Gang ns/g and its pods."""
    gang = {
        "apiVersion": "huddle.scheduler/v1alpha1",
        "kind": "Gang",
        "metadata": {"name": "g"},
        "spec": spec,
    }
    return str(yaml.safe_dump_all([gang, *pods]))


def pod(name: str, of: str = "r", replica: int = 0, on: str = "") -> Spec:
    """A gated pod, or one that is bound."""
    labels = {"huddle.scheduler/gang": "g", "huddle.scheduler/role": of, "huddle.scheduler/replica": str(replica)}
    held: Spec = {"nodeName": on} if on else {"schedulingGates": [{"name": "huddle.scheduler/gang"}]}
    main = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": 2}}}
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"containers": [main], **held}}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("pods", [1, 2, 40])
def test_reading_costs_what_exists(live: Read, made: Counter[type], kind: str, pods: int) -> None:
    """Objects are made for pods and for what is written, not for the numbers in it: reading and deciding alike."""
    found = live(text(HOSTILE[kind], *(pod(f"p-{index}", replica=index) for index in range(pods))))
    seen = Observed("ns/g", now=NOW, live=found)
    decide(seen, Settings())
    assert found.gang is not None, found.problem
    can_be_enough(found.gang)
    each = made[Group] + made[Role] + made[Replica]
    assert each <= 400 + 60 * pods


def test_declaring_costs_what_is_written(live: Read, made: Counter[type]) -> None:
    """A gang of as many pods as may be is read without a name for any of them while none exists."""
    found = live(text(nested(900, 100)))
    assert found.problem == ""
    assert found.missing == {"r": 90_000}
    assert sum(made.values()) < 50


def test_too_many_pods_are_counted_not_named(live: Read) -> None:
    """A gang of more pods than there may be is refused without making them."""
    found = live(text(nested(100_000, 100_000, 100_000)))
    assert "more than 100000" in found.problem


def test_replicas_without_pods_keep_their_number(live: Read) -> None:
    """What exists is called as if all were there."""
    found = live(text(nested(10, 10, 10), pod("a", replica=437)))
    assert found.gang is not None
    assert [role.name for role in found.gang.roles] == ["r#437"]
    names = [group.name for group in found.gang.root.walk()]
    assert names == ["ns/g", "g2", "g2#4", "g1 of g2#4", "g1#43", "g0 of g1#43", "g0#437"]


@dataclass
class Drawn:
    """A random gang: its tree as declared, and role → replica → pods that exist. on: pod → node of those that run."""

    root: Group
    pods: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    on: dict[str, str] = field(default_factory=dict)


def drawn(rng: random.Random, smallest: int, depth: int) -> Drawn:
    """A gang of few pods, of which some do not exist and some run; smallest: fewest pods of a role."""
    names = iter(range(1000))

    def some_role() -> Role:
        count = rng.randint(smallest, 2)
        return replace(role(f"r{next(names)}", count, gpus=2), min=rng.choice([0, count, rng.randint(0, count)]))

    def some_group(depth: int) -> Group:
        groups = tuple(some_group(depth - 1) for _ in range(rng.choice([0, 1, 1, 2]))) if depth else ()
        roles = tuple(some_role() for _ in range(rng.choice([0, 1, 1]) if groups else rng.choice([1, 1, 2])))
        replicas = rng.choice([1, 2, 3])
        least = rng.choice([None, None, 0, 1, 2])
        pack = Pack("rack") if rng.random() < 0.2 else Pack()
        return Group(f"g{next(names)}", roles, groups, replicas, rng.randint(1, replicas), least, pack)

    top = some_group(depth)
    found = Drawn(Group("ns/g", (replace(role("top", 1, gpus=2)),), (top,), min=rng.choice([None, None, 0, 1])))
    _fill(found, found.root, 1, rng, rng.choice([0.2, 0.6, 0.9, 1.0]))
    return found


def _fill(found: Drawn, group: Group, copies: int, rng: random.Random, share: float) -> None:
    copies *= group.replicas
    for each in group.roles:
        here = found.pods.setdefault(each.name, {})
        for index in range(copies):
            pods = [f"{each.name}-{index}-{at}" for at in range(each.replicas) if rng.random() < share]
            here[index] = pods
            found.on |= {name: f"n{rng.randrange(6)}" for name in pods if rng.random() < 0.15}
    for child in group.groups:
        _fill(found, child, copies, rng, share)


def spelled(group: Group, is_root: bool = False) -> Spec:
    """A group as the object says it."""
    roles = [{"name": each.name, "replicas": each.replicas, "min": each.min} for each in group.roles]
    found: Spec = {"roles": roles, "groups": [spelled(child) for child in group.groups]}
    if group.pack.required:
        found["pack"] = {"required": group.pack.required}
    if group.min is not None:
        found["min" if is_root else "minChildren"] = group.min
    if not is_root:
        found |= {"name": group.name, "replicas": group.replicas, "min": group.min_replicas}
    return found


def spread_out(found: Drawn, group: Group, index: int = 0) -> Group:
    """One replica of a group with every declared replica below it as a group of its own."""
    roles = []
    for each in group.roles:
        pods = tuple(f"ns/{name}" for name in found.pods[each.name].get(index, ()))
        roles.append(replace(each, name=f"{each.name}@{index}", replicas=len(pods), pods=pods))
    groups = []
    for child in group.groups:
        first = index * child.replicas
        inner = tuple(spread_out(found, child, first + number) for number in range(child.replicas))
        groups.append(Group(f"all {child.name}@{index}", groups=inner, min=child.min_replicas))
    name = f"{group.name}@{index}" if group.replicas > 1 or index else group.name
    return replace(group, name=name, roles=tuple(roles), groups=tuple(groups), replicas=1, min_replicas=1)


def seen_and_spread_out(live: Read, rng: random.Random, found: Drawn) -> tuple[Gang, Gang] | None:
    """The gang as it is read, and with each declared replica as a group of its own; None without a pod."""
    pods = [
        pod(name, of=name_of_role, replica=index, on=found.on.get(name, ""))
        for name_of_role, replicas in found.pods.items()
        for index, names in replicas.items()
        for name in names
    ]
    rng.shuffle(pods)
    seen = live(text({"root": spelled(found.root, is_root=True)}, *pods))
    if not pods:
        assert seen.gang is None
        return None
    assert seen.gang is not None, seen.problem
    running = tuple(BoundMember(f"ns/{name}", where) for name, where in sorted(found.on.items()))
    return replace(seen.gang, created=None), Gang("ns/g", spread_out(found, found.root), running=running)


def every_pod(gang: Gang) -> list[str]:
    """All its pods, in order."""
    return sorted(name for each in gang.roles for name in each.pods)


@pytest.mark.parametrize("seed", range(120))
def test_fewer_groups_need_the_same_pods(live: Read, seed: int) -> None:
    """It is enough for the same pods as when each declared replica were a group of its own."""
    rng = random.Random(seed)
    gangs = seen_and_spread_out(live, rng, drawn(rng, smallest=0, depth=2))
    if gangs is None:
        return
    mine, other = gangs
    assert every_pod(mine) == every_pod(other)
    assert can_be_enough(mine) == can_be_enough(other)
    for _ in range(5):
        some = [name for name in every_pod(mine) if rng.random() < 0.7]
        assert is_enough(mine, some) == is_enough(other, some)


@pytest.mark.parametrize("seed", range(40))
def test_fewer_groups_are_planned_the_same(live: Read, seed: int) -> None:
    """Status, number of pods and value of every term are those of the gang with all groups."""
    rng = random.Random(seed)
    gangs = seen_and_spread_out(live, rng, drawn(rng, smallest=1, depth=1))
    if gangs is None or len(every_pod(gangs[0])) > 12:
        return
    nodes = [node(f"n{index}", gpus=rng.choice([2, 4, 8]), zone="z", rack=f"r{index // 2}") for index in range(6)]
    mine, other = (plan(cluster(*nodes), [each], Options(time_limit_s=60)).gangs[0] for each in gangs)
    assert mine.status is other.status
    assert len(mine.assignments) == len(other.assignments)
    assert [(each.term, each.value) for each in mine.objective] == [(each.term, each.value) for each in other.objective]


def test_one_group_stands_for_those_that_lack_all_pods(live: Read) -> None:
    """The joined tree of a group without any pod has one replica of it."""
    spec = {
        "root": {"roles": [ROLE], "groups": [{"name": "g", "replicas": 3, "roles": [{"name": "s", "replicas": 2}]}]}
    }
    found = live(text(spec, pod("a")))
    assert found.gang is not None
    assert [group.name for group in found.gang.root.walk()] == ["ns/g", "g", "g#0"]
    assert found.missing == {"s": 6}
    assert not can_be_enough(found.gang)
