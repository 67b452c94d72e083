from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.cli.tables import settings as settings_table
from ops.failpoint import POINTS
from ops.settings import BusSettings, RegionSettings, SearchSettings, Settings, SettingsError, load, read

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {
    "ROLLCALL_NATS_URL": "nats://127.0.0.1:4222",
    "ROLLCALL_POSTGRES_DSN": "postgresql://u:secret@127.0.0.1/db",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("ROLLCALL_NATS_URL", raising=False)
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)


def test_defaults():
    settings = read(Settings)
    assert (settings.max_body, settings.batch_size, settings.lanes, settings.lease_seconds) == (
        900_000,
        500,
        2,
        10,
    )
    assert settings.region("acme") is None
    assert settings.instance


def test_regions_by_tenant(monkeypatch):
    monkeypatch.setenv("ROLLCALL_DEFAULT_REGION", "de")
    monkeypatch.setenv("ROLLCALL_TENANT_REGIONS", '{"acme": "us"}')
    settings = read(Settings)
    assert (settings.region("acme"), settings.region("globex")) == ("US", "DE")


def test_a_region_that_there_is_not_is_named_by_its_tenant(monkeypatch):
    monkeypatch.setenv("ROLLCALL_TENANT_REGIONS", '{"globex": "gb", "acme": "UK"}')
    with pytest.raises(SettingsError, match="ROLLCALL_TENANT_REGIONS: acme: not") as caught:
        read(RegionSettings)
    assert "globex: not" not in str(caught.value)


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("ROLLCALL_DEFAULT_REGION", "")
    assert read(Settings).default_region is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NATS_URL", "127.0.0.1:4222"),
        ("NATS_URL", "nats://a:4222,b:4222"),
        ("NATS_URL", "nats://u:secret/4@a:4222"),
        ("NATS_MONITOR_URL", "127.0.0.1:8222"),
        ("POSTGRES_DSN", "mysql://u:secret@h/db"),
        ("POSTGRES_DSN", "postgresql://u:secret@h"),
        ("MAX_BODY", "8000000"),
        ("DEFAULT_REGION", "Germany"),
        ("DEFAULT_REGION", "UK"),
        ("TENANT_REGIONS", '{"globex": "DE", "acme": "UK"}'),
        ("TENANT_REGIONS", "acme=US"),
        ("TENANT_REGIONS", '{"acme": "secret"}'),
        ("BATCH_SIZE", "many"),
        ("HTTP_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("FAILPOINT", "before_commit"),
        ("FAILPOINT", "before_commit:0"),
        ("FAILPOINT", "before_commit:1.5"),
        ("FAILPOINT", "secret:1"),
        ("SEARCH_INDEX", "Contacts*"),
        ("SEARCH_INDEX", "-contacts"),
        ("SEARCH_MAX_LAG_S", "0"),
        ("SEARCH_SHARDS", "0"),
    ],
)
def test_what_is_wrong_names_the_variable_and_hides_the_value(monkeypatch, capsys, name, value):
    monkeypatch.setenv(f"ROLLCALL_{name}", value)
    with pytest.raises(SystemExit) as left:
        load()
    assert left.value.code == 64
    said = capsys.readouterr().err
    assert said.startswith(f"ROLLCALL_{name}: ")
    assert "secret" not in said
    assert len(said.splitlines()) == 1


def test_everything_that_is_wrong_is_said_at_once(monkeypatch):
    for name in GIVEN:
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError) as caught:
        read(Settings)
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == set(GIVEN)


def test_the_failpoints_are_those_that_there_are(monkeypatch):
    passed = {
        name
        for folder in ("ops", "storage", "workers")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"failpoint\.hit\((.*?)\)", file.read_text())
    }
    assert passed == {f'"{point}"' for point in POINTS}
    for point in POINTS:
        monkeypatch.setenv("ROLLCALL_FAILPOINT", f"{point}:1")
        assert read(Settings).failpoint == f"{point}:1"
    monkeypatch.setenv("ROLLCALL_FAILPOINT", "before_comit:1")
    with pytest.raises(SettingsError, match=", ".join(POINTS)):
        read(Settings)


def test_elasticsearch_is_named_as_everyone_names_it(monkeypatch, capsys):
    monkeypatch.delenv("ELASTICSEARCH_URL", raising=False)
    assert read(Settings).elasticsearch_url is None
    monkeypatch.setenv("ELASTICSEARCH_URL", "")
    assert read(Settings).elasticsearch_url is None
    monkeypatch.setenv("ELASTICSEARCH_URL", "https://u:secret@a:9200/, http://b:9200")
    settings = read(SearchSettings)
    assert settings.elasticsearch_url == "https://u:secret@a:9200,http://b:9200"
    assert "secret" not in repr(settings)
    monkeypatch.setenv("ELASTICSEARCH_URL", "u:secret@a:9200")
    with pytest.raises(SystemExit):
        load()
    said = capsys.readouterr().err
    assert said.startswith("ELASTICSEARCH_URL: ")
    assert "secret" not in said
    assert [s for s in settings_table() if s.variable == "ELASTICSEARCH_URL" and s.explanation]


def test_who_only_speaks_on_the_bus_needs_no_database(monkeypatch):
    monkeypatch.delenv("ROLLCALL_POSTGRES_DSN")
    assert read(BusSettings).nats_url == GIVEN["ROLLCALL_NATS_URL"]


def test_a_printed_setting_shows_no_secret():
    assert "secret" not in repr(read(Settings))
