"""Settings: one pydantic model, and how it is read.

Later ones win: defaults, the TOML file, environment variables `DAVSERVER_<NAME>`, flags. Every
key is documented in config/davserver.toml.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from davserver.address import check_address, check_prefix, check_urls, is_loopback
from davserver.configlines import beside, line_in_table, line_of, table_beside
from davserver.configtables import Rule, Share, UserEntry, check_realm
from davserver.protocol.cors import check_origins
from davserver.protocol.junk import JunkPolicy

ENVIRONMENT = "DAVSERVER_"
_NO_SETTINGS = frozenset({"CONFIG", "CONTAINER", "PASSWORD"})
"""Environment variables with our prefix that are no settings: the path of the file, the mark that
the image sets, what check-url signs in with."""

_TABLES = frozenset({"share", "user", "rule"})
"""Repeated tables of the file: the environment and flags cannot give them."""

Seconds = Annotated[float, Field(gt=0, le=10**7, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Lifetime = Annotated[int, Field(ge=60, le=2**31)]
WholeSeconds = Annotated[int, Field(ge=1, le=2**31)]
FieldName = Annotated[str, Field(pattern="^[A-Za-z0-9-]+$")]
LogLevel = Literal["debug", "info", "warning", "error"]
_ANY_FOLDER = "any folder"
"""In the validation's context: what is served does not matter, and need not be known."""
_NO_FOLDER = "no folder is named: davserver serve DIR"


class SettingsError(ValueError):
    """A setting that cannot be used. The message is one line that says where it stands."""


def _in(section: str) -> Any:
    return {"section": section}


class Settings(BaseModel):
    """What the server does. Sizes and rates are in bytes, times in seconds, None means absent.

    Attributes that need more than their name says are described in config/davserver.toml, with
    the same defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    root: Path | None = None
    state: Path | None = None
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    prefix: str = ""
    read_only: bool = False
    page: bool = True
    anonymous: Literal["none", "read", "write"] | None = None
    public_url: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    log_level: LogLevel = "info"
    access_log: bool = True
    log_format: Literal["text", "json"] = "text"

    durability: Literal["none", "file", "full"] = Field("full", json_schema_extra=_in("dav"))
    symlinks: Literal["deny", "within", "follow"] = Field("within", json_schema_extra=_in("dav"))
    propfind_infinity: Literal["allow", "refuse"] = Field("allow", json_schema_extra=_in("dav"))
    propfind_limit: Count | None = Field(None, json_schema_extra=_in("dav"))
    lock_timeout_s: WholeSeconds = Field(3600, json_schema_extra=_in("dav"))
    lock_timeout_max_s: WholeSeconds = Field(86_400, json_schema_extra=_in("dav"))
    gate_wait_s: Seconds = Field(10.0, json_schema_extra=_in("dav"))
    quota_recount_s: WholeSeconds = Field(86_400, json_schema_extra=_in("dav"))
    junk: JunkPolicy = Field("store", json_schema_extra=_in("dav"))

    xml_body_limit: Count = Field(1_048_576, json_schema_extra=_in("limits"))
    put_limit: Count | None = Field(None, json_schema_extra=_in("limits"))
    upload_lifetime_s: Lifetime = Field(86_400, json_schema_extra=_in("limits"))
    uploads_per_principal: Count = Field(100, json_schema_extra=_in("limits"))
    upload_bytes_per_principal: Count | None = Field(None, json_schema_extra=_in("limits"))
    locks_per_principal: Count = Field(10_000, json_schema_extra=_in("limits"))
    locks_per_resource: Count = Field(100, json_schema_extra=_in("limits"))
    properties_per_resource: Count = Field(1_000, json_schema_extra=_in("limits"))
    property_bytes: Count = Field(65_536, json_schema_extra=_in("limits"))
    batch_operations: Count = Field(1_000, json_schema_extra=_in("limits"))
    batch_body_limit: Count = Field(16_777_216, json_schema_extra=_in("limits"))
    batch_content_limit: Count = Field(1_048_576, json_schema_extra=_in("limits"))
    batch_hold_s: Seconds = Field(60.0, json_schema_extra=_in("limits"))
    batch_key_s: Seconds = Field(86_400.0, json_schema_extra=_in("limits"))
    zip_members: Count = Field(100_000, json_schema_extra=_in("limits"))
    jobs_at_once: Annotated[int, Field(ge=0, le=4)] = Field(2, json_schema_extra=_in("limits"))
    jobs_per_principal: Count = Field(16, json_schema_extra=_in("limits"))
    jobs_kept_s: Seconds = Field(3600.0, json_schema_extra=_in("limits"))

    head_timeout_s: Seconds = Field(10.0, json_schema_extra=_in("http"))
    body_idle_s: Seconds = Field(30.0, json_schema_extra=_in("http"))
    min_rate: Annotated[int, Field(ge=0)] = Field(1024, json_schema_extra=_in("http"))
    write_idle_s: Seconds = Field(300.0, json_schema_extra=_in("http"))
    keep_alive_s: Seconds = Field(75.0, json_schema_extra=_in("http"))
    head_limit: Annotated[int, Field(ge=1024)] = Field(65_536, json_schema_extra=_in("http"))
    header_count: Annotated[int, Field(ge=10)] = Field(100, json_schema_extra=_in("http"))
    url_limit: Annotated[int, Field(ge=256)] = Field(8192, json_schema_extra=_in("http"))
    connections: Count = Field(4096, json_schema_extra=_in("http"))
    connections_per_address: Count = Field(1024, json_schema_extra=_in("http"))
    grace_s: Seconds = Field(30.0, json_schema_extra=_in("http"))

    tls: Literal["self-signed"] | None = Field(None, json_schema_extra=_in("tls"))
    tls_cert: Path | None = Field(None, json_schema_extra=_in("tls"))
    tls_key: Path | None = Field(None, json_schema_extra=_in("tls"))

    cors_origins: tuple[str, ...] = Field((), json_schema_extra=_in("cors"))

    metrics_listen: str | None = Field(None, json_schema_extra=_in("metrics"))
    realm: Annotated[str, AfterValidator(check_realm)] = Field(
        "davserver", json_schema_extra=_in("auth")
    )
    users: Path | None = Field(None, json_schema_extra=_in("auth"))
    htpasswd: Path | None = Field(None, json_schema_extra=_in("auth"))
    proxy_header: FieldName | None = Field(None, json_schema_extra=_in("auth"))
    insecure_basic: bool = Field(False, json_schema_extra=_in("auth"))
    digest_md5: bool = Field(False, json_schema_extra=_in("auth"))
    nonce_s: Seconds = Field(300.0, json_schema_extra=_in("auth"))
    password_memory_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = Field(
        300.0, json_schema_extra=_in("auth")
    )
    session_s: Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)] = Field(
        43_200.0, json_schema_extra=_in("auth")
    )
    sign_in_failures: Count = Field(10, json_schema_extra=_in("auth"))
    sign_in_lockout_s: Seconds = Field(300.0, json_schema_extra=_in("auth"))

    fallbacks: tuple[str, ...] = Field((), json_schema_extra=_in("test"))

    share: tuple[Share, ...] = ()
    user: tuple[UserEntry, ...] = ()
    rule: tuple[Rule, ...] = ()

    @field_validator("root", "state", "tls_cert", "tls_key", "users", "htpasswd")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    _check_prefix = field_validator("prefix")(check_prefix)
    _check_urls = field_validator("public_url")(check_urls)
    _check_origins = field_validator("cors_origins")(check_origins)
    _check_listen = field_validator("metrics_listen")(check_address)

    @field_validator("tls_cert")
    @classmethod
    def _check_tls_cert(cls, value: Path | None, info: Any) -> Path | None:
        if value is not None and info.data.get("tls") is not None:
            raise ValueError("excludes tls")
        return value

    @field_validator("tls_key")
    @classmethod
    def _check_tls_key(cls, value: Path | None, info: Any) -> Path | None:
        if value is not None and info.data.get("tls_cert") is None:
            raise ValueError("needs tls_cert")
        return value

    @model_validator(mode="after")
    def _check_served(self, info: ValidationInfo) -> Settings:
        is_needed = not (info.context or {}).get(_ANY_FOLDER)
        if (self.root is None) == (not self.share) and (is_needed or self.share):
            both = "root and share exclude each other" if self.share else _NO_FOLDER
            raise ValueError(both)
        if self.share and self.state is None:
            raise ValueError("state must be set where there are shares")
        for table in ("share", "user"):
            taken = [one.name for one in getattr(self, table)]
            twice = [name for name in taken if taken.count(name) > 1]
            if twice:
                raise ValueError(f"two {table}s are named {twice[0]!r}")
        return self

    @property
    def served(self) -> tuple[Share, ...]:
        """What is served: the shares, or `root` as the one without a name."""
        if self.root is None:
            return self.share
        return (Share.model_construct(name="", path=self.root),)

    def junk_of(self, root: str) -> JunkPolicy:
        """Returns the policy of the share with this root id."""
        if not self.share:
            return self.junk
        return next((one.junk or self.junk for one in self.share if one.name == root), self.junk)

    @property
    def state_folder(self) -> Path:
        """Where properties and locks are kept: as set, or a folder of the user's for this root."""
        if self.state is not None:
            return self.state
        assert self.root is not None
        return default_state(self.root)

    @property
    def has_tls(self) -> bool:
        """True when the server's own port speaks TLS."""
        return self.tls is not None or self.tls_cert is not None

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach the server."""
        return is_loopback(self.host)


def default_state(root: Path) -> Path:
    """Returns the state folder of a root: one for each, below the user's XDG state folder."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: "All paths set in these environment variables must be absolute."
    folder = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return folder / "davserver" / name


def require_apart(settings: Settings) -> None:
    """Raises SettingsError when the state would be served, or a served folder lies in it or in
    another: one file must not have two keys."""
    try:
        state = settings.state_folder.resolve()
        roots = [share.path.resolve() for share in settings.served]
    except (OSError, RuntimeError) as error:
        raise SettingsError(f"the state folder cannot be found: {error}") from error
    for number, root in enumerate(roots):
        if _overlap(state, root):
            raise SettingsError(
                f"the state folder {state} and the served folder {root} must not lie within each"
                " other"
            )
        for other in roots[:number]:
            if _overlap(root, other):
                raise SettingsError(f"the shares {other} and {root} must not lie within each other")


def _overlap(a: Path, b: Path) -> bool:
    return a.is_relative_to(b) or b.is_relative_to(a)


def section_of(name: str) -> str | None:
    """Returns the TOML table that holds a key, None for the top level."""
    extra = Settings.model_fields[name].json_schema_extra
    section = extra.get("section") if isinstance(extra, dict) else None
    return section if isinstance(section, str) else None


def dotted(name: str) -> str:
    """Returns the name of a key as the TOML file has it: `http.keep_alive_s`."""
    section = section_of(name)
    return name if section is None else f"{section}.{name}"


def load_settings(
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    any_folder: bool = False,
) -> Settings:
    """Reads the settings. Raises SettingsError.

    Args:
        config: the TOML file; else the environment's DAVSERVER_CONFIG, else none.
        environment: variables; None reads none.
        flags: values of the command line by key; None values are not set.
        any_folder: what is served need not be said.
    """
    environment = {} if environment is None else environment
    if config is None and environment.get(f"{ENVIRONMENT}CONFIG"):
        config = Path(environment[f"{ENVIRONMENT}CONFIG"])
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    text = ""
    if config is not None:
        text = _read(config)
        for name, value in _flatten(config, text).items():
            values[name] = value
            sources[name] = f"{config}, line {line_of(text, name)}, {dotted(name)}"
    for variable, name, raw in _variables(environment):
        values[name] = _from_environment(name, raw)
        sources[name] = variable
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = value
            sources[name] = f"--{name.replace('_', '-')}"
    try:
        return Settings.model_validate(values, context={_ANY_FOLDER: any_folder})
    except ValidationError as error:
        raise SettingsError(_told(error, sources, config, text)) from None


def _told(
    error: ValidationError, sources: Mapping[str, str], config: Path | None, text: str
) -> str:
    """Returns the first of what is wrong, with its place: in one value, or in the whole file."""
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    if first["loc"]:
        return f"{_where(first['loc'], sources, text)}: {message}"
    return f"{config}: {message}" if config else message


def _where(loc: tuple[int | str, ...], sources: Mapping[str, str], text: str) -> str:
    """Returns where a value stands."""
    name = str(loc[0])
    source = sources.get(name, name)
    if len(loc) > 2 and isinstance(loc[1], int) and ", line " in source:
        line = line_in_table(text, name, loc[1], str(loc[2]))
        return f"{source.partition(', line ')[0]}, line {line}, {name}[{loc[1]}].{loc[2]}"
    return source


def _read(config: Path) -> str:
    try:
        return config.read_text("utf-8")
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{config}: not UTF-8") from None


def _flatten(config: Path, text: str) -> dict[str, object]:
    """Returns the values by key. Paths in the file are relative to it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from None
    except RecursionError:
        raise SettingsError(f"{config}: nested too deeply") from None
    flat: dict[str, object] = {}
    for key, value in tables.items():
        if key in _TABLES and isinstance(value, list):
            is_path = key == "share"
            flat[key] = [table_beside(config, entry) if is_path else entry for entry in value]
            continue
        entries = value.items() if isinstance(value, dict) else [(key, value)]
        section = key if isinstance(value, dict) else None
        for name, entry in entries:
            if name not in Settings.model_fields or section_of(name) != section:
                where = f"{section}.{name}" if section else name
                line = line_of(text, name)
                raise SettingsError(f"{config}, line {line}, {where}: {_misplaced(name)}")
            flat[name] = beside(config, entry) if _is_path(name) else entry
    return flat


def _misplaced(name: str) -> str:
    """Returns what is wrong with a key where it stands: another place is right, or none."""
    if name not in Settings.model_fields or name in _TABLES:
        return "unknown key"
    section = section_of(name)
    return f"stands in [{section}]" if section else "stands above the first [table]"


def _is_path(name: str) -> bool:
    return Settings.model_fields[name].annotation in (Path, Path | None)


def _variables(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    found = []
    for variable in sorted(environment):
        name = variable.removeprefix(ENVIRONMENT)
        if name == variable or name in _NO_SETTINGS:
            continue
        if name.lower() not in Settings.model_fields or name != name.upper():
            raise SettingsError(f"{variable}: unknown setting")
        if name.lower() in _TABLES:
            raise SettingsError(f"{variable}: this stands in the settings file alone")
        if environment[variable]:  # Compose files set what is not set to nothing
            found.append((variable, name.lower(), environment[variable]))
    return found


def _from_environment(name: str, raw: str) -> object:
    if isinstance(Settings.model_fields[name].default, tuple):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    return raw
