"""The only reader of the environment and of settings files. Read once by an entry point and passed
down as plain values."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from holdfast.core.errors import InvalidInput
from holdfast.repository import S3Access

_LONGEST_PASSPHRASE = 4096
_LISTEN = "127.0.0.1:8470"
_LONGEST_CREDENTIALS = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """How to reach buckets, by the names that Amazon's own programs use. A value in the file comes
    before one of the environment."""

    credentials_file: Path | None
    """HOLDFAST_S3_CREDENTIALS_FILE: INI as in ~/.aws/credentials (section `default`), or JSON;
    with `aws_access_key_id`, `aws_secret_access_key`, and optionally `aws_session_token`, `region`
    and `endpoint_url`."""
    access_key_id: str
    """AWS_ACCESS_KEY_ID."""
    secret_access_key: str = field(repr=False)
    """AWS_SECRET_ACCESS_KEY."""
    session_token: str = field(repr=False)
    """AWS_SESSION_TOKEN."""
    region: str
    """AWS_REGION or AWS_DEFAULT_REGION; `us-east-1` unless set."""
    endpoint: str
    """AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL; empty for Amazon's."""
    ca_file: str
    """AWS_CA_BUNDLE: further certificate authorities to trust."""
    allow_http: bool
    """HOLDFAST_S3_ALLOW_HTTP=1: an unencrypted endpoint may be on another host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    passphrase_file: Path | None
    """HOLDFAST_PASSPHRASE_FILE: where the repository's passphrase or recovery key is."""
    scratch_root: Path
    """HOLDFAST_SCRATCH: where QEMU keeps what guests overwrite during a backup."""
    cache_root: Path
    """HOLDFAST_CACHE: copies of index objects of S3 repositories; disposable."""
    s3: S3Settings
    failpoints: str
    """HOLDFAST_FAILPOINTS: faults to inject, for tests only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """For `holdfast serve` and `holdfast worker`."""

    state_root: Path
    """HOLDFAST_STATE: database, sealing key and scratch unless said otherwise."""
    database_url: str = field(repr=False)
    """HOLDFAST_DATABASE_URL: SQLite in the state folder unless set. May hold a password."""
    sealing_key_file: Path
    """HOLDFAST_SEALING_KEY_FILE, else the systemd credential `holdfast-sealing-key`, else in the
    state folder: opens the secrets in the database; made at the first start."""
    dashboard_root: Path | None
    """HOLDFAST_DASHBOARD: the built pages; None when they were not built."""
    cache_root: Path
    """HOLDFAST_CACHE: copies of index objects of S3 repositories; disposable."""
    scratch_root: Path
    """HOLDFAST_SCRATCH: where QEMU keeps what guests overwrite during a backup."""
    listen: str = _LISTEN
    """HOLDFAST_LISTEN: address and port of the service."""
    tls_certificate: Path | None = None
    """HOLDFAST_TLS_CERT: PEM file with the certificate and its chain."""
    tls_key: Path | None = None
    """HOLDFAST_TLS_KEY: PEM file with the certificate's key, which has no passphrase."""
    insecure_plain_http: bool = False
    """HOLDFAST_INSECURE_PLAIN_HTTP=1: listen beyond this host without TLS all the same."""
    allowed_origins: tuple[str, ...] = ()
    """HOLDFAST_ALLOWED_ORIGINS: origins besides the service's own that browsers may call it from,
    separated by spaces; for a proxy that changes the Host header."""
    trusted_proxies: tuple[str, ...] = ()
    """HOLDFAST_TRUSTED_PROXIES: addresses of reverse proxies whose X-Forwarded-For and
    X-Forwarded-Proto are believed, separated by spaces."""
    log_level: str = "info"
    """HOLDFAST_LOG_LEVEL: debug, info, warning or error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """For commands that ask a service."""

    server: str
    """HOLDFAST_SERVER: its address; empty for the one that was logged in to."""
    token_file: Path | None
    """HOLDFAST_TOKEN_FILE: where an API token is."""
    ca_file: str
    """HOLDFAST_CA_FILE: further certificate authorities to trust."""
    login_file: Path
    """What `holdfast login` keeps: in XDG_CONFIG_HOME, `~/.config` unless set."""


def read_server_settings(environment: Mapping[str, str] | None = None) -> ServerSettings:
    """Settings of the process's environment, with defaults."""
    values = os.environ if environment is None else environment
    token_file = values.get("HOLDFAST_TOKEN_FILE", "")
    base = values.get("XDG_CONFIG_HOME") or Path(values.get("HOME", "/nonexistent"), ".config")
    return ServerSettings(
        server=values.get("HOLDFAST_SERVER", ""),
        token_file=Path(token_file) if token_file else None,
        ca_file=values.get("HOLDFAST_CA_FILE", ""),
        login_file=Path(base, "holdfast", "login.json"),
    )


def read_token(path: Path) -> str:
    """The first line of a file, which nobody else may read. Raises InvalidInput."""
    what = f"token file {path}"
    line = _read_secret(what, path, _LONGEST_PASSPHRASE, line=True).strip()
    if not line or not line.isascii():
        raise InvalidInput(what=what, problem="its first line is not a token")
    return line.decode()


def read_service_settings(environment: Mapping[str, str] | None = None) -> ServiceSettings:
    """Settings of the service from the process's environment, with defaults."""
    values = os.environ if environment is None else environment
    state = Path("/var/lib/holdfast") if os.geteuid() == 0 else _user_state(values)
    state = Path(values.get("HOLDFAST_STATE") or state)
    return ServiceSettings(
        state_root=state,
        database_url=values.get("HOLDFAST_DATABASE_URL") or f"sqlite:///{state / 'holdfast.db'}",
        sealing_key_file=_sealing_key_file(values, state),
        dashboard_root=_dashboard(values),
        cache_root=Path(values.get("HOLDFAST_CACHE") or _cache(values)),
        scratch_root=Path(values.get("HOLDFAST_SCRATCH") or state / "scratch"),
        listen=values.get("HOLDFAST_LISTEN") or _LISTEN,
        tls_certificate=_path(values, "HOLDFAST_TLS_CERT"),
        tls_key=_path(values, "HOLDFAST_TLS_KEY"),
        insecure_plain_http=values.get("HOLDFAST_INSECURE_PLAIN_HTTP", "") == "1",
        allowed_origins=tuple(values.get("HOLDFAST_ALLOWED_ORIGINS", "").split()),
        trusted_proxies=tuple(values.get("HOLDFAST_TRUSTED_PROXIES", "").split()),
        log_level=values.get("HOLDFAST_LOG_LEVEL", "info").lower(),
    )


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the process's environment, with defaults."""
    values = os.environ if environment is None else environment
    passphrase_file = values.get("HOLDFAST_PASSPHRASE_FILE", "")
    state = Path("/var/lib/holdfast") if os.geteuid() == 0 else _user_state(values)
    return Settings(
        passphrase_file=Path(passphrase_file) if passphrase_file else None,
        scratch_root=Path(values.get("HOLDFAST_SCRATCH") or state / "scratch"),
        cache_root=Path(values.get("HOLDFAST_CACHE") or _cache(values)),
        s3=_s3_settings(values),
        failpoints=values.get("HOLDFAST_FAILPOINTS", ""),
    )


def read_s3_access(settings: S3Settings) -> S3Access:
    """Credentials, region and endpoint, the file read. Raises InvalidInput for the file; whether
    they can work is said by whoever uses them."""
    file = _read_credentials(settings.credentials_file) if settings.credentials_file else {}
    return S3Access(
        region=file.get("region") or settings.region,
        endpoint=file.get("endpoint_url") or settings.endpoint,
        access_key_id=file.get("aws_access_key_id") or settings.access_key_id,
        secret_access_key=file.get("aws_secret_access_key") or settings.secret_access_key,
        # A token belongs to its key: never the file's key with the environment's token.
        session_token=file.get("aws_session_token", "")
        if file.get("aws_access_key_id")
        else settings.session_token,
        allow_http=settings.allow_http,
        ca_file=settings.ca_file,
    )


def read_passphrase(path: Path) -> str:
    """The first line of a file, which nobody else may read. Raises InvalidInput."""
    line = _read_secret(f"passphrase file {path}", path, _LONGEST_PASSPHRASE + 1, line=True)
    if len(line) > _LONGEST_PASSPHRASE:
        raise InvalidInput(what=f"passphrase file {path}", problem="its first line is too long")
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(what=f"passphrase file {path}", problem="is not UTF-8") from error
    if not text:
        raise InvalidInput(what=f"passphrase file {path}", problem="its first line is empty")
    return text


def _read_secret(what: str, path: Path, size: int, *, line: bool = False) -> bytes:
    """The beginning of a file, or its first line, if nobody else may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.readline(size) if line else file.read(size)
    except OSError as error:
        raise InvalidInput(what=what, problem=f"cannot be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(what=what, problem=f"is readable by others; run: chmod 600 {path}")
    return data


def _read_credentials(path: Path) -> dict[str, str]:
    import configparser

    what = f"credentials file {path}"
    data = _read_secret(what, path, _LONGEST_CREDENTIALS)
    # The text of these errors would repeat the line, and with it a secret.
    try:
        text = data.decode()
        found = _json_credentials(text) if text.lstrip()[:1] == "{" else _ini_credentials(text)
    except (ValueError, configparser.Error):
        problem = "is neither JSON nor INI with a section [default]"
        raise InvalidInput(what=what, problem=problem) from None
    if not (found.get("aws_access_key_id") and found.get("aws_secret_access_key")):
        problem = "has no aws_access_key_id and aws_secret_access_key"
        raise InvalidInput(what=what, problem=problem)
    return found


def _json_credentials(text: str) -> dict[str, str]:
    document = cast("dict[str, Any]", json.loads(text))
    return {name: value for name, value in document.items() if isinstance(value, str)}


def _ini_credentials(text: str) -> dict[str, str]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return dict(parser["default"]) if parser.has_section("default") else {}


def _s3_settings(values: Mapping[str, str]) -> S3Settings:
    file = values.get("HOLDFAST_S3_CREDENTIALS_FILE", "")
    return S3Settings(
        credentials_file=Path(file) if file else None,
        access_key_id=values.get("AWS_ACCESS_KEY_ID", ""),
        secret_access_key=values.get("AWS_SECRET_ACCESS_KEY", ""),
        session_token=values.get("AWS_SESSION_TOKEN", ""),
        region=values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or "us-east-1",
        endpoint=values.get("AWS_ENDPOINT_URL_S3") or values.get("AWS_ENDPOINT_URL", ""),
        ca_file=values.get("AWS_CA_BUNDLE", ""),
        allow_http=values.get("HOLDFAST_S3_ALLOW_HTTP", "") == "1",
    )


def _path(values: Mapping[str, str], name: str) -> Path | None:
    return Path(values[name]) if values.get(name) else None


def _sealing_key_file(values: Mapping[str, str], state: Path) -> Path:
    told = values.get("HOLDFAST_SEALING_KEY_FILE")
    if told:
        return Path(told)
    credentials = values.get("CREDENTIALS_DIRECTORY")
    if credentials and Path(credentials, "holdfast-sealing-key").exists():
        return Path(credentials, "holdfast-sealing-key")
    return state / "sealing.key"


def _dashboard(values: Mapping[str, str]) -> Path | None:
    """As told, else beside the package, else where a checkout builds it."""
    package = Path(__file__).parent
    told = values.get("HOLDFAST_DASHBOARD")
    candidates = (
        [Path(told)] if told else [package / "dashboard", package.parents[1] / "web" / "out"]
    )
    return next((path for path in candidates if (path / "index.html").is_file()), None)


def _cache(values: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/cache/holdfast")
    base = values.get("XDG_CACHE_HOME") or Path(values.get("HOME", "/nonexistent"), ".cache")
    return Path(base, "holdfast")


def _user_state(values: Mapping[str, str]) -> Path:
    base = values.get("XDG_STATE_HOME") or Path(values.get("HOME", "/nonexistent"), ".local/state")
    return Path(base, "holdfast")
