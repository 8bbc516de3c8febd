"""With which priority the pods of a gang meet nominated ones."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest

Read = Callable[..., GangInput]

CLASSES = """---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 9}
"""
WITH_DEFAULT = (
    f"{CLASSES}---\n"
    + """
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: usual}, value: 4, globalDefault: true}
"""
)


def group(spec: str = "", *, native: bool = False) -> str:
    """A PodGroup ns/g."""
    version = "scheduling.k8s.io/v1beta1" if native else "scheduling.run.ai/v2alpha2"
    policy = "schedulingPolicy: {gang: {minCount: 1}}, " if native else ""
    return (
        f"---\napiVersion: {version}\nkind: PodGroup\nmetadata: {{name: g, namespace: ns}}\nspec: {{{policy}{spec}}}\n"
    )


def pod(name: str, spec: str = "", *, node: str = "") -> str:
    """A pod of the group."""
    where, more = f", nodeName: {node}" if node else "", f", {spec}" if spec else ""
    meta = f"{{name: {name}, namespace: ns, annotations: {{pod-group-name: g}}}}"
    return f"---\napiVersion: v1\nkind: Pod\nmetadata: {meta}\nspec: {{containers: []{where}{more}}}\n"


@pytest.mark.parametrize(
    ("text", "priority", "pods"),
    [
        (group() + pod("a"), 50, 0),
        (group() + pod("a", "priority: 50"), 50, 50),
        (group() + pod("a", "priority: 7") + pod("b", "priorityClassName: high"), 50, 7),
        (group("priorityClassName: high") + pod("a"), 9, 9),
        (group("priorityClassName: high") + pod("a", "priority: 0"), 9, 0),
        (group("priorityClassName: high") + pod("a", "priority: 0", node="n1") + pod("b", "priority: 3"), 9, 3),
        (group(native=True) + pod("a"), 0, 0),
        (group("priority: 6", native=True) + pod("a"), 6, 6),
        (group("priority: 6", native=True) + pod("a", "priority: 20"), 6, 20),
        (pod("a", "priority: 3") + pod("b", "priority: 1"), 3, 1),
    ],
)
def test_priorities(read: Read, text: str, priority: int, pods: int) -> None:
    """The lowest that the waiting pods say; what they do not say is that of the gang, or of pods by default."""
    (gang,) = read(text, cluster=CLASSES).gangs
    assert (gang.priority, gang.room_priority) == (priority, pods)


def test_the_default_priority(read: Read) -> None:
    """It is that of pods and gangs that say nothing."""
    (gang,) = read(group() + pod("a"), cluster=WITH_DEFAULT).gangs
    assert (gang.priority, gang.pod_priority) == (4, None)


@pytest.mark.parametrize(
    ("spec", "priority"), [("", 4), ("priority: 7, ", 7), ("priorityClassName: high, ", 9), ("priority: 0, ", 0)]
)
def test_the_priority_of_a_gang(read: Read, spec: str, priority: int) -> None:
    """A number, the value of a class, or that of pods that say nothing."""
    text = (
        "{apiVersion: huddle.scheduler/v1alpha1, kind: Gang, metadata: {name: own, namespace: ns}, "
        f"spec: {{{spec}root: {{roles: [{{name: w, replicas: 1}}]}}}}}}"
    )
    (gang,) = read(text, cluster=WITH_DEFAULT).gangs
    assert gang.priority == priority
    with pytest.raises(InvalidRequest, match=r"spec\.priorityClassName: excludes spec\.priority"):
        read(text.replace(spec or "root", f"priority: 1, priorityClassName: high, {'' if spec else 'root'}", 1))


def test_pods_of_a_gang(read: Read) -> None:
    """They may say something else than the Gang that they name."""
    own = """---
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: own, namespace: ns}
spec: {priority: 5, root: {roles: [{name: worker, replicas: 2, template: {spec: {containers: [{name: main}]}}}]}}
"""
    member = pod("a", "priority: 2").replace("annotations: {pod-group-name: g}", "labels: {huddle.scheduler/gang: own}")
    assert (read(own).gangs[0].priority, read(own).gangs[0].pod_priority) == (5, None)
    (gang,) = read(own + member).gangs
    assert (gang.priority, gang.pod_priority) == (5, 2)
