"""What the benchmark does where a part of it cannot be measured."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from ops.bench.ground import Ground, NoElasticsearch
from ops.devstack.elasticsearch import ElasticsearchServer, NotInstalled

bench = importlib.import_module("ops.bench.main")  # the package shows the function of that name


@pytest.fixture
def here(tmp_path):
    return Ground(SimpleNamespace(data_dir=tmp_path), None, tmp_path)


@pytest.fixture
def done(monkeypatch, here):
    """The parts that were measured, in their order, without measuring them."""
    parts = []

    @contextlib.asynccontextmanager
    async def ground():
        yield here

    def part(name):
        async def measure(*_, **__):
            parts.append(name)

        return measure

    monkeypatch.setattr(bench, "ground", ground)
    monkeypatch.setattr(bench.uvloop, "install", lambda: None)
    monkeypatch.setattr(Ground, "database", part("database"))
    monkeypatch.setattr(bench.statements, "count", part("statements"))
    for name in ("throughput", "million", "latency", "realtime"):
        monkeypatch.setattr(bench, f"_{name}", part(name))
    return parts


@pytest.fixture
def no_java(monkeypatch):
    def start(_):
        raise NotInstalled("needs a JDK\nand more")

    monkeypatch.delenv("ELASTICSEARCH_URL", raising=False)
    monkeypatch.setattr(ElasticsearchServer, "start", start)


@pytest.mark.usefixtures("no_java")
def test_without_elasticsearch_all_else_is_measured(done, capsys, tmp_path):
    out: Path = tmp_path / "bench.json"
    assert bench.main(["--quick", "--out", str(out)]) == 0
    assert {"throughput", "million", "latency", "statements", "realtime"} <= set(done)
    figures = orjson.loads(out.read_bytes())
    assert "search" not in figures
    assert figures["notes"] == {"search": "left out: needs a JDK"}
    assert capsys.readouterr().err.splitlines()[-1] == "search: left out: needs a JDK"


@pytest.mark.usefixtures("no_java", "done")
def test_search_alone_without_elasticsearch_fails():
    assert bench.main(["--only", "search"]) == 1


async def test_the_elasticsearch_of_the_environment_is_used(here, monkeypatch):
    def start(_):
        raise AssertionError("one was started")

    monkeypatch.setattr(ElasticsearchServer, "start", start)
    monkeypatch.setenv("ELASTICSEARCH_URL", "http://127.0.0.1:9")
    with pytest.raises(NoElasticsearch, match="set ELASTICSEARCH_URL to where it is"):
        async with here.elasticsearch():
            pass
