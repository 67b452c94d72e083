"""The console's files, as a browser gets them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import httpx
import pytest

from tests.helpers.http import plain
from tests.helpers.realm import Realm
from workers.realtime.pages import DIRECTORY, INDEX, TYPES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(DIRECTORY.iterdir())


async def get(realm: Realm, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with plain() as client:
        return await client.request(method, f"{realm.http}{path}", headers=headers)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
async def test_a_file(realm: Realm, file: Path):
    path = "/" if file.name == INDEX else f"/console/{file.name}"
    answer = await get(realm, path)
    assert (answer.status_code, answer.content) == (200, file.read_bytes())
    assert answer.headers["content-type"].startswith(TYPES[file.suffix])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    # A browser asks each time, and is sent the file only where it is another one.
    assert answer.headers["cache-control"] == "no-cache"
    etag = answer.headers["etag"]
    known = await get(realm, path, **{"if-none-match": f'"other", W/{etag}'})
    assert (known.status_code, known.content) == (304, b"")
    assert (await get(realm, path, **{"if-none-match": '"other"'})).status_code == 200
    head = await get(realm, path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert (await get(realm, path, "POST")).status_code == 405


async def test_nothing_else_is_served(realm: Realm):
    for path in (
        "/console",
        "/console/",
        "/console/index.html",
        "/console/../app.py",
        "/console/%2e%2e/app.py",
        "/index.html",
    ):
        assert (await get(realm, path)).status_code == 404, path


def test_everything_comes_from_here_and_nothing_is_written_into_the_page():
    page = (DIRECTORY / INDEX).read_text()
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert re.findall(r"<script[^>]*>[^<]*", page) == ['<script type="module" src="console/console.js">']
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert named <= {f"console/{file.name}" for file in FILES}
    for file in FILES:
        text = file.read_text()
        outside = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"(?m)^\s*//.*", "", text)))
        assert outside <= {"http://www.w3.org"}, file.name
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            file.name
        )
        assert all((DIRECTORY / name).exists() for name in re.findall(r'from "\./([^"]+)"', text))


def test_a_package_brings_them_all():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["workers.realtime"]
    assert {path for pattern in patterns for path in DIRECTORY.parent.glob(pattern)} == set(FILES)
