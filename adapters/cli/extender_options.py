"""Options of the scheduler extender that a controller serves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapters.cli.addresses import address_option
from adapters.cli.durations import duration

if TYPE_CHECKING:
    from adapters.extender.server import ExtenderConfig

_Body = TypeVar("_Body", bound=Callable[..., Any])
_file = click.Path(path_type=Path)


def _pod(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        raise click.BadParameter(f"{text!r} is not NAMESPACE/NAME", context, option)
    return namespace, name


_OPTIONS = (
    click.option(
        "--extender-listen",
        metavar="HOST:PORT",
        callback=address_option,
        help="Be the extender of a kube-scheduler there.",
    ),
    click.option(
        "--extender-cert", metavar="FILE", type=_file, help="Its certificate chain, as PEM; read again when it changes."
    ),
    click.option("--extender-key", metavar="FILE", type=_file, help="Its private key, as PEM."),
    click.option(
        "--extender-client-ca",
        metavar="FILE",
        type=_file,
        help="Who signs the certificates of clients; needed off loopback.",
    ),
    click.option(
        "--extender-insecure",
        is_flag=True,
        help="Allow plaintext, and anybody, on every address, not only on loopback.",
    ),
    click.option(
        "--extender-names-only",
        is_flag=True,
        help="Its schedulers are nodeCacheCapable: bodies of 2 MiB at most, else 64 MiB.",
    ),
    click.option(
        "--extender-scheduler",
        "extender_schedulers",
        metavar="NAME",
        multiple=True,
        default=("default-scheduler",),
        show_default=True,
        help="schedulerName of pods about which it is asked.",
    ),
    click.option(
        "--extender-resource",
        "extender_resources",
        metavar="NAME",
        multiple=True,
        default=("nvidia.com/gpu",),
        show_default=True,
        help="Resource of pods about which it is asked; the managedResources of its schedulers.",
    ),
    duration("--extender-wait", "3s", "Longest that a bind waits for the rest of its gang; less than httpTimeout."),
    click.option("--extender-pod", metavar="NS/NAME", callback=_pod, help="Label this pod while it leads."),
)


def extender_options(body: _Body) -> _Body:
    """`--extender-listen` and what goes with it."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def extender_config(
    extender_listen: tuple[str, int] | None,
    extender_cert: Path | None,
    extender_key: Path | None,
    extender_client_ca: Path | None,
    extender_insecure: bool,
    extender_names_only: bool,
    extender_schedulers: Sequence[str],
    extender_resources: Sequence[str],
    extender_wait: float,
    extender_pod: tuple[str, str] | None,
) -> "ExtenderConfig | None":
    """How the extender is served; None when it is not. Raises InvalidRequest."""
    from adapters.extender.leader import PodName
    from adapters.extender.server import ExtenderConfig

    if extender_listen is None:
        if (
            extender_cert
            or extender_key
            or extender_client_ca
            or extender_insecure
            or extender_names_only
            or extender_pod
        ):
            raise click.UsageError("options --extender-… need --extender-listen", click.get_current_context())
        return None
    return ExtenderConfig(
        listen=extender_listen,
        schedulers=tuple(extender_schedulers),
        resources=tuple(extender_resources),
        cert=extender_cert,
        key=extender_key,
        client_ca=extender_client_ca,
        insecure=extender_insecure,
        names_only=extender_names_only,
        wait_s=extender_wait,
        pod=PodName(*extender_pod) if extender_pod else None,
    )
