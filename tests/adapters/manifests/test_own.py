"""The project's own Gang object."""

from collections.abc import Callable
from fractions import Fraction

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Kind, Pack, Pattern, Spread
from solver.domain.resources import GPU

Read = Callable[..., GangInput]

FULL = """
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: llama, namespace: prod}
spec:
  priority: 7
  queue: team-a
  topology: fabric
  requestsPerSecond: 5.85
  root:
    pack: {required: zone, preferred: rack}
    min: 2
    roles:
    - {name: router, kind: router, replicas: 1}
    groups:
    - name: decode-engine
      replicas: 8
      min: 6
      pack: {required: nvl}
      spread: [{level: rack, max: 2}]
      roles:
      - name: decode
        kind: decode
        replicas: 2
        template:
          spec:
            nodeSelector: {gpu: h100}
            containers: [{name: main, resources: {limits: {nvidia.com/gpu: 8}}}]
    - name: prefill-pool
      minChildren: 1
      roles: [{name: prefill, kind: prefill, replicas: 3, min: 1, spread: [{level: host, max: 1}]}]
  flows:
  - {from: prefill, to: [decode], bytes: 1310720000, perRequest: 0.1, pattern: nearest}
  reach:
  - {from: prefill, to: decode, level: zone, ratio: 0.25}
"""


def test_every_field_arrives(read: Read) -> None:
    """Every field of the object finds its place in the domain."""
    found = read(FULL)
    (gang,) = found.gangs
    assert (gang.name, gang.priority, gang.queue, gang.topology) == ("prod/llama", 7, "team-a", "fabric")
    assert found.all_notices == ()
    root = gang.root
    assert (root.name, root.min, root.pack, root.multinode) == ("prod/llama", 2, Pack("zone", "rack"), False)
    engine, pool = root.groups
    assert (engine.replicas, engine.min_replicas, engine.min, engine.multinode) == (8, 6, None, True)
    assert (engine.pack, engine.spread) == (Pack("nvl"), (Spread("rack", 2),))
    (decode,) = engine.roles
    assert (decode.kind, decode.replicas, decode.min, decode.requests[GPU]) == (Kind.DECODE, 2, 2, 8000)
    assert decode.constraints.selector == (("gpu", "h100"),)
    assert decode.constraints.namespace == "prod"
    assert decode.pods[:3] == ("prod/decode-0", "prod/decode-1", "prod/decode-2")
    assert len(decode.pods) == 16
    assert (pool.min, pool.min_replicas, pool.multinode) == (1, 1, False)
    assert (pool.roles[0].min, pool.roles[0].spread) == (1, (Spread("host", 1),))
    (flow,) = gang.flows
    assert (flow.senders, flow.receivers, flow.pattern) == (("prefill",), ("decode",), Pattern.NEAREST)
    assert flow.per_request == Fraction(1, 10)
    assert gang.reach[0].ratio == Fraction(1, 4)
    assert gang.requests_per_second == Fraction(117, 20)


def test_a_rate_is_taken_where_the_object_states_none(read: Read) -> None:
    """The option fills in for manifests that cannot say; without both there is no rule."""
    plain = _gang("{roles: [{name: w, replicas: 1}]}")
    rates = [read(text, requests_per_second=Fraction(3)).gangs[0].requests_per_second for text in (plain, FULL)]
    assert rates == [3, Fraction(117, 20)]
    assert read(plain).gangs[0].requests_per_second is None


def _gang(root: str, rest: str = "") -> str:
    return (
        "apiVersion: huddle.scheduler/v1alpha1\nkind: Gang\nmetadata: {name: g}\n"
        f"spec: {{root: {root}{', ' + rest if rest else ''}}}\n"
    )


@pytest.mark.parametrize(
    ("group", "multinode"),
    [
        ("{name: g, roles: [{name: a, kind: worker, replicas: 2}]}", True),
        ("{name: g, roles: [{name: a, kind: worker, replicas: 1}, {name: b, kind: worker, replicas: 1}]}", True),
        ("{name: g, multinode: false, roles: [{name: a, kind: worker, replicas: 2}]}", False),
        ("{name: g, roles: [{name: a, kind: worker, replicas: 1}]}", False),
        ("{name: g, roles: [{name: a, kind: router, replicas: 2}]}", False),
        ("{name: g, roles: [{name: a, kind: worker, replicas: 2, min: 1}]}", False),
        ("{name: g, roles: [{name: a, kind: prefill, replicas: 1}, {name: b, kind: decode, replicas: 1}]}", False),
        (
            "{name: g, roles: [{name: a, kind: worker, replicas: 2}],"
            " groups: [{name: h, roles: [{name: b, replicas: 1}]}]}",
            False,
        ),
    ],
)
def test_ranks_of_one_engine_are_recognised(read: Read, group: str, multinode: bool) -> None:
    """Several pods of one serving kind, all needed, in a group without groups, are one engine unless it says no."""
    (gang,) = read(_gang(f"{{groups: [{group}]}}")).gangs
    assert gang.root.groups[0].multinode is multinode


def test_annotations_pack_a_gang_without_pack(read: Read) -> None:
    """KAI's annotations on the object hold where the root has no pack of its own."""
    annotations = (
        "{kai.scheduler/topology: t, kai.scheduler/topology-required-placement: rack,"
        " kai.scheduler/topology-preferred-placement: nvl}"
    )
    text = _gang("{roles: [{name: a, replicas: 1}]}").replace(
        "{name: g}", f"{{name: g, annotations: {annotations}}}", 1
    )
    (gang,) = read(text).gangs
    assert (gang.topology, gang.root.pack) == ("t", Pack("rack", "nvl"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_gang("{}"), "group default/g has no pods: neither roles nor groups"),
        (_gang("{roles: [{name: a}]}"), "spec.root.roles[0].replicas: is missing"),
        (_gang("{roles: [{name: a, replicas: -1}]}"), "spec.root.roles[0].replicas: -1 is out of range (0 to 100000)"),
        (_gang("{roles: [{name: a, replicas: 1.0e+30}]}"), "spec.root.roles[0].replicas: 1e+30 is out of range"),
        (_gang("{roles: [{name: a, replicas: 1e30}]}"), "must be a whole number, not '1e30'"),
        (
            _gang("{roles: [{name: a, replicas: .nan}]}"),
            "spec.root.roles[0].replicas: must be a finite number, not nan",
        ),
        (_gang("{roles: [{name: a, replicas: '2'}]}"), "spec.root.roles[0].replicas: must be a whole number, not '2'"),
        (
            _gang("{roles: [{name: a, replicas: true}]}"),
            "spec.root.roles[0].replicas: must be a whole number, not true",
        ),
        (_gang("{roles: [{name: a, replicas: 1, mim: 1}]}"), "spec.root.roles[0].mim: is not a known field; known are"),
        (_gang("{roles: [{name: a/b, replicas: 1}]}"), "spec.root.roles[0].name: 'a/b' is not a valid name"),
        (_gang('{roles: [{name: "a\\n", replicas: 1}]}'), "spec.root.roles[0].name: 'a\\n' is not a valid name"),
        (_gang("{roles: [{name: a, replicas: 1}]}", 'queue: "q\\e[31m"'), "queue: 'q\\x1b[31m' is not a valid name"),
        (_gang("{roles: [{name: a, replicas: 1}]}", 'queue: "q\\n"'), "spec.queue: 'q\\n' is not a valid name"),
        (_gang("{roles: [{name: a, replicas: 1}]}", 'topology: "\\u202e"'), "topology: '\\u202e' is not a valid name"),
        (_gang("{roles: [{name: 7, replicas: 1}]}"), "spec.root.roles[0].name: must be text, not 7"),
        (_gang("{roles: [{name: a, kind: gpu, replicas: 1}]}"), "kind: must be router or prefill or decode or worker"),
        (_gang("{roles: [{name: a, replicas: 1}, {name: a, replicas: 1}]}"), "gang default/g: role 'a' appears twice"),
        (
            _gang("{groups: [{name: h, replicas: 2, min: 3, roles: [{name: a, replicas: 1}]}]}"),
            "spec.root.groups[0]: group h: min 3",
        ),
        (
            _gang("{pack: {required: ''}, roles: [{name: a, replicas: 1}]}"),
            "spec.root.pack.required: must not be empty",
        ),
        (_gang("{roles: [{name: a, replicas: 1}]}", "flows: [{from: a, to: b, bytes: 1}]"), "role 'b' of a flow"),
        (
            _gang("{roles: [{name: a, replicas: 1}]}", "flows: [{from: a, to: [], bytes: 1}]"),
            "spec.flows[0].to: must be a role name",
        ),
        (
            _gang("{roles: [{name: a, replicas: 1}]}", "flows: [{from: a, to: a, bytes: 1, perRequest: .inf}]"),
            "perRequest: must be a finite number",
        ),
        (
            _gang("{roles: [{name: a, replicas: 1}]}", "flows: [{from: a, to: a, bytes: 9e99}]"),
            "spec.flows[0].bytes: must be a whole number",
        ),
        (
            _gang("{roles: [{name: a, replicas: 1}]}", "reach: [{from: a, to: a, level: zone, ratio: 2}]"),
            "ratio: 2 is out of range (0 to 1)",
        ),
        (
            _gang(
                "{roles: [{name: a, replicas: 1, template: {spec: {containers: [{resources: {limits: {cpu: x}}}]}}}]}"
            ),
            "template.spec.containers[0].resources.limits[cpu]: ",
        ),
        (_gang("[]"), "spec.root: must be a mapping, not a list"),
        (
            "apiVersion: huddle.scheduler/v2\nkind: Gang\nmetadata: {name: g}\nspec: {root: {}}",
            "apiVersion: must be huddle.scheduler/v1alpha1, not 'huddle.scheduler/v2'",
        ),
        ("apiVersion: huddle.scheduler/v1alpha1\nkind: Gang", "metadata: is missing"),
    ],
)
def test_wrong_fields_are_named_in_one_line(read: Read, text: str, message: str) -> None:
    """A wrong field is refused in one line with file, object and field."""
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    line = str(caught.value)
    assert line.startswith("gang.yaml: Gang default/")
    assert message in line
    assert "\n" not in line


def test_the_first_wrong_field_is_named(read: Read) -> None:
    """Of several wrong fields the first by path is named, whatever order the schema finds them in."""
    with pytest.raises(InvalidRequest, match=r"spec\.queue: must be text"):
        read(_gang("{roles: [{name: a}]}", "queue: 5"))


def test_endless_nesting_is_refused(read: Read) -> None:
    """Groups nested without end are refused, not followed."""
    group = "{name: leaf, roles: [{name: a, replicas: 1}]}"
    for depth in range(60):
        group = f"{{name: g{depth}, groups: [{group}]}}"
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        read(_gang(f"{{groups: [{group}]}}"))


def test_deep_trees_are_read(read: Read) -> None:
    """Two dozen nested groups are no problem."""
    group = "{name: leaf, roles: [{name: a, replicas: 1}]}"
    for depth in range(24):
        group = f"{{name: g{depth}, groups: [{group}]}}"
    (gang,) = read(_gang(f"{{groups: [{group}]}}")).gangs
    assert len(list(gang.root.walk())) == 26


def test_a_collective_of_a_multi_node_group(read: Read) -> None:
    """`pattern: collective` among all roles of an engine is read, and refused for anything else."""
    root = "{{groups: [{{name: e, roles: [{{name: a, kind: decode, replicas: 2}}], multinode: {}}}]}}"
    flows = "flows: [{from: a, to: a, bytes: 7, pattern: collective}]"
    (flow,) = read(_gang(root.format("true"), flows)).gangs[0].flows
    assert (flow.senders, flow.receivers, flow.bytes, flow.pattern) == (("a",), ("a",), 7, Pattern.COLLECTIVE)
    with pytest.raises(InvalidRequest, match="a collective needs a multi-node group, and e is none"):
        read(_gang(root.format("false"), flows))


def test_the_reserved_word_of_preferred_packs(read: Read) -> None:
    """`narrowest` is a level word like any other to the reader."""
    (gang,) = read(_gang("{pack: {preferred: narrowest}, roles: [{name: a, replicas: 1}]}")).gangs
    assert gang.root.pack == Pack(preferred="narrowest")
