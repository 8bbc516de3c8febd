"""Which pods and replicas an allowed tree keeps: all choices there are, and the check of one choice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise, product

from solver.domain.gang import Group, Role
from solver.domain.naming import natural_key
from support.brute.world import Replica

#: Two runs of pods that may swap their nodes without changing anything: only nodes(first) ≤ nodes(second) is tried.
Alike = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Choice:
    """A kept replica's content: new pods in the order in which they are enumerated, running pods, kept replicas."""

    new: tuple[str, ...]
    running: tuple[str, ...]
    kept: tuple[Replica, ...]
    alike: tuple[Alike, ...]

    @property
    def pods(self) -> int:
        """Placed pods, running ones included."""
        return len(self.new) + len(self.running)


def choices(replica: Replica, running: Collection[str]) -> list[Choice]:
    """Every content that the tree rules allow a kept replica, one of each set that differs only by names."""
    group = replica.group
    role_options = [_role_choices(role, replica.pods[role.name], running) for role in group.roles]
    child_options = [_child_choices(replica.children[child.name], child, running) for child in group.groups]
    found = []
    for picked in product(*role_options, *child_options):
        roles, children = picked[: len(group.roles)], picked[len(group.roles) :]
        content = _joined([*roles, *children])
        if enough(group, sum(each.pods for each in roles), sum(bool(each.kept) for each in children)):
            found.append(Choice(content.new, content.running, (replica, *content.kept), content.alike))
    return found


def enough(group: Group, pods: int, children: int) -> bool:
    """Whether one replica with so many own pods and kept child groups meets the group's minimum."""
    return children == len(group.groups) if group.min is None else pods + children >= group.min


def _role_choices(role: Role, names: Sequence[str], running: Collection[str]) -> list[Choice]:
    fixed = tuple(pod for pod in names if pod in running)
    waiting = sorted((pod for pod in names if pod not in running), key=natural_key)
    return [
        Choice(tuple(waiting[:new]), fixed, (), tuple(((a,), (b,)) for a, b in pairwise(waiting[:new])))
        for new in range(len(waiting) + 1)
        if role.min <= len(fixed) + new
    ]


def _child_choices(siblings: list[Replica], group: Group, running: Collection[str]) -> list[Choice]:
    options: list[Choice] = []
    if not any(pod in running for replica in siblings for pod in replica.all_pods):
        options.append(Choice((), (), (), ()))
    contents = [choices(replica, running) for replica in siblings]
    for count in range(group.min_replicas, group.replicas + 1):
        # replicas are alike: which of them has which content does not matter
        for numbers in combinations_with_replacement(range(len(contents[0])), count):
            parts = [contents[i][number] for i, number in enumerate(numbers)]
            same = [
                (parts[i].new, parts[i + 1].new)
                for i in range(count - 1)
                if numbers[i] == numbers[i + 1] and parts[i].new
            ]
            joined = _joined(parts)
            options.append(Choice(joined.new, joined.running, joined.kept, (*joined.alike, *same)))
    return options


def _joined(parts: Sequence[Choice]) -> Choice:
    return Choice(
        tuple(pod for part in parts for pod in part.new),
        tuple(pod for part in parts for pod in part.running),
        tuple(replica for part in parts for replica in part.kept),
        tuple(pair for part in parts for pair in part.alike),
    )


def kept_replicas(replica: Replica, placed: Collection[str], running: Collection[str]) -> tuple[Replica, ...] | None:
    """The replicas a set of placed pods keeps inside a kept replica, as many as it can mean; None = not allowed."""
    pods = 0
    for role in replica.group.roles:
        names = replica.pods[role.name]
        chosen = [pod for pod in names if pod in placed]
        new = {pod for pod in chosen if pod not in running}
        lowest = sorted((pod for pod in names if pod not in running), key=natural_key)[: len(new)]
        if len(chosen) < role.min or set(lowest) != new:
            return None
        pods += len(chosen)
    kept: list[Replica] = [replica]
    children = 0
    for group in replica.group.groups:
        inside = _kept_siblings(replica.children[group.name], group, placed, running)
        if inside is None:
            return None
        children += bool(inside)
        kept += inside
    return tuple(kept) if enough(replica.group, pods, children) else None


def _kept_siblings(
    siblings: list[Replica], group: Group, placed: Collection[str], running: Collection[str]
) -> list[Replica] | None:
    used = [bool(replica.all_pods & set(placed)) for replica in siblings]
    contents = [kept_replicas(replica, placed, running) for replica in siblings]
    for count in (*range(group.replicas, group.min_replicas - 1, -1), 0):
        if None not in contents[:count] and not any(used[count:]):
            return [replica for content in contents[:count] for replica in content or ()]
    return None


def may_differ(group: Group) -> bool:
    """Whether two replicas of the group may have different content: an elastic role or child inside."""
    for each in group.walk():
        if any(role.min < role.replicas for role in each.roles):
            return True
        if any(child.min_replicas < child.replicas for child in each.groups):
            return True
        whole = sum(role.replicas for role in each.roles) + len(each.groups)
        if each.groups and each.min is not None and each.min < whole:
            return True
    return False


def held(placed: Mapping[str, int], replica: Replica) -> list[str]:
    """The placed pods of a replica, nested ones included."""
    return [pod for pod in placed if pod in replica.all_pods]
