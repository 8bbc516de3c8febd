"""The custom resources `Gang` and `Placement` of huddle.scheduler, as the API server is told about them.

`deploy/controller/crds` holds what this gives; `python deploy/render.py` writes it.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from adapters.kubernetes.resources import GANGS, PLACEMENTS, Resource
from adapters.manifests.structural import Json, Limits, Rule, Structural

#: Groups inside groups, beyond the root: JSON Schema allows any depth, a structural schema does not.
MOST_NESTED = 3
#: Longest name that fits in a label, with which pods name their gang and role.
_LABEL = 63
_MOST_LISTED, _MOST_LISTED_INSIDE = 32, 16
_BOUND = "Pods seen bound, of those that have a node; while none has, of all that are asked for."

#: Most roles and pods of one gang, over all replicas: what a service takes of one call by default.
MOST_ROLES, MOST_PODS = 64, 10_000


def _sum(of: str, group: str, nested: int) -> str:
    """The CEL expression for something over a group and the groups inside it, so many deep; of: of one role, `r`."""
    own = f"(has({group}.roles) ? {of} : 0)".replace("ROLES", f"{group}.roles")
    if not nested:
        return own
    child = f"g{nested}"
    inner = _sum(of, child, nested - 1)
    if "r.replicas" in of:
        inner = f"(has({child}.replicas) ? {child}.replicas : 1) * ({inner})"
    return f"{own} + (has({group}.groups) ? {group}.groups.map({child}, {inner}).sum() : 0)"


_HAS_PODS = Rule(
    "(has(self.roles) && size(self.roles) > 0) || (has(self.groups) && size(self.groups) > 0)",
    "a group has roles or groups",
)
_GANG_RULES = {
    "root": (
        _HAS_PODS,
        Rule(f"{_sum('size(ROLES)', 'self', MOST_NESTED)} <= {MOST_ROLES}", f"a gang has at most {MOST_ROLES} roles"),
        Rule(
            f"{_sum('ROLES.map(r, r.replicas).sum()', 'self', MOST_NESTED)} <= {MOST_PODS}",
            f"a gang has at most {MOST_PODS} pods, over all replicas of its groups",
        ),
    ),
    "group": (
        _HAS_PODS,
        Rule("!has(self.min) || self.min <= (has(self.replicas) ? self.replicas : 1)", "min is at most replicas"),
    ),
    "role": (
        Rule("!has(self.min) || self.min <= self.replicas", "min is at most replicas"),
        Rule(f"size(self.name) <= {_LABEL}", f"pods name their role in a label: at most {_LABEL} letters"),
    ),
    "pack": (Rule("has(self.required) || has(self.preferred)", "names a level: required, preferred or both"),),
}
_PLACEMENT_RULES = {
    "spec": (
        Rule(
            "!has(self.assignments) || size(self.assignments) == 0 || (has(self.attempt) && self.attempt > 0)",
            "assignments belong to an attempt: it is at least 1",
        ),
    ),
    "gang": (Rule("self == oldSelf", "a Placement stays with its gang"),),
}
_IN_A_LABEL = Rule(
    f"size(self.metadata.name) <= {_LABEL}", f"pods name their gang in a label: at most {_LABEL} letters"
)


_LIMITS = Limits(_MOST_LISTED, 1, "", _MOST_LISTED)


def gang_definition() -> Json:
    """The definition of `Gang`."""
    whole = _schema("gang")
    limits = Limits(_MOST_LISTED, MOST_NESTED, f"groups nest at most {MOST_NESTED} deep", _MOST_LISTED_INSIDE)
    made = Structural(whole, limits, _GANG_RULES)
    schema = {
        **_object(whole["description"]),
        "required": ["spec"],
        "properties": {
            **_common(),
            "spec": made.of(whole["properties"]["spec"]),
            "status": {"type": "object", "properties": _gang_status()},
        },
        "x-kubernetes-validations": [_IN_A_LABEL.body()],
    }
    columns = (
        _column("Status", "string", ".status.phase", "How far it has come."),
        _column("Bound", "string", ".status.bound", _BOUND),
        _column("Reason", "string", ".status.reason", "Why it waits."),
        _column("Priority", "integer", ".spec.priority", "Higher first."),
        _column("Queue", "string", ".spec.queue", "Whose limits apply."),
        _column("Pack", "string", ".spec.root.pack.required", "All of it in one domain of this level.", wide=True),
        _column(
            "Prefer", "string", ".spec.root.pack.preferred", "As narrow as possible from this level up.", wide=True
        ),
        _AGE,
    )
    return _definition(GANGS, ("gang",), schema, columns)


def placement_definition() -> Json:
    """The definition of `Placement`."""
    whole = _schema("placement")
    made = Structural(whole, _LIMITS, _PLACEMENT_RULES)
    schema = {
        **_object(whole["description"]),
        "required": ["spec"],
        "properties": {**_common(), **{key: made.of(value) for key, value in whole["properties"].items()}},
    }
    columns = (
        _column("Phase", "string", ".status.phase", "How far it has come."),
        _column("Bound", "string", ".status.bound", _BOUND),
        _column("Since", "date", ".status.since", "When the phase began."),
        _column("Why", "string", ".status.reasons[0].message", "Why it waits."),
        _column("Transfer-us", "string", '.spec.objective[?(@.term=="transfer_us")].value', "Mean transfer time of a "
                "request in microseconds.", wide=True),
        _column("Hand", "string", ".spec.hand", "Who binds its pods.", wide=True),
        _column("Attempt", "integer", ".spec.attempt", "Number of the plan.", wide=True),
        _AGE,
    )  # fmt: skip
    return _definition(PLACEMENTS, ("plc",), schema, columns)


def definitions() -> tuple[Json, ...]:
    """All of them."""
    return gang_definition(), placement_definition()


def _schema(name: str) -> Json:
    text = resources.files("adapters.manifests").joinpath("schemas", f"{name}.schema.json").read_text("utf-8")
    found: Json = json.loads(text)
    return found


def _conditions() -> Json:
    """Conditions as every object has them."""
    whole = _schema("placement")
    return Structural(whole, _LIMITS).of(whole["$defs"]["status"]["properties"]["conditions"])


def _gang_status() -> Json:
    """What the controller says of a Gang: as its Placement does."""
    whole = _schema("placement")
    placement = Structural(whole, _LIMITS).of(whole["$defs"]["status"]["properties"]["phase"])
    return {
        "phase": placement,
        "bound": {
            "type": "string",
            "maxLength": 32,
            "description": _BOUND,
        },
        "reason": {"type": "string", "maxLength": 4096, "description": "Why it waits, in one sentence."},
        "conditions": _conditions(),
    }


def _object(description: str) -> Json:
    return {"type": "object", "description": description}


def _common() -> Json:
    return {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}


def _column(name: str, kind: str, path: str, description: str, wide: bool = False) -> Json:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | {"priority": 1} if wide else column


_AGE = _column("Age", "date", ".metadata.creationTimestamp", "When it was made.")


def _definition(
    resource: Resource, short_names: Sequence[str], schema: Mapping[str, object], columns: Sequence[Json]
) -> Json:
    (version,) = resource.versions
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": list(short_names),
                "categories": ["huddle"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(columns),
                }
            ],
        },
    }
