"""The files that deploy the fleet keep up with the fleet."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ops.devstack.elasticsearch.recipe import VERSION
from ops.devstack.nats import CONFIG
from ops.settings import Settings, variable
from workers.fleet import FLEET
from workers.host import Host
from workers.realtime.app import Front

if TYPE_CHECKING:
    from workers.realtime.downloads import Downloads
    from workers.realtime.session import House

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = sorted((ROOT / "k8s").glob("*.yaml"))
COMPOSE = (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("worker", FLEET)
def test_every_worker_is_deployed(worker):
    manifest = (ROOT / "k8s" / f"{worker}.yaml").read_text()
    assert f"args: [worker, {worker}]" in manifest
    for kept in (
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "capabilities: {drop: [ALL]}",
        "seccompProfile: {type: RuntimeDefault}",
        "kind: PodDisruptionBudget",
        "path: /readyz",
        "path: /healthz",
    ):
        assert kept in manifest, kept
    assert f"- {worker}.yaml" in (ROOT / "k8s/kustomization.yaml").read_text()
    assert f"command: [worker, {worker}]" in COMPOSE


@pytest.mark.parametrize("page", ["README.md", "docs/operating.md"])
def test_every_worker_is_in_the_tables_of_the_front_pages(page):
    rows = re.findall(r"^\| ([a-z, ]+) \|", (ROOT / page).read_text(), re.MULTILINE)
    assert set(FLEET) <= {name for row in rows for name in row.split(", ")}


@pytest.mark.parametrize("path", [*MANIFESTS, ROOT / "docker-compose.yml"], ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path):
    named = set(re.findall(r"ROLLCALL_[A-Z_]+|ELASTICSEARCH_URL", path.read_text()))
    assert named <= {variable(name) for name in Settings.model_fields}


def test_every_worker_is_told_where_elasticsearch_is():
    _, _, shared = COMPOSE.partition("x-settings: &settings\n")
    assert "  ELASTICSEARCH_URL: http://elasticsearch:9200\n" in shared.partition("\n\n")[0]
    assert "  ELASTICSEARCH_URL: http" in (ROOT / "k8s/config.yaml").read_text()
    assert "{protocol: TCP, port: 9200}" in (ROOT / "k8s/network.yaml").read_text()


def test_containers_run_the_elasticsearch_that_the_tests_run():
    assert f"image: docker.elastic.co/elasticsearch/elasticsearch:{VERSION}\n" in COMPOSE


def test_a_package_brings_the_recipe_of_elasticsearch():
    here = ROOT / "ops/devstack/elasticsearch"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    brought = {path for pattern in patterns["ops.devstack.elasticsearch"] for path in here.glob(pattern)}
    assert {here / "pom.xml", *(path for path in (here / "src").rglob("*") if path.is_file())} <= brought


def test_the_paths_that_the_public_may_ask_for_are_told_from_those_it_may_not():
    """Both are on the one port of realtime."""
    _, _, note = (ROOT / "k8s/realtime.yaml").read_text().partition("# An ingress")
    public, _, inside = note.partition("\napiVersion")[0].partition("Not\n")
    routed, kept = (re.findall(r"`(/[a-z/]*)`", part) for part in (public, inside))
    house = cast("House", SimpleNamespace(settings=SimpleNamespace(realtime_origins="")))
    served = {route.path for route in Front(house, cast("Downloads", None)).application().routes}  # type: ignore[attr-defined]
    prefixes = tuple(path for path in routed if path.endswith("/") and path != "/")
    assert {path for path in served if not path.startswith(prefixes)} == set(routed) - set(prefixes)
    assert {path for path in prefixes if any(s.startswith(path) for s in served)} == set(prefixes)
    assert {path for path, _ in Host._routes(cast("Host", None))} == set(kept)


def test_there_is_memory_for_as_many_sockets_as_are_promised():
    """A socket takes what the benchmark lets it take."""
    manifest = (ROOT / "k8s/realtime.yaml").read_text()
    said = re.search(r"# (\d+) MB, and at most (\d+) kB a socket .*: the limit is for ([\d,]+) and", manifest)
    limit = re.search(r"limits: {memory: (\d+)Mi}", manifest)
    target = re.search(
        r"\| memory of a socket \| .* \| at most (\d+) kB \|", (ROOT / "README.md").read_text()
    )
    assert said is not None
    assert limit is not None
    assert target is not None
    itself, each, sockets = (int(number.replace(",", "")) for number in said.groups())
    assert each == int(target[1])
    assert itself * 1_000_000 + each * 1_000 * sockets < int(limit[1]) << 20


def test_a_batch_is_given_time_to_end():
    grace = Settings.model_fields["grace_seconds"].default
    for manifest in MANIFESTS:
        for seconds in re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest.read_text()):
            assert int(seconds) > grace


def test_the_broker_is_durable_wherever_we_configure_it():
    for config in (CONFIG, (ROOT / "ops/nats.conf").read_text()):
        assert "sync_interval: always" in config
        assert "max_payload: 8MB" in config
