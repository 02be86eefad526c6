"""Every setting, typed and documented; read once at the door and passed on from there.

They come from environment variables: `DATABASE_URL`, `REDIS_URL`, and the others under the prefix
`JALUR_`. Everything that is wrong is reported at once, each fault with its variable's name and
without the value, which may be a secret.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import ConfigurationError
from app.rates import Rate, read_rates
from app.schedules import read_schedule
from app.sealing import InvalidKey, Sealer

_PREFIX = "JALUR_"
_ALIASES = ("DATABASE_URL", "REDIS_URL")

Network = IPv4Network | IPv6Network


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _texts(value: object) -> object:
    return _parts(value) if isinstance(value, str) else value


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return [ip_network(part) for part in _parts(value)]
    except ValueError as error:
        raise ValueError(f"networks such as 10.0.0.0/8, separated by commas: {error}") from None


def _steps(value: object) -> object:
    return read_schedule(value) if isinstance(value, str) else value


def _rates(value: object) -> object:
    return read_rates(value) if isinstance(value, str) else value


def _keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys = _parts(value)
    try:
        Sealer(keys)
    except InvalidKey as error:
        raise ValueError(f"{error}; `openssl rand -base64 32` makes one") from None
    return keys


Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Schedule = Annotated[
    tuple[tuple[int, float], ...], NoDecode, BeforeValidator(_steps), Field(min_length=1)
]
Delays = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...],
    NoDecode,
    BeforeValidator(_texts),
    Field(min_length=1),
]
Rates = Annotated[tuple[Rate, ...], NoDecode, BeforeValidator(_rates)]
HttpUrlText = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")]
Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_keys)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """What can be set. Built by `read_settings`, which turns faults into one readable error."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
    )

    # Servers.
    database_url: str | None = Field(default=None, validation_alias="DATABASE_URL", repr=False)
    """PostgreSQL to use. The demo brings its own."""
    redis_url: str | None = Field(default=None, validation_alias="REDIS_URL", repr=False)
    """Redis or Valkey to use; none: processes do not wake each other and poll instead."""
    database_role: str = "jalur_service"
    """The role taken on after connecting; it may not rewrite history. The login's own name keeps
    the login as it is."""
    statement_cache_size: Annotated[int, Field(ge=0)] = 256
    """Prepared statements kept a connection; 0 behind a pooler that shares connections."""
    lane_groups: Annotated[int, Field(ge=1, le=64)] = 1
    """Into how many groups the 64 lanes are split; one statement serves one group. 64 on Citus."""
    data_dir: Path | None = None
    """Where the demo keeps everything; none: `.jalur` in the current folder."""
    postgres_bin: Path | None = None
    """The folder of `postgres` and `initdb`; none: those of the wheel or of the machine."""
    valkey_bin: Path | None = None
    """The folder of `valkey-server`; none: that of the wheel or of the machine."""

    # Secrets.
    secret_key: Keys = Field(default=(), repr=False)
    """Keys that seal secrets at rest, base64 of 32 bytes each, separated by commas: the first
    seals, all open."""
    admin_token: SecretStr | None = None
    """Opens the operators' side of the API, `/metrics` included."""

    # The API.
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """How many processes `jalur serve` runs on its port; one uses one core."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Where a worker, which has no API, answers `/metrics`, `/livez` and `/readyz`."""
    trusted_proxies: Networks = ()
    """Reverse proxies whose `X-Forwarded-For` is believed."""
    api_docs: bool = True
    """Whether `/openapi.json`, `/docs` and `/redoc` are served."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 65_536
    accept_queue_limit: Count = 8192
    """Orders that may wait for their commit; beyond it, new ones are answered 503."""
    orders_rate: Rates = (Rate(20_000, 2),)
    """Orders that a reseller may send, as `100/1s`: so many at once, refilled evenly within that
    time. Several hold together: `100/1s,50000/1d`. Operators set a reseller's own."""
    reads_rate: Rates = (Rate(20_000, 2),)
    """Other requests under /v1 that a reseller may send."""
    auth_failures_rate: Annotated[Rates, Field(max_length=1)] = (Rate(100, 10),)
    """Wrong keys from one address, a process; beyond it, only keys known already are looked at."""
    reseller_in_flight: Count = 4096
    """Requests of one reseller under way at once, a process; beyond it: 429."""
    queue_target_seconds: Seconds = 0.5
    """How long orders may wait in a process's own queues, taken together; while it is longer, only
    as many new ones are let in as are finished, the others answered 503."""
    backlog_limit: Count = 100_000
    """Accepted orders that may wait for a dealer; beyond it, new ones are answered 503."""
    stream_limit: Count = 2000
    """Streams of events that a process holds open; beyond it, new ones are answered 503."""
    grace_seconds: Seconds = 25.0
    """How long a stop may take before what is in flight is handed over."""
    drain_seconds: Annotated[float, Field(ge=0)] = 3.0
    """How long a stopping API says that it is not ready while it still serves: the time a load
    balancer needs to notice. Part of the grace."""

    # Buying.
    lease_seconds: Seconds = 90.0
    """How long a claimed purchase belongs to one process."""
    retry_for_seconds: Seconds = 600.0
    """How long after acceptance another dealer may be tried."""
    review_after_seconds: Seconds = 1800.0
    """How long an unknown outcome is asked about before people are told."""
    check_schedule: Schedule = ((36, 5.0), (42, 10.0), (40, 15.0), (80, 30.0), (1, 120.0))
    """When dealers are asked about open purchases, as `36x5,120`; the last step repeats."""
    poll_min_seconds: Seconds = 0.05
    poll_max_seconds: Seconds = 0.2
    """Work is looked for at random within these, besides being woken."""

    simulator_url: HttpUrlText | None = None
    """The simulator that test dealers must be; orders placed with test keys go nowhere else."""
    balance_interval_seconds: Annotated[float, Field(ge=10)] = 300.0
    """How often our balance at each dealer is pulled, about; a dealer's own option of this name
    comes before it."""
    price_rise_tolerance: Annotated[int, Field(ge=0)] = 0
    """Rupiah by which a dealer may charge more than a route's cost, for those that round."""
    price_rise_mute_seconds: Seconds = 86_400.0
    """How long a route whose dealer charged more than its cost is not bought from, unless its cost
    is changed or the mute is lifted before."""

    share_correction_seconds: Annotated[float, Field(ge=1)] = 300.0
    """How often market shares are counted anew from the database, about; they are exchanged
    between processes each second."""

    # Webhooks.
    webhook_allow: Networks = ()
    """Networks that are not public but may receive webhooks: for private deployments."""
    webhook_allow_http: bool = False
    """Whether webhook addresses without TLS are accepted."""
    webhook_schedule_seconds: Delays = (
        0,
        5,
        300,
        1800,
        7200,
        18000,
        36000,
        50400,
        72000,
        86400,
    )
    """The delay before each try of a delivery, counted from the try before."""
    webhook_timeout_seconds: Seconds = 15.0
    endpoint_concurrency: Count = 64
    """Deliveries under way to one endpoint at once."""
    webhook_disable_after_seconds: Seconds = 432_000.0
    """An endpoint whose every try failed for so long is disabled."""
    webhook_log_days: Annotated[int, Field(ge=1, le=10)] = 7
    """For how many days what came back from each try is kept."""
    webhook_log_per_second: Annotated[int, Field(ge=0)] = 50
    """Tries that were heard of which that is kept, a process; of failures all are."""

    # Logs.
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def require_secret_keys(self) -> list[str]:
        """The sealing keys in base64, the current one first. Raises ConfigurationError."""
        if not self.secret_key:
            raise ConfigurationError(
                "JALUR_SECRET_KEY is missing: base64 of 32 random bytes, for example from "
                "`openssl rand -base64 32`. It seals secrets in the database; keep it safe."
            )
        return [key.get_secret_value() for key in self.secret_key]

    @model_validator(mode="after")
    def _drain_within_grace(self) -> Self:
        if self.drain_seconds >= self.grace_seconds:
            raise ValueError(
                "JALUR_DRAIN_SECONDS must be smaller than JALUR_GRACE_SECONDS, of which it is part"
            )
        return self

    @model_validator(mode="after")
    def _poll_within(self) -> Self:
        if self.poll_min_seconds > self.poll_max_seconds:
            raise ValueError("JALUR_POLL_MIN_SECONDS is larger than JALUR_POLL_MAX_SECONDS")
        return self


def read_settings(**overrides: Any) -> Settings:  # noqa: ANN401 (checked by the model)
    """Read the environment. `overrides`, by field name, come before it.

    Raises ConfigurationError that lists every fault, a line and a variable each.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_report(error)) from None


def variable_of(field: str) -> str:
    """The environment variable that sets a field."""
    known = Settings.model_fields.get(field)
    alias = known.validation_alias if known else None
    return alias if isinstance(alias, str) else _PREFIX + field.upper()


def _report(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"  {_where(fault['loc'])}{_sentence(fault['msg'])}" for fault in faults]
    return "\n".join(["these settings are wrong:", *dict.fromkeys(lines)])


def _where(location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    field = str(location[0])
    return f"{field if field in _ALIASES else variable_of(field)}: "


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
