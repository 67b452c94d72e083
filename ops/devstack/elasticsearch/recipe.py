"""Building Elasticsearch from Maven Central, once for each version of the recipe (``pom.xml`` and ``src``) and each user."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.devstack.process import end, free_port, spawn, tail, wait_for

HERE = Path(__file__).resolve().parent
POM = (HERE / "pom.xml").read_text()
VERSION = re.findall(r"<elasticsearch\.version>(.+)</", POM)[0]
OLDEST_JAVA = int(re.findall(r"<java\.oldest>(.+)</", POM)[0])
MAIN = "rollcall.Server"
TRAINING = 120.0  # seconds, for a start and an end

FLAGS = [
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",  # a file in /tmp that a kill leaves behind
    "--enable-native-access=ALL-UNNAMED",
    "--add-modules=jdk.incubator.vector",  # as every distribution does, for Lucene
]


class NotInstalled(RuntimeError):
    """Java or Maven is missing; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Built:
    """What there is to run."""

    jdk: Path
    directory: Path

    def command(self, heap_mb: int, home: Path, port: int, *flags: str) -> list[str]:
        """The node of ``home``, which has a directory ``tmp``, on a port of the loopback."""
        jars = sorted(str(jar) for jar in (self.directory / "lib").glob("*.jar"))
        return [
            str(self.jdk / "bin/java"),
            f"-Xmx{heap_mb}m",
            *FLAGS,
            f"-Djava.io.tmpdir={home / 'tmp'}",
            f"-XX:ErrorFile={home / 'hs_err.log'}",
            *flags,
            "-cp",
            os.pathsep.join(jars),
            MAIN,
            str(self.directory / "modules"),
            str(home),
            str(port),
        ]

    @property
    def archive(self) -> Path:
        """The classes, read and checked, for this JDK alone: they halve the time of a start. Empty where it makes none."""
        return self.directory / f"{_digest((self.jdk / 'release').read_bytes())}.jsa"

    @property
    def archived(self) -> list[str]:
        """The flags that use the archive."""
        return [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.stat().st_size else []


def prepare() -> Built:
    """Build, unless that has been done. Raises NotInstalled, or RuntimeError with the end of Maven's output."""
    jdk = _jdk()
    sources = sorted(path for path in (HERE / "src").rglob("*") if path.is_file())
    parts = [POM.encode(), *(path.read_bytes() for path in sources)]
    directory = _cache() / f"elasticsearch-{VERSION}-{_digest(b''.join(parts))}"
    built = Built(jdk, directory)
    if not built.archive.exists():
        with _alone():
            if not directory.exists():
                _package(jdk, directory)
            if not built.archive.exists():
                _train(built)
    return built


def _package(jdk: Path, directory: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalled(
            "Elasticsearch is built by Maven, and there is no mvn: install it, or set ELASTICSEARCH_URL"
        )
    sys.stderr.write(f"rollcall: building Elasticsearch {VERSION} from Maven Central, once\n")
    with tempfile.TemporaryDirectory(prefix="draft-", dir=directory.parent) as name:
        draft = Path(name)
        shutil.copy(HERE / "pom.xml", draft)
        shutil.copytree(HERE / "src", draft / "src")
        done = subprocess.run(
            [maven, "-q", "-B", "-ntp", "package"],
            cwd=draft,
            env={**os.environ, "JAVA_HOME": str(jdk)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(done.stdout.splitlines()[-30:])
            raise RuntimeError(f"Maven could not build Elasticsearch {VERSION}:\n{said}")
        (draft / "target").rename(directory)


def _train(built: Built) -> None:
    """One start and end of a node, of which the JVM keeps the classes. A JVM that cannot is no harm."""
    with tempfile.TemporaryDirectory(prefix="draft-", dir=built.directory.parent) as name:
        home, draft = Path(name), Path(name) / "classes.jsa"
        (home / "tmp").mkdir()
        log = home / "log"
        command = built.command(512, home, free_port(), f"-XX:ArchiveClassesAtExit={draft}")
        process = spawn(command, log=log)
        try:
            wait_for(lambda: process.poll() is not None or "started" in tail(log), TRAINING, "")
        except TimeoutError:
            pass
        finally:
            end(process, signal.SIGTERM, TRAINING)
        draft.touch()  # empty: not to be tried again
        draft.rename(built.archive)


def _jdk() -> Path:
    """The newest JDK there is; one that a variable names goes first."""
    named = [Path(os.environ[name]) for name in ("JAVA21_HOME", "JAVA_HOME") if os.environ.get(name)]
    for home in named:
        if _java_version(home) >= OLDEST_JAVA:
            return home
    found = max(_installed(), key=_java_version, default=None)
    if found is None or _java_version(found) < OLDEST_JAVA:
        raise NotInstalled(
            f"Elasticsearch needs a JDK of at least version {OLDEST_JAVA}, and there is none: "
            "install one, name it by JAVA_HOME, or set ELASTICSEARCH_URL"
        )
    return found


def _installed() -> Iterator[Path]:
    yield from sorted(Path("/usr/lib/jvm").glob("*"))
    yield from sorted(Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home"))
    compiler = shutil.which("javac")
    if compiler is not None:
        yield Path(compiler).resolve().parents[1]


def _java_version(home: Path) -> int:
    """The major version of a JDK; 0 for what is none."""
    with contextlib.suppress(OSError):
        said = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
        if said is not None and (home / "bin/javac").exists():
            return int(said[1])
    return 0


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollcall"
    cache.mkdir(parents=True, exist_ok=True)
    return cache.resolve()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait for whoever else builds."""
    with (_cache() / "elasticsearch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
