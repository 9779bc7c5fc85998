"""Settings: where they come from, which one wins, what an error says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from davserver.config import Settings, SettingsError, default_state, dotted, load_settings
from davserver.configtables import Rule, Share, UserEntry

SAMPLE = Path(__file__).parent.parent / "config" / "davserver.toml"
_KEY = re.compile(r"^#([a-z0-9_]+ = .*)$")


def uncommented() -> str:
    """Returns the sample with every key set."""
    return "\n".join(_KEY.sub(r"\1", line) for line in SAMPLE.read_text("utf-8").splitlines())


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text('root = "files"\nport = 1\nworkers = 2\nprefix = "/a"\n')
    settings = load_settings(
        config=file,
        environment={"DAVSERVER_PORT": "2", "DAVSERVER_WORKERS": "3", "HOME": "/"},
        flags={"port": "3", "workers": None},
    )

    assert (settings.port, settings.workers, settings.prefix) == (3, 3, "/a")


def test_paths_of_the_file_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text('root = "files"\n[tls]\ntls_cert = "cert.pem"\n')
    settings = load_settings(config=file)

    assert (settings.root, settings.tls_cert) == (tmp_path / "files", tmp_path / "cert.pem")


def test_the_environment_may_name_the_file_and_give_lists(tmp_path: Path) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text('root = "/srv"\nread_only = true\n')
    settings = load_settings(
        environment={
            "DAVSERVER_CONFIG": str(file),
            "DAVSERVER_TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2",
            "DAVSERVER_ACCESS_LOG": "false",
            "DAVSERVER_ANONYMOUS": "",
            "DAVSERVER_CONTAINER": "1",
        }
    )

    assert settings.read_only
    assert not settings.access_log
    assert settings.anonymous is None
    assert settings.trusted_proxies == ("10.0.0.1", "10.0.0.2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            'root = "/srv"\n[http]\nkeep_alives = 1\n',
            "{file}, line 3, http.keep_alives: unknown key",
            id="unknown key in a table",
        ),
        pytest.param(
            'root = "/srv"\n\nports = 1\n', "{file}, line 3, ports: unknown key", id="unknown key"
        ),
        pytest.param(
            'root = "/srv"\nkeep_alive_s = 1\n',
            "{file}, line 2, keep_alive_s: stands in [http]",
            id="a key outside of its table",
        ),
        pytest.param(
            'root = "/srv"\n[dav]\nport = 1\n',
            "{file}, line 3, dav.port: stands above the first [table]",
            id="a key within a table",
        ),
        pytest.param(
            'root = "/srv"\n# port = 1\nport = 70000\n',
            "{file}, line 3, port: input should be less than or equal to 65535",
            id="port out of range",
        ),
        pytest.param(
            'root = "/srv"\n[dav]\n  durability = "some"\n',
            "{file}, line 3, dav.durability: input should be 'none', 'file' or 'full'",
            id="unknown choice",
        ),
        pytest.param(
            'root = "/srv"\nprefix = "dav"\n',
            "{file}, line 2, prefix: must look like /dav",
            id="prefix without slash",
        ),
        pytest.param(
            'root = "/srv"\nprefix = "/a/../b"\n',
            "{file}, line 2, prefix: must look like /dav",
            id="prefix with dots",
        ),
        pytest.param(
            'root = "/srv"\npublic_url = ["files.example.org"]\n',
            "{file}, line 2, public_url: 'files.example.org' must look like"
            " https://files.example.org/dav",
            id="public_url without scheme",
        ),
        pytest.param(
            'root = "/srv"\n[tls]\ntls_key = "k"\n',
            "{file}, line 3, tls.tls_key: needs tls_cert",
            id="key without certificate",
        ),
        pytest.param(
            'root = "/srv"\n[tls]\n\ntls = "self-signed"\ntls_cert = "c"\n',
            "{file}, line 5, tls.tls_cert: excludes tls",
            id="two certificates",
        ),
        pytest.param(
            'root = "/srv"\n[tls]\n\ntls = "magic"\n',
            "{file}, line 4, tls.tls: input should be 'self-signed'",
            id="a key with the name of its table",
        ),
        pytest.param(
            "port = 1\n", "{file}: no folder is named: davserver serve DIR", id="no folder"
        ),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text(text)

    with pytest.raises(SettingsError) as caught:
        load_settings(config=file)
    assert str(caught.value) == message.format(file=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"port = \n", "Invalid value", id="no TOML"),
        pytest.param(b"x = " + b"[" * 9_999, "nested too deeply", id="deep"),
        pytest.param(b'root = "\xff"\n', "not UTF-8", id="no UTF-8"),
        pytest.param(None, "No such file", id="no file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "davserver.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(config=file)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DAVSERVER_PORTS": "1"}, "DAVSERVER_PORTS: unknown setting"),
        ({"DAVSERVER_port": "1"}, "DAVSERVER_port: unknown setting"),
        ({"DAVSERVER_READ_ONLY": "perhaps"}, "DAVSERVER_READ_ONLY: input should be a valid bool"),
    ],
)
def test_an_error_names_the_variable(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(environment=environment, flags={"root": "/srv"})


def test_an_error_names_the_flag() -> None:
    with pytest.raises(SettingsError, match=r"^--log-level: input should be 'debug'"):
        load_settings(flags={"root": "/srv", "log_level": "loud"})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert Settings(root=Path("/srv"), host=host).is_loopback is expected


def test_each_root_has_a_state_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    one.mkdir()
    two.mkdir()
    link.symlink_to(one)

    assert default_state(one).parent == tmp_path / "davserver"
    assert default_state(one) != default_state(two)
    assert default_state(one) == default_state(link)
    assert Settings(root=one).state_folder == default_state(one)
    assert Settings(root=one, state=two).state_folder == two


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", "/home/x")

    assert default_state(Path("/srv")).parent == Path("/home/x/.local/state/davserver")


def test_the_sample_names_every_key_once_in_its_table() -> None:
    found = []
    table = ""
    for line in SAMPLE.read_text("utf-8").splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif match := _KEY.match(line):
            found.append(table + match[1].partition(" ")[0])

    expected = [name for name in Settings.model_fields if name not in ("share", "user", "rule")]
    assert sorted(map(dotted, expected)) == sorted(found)


@pytest.mark.parametrize("model", [Share, UserEntry, Rule])
def test_the_sample_shows_every_key_of_a_table(tmp_path: Path, model: type[Share]) -> None:
    text = SAMPLE.read_text("utf-8").partition("# --- tables")[2]
    lines = re.findall(r'^# (\[\[[a-z]+\]\]|[a-z_]+ = (?:".*"|[\d[{tf].*))$', text, re.MULTILINE)
    file = tmp_path / "davserver.toml"
    file.write_text('state = "/var/lib/davserver"\n' + "\n".join(lines))
    settings = load_settings(config=file)
    shown = [one for one in (*settings.share, *settings.user, *settings.rule) if type(one) is model]

    assert set().union(*(one.model_fields_set for one in shown)) == set(model.model_fields)


def test_the_sample_as_it_stands_sets_nothing() -> None:
    tables = tomllib.loads(SAMPLE.read_text("utf-8"))

    assert [table for table in tables.values() if table] == []


def test_the_sample_shows_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "davserver.toml"
    # It excludes the two keys after it.
    file.write_text(uncommented().replace('\ntls = "self-signed"\n', "\n"), "utf-8")
    shown = load_settings(config=file).model_dump()
    defaults = Settings(root=Path("/srv/files")).model_dump()
    # What has no default shows an example.
    examples = {name for name, value in defaults.items() if value is None} - {"tls"}

    assert {name: shown[name] for name in shown if name not in examples} == {
        name: defaults[name] for name in defaults if name not in examples
    }
    assert all(shown[name] is not None for name in examples)


def test_settings_cannot_be_changed() -> None:
    settings = Settings(root=Path("/srv"))

    with pytest.raises(ValueError):
        settings.port = 1


TABLES = """
state = "s"
[[share]]
name = "photos"
path = "p"
quota = 10

[[share]]
name = "homes"
path = "/srv/homes"
homes = true

[[user]]
name = "alice"
password = "$argon2id$v=19$..."
groups = ["family"]

[[rule]]
path = "/photos//private/"
users = ["alice"]
access = "write"
"""


def test_the_file_has_shares_users_and_rules(tmp_path: Path) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text(TABLES)
    settings = load_settings(config=file)

    assert [share.path for share in settings.served] == [tmp_path / "p", Path("/srv/homes")]
    assert settings.share[0].quota == 10
    assert settings.user[0].groups == ("family",)
    assert settings.rule[0].path == "/photos/private"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            'path = "/srv/homes"',
            'paths = "/srv/homes"',
            "{file}, line 8, share[1].path: field required",
            id="missing",
        ),
        pytest.param(
            "quota = 10",
            "quota = -1",
            "{file}, line 6, share[0].quota: input should be greater than or equal to 0",
            id="out of range",
        ),
        pytest.param(
            "homes = true",
            "home = true",
            "{file}, line 11, share[1].home: unknown key",
            id="unknown",
        ),
        pytest.param(
            '"$argon2id$v=19$..."',
            '"secret"',
            "{file}, line 15, user[0].password: must be a hash (davserver user hash prints one),"
            " not a password",
            id="a password in clear",
        ),
        pytest.param(
            '"homes"', '"photos"', "{file}: two shares are named 'photos'", id="two of a name"
        ),
        pytest.param(
            '"s"', '"s"\nroot = "r"', "{file}: root and share exclude each other", id="root too"
        ),
        pytest.param(
            'state = "s"', "", "{file}: state must be set where there are shares", id="no state"
        ),
        pytest.param(
            '"photos"',
            '".DavServer"',
            "{file}, line 4, share[0].name: '.DavServer' is a reserved name",
            id="reserved name",
        ),
    ],
)
def test_an_error_in_a_table_names_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "davserver.toml"
    file.write_text(TABLES.replace(old, new, 1))

    with pytest.raises(SettingsError) as caught:
        load_settings(config=file)
    assert str(caught.value) == message.format(file=file)


def test_the_environment_cannot_give_tables() -> None:
    with pytest.raises(SettingsError, match="DAVSERVER_USER: this stands in the settings file"):
        load_settings(environment={"DAVSERVER_USER": "alice"})
