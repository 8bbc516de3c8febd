"""`huddle controller`: applies plans to a live cluster, until it is told to end."""

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapters.cli import later
from adapters.cli.durations import duration_option
from adapters.cli.extras import needs_extra
from adapters.cli.serve import LEVELS

if TYPE_CHECKING:
    from adapters.apply.run import Controller, ControllerConfig
    from adapters.extender.server import ExtenderConfig

HELP = """Place the gangs of a live cluster: all pods of a gang or none, and keep it so.

It watches nodes, pods, Gangs, PodGroups and LeaderWorkerSets. Pods that carry the scheduling gate huddle.scheduler/gang
are pinned to their nodes and let go, for any scheduler to bind; pods with schedulerName huddle it binds itself. What
it plans stands in Placements (kubectl get placements). Several may run: one works, the others wait for its Lease.
With --extender-listen it is also the extender of a kube-scheduler, which then asks it where every GPU pod may go.

\b
Examples:
  huddle controller
  huddle controller --kubeconfig admin.conf --no-leader-election --listen 127.0.0.1:8080
  huddle controller --extender-listen 0.0.0.0:8443 --extender-cert tls.crt --extender-key tls.key

Options may also be set as HUDDLE_CONTROLLER_<OPTION>. The log goes to stderr as JSON lines. SIGTERM lets it finish the
calls under way and give the Lease back; a second one ends it at once.

\b
Exit codes: 0 ended as told, 2 it cannot start (one line), 1 a defect of huddle.
"""

_Body = TypeVar("_Body", bound=Callable[..., Any])

_file = click.Path(path_type=Path)

#: Shares of --lease-duration after which the holder stops, and between two attempts.
RENEW, RETRY = 2 / 3, 2 / 15
_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _address(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise click.BadParameter(f"{text!r} is not HOST:PORT", context, option)
    return host.strip("[]"), int(port)


def _pod(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        raise click.BadParameter(f"{text!r} is not NAMESPACE/NAME", context, option)
    return namespace, name


def _duration(name: str, default: str, text: str) -> Callable[[_Body], _Body]:
    return click.option(
        name, metavar="DURATION", callback=duration_option, default=default, show_default=True, help=text
    )


@click.command(
    "controller",
    cls=later.Command,
    help=HELP,
    short_help="Apply plans to a live cluster.",
    context_settings={"auto_envvar_prefix": "HUDDLE_CONTROLLER"},
)
@click.option("--kubeconfig", metavar="FILE", help="Default: as for kubectl; inside a pod its service account.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; default: the current one.")
@click.option("--namespace", "namespaces", metavar="NAME", multiple=True, help="Only gangs of these; default: all.")
@_duration("--grace", "2m", "Longest that part of a gang may hold nodes before it is given back.")
@_duration("--fair-after", "60s", "Gangs that waited so long go before others of their priority.")
@_duration("--refused-after", "20s", "Until a pod that its scheduler refuses gets another node.")
@_duration("--unheard-after", "90s", "Until a pod that no scheduler binds gets another node.")
@_duration("--silent-after", "5m", "Until pods on a node that is not ready are replaced.")
@_duration("--time-limit", "5s", "Budget of one solve.")
@click.option("--listen", metavar="HOST:PORT", callback=_address, help="Serve /healthz, /readyz and /metrics there.")
@click.option("--lease-namespace", metavar="NAME", help="Of the Lease; default: that of its pod, else huddle-system.")
@click.option("--lease-name", metavar="NAME", default="huddle-controller", show_default=True, help="Of the Lease.")
@_duration("--lease-duration", "15s", "Until others take over from a controller that fell silent.")
@click.option("--no-leader-election", is_flag=True, help="It is the only one: work without a Lease.")
@click.option("--extender-listen", metavar="HOST:PORT", callback=_address, help="Answer as a scheduler extender there.")
@click.option("--extender-cert", metavar="FILE", type=_file, help="Its certificate chain, as PEM.")
@click.option("--extender-key", metavar="FILE", type=_file, help="Its private key, as PEM.")
@click.option("--extender-client-ca", metavar="FILE", type=_file, help="Who signs the certificates clients must show.")
@click.option("--extender-insecure", is_flag=True, help="Allow plaintext on every address, not only on loopback.")
@click.option(
    "--extender-scheduler",
    "extender_schedulers",
    metavar="NAME",
    multiple=True,
    default=("default-scheduler",),
    show_default=True,
    help="schedulerName of pods about which it is asked.",
)
@_duration("--extender-wait", "3s", "Longest that a bind waits for the rest of its gang; less than httpTimeout.")
@click.option("--extender-pod", metavar="NS/NAME", callback=_pod, help="Label this pod while it leads.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="How much is logged.")
def controller_command(time_limit: float, log_level: str, **given: Any) -> None:
    """Wire it up and run it."""
    asked = {name: given.pop(name) for name in list(given) if name.startswith("extender_")}
    with needs_extra("huddle controller", "kubernetes"):
        from adapters.apply.gangs import LiveGangs
        from adapters.apply.run import Controller
        from adapters.extender.server import Extender
        from solver.service import logs
        from solver.service.config import Level, Logs

    from adapters.cli.live_solver import LiveSolver

    logs.configure(Logs(Level(log_level)))
    served = extender_config(**asked)
    door = Extender(served) if served else None
    asyncio.run(run_until_told(Controller(config(**given), LiveSolver(time_limit), LiveGangs, door)))


def extender_config(
    extender_listen: tuple[str, int] | None,
    extender_cert: Path | None,
    extender_key: Path | None,
    extender_client_ca: Path | None,
    extender_insecure: bool,
    extender_schedulers: Sequence[str],
    extender_wait: float,
    extender_pod: tuple[str, str] | None,
) -> "ExtenderConfig | None":
    """How the extender is served; None when it is not. Raises InvalidRequest."""
    from adapters.extender.leader import PodName
    from adapters.extender.server import ExtenderConfig

    if extender_listen is None:
        if extender_cert or extender_key or extender_client_ca or extender_insecure or extender_pod:
            raise click.UsageError("options --extender-… need --extender-listen", click.get_current_context())
        return None
    return ExtenderConfig(
        listen=extender_listen,
        schedulers=tuple(extender_schedulers),
        cert=extender_cert,
        key=extender_key,
        client_ca=extender_client_ca,
        insecure=extender_insecure,
        wait_s=extender_wait,
        pod=PodName(*extender_pod) if extender_pod else None,
    )


def config(
    kubeconfig: str | None,
    context: str | None,
    namespaces: Sequence[str],
    grace: float,
    fair_after: float,
    refused_after: float,
    unheard_after: float,
    silent_after: float,
    listen: tuple[str, int] | None,
    lease_namespace: str | None,
    lease_name: str,
    lease_duration: float,
    no_leader_election: bool,
) -> "ControllerConfig":
    """The settings that the options come to."""
    from adapters.apply.lease import LeaseTimes
    from adapters.apply.run import ControllerConfig, LeaseAt
    from adapters.apply.settings import Settings

    times = LeaseTimes(lease_duration, RENEW * lease_duration, RETRY * lease_duration)
    return ControllerConfig(
        instance=f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        kubeconfig=kubeconfig,
        context=context,
        namespaces=tuple(namespaces),
        settings=Settings(
            grace_s=grace,
            refused_s=refused_after,
            unheard_s=unheard_after,
            silent_node_s=silent_after,
            fair_after_s=fair_after,
        ),
        listen=listen,
        lease=None if no_leader_election else LeaseAt(lease_namespace or own_namespace(), lease_name, times),
    )


def own_namespace() -> str:
    """The namespace of the pod this runs in, else the one that the installation makes."""
    try:
        return _ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "huddle-system"


async def run_until_told(controller: "Controller") -> None:
    """Run until SIGTERM or SIGINT; a second signal ends the process at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            os._exit(0)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    await controller.run(stop)
