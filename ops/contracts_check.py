"""``make contracts-check``: an upstream service's environment, with the contracts and nothing of the workers.

It is built from this tree into a temporary directory, sends a command to a fleet that runs beside it, and prints the
result.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from ops.demo import fleet

SENDER = """
import asyncio, importlib.util, sys

from contracts.client import Client

for module in ("sqlalchemy", "asyncpg", "faststream", "alembic", "phonenumbers"):
    if importlib.util.find_spec(module):
        sys.exit(f"the slim environment has {module}")


async def main():
    client = await Client.connect(sys.argv[1], source="contracts-check")
    data = {"first_name": "Ada", "email": "ada@example.com", "external_id": "crm-1"}
    result = await client.send("contact.create", "acme", data)
    print(result.model_dump_json(exclude_none=True))
    await client.close()
    sys.exit(result.status != "applied")


asyncio.run(main())
"""


def check() -> int:
    """Answers the exit code."""
    tree = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="rollcall-contracts-") as directory:
        venv.create(directory, with_pip=True)
        python = Path(directory) / "bin/python"
        source = Path(directory) / "source"  # a build leaves traces where it runs
        shutil.copytree(
            tree, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
        )
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(source)]
        subprocess.run(install, check=True)
        return asyncio.run(_send(str(python)))


async def _send(python: str) -> int:
    async with fleet() as running:
        # Not from this tree: its packages would be importable from the current directory.
        sender = await asyncio.create_subprocess_exec(python, "-c", SENDER, running.nats_url, cwd="/")
        return await sender.wait()


if __name__ == "__main__":
    sys.exit(check())
