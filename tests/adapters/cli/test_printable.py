"""Whatever strangers write into labels, names, queues and files: what is printed is printable."""

import io
import json
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.report.consoles import rendered
from adapters.report.structured import as_json, as_yaml
from adapters.report.tables import plain_table
from support.unprintable import unprintable
from tests.adapters.cli.conftest import Run, Write

HOSTILE = "\x1b]0;t\x07\x1b[2J\u202ex\u200b\x9b31m\n\r\x7f[red]"
words = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(st.sampled_from("\x1b[]0;mJ\x07\x9b\x85\u202e\u2066\u200b\u2028\ufeff\n\r\t /=:x\x7f\xa0"), max_size=12),
)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def node(name: str, labels: dict[str, str], taint: str = "") -> dict[str, Any]:
    """A node of eight GPUs."""
    spec = {"taints": [{"key": "k", "value": taint, "effect": "NoSchedule"}]} if taint else {}
    status = {"allocatable": {"nvidia.com/gpu": "8", "cpu": "64", "memory": "64Gi", "pods": "10"}}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": status}


def gang(queue: str, selector: dict[str, str], replicas: int, level: str) -> dict[str, Any]:
    """A gang of pods of four GPUs."""
    pod = {
        "nodeSelector": selector,
        "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "4"}}}],
    }
    role = {"name": "w", "replicas": replicas, "template": {"spec": pod}}
    pack = {"pack": {"preferred": level}} if level else {}
    return {
        "apiVersion": "huddle.scheduler/v1alpha1", "kind": "Gang", "metadata": {"name": "g"},
        "spec": {"queue": queue, "root": {**pack, "roles": [role]}},
    }  # fmt: skip


@few
@given(words, words, words, words, st.sampled_from((2, 9)), words)
@example(HOSTILE, HOSTILE, "", "", 2, "")
@example(HOSTILE, HOSTILE, HOSTILE, "", 9, "")
@example(HOSTILE, HOSTILE, "", HOSTILE, 9, HOSTILE)
def test_everything_that_plan_and_topology_print_is_printable(
    run: Run, write: Write, zone: str, rack: str, queue: str, selector: str, replicas: int, level: str
) -> None:
    """Labels, taints, queues, selectors, levels and file names; in tables and in complaints, on both streams."""
    labels = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/rack": rack, f"x{selector}": rack}
    nodes = [node(f"n{i}", labels | {"kubernetes.io/hostname": f"n{i % 2}{zone}"}, rack * (i == 2)) for i in range(3)]
    cluster = write("c.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
    asked = write("g.json", json.dumps(gang(queue, {f"x{selector}": zone} if selector else {}, replicas, level)))
    for arguments in (
        ("topology", "--cluster", cluster),
        ("plan", asked, "--cluster", cluster, "--engine", "tree"),
        ("plan", asked, "--cluster", cluster, "--engine", "tree", "-o", "json"),
        ("plan", asked, "--cluster", cluster, "--engine", "tree", "-o", "yaml"),
        ("plan", f"absent{selector}".replace("\0", ""), "--cluster", cluster),
        ("topology", f"--{level}"),
        (f"x{level}",),
    ):
        result = run(*arguments)
        assert result.exit_code in (0, 2, 3), result.output
        assert not unprintable(result.stdout)
        assert not unprintable(result.stderr)


def test_the_same_on_a_terminal(monkeypatch: Any) -> None:
    """Colours are Huddle's own and stay; whatever else would steer the terminal does not."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def draw(console: Any) -> None:
        table = plain_table(HOSTILE, numbers=(HOSTILE,))
        table.add_row(HOSTILE, HOSTILE)
        console.print(table)
        console.print(HOSTILE, style="bold")

    monkeypatch.setenv("TERM", "xterm")
    text = rendered(Terminal(), draw, columns=200)
    assert "\x1b[1m" in text
    assert not unprintable(text, styled=True)
    assert "\\x1b]0;t\\x07" in text
    assert len(text.splitlines()) == 3


@given(st.text(st.characters(codec=None), max_size=20))
@example(HOSTILE)
def test_json_and_yaml_escape_and_say_the_same(text: str) -> None:
    """Their readers get every character back, also those that no terminal should see."""
    document = {"a": [text], f"k{text}": text}
    assert json.loads(as_json(document)) == document
    assert not unprintable(as_json(document))
    shown = as_yaml(document)
    assert not unprintable(shown)
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert yaml.safe_load(shown) == document


def test_a_line_break_in_a_key_is_shown(run: Run, write: Write, cluster: str) -> None:
    """A complaint is one line, and says what stands there."""
    asked = gang("", {}, 2, "")
    asked["metadata"]["labels"] = {"a\nb": 1}
    result = run("plan", write("g.json", json.dumps(asked)), "--cluster", cluster)
    assert result.exit_code == 2
    assert "a\\nb" in result.stderr
