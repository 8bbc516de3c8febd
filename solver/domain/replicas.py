"""The replicas of a gang's groups, one by one, with the pods each of them owns."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from solver.domain.budget import UNLIMITED, Budget
from solver.domain.gang import Gang, Group, Role


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a group.

    pods: role name → the names it owns. children: for each child group, its replicas in here.
    """

    group: Group
    index: int
    pods: Mapping[str, tuple[str, ...]]
    children: tuple[tuple["Replica", ...], ...]

    def walk(self) -> Iterator["Replica"]:
        """The replica and all replicas inside it, outer ones first."""
        yield self
        for siblings in self.children:
            for child in siblings:
                yield from child.walk()

    def all_pods(self) -> tuple[str, ...]:
        """Names of all pods inside, nested ones included."""
        return tuple(pod for replica in self.walk() for names in replica.pods.values() for pod in names)


def root_replica(gang: Gang, budget: Budget = UNLIMITED) -> Replica:
    """The gang's root with everything below it laid out. Raises OutOfTime."""
    return _replica(gang.root, 0, budget)


def _replica(group: Group, index: int, budget: Budget) -> Replica:
    budget.check()
    pods = {role.name: role.pods[index * role.replicas : (index + 1) * role.replicas] for role in group.roles}
    children = tuple(
        tuple(_replica(child, index * child.replicas + number, budget) for number in range(child.replicas))
        for child in group.groups
    )
    return Replica(group, index, pods, children)


def fewest_pods(group: Group) -> int | None:
    """Fewest pods with which one replica of the group meets its minimum; None when its pods can never suffice."""
    return Fewest().of(group)


class Fewest:
    """`fewest_pods` of many groups of one gang, each worked out once."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Group, int | None]] = {}

    def of(self, group: Group) -> int | None:
        """Fewest pods of one replica; see `fewest_pods`."""
        found = self._found.get(id(group))
        if found is None:
            found = self._found[id(group)] = group, _least(group, lambda role: 1, self.of)
        return found[1]


def least(group: Group, weight: Callable[[Role], int]) -> int | None:
    """Least total weight of pods with which one replica of the group meets its minimum; None when none does.

    weight: of one pod of a role, not negative.
    """
    return _least(group, weight, lambda child: least(child, weight))


def _least(group: Group, weight: Callable[[Role], int], of_child: Callable[[Group], int | None]) -> int | None:
    if any(role.min > role.replicas for role in group.roles):
        return None
    ones = [of_child(child) for child in group.groups]
    costs = [None if one is None else one * child.min_replicas for one, child in zip(ones, group.groups, strict=True)]
    total = sum(role.min * weight(role) for role in group.roles)
    if group.min is None:
        return None if None in costs else total + sum(cost for cost in costs if cost is not None)
    spare = [weight(role) for role in group.roles for _ in range(role.replicas - role.min)]
    units = sorted([cost for cost in costs if cost is not None] + spare)
    wanted = max(0, group.min - sum(role.min for role in group.roles))
    return total + sum(units[:wanted]) if wanted <= len(units) else None
