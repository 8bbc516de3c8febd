"""Overrides in the words of the workload provider: Grove's topology constraint inside a DynamoGraphDeployment."""

from collections.abc import Mapping, Sequence

from adapters.kubernetes.objects import Part
from adapters.kubernetes.pods import Finding
from adapters.manifests.packing import Packing, packing
from adapters.manifests.reading import Reading

_FIELD = "providerOverride"
_PROBLEM = "overrides other than a Grove topologyConstraint of {target} are not supported"
_CONSTRAINT = "topologyConstraint"


def override_packing(reading: Reading, part: Part, target: str, within: Sequence[str] = ()) -> Packing:
    """The pack rule that the `providerOverride` of `part` says, an empty one if there is none.

    target: the Grove type it must be about. within: the fields of that type that lead to its `topologyConstraint`.
    Anything else in it, and a second rule beside `topologyConstraint`, is unsupported.
    """
    if not part.has(_FIELD):
        return Packing()
    override = part.part(_FIELD)
    rule = _rule(override, target, within)
    if rule is None:
        reading.unsupported(Finding(override.at, _PROBLEM.format(target=target)))
        return Packing()
    if part.has(_CONSTRAINT):
        reading.unsupported(Finding(override.at, f"a rule beside {_CONSTRAINT} is not supported"))
        return Packing()
    return rule


def _rule(override: Part, target: str, within: Sequence[str]) -> Packing | None:
    """The pack rule, None for anything that is not exactly one."""
    is_grove = override.text("apiVersion", "").startswith("grove.io/")
    known = _only(override.body, ("apiVersion", "target", "value"))
    if not is_grove or not known or override.text("target", "") not in ("", target):
        return None
    place = "value"
    for name in (*within, _CONSTRAINT):
        if not _only(override.mapping(place), (name,)):
            return None
        place = f"{place}.{name}"
    constraint = override.part(place)
    if not _only(constraint.body, ("topologyName", "pack", "packDomain")):
        return None
    if not _only(constraint.mapping("pack"), ("required", "preferred")):
        return None
    required, older = constraint.text("pack.required", ""), constraint.text("packDomain", "")
    if required and older and required != older:
        return None
    found = packing(constraint.text("topologyName", ""), required or older, constraint.text("pack.preferred", ""))
    return found or None


def _only(body: Mapping[str, object], names: Sequence[str]) -> bool:
    """Whether a mapping has no fields but these."""
    return all(key in names for key, value in body.items() if value is not None)
