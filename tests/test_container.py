"""The image and its Compose file, as far as they can be checked without a container runtime."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from davserver.cli.main import main, serve
from davserver.config import Settings, load_settings
from davserver.serving.container import IdentityError, check_health, take_identity

TOP = Path(__file__).parent.parent
IDENTITY = (
    "import os; from pathlib import Path; from davserver.serving.container import take_identity;"
    "take_identity(os.environ, Path(os.environ['FOLDER']));"
    "umask = os.umask(0);"
    "print(os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups(), oct(umask))"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the Dockerfile."""
    text = (TOP / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def instruction(name: str) -> str:
    found = [argument for keyword, argument in instructions() if keyword == name]
    assert len(found) == 1
    return found[0]


def test_the_dockerfile_has_only_instructions_we_know_from_a_slim_base() -> None:
    known = {"FROM", "COPY", "RUN", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}

    assert {name for name, _ in instructions()} - known == {"ENTRYPOINT", "CMD"}
    assert re.fullmatch(r"python:3\.\d+-slim", instruction("FROM"))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    sources = [word for name, words in instructions() if name == "COPY" for word in words.split()]
    sources = [source for source in sources if not source.startswith("/")]
    ignored = (TOP / ".dockerignore").read_text("utf-8").splitlines()

    assert [source for source in sources if not (TOP / source).exists()] == []
    assert [source for source in sources if f"!{source}" not in ignored] == []


def test_the_command_is_one_that_the_command_line_takes() -> None:
    entry = json.loads(instruction("ENTRYPOINT"))
    command = json.loads(instruction("CMD"))
    context = serve.make_context("serve", command[1:])

    assert (entry, command[0]) == (["davserver"], "serve")
    assert command[0] in main.commands
    assert (context.params["folder"], context.params["host"]) == ("/data", "0.0.0.0")
    assert "DAVSERVER_STATE=/state" in instruction("ENV").split()
    assert json.loads(instruction("VOLUME")) == ["/data", "/state"]
    assert instruction("EXPOSE") == str(Settings(root=Path("/data")).port)


def test_every_variable_of_the_image_and_of_compose_is_one_we_read() -> None:
    compose = (TOP / "config" / "compose.yaml").read_text("utf-8")
    caddy = (TOP / "config" / "compose.caddy.yaml").read_text("utf-8")
    named = set(re.findall(r"\bDAVSERVER_([A-Z_]+)", compose + caddy + instruction("ENV")))

    assert {name.lower() for name in named} - set(Settings.model_fields) == {"config", "container"}
    assert '"127.0.0.1:8080:8080"' in compose
    assert 'DAVSERVER_ANONYMOUS: "write"' in compose


def composed(name: str) -> dict[str, Any]:
    """Returns a Compose file of config/."""
    found: dict[str, Any] = yaml.safe_load((TOP / "config" / name).read_text("utf-8"))
    return found


def interpolated(value: str, **variables: str) -> str:
    """Returns a value as Compose reads it: `${NAME}` and `${NAME:-default}`."""
    return re.sub(
        r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: variables.get(found[1], found[2] or ""), value
    )


@pytest.mark.parametrize("name", ["compose.yaml", "compose.caddy.yaml"])
def test_compose_runs_the_image_read_only_and_with_what_it_needs(name: str) -> None:
    service = composed(name)["services"]["davserver"]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    data, *rest = service["volumes"]
    assert data.endswith(":/data")
    assert rest == ["state:/state", ".:/config:ro"]
    assert service["stop_grace_period"] == "45s"


def test_compose_with_caddy_lets_nobody_else_to_the_server_and_trusts_caddy() -> None:
    found = composed("compose.caddy.yaml")
    server, caddy = found["services"]["davserver"], found["services"]["caddy"]
    network = ipaddress.ip_network(found["networks"]["front"]["ipam"]["config"][0]["subnet"])
    addresses = [one["networks"]["front"]["ipv4_address"] for one in (server, caddy)]
    given = {
        k: interpolated(v, DOMAIN="files.example.org") for k, v in server["environment"].items()
    }
    settings = load_settings(
        environment={k: v for k, v in given.items() if k.startswith("DAVSERVER_")},
        flags={"root": "/data"},
    )
    caddyfile = (TOP / "config" / "Caddyfile").read_text("utf-8")

    assert "ports" not in server
    assert all(ipaddress.ip_address(address) in network for address in addresses)
    assert settings.trusted_proxies == (addresses[1],)
    assert settings.anonymous is None
    assert settings.public_url == (f"https://files.example.org{settings.prefix}",)
    assert f"/{settings.prefix.strip('/')}/*" in caddyfile
    assert set(re.findall(r"\{\$(\w+):", caddyfile)) == set(caddy["environment"])
    assert caddy["environment"]["DAVSERVER"] == f"davserver:{settings.port}"
    assert "./Caddyfile:/etc/caddy/Caddyfile:ro" in caddy["volumes"]


def test_what_traefik_is_told_is_well_formed_and_names_what_it_defines() -> None:
    """Traefik itself is not in Debian, and was not run."""
    told = composed("traefik.yaml")["http"]
    (router,) = told["routers"].values()

    assert router["service"] in told["services"]
    assert set(router["middlewares"]) <= set(told["middlewares"])
    balancer = told["services"][router["service"]]["loadBalancer"]
    assert balancer["passHostHeader"] is True
    assert balancer["servers"] == [{"url": "http://127.0.0.1:8080"}]


def test_the_health_check_tells_a_server_that_is_not_there() -> None:
    command = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    done = subprocess.run(
        [sys.executable, *command[1:]],
        env={**os.environ, "DAVSERVER_PORT": "1"},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert command[0] == "python"
    assert done.returncode == 1
    assert "refused" in done.stderr


def test_the_health_check_reads_settings_with_shares(tmp_path: Path) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text('state = "/state"\nport = 1\n[[share]]\nname = "a"\npath = "/data/a"\n')

    assert check_health({"DAVSERVER_CONFIG": str(file)}) == 1


def identity(folder: Path, **variables: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", IDENTITY],
        env={**os.environ, "FOLDER": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    return done.stdout.split(" ", 4)


@needs_root
def test_root_is_given_up_for_puid_and_pgid_and_the_state_folder_with_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "owners").mkdir(parents=True)
    told = identity(state, DAVSERVER_CONTAINER="1", PUID="1234", PGID="2345", UMASK="027")

    assert told == ["1234", "1234", "2345", "2345", "[] 0o27\n"]
    assert (state.stat().st_uid, state.stat().st_gid) == (1234, 2345)
    assert (state / "owners").stat().st_uid == 1234


@needs_root
def test_the_image_takes_1000_where_nothing_is_said(tmp_path: Path) -> None:
    assert identity(tmp_path, DAVSERVER_CONTAINER="1")[:4] == ["1000"] * 4


@needs_root
def test_a_link_in_the_state_folder_gives_nothing_else_away(tmp_path: Path) -> None:
    state, other = tmp_path / "state", tmp_path / "other"
    state.mkdir()
    other.touch()
    (state / "link").symlink_to(other)
    identity(state, DAVSERVER_CONTAINER="1")

    assert other.stat().st_uid == 0


@needs_root
def test_outside_of_the_image_root_stays_root(tmp_path: Path) -> None:
    assert identity(tmp_path, DAVSERVER_CONTAINER="")[:2] == ["0", "0"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PUID", "me"), ("PUID", "-1"), ("PGID", "1.5"), ("UMASK", "9"), ("UMASK", "1777")],
)
def test_an_identity_that_is_none_is_refused(variable: str, value: str) -> None:
    if os.geteuid() != 0 and variable != "UMASK":
        pytest.skip("without root nobody looks at it")

    with pytest.raises(IdentityError, match=f"{variable}={value!r}"):
        take_identity({"DAVSERVER_CONTAINER": "1", variable: value}, None)


def test_the_run_instructions_are_shell() -> None:
    commands = [argument for name, argument in instructions() if name == "RUN"]

    for command in commands:
        subprocess.run(["sh", "-n", "-c", command], check=True)
    assert [shlex.split(command)[:2] for command in commands] == [
        ["pip", "install"],
        ["mkdir", "/data"],
    ]
