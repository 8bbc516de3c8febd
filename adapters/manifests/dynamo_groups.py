"""Roles and groups of the components of a DynamoGraphDeployment.

A component that spans nodes is a group of which each replica is one engine. Where some replicas of several run each
is a group of its own, so that those that run stay what they are.
"""

from collections.abc import Sequence

from adapters.manifests.dynamo_components import Component
from adapters.manifests.dynamo_members import ComponentPods
from adapters.manifests.packing import TOGETHER
from solver.domain.gang import Group, Kind, Role


def role_names_of(component: Component, pods: ComponentPods) -> tuple[str, ...]:
    """The roles a component becomes: one, or one for each replica."""
    if not pods.is_split:
        return (component.name,)
    return tuple(f"{component.name}#{index}" for index in range(len(pods.replicas)))


def component_role(component: Component, kind: Kind, pods: Sequence[str]) -> Role:
    """The role of a single-node component."""
    return _role(component, component.name, kind, pods, len(pods), component.needed)


def component_group(component: Component, pods: ComponentPods, kind: Kind) -> Group:
    """A component with a rule of its own: each multi-node replica is kept together, or all pods of a single-node one.

    That is where Grove puts the constraint: on the scaling group's replica, or on the clique as a whole. A multi-node
    replica without a rule is one engine all the same: it is kept as close together as may be.
    """
    rule = component.packing.pack
    if component.nodes > 1 and not component.packing.packs:
        rule = TOGETHER
    if component.nodes == 1:
        return Group(component.name, (component_role(component, kind, pods.replicas[0]),), pack=rule)
    if pods.is_split:
        engines = zip(role_names_of(component, pods), pods.replicas, strict=True)
        each = tuple(
            Group(name, (_engine(component, name, kind, pods, len(pods)),), pack=rule, multinode=True)
            for name, pods in engines
        )
        return Group(component.name, groups=each, min=component.needed)
    names = [pod for replica in pods.replicas for pod in replica]
    return Group(
        component.name,
        (_engine(component, component.name, kind, names, len(pods.replicas[0])),),
        replicas=len(pods.replicas),
        min_replicas=min(component.needed, len(pods.replicas)),  # less only where no replica has a pod
        pack=rule,
        multinode=True,
    )


def _engine(component: Component, name: str, kind: Kind, pods: Sequence[str], each: int) -> Role:
    """The ranks of multi-node engines, of which all are needed."""
    return _role(component, name, kind, pods, each, component.nodes)


def _role(component: Component, name: str, kind: Kind, pods: Sequence[str], replicas: int, needed: int) -> Role:
    shape = component.shape
    return Role(name, replicas, needed, kind, shape.requests, shape.constraints, shape.spread, tuple(pods))
