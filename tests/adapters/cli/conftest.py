"""Files to plan from, and a way to run the command in this process."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.cli.main import huddle

CLUSTER = """
    apiVersion: huddle.scheduler/v1alpha1
    kind: Cluster
    metadata: {name: c}
    spec:
      topology:
        levels:
          - {name: zone, label: topology.kubernetes.io/zone}
          - {name: rack, label: topology.kubernetes.io/rack}
      nodes:
        - {prefix: h, count: 4, per: {zone: 1, rack: 2}, gpus: 8, cpu: "128", memory: 1Ti}
"""
GANG = """
    apiVersion: huddle.scheduler/v1alpha1
    kind: Gang
    metadata: {name: g, namespace: prod}
    spec:
      root:
        pack: {required: rack}
        roles:
          - name: prefill
            kind: prefill
            replicas: 1
            min: 1
            template: {spec: {containers: [{name: main, resources: {limits: {nvidia.com/gpu: "4"}}}]}}
          - name: decode
            kind: decode
            replicas: 2
            min: 2
            template: {spec: {containers: [{name: main, resources: {limits: {nvidia.com/gpu: "4"}}}]}}
      flows: [{from: prefill, to: decode, bytes: 1310720000}]
"""

Write = Callable[[str, str], str]
Run = Callable[..., Result]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file and return its path."""

    def written(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return written


@pytest.fixture
def cluster(write: Write) -> str:
    """Eight H100 nodes in two racks."""
    return write("cluster.yaml", CLUSTER)


@pytest.fixture
def gang(write: Write) -> str:
    """One prefill and two decode pods of four GPUs, in one rack."""
    return write("gang.yaml", GANG)


@pytest.fixture
def run() -> Run:
    """Run `huddle` with arguments."""

    def invoked(*arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(huddle, arguments, input=text, prog_name="huddle")

    return invoked
