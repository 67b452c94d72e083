"""Settings from the environment: ROLLCALL_<NAME>, and ELASTICSEARCH_URL. The one place that knows them all; docs/settings.md is made from it."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from contracts.realtime.token import AUDIENCE, ISSUER
from ops.failpoint import POINTS
from storage.postgres import check_dsn

PREFIX = "ROLLCALL_"
SHORTEST_SECRET = 32  # bytes; RFC 7518 asks for as many as the hash has
WRONG_USAGE = 64  # the exit code of everything that the caller must mend in how it calls us

_HOW = {
    "nats_url": "set it to nats://host:4222; `rollcall up` starts one, and prints the line to copy",
    "postgres_dsn": "set it to postgresql://user@host:5432/database; `rollcall up` starts one, and prints the line to copy",
    "default_region": "set it to a code such as DE or GB",
    "tenant_regions": 'give a JSON object such as {"acme": "DE", "globex": "GB"}',
    "failpoint": f"give <name>:<n>, for example before_commit:3; the names are {', '.join(POINTS)}",
    "jwt_secret": "set it to at least 32 random characters that the issuer of the tokens has too, or set ROLLCALL_JWT_PUBLIC_KEY_FILE",
    "realtime_origins": "set it to https://app.example.com; several, with commas between them",
    "elasticsearch_url": "set it to http://host:9200 or https://user:password@host:9200, or unset it: PostgreSQL answers searches then",
}


class SettingsError(Exception):
    """What is wrong, variable by variable, and how to mend it; never the value, which may be secret."""


S = TypeVar("S", bound=BaseSettings)


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class BusSettings(BaseSettings):
    """What a program needs that only speaks on the bus."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    nats_url: str = Field(repr=False)  # nats://host:4222; several, with commas between them
    nats_monitor_url: str | None = None  # http://host:8222; `rollcall doctor` asks it for sync_interval

    @field_validator("nats_url")
    @classmethod
    def _nats_url(cls, value: str) -> str:
        for url in value.split(","):
            if not re.match(r"(nats|tls|wss?)://[^\s/]+", url.strip()) or not _has_port(url.strip()):
                raise ValueError("not a URL of the form nats://host:4222")
        return value

    @field_validator("nats_monitor_url")
    @classmethod
    def _monitor_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("not a URL of the form http://host:8222")
        return value and value.rstrip("/")


class DatabaseSettings(BaseSettings):
    """What a program needs that only speaks to the database."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    postgres_dsn: str = Field(repr=False)  # postgresql://user@host:5432/database
    timeline_months: int | None = Field(None, ge=1, le=1_200)  # whole months of timeline kept; none: all

    @field_validator("postgres_dsn")
    @classmethod
    def _postgres_dsn(cls, value: str) -> str:
        return check_dsn(value)


class RegionSettings(BaseSettings):
    """What a program needs that reads phone numbers as people write them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    default_region: str | None = None  # of numbers without a country code: "DE"
    tenant_regions: dict[str, str] = {}  # the same by tenant: {"acme": "DE"}

    @field_validator("default_region")
    @classmethod
    def _default_region(cls, value: str | None) -> str | None:
        return value if value is None else _region(value)

    @field_validator("tenant_regions")
    @classmethod
    def _tenant_regions(cls, value: dict[str, str]) -> dict[str, str]:
        return {tenant: _region(region, f"{tenant}: ") for tenant, region in value.items()}

    def region(self, tenant: str) -> str | None:
        """The region of a tenant's numbers without a country code."""
        return self.tenant_regions.get(tenant, self.default_region)


class SearchSettings(BaseSettings):
    """What a program needs that only speaks to Elasticsearch."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    # http://host:9200; several nodes of one cluster, with commas between them; none: PostgreSQL answers searches
    elasticsearch_url: str | None = Field(None, repr=False, validation_alias="ELASTICSEARCH_URL")
    # the alias that searches go to; what is behind it begins with its name
    search_index: str = "rollcall-contacts"
    search_max_lag_s: float = Field(30, gt=0)  # an index that is further behind is not asked; PostgreSQL is
    search_shards: int = Field(4, ge=1, le=1_024)  # of an index that is made from now on

    @field_validator("elasticsearch_url")
    @classmethod
    def _elasticsearch_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        urls = [url.strip().rstrip("/") for url in value.split(",")]
        for url in urls:
            if not re.match(r"https?://[^\s/]+", url) or not _has_port(url) or not urlsplit(url).hostname:
                raise ValueError("not a URL of the form http://host:9200")
        return ",".join(urls)

    @field_validator("search_index")
    @classmethod
    def _search_index(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", value):
            raise ValueError(
                "not an index name: up to 100 small letters, digits, - and _, of which - and _ do not come first"
            )
        return value


class TokenSettings(BaseSettings):
    """What a program needs that checks tokens, or makes them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    jwt_algorithm: Literal[
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "EdDSA"
    ] = "HS256"  # of the tokens that realtime takes; any other is refused
    jwt_secret: str | None = Field(None, repr=False)  # for HS…: shared with who issues the tokens
    jwt_public_key_file: Path | None = None  # for the others: the issuer's public key, PEM
    jwt_issuer: str = ISSUER  # that a token must name as iss
    jwt_audience: str = AUDIENCE  # that a token must name in aud

    @field_validator("jwt_secret")
    @classmethod
    def _jwt_secret(cls, value: str | None) -> str | None:
        if value is not None and len(value.encode()) < SHORTEST_SECRET:
            raise ValueError(f"shorter than {SHORTEST_SECRET} bytes")
        return value

    @field_validator("jwt_public_key_file")
    @classmethod
    def _jwt_public_key_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value


class Settings(RegionSettings, SearchSettings, TokenSettings, BusSettings, DatabaseSettings):
    """What a worker needs."""

    max_body: int = Field(900_000, ge=1_000, le=1_000_000)  # bytes of a message's body
    batch_size: int = Field(500, ge=1, le=5_000)  # messages a transaction
    lanes: int = Field(2, ge=1, le=8)  # batches in flight of one worker, a connection each
    # of a queries worker; as many queries read at once, and 8 times as many are in hand
    query_connections: int = Field(8, ge=1, le=100)
    lease_seconds: float = Field(10, ge=1, le=300)  # until the partitions of a silent instance pass to others
    stall_seconds: float = Field(30, ge=1)  # unready when messages wait and no position moved for so long
    probe_seconds: float = Field(30, ge=0.1)  # whoever was stopped tries one message so often
    grace_seconds: float = Field(20, ge=1)  # for the batch in hand at SIGTERM
    http_host: str = "127.0.0.1"  # where health and metrics listen; 0.0.0.0 in a container
    http_port: int = Field(0, ge=0, le=65_535)  # 0: any free one
    realtime_origins: str = ""  # of pages that may open a socket, https://app.example.com, with commas between them; the worker's own may
    realtime_tenant_sockets: int = Field(20_000, ge=1)  # of one tenant, on one instance
    realtime_token_sockets: int = Field(6_000, ge=1)  # of one token, on one instance
    realtime_buffer: int = Field(1_000, ge=10, le=100_000)  # frames that wait for one client
    # a client that is silent for twice as long is let go
    realtime_heartbeat_s: float = Field(20, ge=1, le=300)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"  # DEBUG adds a line a message
    failpoint: str | None = None  # <name>:<n>, for tests: the worker kills itself there
    # a name of its own in leases and logs: host and process id, unless given
    instance: Annotated[str, Field(min_length=1, max_length=100)] = Field(default_factory=_instance)

    @field_validator("realtime_origins")
    @classmethod
    def _realtime_origins(cls, value: str) -> str:
        for origin in filter(None, value.split(",")):
            if not re.fullmatch(r"https?://[^\s/]+", origin.strip()):
                raise ValueError("not an origin of the form https://host or https://host:port")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _log_level(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("failpoint")
    @classmethod
    def _failpoint(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[a-z_]+:[1-9][0-9]*", value):
            raise ValueError("not of the form <name>:<n>, with n a whole number above 0")
        if value is not None and value.partition(":")[0] not in POINTS:
            raise ValueError("there is no such point")
        return value


def variable(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else None
    return alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"


def _has_port(url: str) -> bool:
    """Whether what stands in the place of a port, if anything, is one."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


def _region(value: str, of: str = "") -> str:
    from phonenumbers import SUPPORTED_REGIONS  # noqa: PLC0415 - only who sets a region need load it

    region = value.upper()
    if region not in SUPPORTED_REGIONS:
        raise ValueError(f"{of}not the two-letter code of a country with phone numbers (ISO 3166)")
    return region


def read(kind: type[S], **given: Any) -> S:
    """Settings of a kind from the environment; ``given`` goes before it. Raises SettingsError."""
    try:
        return kind(**given)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            name = str(problem["loc"][0]).lower() if problem["loc"] else ""
            lines.append(_line(name, "is not set" if problem["type"] == "missing" else problem["msg"]))
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None
    except SourceError as error:  # a variable whose JSON cannot be read
        found = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(_line(found[1] if found else "", "cannot be read as JSON")) from None


def load(**given: Any) -> Settings:
    """Settings for a program that starts: what is wrong goes to stderr, and the exit code is 64."""
    try:
        return read(Settings, **given)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(WRONG_USAGE) from None


def _line(name: str, problem: str) -> str:
    how = _HOW.get(name)
    return f"{variable(name)}: {problem.removeprefix('Value error, ')}" + (f"; {how}" if how else "")
