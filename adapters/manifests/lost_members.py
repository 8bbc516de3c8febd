"""Members whose node is gone: they are lost, and their gangs are told so."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from adapters.kubernetes.gang_keys import gang_name
from adapters.kubernetes.objects import Document
from adapters.manifests.dynamo_members import deployment_of
from adapters.manifests.loose_pods import bond_of
from adapters.manifests.reading import FoundGang, World
from solver.domain.naming import natural_key
from solver.domain.plan import Notice


class LostMembers:
    """The lost pods of a world, by gang."""

    def __init__(self, world: World) -> None:
        self._world = world

    def noted(self, found: FoundGang) -> FoundGang:
        """The gang with a notice for each of its members that is lost."""
        if not self._world.lost:
            return found
        pods = {pod for role in found.gang.roles for pod in role.pods}
        lost = {*self._by_gang.get(found.gang.name, ()), *(pods & self._world.lost.keys())}
        return replace(found, notices=(*found.notices, *self._notices(lost)))

    def of(self, gang: str) -> Sequence[Notice]:
        """A notice for each lost pod that says it belongs to a gang, or whose owner is one."""
        return self._notices(self._by_gang.get(gang, ())) if self._world.lost else ()

    @cached_property
    def _by_gang(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for name, pod in self._world.lost.items():
            group = pod.text("spec.schedulingGroup.podGroupName", "")
            told = gang_name(pod.namespace, pod.labels, pod.annotations, group)
            for gang in {told, deployment_of(pod), bond_of(self._world, pod).name} - {""}:
                found.setdefault(gang, []).append(name)
        return found

    def _notices(self, names: Sequence[str] | set[str]) -> list[Notice]:
        return [_notice(self._world.lost[name]) for name in sorted(names, key=natural_key)]


def _notice(pod: Document) -> Notice:
    node = pod.text("spec.nodeName", "")
    message = f"node {node} is gone: the pod is lost and holds no place in its gang any more"
    return Notice("member_lost", pod.described, "spec.nodeName", message)
