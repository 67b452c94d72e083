"""The files that deploy the fleet keep up with the fleet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.devstack.nats import CONFIG
from ops.settings import Settings
from workers.fleet import FLEET

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


@pytest.mark.parametrize("path", [*MANIFESTS, ROOT / "docker-compose.yml"], ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path):
    named = set(re.findall(r"ROLLCALL_([A-Z_]+)", path.read_text()))
    assert named <= {name.upper() for name in Settings.model_fields}


def test_a_batch_is_given_time_to_end():
    grace = Settings.model_fields["grace_seconds"].default
    for manifest in MANIFESTS:
        for seconds in re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest.read_text()):
            assert int(seconds) > grace


def test_the_broker_is_durable_wherever_we_configure_it():
    for config in (CONFIG, (ROOT / "ops/nats.conf").read_text()):
        assert "sync_interval: always" in config
        assert "max_payload: 8MB" in config
