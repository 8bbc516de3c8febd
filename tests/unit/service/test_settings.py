"""Settings: file, environment, flags; what is refused, and that it is told without what stood there."""

import re
from pathlib import Path

import pytest

from solver.domain.errors import InvalidRequest
from solver.service.config import Auth, Drain, Level, Limits, Logs, ServiceConfig, Tls, is_loopback, split_address
from solver.service.roles import Role
from solver.service.settings import config_text, load_config

README = Path(__file__).parents[3] / "README.md"


def read(tmp_path: Path, text: str, environment: dict[str, str] | None = None, **flags: object) -> ServiceConfig:
    """Settings of a file with this text; flags as `drain__grace_s`."""
    file = tmp_path / "serve.toml"
    file.write_text(text)
    return load_config(file, environment or {}, {key.replace("__", "."): value for key, value in flags.items()})


def test_defaults_are_those_of_the_dataclasses() -> None:
    """Nothing given is nothing changed, and other variables are nobody's business."""
    assert load_config(None, {"HUDDLE_DATASETS": "x", "PATH": "y"}, {"listen": None}) == ServiceConfig()


def test_environment_is_over_the_file_and_flags_over_both(tmp_path: Path) -> None:
    """Setting by setting, not section by section."""
    text = "[drain]\ngrace_s = 1\nstop_s = 1\n[logs]\nlevel = 'error'\n[limits]\nmax_nodes = 7"
    variables = {"HUDDLE_SERVE_DRAIN_GRACE_S": "2", "HUDDLE_SERVE_LOGS_LEVEL": "debug"}
    found = read(tmp_path, text, variables, drain__grace_s=3.0)
    assert found == ServiceConfig(drain=Drain(grace_s=3, stop_s=1), logs=Logs(Level.DEBUG), limits=Limits(max_nodes=7))


def test_values_of_every_kind(tmp_path: Path) -> None:
    """Paths, roles, truths and tables, from the file as from the environment."""
    text = """
        listen = "[::1]:0"
        reflection = false
        [tls]
        cert_file = "a.crt"
        key_file = "a.key"
        client_ca_file = "ca.crt"
        [auth]
        anonymous = "read"
        certificates = {"CN=a" = "plan", "spiffe://x/y=z" = "write"}
    """
    wanted = ServiceConfig(
        listen="[::1]:0",
        reflection=False,
        tls=Tls(Path("a.crt"), Path("a.key"), Path("ca.crt")),
        auth=Auth(anonymous=Role.READ, certificates={"CN=a": Role.PLAN, "spiffe://x/y=z": Role.WRITE}),
    )
    variables = {
        "HUDDLE_SERVE_LISTEN": "[::1]:0",
        "HUDDLE_SERVE_REFLECTION": "False",
        "HUDDLE_SERVE_TLS_CERT_FILE": "a.crt",
        "HUDDLE_SERVE_TLS_KEY_FILE": "a.key",
        "HUDDLE_SERVE_TLS_CLIENT_CA_FILE": "ca.crt",
        "HUDDLE_SERVE_AUTH_ANONYMOUS": "read",
        "HUDDLE_SERVE_AUTH_CERTIFICATES": "CN=a=plan,spiffe://x/y=z=write",
    }
    assert read(tmp_path, text) == wanted == load_config(None, variables, {})


def test_a_variable_can_take_a_value_away(tmp_path: Path) -> None:
    """`none` stands for no value over one of the file."""
    found = read(tmp_path, "[metrics]\nlisten = '127.0.0.1:1'", {"HUDDLE_SERVE_METRICS_LISTEN": "none"})
    assert found.metrics.listen is None


def test_what_is_printed_reads_back(tmp_path: Path) -> None:
    """All settings, with names that need quoting."""
    config = ServiceConfig(
        tls=Tls(Path('we"ird\\.crt'), Path("ü.key"), Path("ca"), reload_s=0.5),
        auth=Auth(certificates={"CN=a b": Role.READ, "uri\x7f": Role.WRITE}, anonymous=Role.PLAN),
        limits=Limits(max_workers=9),
    )
    assert read(tmp_path, config_text(config)) == config
    assert read(tmp_path, config_text(ServiceConfig())) == ServiceConfig()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[limits]\nmax_nodez = 1", "limits.max_nodez: no such key; did you mean limits.max_nodes?"),
        ("lisen = 'x'", "lisen: no such key; did you mean listen?"),
        ("[limit]\nmax_nodes = 1", "limit: no such key"),
        ("limits = 1", "limits: no such key"),
        ("[drain.grace_s]\nx = 1", "drain.grace_s: expected a number"),
        ("[limits]\nmax_nodes = 0", "limits.max_nodes: 0 is out of range (1 to 10,000,000)"),
        ("[limits]\nmax_nodes = 1.5", "limits.max_nodes: expected a whole number"),
        ("[limits]\nmax_nodes = true", "limits.max_nodes: expected a whole number"),
        ("[drain]\ngrace_s = nan", "drain.grace_s: nan is out of range"),
        ("[logs]\nlevel = 'loud'", "logs.level: expected one of debug, info, warning, error"),
        ("[logs]\ncalls = 1", "logs.calls: expected true or false"),
        ("[tls]\ncert_file = ''", "tls.cert_file: expected the path of a file"),
        ("[tls]\ncert_file = 'x'", "tls.cert_file and key_file: one is given without the other"),
        ("[tls]\nclient_ca_file = 'x'", "tls.client_ca_file: client certificates need a cert_file"),
        ("[auth]\nanonymous = 'root'", "auth.anonymous: expected one of read, plan, write"),
        ("[auth]\ncertificates = {a = 'root'}", "auth.certificates: expected names with a role each"),
        (
            "listen = '0.0.0.0:1'",
            "listen: 0.0.0.0:1 is not loopback, and without tls.cert_file everything would travel",
        ),
        ("listen = 'nowhere'", "listen: 'nowhere' is not HOST:PORT"),
        ("[metrics]\nlisten = '1:99999'", "metrics.listen: port 99999 is out of range"),
        ("[tracing]\nendpoint = 'collector:1'", "tracing.endpoint: expected http://HOST:PORT"),
        ("listen = ", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, told: str) -> None:
    """One sentence: file, key, what is wrong."""
    with pytest.raises(InvalidRequest) as refused:
        read(tmp_path, text)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    source_known = "one is given without" not in told
    assert str(refused.value).startswith(f"config {tmp_path / 'serve.toml'}: ") is source_known


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "TLS_CERT",
            "x",
            "environment: HUDDLE_SERVE_TLS_CERT: no such setting; did you mean HUDDLE_SERVE_TLS_CERT_FILE?",
        ),
        ("LIMITS_MAX_NODES", "many", "environment HUDDLE_SERVE_LIMITS_MAX_NODES: limits.max_nodes: expected a whole"),
        ("INSECURE", "yes", "environment HUDDLE_SERVE_INSECURE: insecure: expected true or false"),
        ("LIMITS_MAX_NODES", "0", "environment HUDDLE_SERVE_LIMITS_MAX_NODES: limits.max_nodes: 0 is out of range"),
    ],
)
def test_what_is_wrong_is_named_with_its_variable(name: str, value: str, told: str) -> None:
    """The same for the environment."""
    with pytest.raises(InvalidRequest, match=f"^{re.escape(told)}"):
        load_config(None, {f"HUDDLE_SERVE_{name}": value}, {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Named, with the reason."""
    with pytest.raises(InvalidRequest, match=r"absent.toml: No such file"):
        load_config(tmp_path / "absent.toml", {}, {})


def test_values_are_not_repeated(tmp_path: Path) -> None:
    """A secret that stands at the wrong place is not told."""
    secret = "hush-0123456789abcdef"
    for text in (
        f"token = '{secret}'",
        f"[auth]\nanonymous = '{secret}'",
        f"[tracing]\nendpoint = 'http://a:{secret}@b'",
    ):
        with pytest.raises(InvalidRequest) as refused:
            read(tmp_path, text)
        assert secret not in str(refused.value)


@pytest.mark.parametrize(
    ("sections", "accepted"),
    [
        ({"insecure": True}, True),
        ({"tls": Tls(Path("c"), Path("k"))}, False),
        ({"tls": Tls(Path("c"), Path("k")), "auth": Auth(token_file=Path("t"))}, True),
        ({"tls": Tls(Path("c"), Path("k"), Path("a"))}, True),
        ({"tls": Tls(Path("c"), Path("k")), "auth": Auth(anonymous=Role.READ)}, True),
        ({"auth": Auth(token_file=Path("t"))}, False),
    ],
)
def test_addresses_that_others_reach_need_certificates_and_credentials(
    sections: dict[str, object], accepted: bool
) -> None:
    """Or the word `insecure`."""
    try:
        ServiceConfig(listen="0.0.0.0:1", **sections)  # type: ignore[arg-type]
    except InvalidRequest:
        assert not accepted
    else:
        assert accepted


def test_anonymous_callers_write_only_where_nobody_has_credentials() -> None:
    """As soon as there are tokens or a client CA, having none is no role."""
    certificates = Tls(Path("c"), Path("k"), Path("a"))
    assert ServiceConfig().anonymous_role is Role.WRITE
    assert ServiceConfig(auth=Auth(anonymous=Role.READ)).anonymous_role is Role.READ
    assert ServiceConfig(auth=Auth(token_file=Path("t"))).anonymous_role is None
    assert ServiceConfig(tls=certificates).anonymous_role is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")],
        *[(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org")],
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Only what no other machine reaches."""
    assert is_loopback(host) is loopback


def test_metrics_off_loopback_need_certificates(tmp_path: Path) -> None:
    """Or the word `insecure`; on loopback they need neither."""
    text = "[metrics]\nlisten = '0.0.0.0:9100'\n"
    with pytest.raises(InvalidRequest, match=r"metrics.listen: 0.0.0.0:9100 is not loopback.*--insecure$"):
        read(tmp_path, text)
    assert read(tmp_path, f"insecure = true\n{text}").metrics.listen == "0.0.0.0:9100"
    assert read(tmp_path, f"{text}[tls]\ncert_file = 'c'\nkey_file = 'k'\n").metrics.listen == "0.0.0.0:9100"
    assert read(tmp_path, text.replace("0.0.0.0", "127.0.0.1")).metrics.listen == "127.0.0.1:9100"


@pytest.mark.parametrize("text", ["", "1", ":1", "a:", "a:-1", "a:65536", "::1:1", "a:٣", "[a:1", "[]:1"])
def test_other_addresses_are_refused(text: str) -> None:
    """Host and port, the host in brackets when it has colons."""
    with pytest.raises(ValueError, match=r"HOST:PORT|range"):
        split_address(text)


def test_threads_suffice_for_all_who_may_hold_one() -> None:
    """Streams, searches and waiting calls together leave some over."""
    limits = Limits(max_streams=5, max_solves=3, max_waiting=2)
    assert limits.workers > 3 * 5 + 3 + 2
    assert Limits(max_workers=7).workers == 7


def test_the_example_of_the_readme_is_in_force(tmp_path: Path) -> None:
    """It reads, and says what stands there."""
    (text,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    found = read(tmp_path, text)
    assert found.auth.certificates == {"CN=autoscaler": Role.PLAN, "spiffe://site/controller": Role.WRITE}
    assert found.ledger.file == Path("/var/lib/huddle/promises.db")
