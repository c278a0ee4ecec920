"""Settings: every ``KODO_*`` variable, its default and its meaning. Nothing else reads the environment.

Order: command line (passed as keyword arguments), environment, ``.env``, default. Loading settings touches no file
but ``.env``; ``secrets.py`` makes the secret key when a panel first needs it.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .error import ConfigurationError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["text", "json"]
CommaList = Annotated[list[str], NoDecode]

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_SECRET_WORDS = ("SECRET", "PASSWORD", "API_KEY", "DATABASE", "REDIS_URL", "WEBHOOK_URL", "TOKEN")
_LOOPBACK_ADDRESS = re.compile(r"127(\.\d{1,3}){3}")


class Settings(BaseSettings):
    """What ``KODO_*`` variables say; each field's description is its line in the configuration reference."""

    model_config = SettingsConfigDict(
        env_prefix="KODO_", env_file=".env", env_file_encoding="utf-8", extra="ignore", populate_by_name=True
    )

    # where things are kept
    exec_dir: Path = Field(Path("./data/execution"), description="Executions with their files.")
    upload_dir: Path = Field(Path("./data/uploads"), description="Uploads in progress.")
    admin_database: str = Field(
        "sqlite+aiosqlite:///./data/admin.db", description="Roles, sessions and registered sources (SQLAlchemy URL)."
    )
    execution_database: str | None = Field(
        None, description="Unset: SQLite files under `KODO_EXEC_DIR`; a PostgreSQL URL: one central database."
    )
    database_pool_size: int = Field(
        10, ge=2, description="Connections one process opens to a PostgreSQL database at most."
    )
    database_timeout: float = Field(
        30.0, gt=0, description="Seconds one statement, a lock or an idle transaction may take on PostgreSQL."
    )
    database_connect_timeout: float = Field(10.0, gt=0, description="Seconds to wait for a connection to PostgreSQL.")
    retention_days: float | None = Field(
        None, gt=0, description="Days after which ended executions are removed for good; unset: they are kept."
    )
    yaml_base: Path = Field(Path("./data/config/config.yaml"), description="Base file of `koco deploy`.")

    # the way of an event
    event_transport: str = Field("ray", description="How events reach the spooler: `ray` or `redis`.")
    redis_url: str = Field(
        "redis://localhost:6379/0",
        description="The Redis of the transport `redis`: `redis://user:password@host:6379/0`, `rediss://…`, "
        "`unix:///…`, `redis+sentinel://host:26379/service/0` or `redis+cluster://host:6379`.",
        repr=False,
    )
    redis_stream_prefix: str = Field("kodo:events:", description="Begin of the name of every key in Redis.")
    redis_consumer_group: str = Field(
        "spooler", description="Consumer group in Redis: the spoolers of a name share the executions."
    )
    redis_block_ms: int = Field(1000, ge=10, le=60_000, description="Milliseconds a blocking read of Redis is held.")
    redis_max_stream_len: int = Field(
        10_000,
        ge=1,
        description="Unstored events one execution may have in Redis before its producers wait; none is ever dropped.",
    )
    execution_mode: str = Field("direct", description="How runs are executed: `direct` or `temporal`.")
    temporal_host: str = Field("localhost:7233", description="Temporal's frontend, `host:port`.")
    temporal_namespace: str = Field("default", description="Namespace in Temporal.")
    temporal_task_queue: str = Field("kodosumi-agents", description="Task queue that `koco temporal-worker` serves.")
    temporal_workflow_id_prefix: str = Field("kodo-", description="Begin of a workflow's id; the execution's follows.")
    temporal_execution_timeout: float = Field(
        3600.0, gt=0, description="Seconds of running time a durable run may take; waiting and pauses don't count."
    )
    temporal_tls: bool = Field(False, description="Speak TLS to Temporal; implied by an API key or a certificate.")
    temporal_tls_ca: Path | None = Field(None, description="PEM file of Temporal's certificate authority.")
    temporal_tls_cert: Path | None = Field(None, description="PEM file of this client's certificate (mTLS).")
    temporal_tls_key: Path | None = Field(None, description="PEM file of the certificate's key.")
    temporal_api_key: str | None = Field(None, description="API key for Temporal Cloud.", repr=False)
    temporal_max_runs: int = Field(500, ge=1, description="Runs one `koco temporal-worker` looks after at once.")
    temporal_drain_timeout: float = Field(
        10.0, ge=0, description="Seconds a stopping worker gives its runs before it leaves them to another worker."
    )
    ray_queues: int = Field(1, ge=1, le=16, description="Queue actors shared by all executions (transport `ray`).")
    queue_max_events: int = Field(
        20_000, ge=1, description="Unstored events one execution may have in the transport before its producers wait."
    )
    queue_max_bytes: int = Field(
        268_435_456, ge=1, description="Unstored bytes one queue may hold before all its producers wait."
    )
    max_event_bytes: int = Field(
        268_435_456, ge=1024, description="Largest payload of one event; a larger result fails its run, saying so."
    )
    spooler_interval: float = Field(
        0.25, gt=0, description="Seconds between the spooler's attempts to reach a part that is away."
    )
    spooler_batch_size: int = Field(1000, ge=1, description="Most events the spooler takes and commits at once.")
    spooler_batch_timeout: float = Field(
        0.1, ge=0, description="Longest hold-up to fill a batch. Published; nothing is held up any more."
    )

    # runs
    ray_server: str | None = Field(
        None, description="Address of the Ray cluster; unset: the one on this machine, else `koco start` makes one."
    )
    ray_dashboard: str = Field("http://localhost:8265", description="Ray's dashboard.")
    serve_host: str = Field("127.0.0.1", description="Where Ray Serve listens for `koco apps` and `koco start --app`.")
    serve_port: int = Field(
        8000, ge=1, le=65535, description="Port of Ray Serve for `koco apps` and `koco start --app`."
    )
    runner_warm: int = Field(1, ge=0, description="Idle runner processes kept ready per app and runtime environment.")
    runner_max_runs: int = Field(
        50, ge=1, description="Runs one process serves before it is replaced; 1: always fresh."
    )
    runner_idle_timeout: float = Field(
        60.0, gt=0, description="Seconds after which idle runners above the warm ones end."
    )
    max_runs: int = Field(100, ge=1, description="Runs at once per cluster; more wait in order, fairly between users.")

    # the panel
    app_server: str = Field("http://localhost:3370", description="Where the panel listens.")
    internal_url: str | None = Field(
        None, description="Where apps and runs reach the panel; unset: where whoever launches reaches it."
    )
    app_workers: int = Field(1, ge=1, description="Panel processes.")
    app_reload: bool = Field(False, description="Restart the panel when its code changes.")
    secret_key: str | None = Field(
        None, description="Signs sessions; unset: generated once beside the admin database, mode 0600.", repr=False
    )
    admin_email: str = Field("admin@example.com", description="E-mail of the first operator.")
    admin_password: str = Field("admin", description="Password of the first operator.", repr=False)
    get_login: bool | None = Field(
        None, description="Serve the deprecated `GET /login`; unset: only where the panel is bound to loopback."
    )
    metrics_token: str | None = Field(
        None,
        min_length=16,
        description="Whoever sends it as `Authorization: Bearer …` may read `/metrics`, at least 16 characters; "
        "unset or empty: operators alone.",
        repr=False,
    )
    cors_origins: CommaList = Field(default_factory=list, description="Origins allowed to call the API (comma list).")
    register_flow: CommaList = Field(default_factory=list, description="Sources registered at start (comma list).")
    register_allow: CommaList | None = Field(
        None, description="Hosts sources may be fetched from (comma list); unset: all on loopback-bound panels."
    )
    register_refresh: float = Field(30.0, gt=0, description="Seconds between background refreshes of the sources.")
    proxy_timeout: float = Field(30.0, gt=0, description="Seconds the proxy waits for an app.")
    wait_for_job: float = Field(600.0, ge=0, description="Seconds `extended=true` waits for a starting execution.")
    lock_expires: float = Field(10_800.0, gt=0, description="Seconds after which an unanswered lock expires.")
    file_store: str | None = Field(
        None,
        description="Unset: files of executions lie under `KODO_EXEC_DIR`; `s3://bucket/prefix`: in S3-compatible "
        "storage, whose endpoint and keys the usual `AWS_*` variables name.",
    )
    upload_quota: int = Field(
        10_737_418_240, ge=1, description="Bytes of uploads in progress one user may have; beyond: 413."
    )
    upload_max_age: float = Field(
        86_400.0, gt=0, description="Seconds after which an upload that nobody goes on with is removed."
    )
    webhook_url: str | None = Field(
        None, description="Address that is told of new locks and ended runs (`docs/how-to/webhook.md`).", repr=False
    )
    webhook_secret: str | None = Field(
        None, description="Key of the signature (HMAC-SHA256) of what the webhook is told.", repr=False
    )
    chunk_size: int = Field(1_048_576, ge=1, description="Bytes of a file client's chunk.")
    save_chunk_size: int = Field(1_048_576, ge=1, description="Largest chunk in bytes the server takes.")

    # TLS
    ssl_keyfile: str | None = Field(None, description="TLS key file.")
    ssl_certfile: str | None = Field(None, description="TLS certificate file.")
    ssl_keyfile_password: str | None = Field(None, description="Password of the TLS key.", repr=False)
    ssl_version: int | None = Field(None, description="TLS version (uvicorn's default when unset).")
    ssl_cert_reqs: int | None = Field(None, description="Whether client certificates are required.")
    ssl_ca_certs: str | None = Field(None, description="CA certificates file.")
    ssl_ciphers: str | None = Field(None, description="TLS ciphers (uvicorn's default when unset).")

    # logs
    log_format: LogFormat = Field(
        "text", description="Lines of all logs: `text` for people, or `json`, one object a line."
    )
    app_log_file: Path | None = Field(Path("./data/app.log"), description="The panel's log file, rotated.")
    app_log_file_level: LogLevel = Field("INFO", description="Level of the panel's log file.")
    app_std_level: LogLevel = Field("INFO", description="Level of the panel's terminal output.")
    spooler_log_file: Path | None = Field(Path("./data/spooler.log"), description="The spooler's log file, rotated.")
    spooler_log_file_level: LogLevel = Field("INFO", description="Level of the spooler's log file.")
    spooler_std_level: LogLevel = Field("INFO", description="Level of the spooler's terminal output.")
    temporal_log_file: Path | None = Field(
        Path("./data/temporal-worker.log"), description="The log file of `koco temporal-worker`, rotated."
    )
    temporal_log_file_level: LogLevel = Field("INFO", description="Level of the log file of `koco temporal-worker`.")
    temporal_std_level: LogLevel = Field("INFO", description="Level of the terminal output of `koco temporal-worker`.")
    uvicorn_level: LogLevel = Field("WARNING", description="Level of uvicorn's output.")

    @field_validator("cors_origins", "register_flow", "register_allow", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("metrics_token", mode="before")
    @classmethod
    def _unset_when_empty(cls, value: object) -> object:
        # Compose files hand on what isn't set as nothing.
        return None if value == "" else value

    @field_validator("*", mode="before")
    @classmethod
    def _upper_levels(cls, value: object, info: Any) -> object:
        return value.upper() if str(info.field_name).endswith("_level") and isinstance(value, str) else value

    @property
    def app_host(self) -> str:
        """Host part of ``app_server``."""
        return urlsplit(self.app_server).hostname or "localhost"

    @property
    def app_port(self) -> int:
        """Port part of ``app_server``; 3370 when it names none."""
        return urlsplit(self.app_server).port or 3370

    @property
    def bound_to_loopback(self) -> bool:
        """Whether only this machine can reach the panel."""
        return is_loopback(self.app_host)


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address is this machine's own, reachable by nobody else."""
    return host in LOOPBACK_HOSTS or _LOOPBACK_ADDRESS.fullmatch(host or "") is not None


InternalSettings = Settings
"""Published alias."""


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process, with command line options on top.

    Args:
        overrides: fields by name; None means "not given".

    Raises:
        ConfigurationError: names each variable that cannot be read, its value and what would be valid.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as exc:
        raise ConfigurationError("\n".join(_explain(error) for error in exc.errors())) from exc


@functools.cache
def process_settings() -> Settings:
    """The settings that the environment alone gives, read once per process (flow apps, remote tasks)."""
    return load_settings()


def _explain(error: Any) -> str:
    name = "_".join(str(part) for part in error["loc"]).upper()
    secret = any(word in name for word in _SECRET_WORDS)
    value = "…" if secret else repr(error["input"])
    return f"KODO_{name}={value}: {error['msg']}"
