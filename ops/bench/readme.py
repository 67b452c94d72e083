"""The table of the README, rendered from the figures of a run: ``python -m ops.bench.readme bench.json``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

README = Path(__file__).resolve().parents[2] / "README.md"
BETWEEN = re.compile(r"(<!-- bench -->\n).*?(<!-- /bench -->)", re.DOTALL)


class Line(NamedTuple):
    """One row of the table."""

    what: str
    measured: str
    target: str


def lines(figures: Mapping[str, Any]) -> Iterator[Line]:
    """A row for each figure that the run has; a part of a run has fewer."""
    throughput = figures.get("throughput", {})
    if "vs_naive" in throughput:
        yield Line(
            "throughput against the naive way", f"{throughput['vs_naive']:.1f} times", "at least 20 times"
        )
    if "vs_copy" in throughput:
        yield Line(
            "rows written against COPY of the same rows", f"{throughput['vs_copy']:.2f}", "at least 0.33"
        )
    if "million" in figures:
        million = figures["million"]
        what = f"throughput with {million['contacts']:,} contacts against few"
        yield Line(what, f"{million['vs_empty']:.2f}", "at least 0.75")
    if "latency_ms" in figures:
        latency = figures["latency_ms"]
        for name, target in (("p50", 8), ("p99", 30)):
            what = f"webhook published → its event received, {name} at {latency['rate']} messages/s"
            yield Line(what, f"{latency[name]:.1f} ms", f"at most {target} ms")
    yield from _search(figures.get("search", {}))
    yield from _realtime(figures.get("realtime", {}))
    for worker, peak in sorted(figures.get("memory_mb", {}).items()):
        most = 200 if worker == "indexer" else 150
        sockets = figures.get("realtime", {}).get("storm_clients")
        under = f" with {sockets:,} sockets" if worker == "realtime" and sockets else ""
        yield Line(f"peak memory of {worker}{under}", f"{peak:.0f} MB", f"at most {most} MB")
    if "statements_per_batch" in figures:
        counts: Mapping[str, int] = figures["statements_per_batch"]
        what = f"statements a batch of {' / '.join(counts)} messages"
        yield Line(what, " / ".join(str(count) for count in counts.values()), "the same for each")


def _realtime(figures: Mapping[str, Any]) -> Iterator[Line]:
    if not figures:
        return
    fanout, watch = figures["fanout_ms"], figures["watch_ms"]
    what = f"commit → frame, p99, {fanout['frames_per_s']:,} frames/s to {figures['sockets']:,} sockets"
    yield Line(what, f"{fanout['p99']:.0f} ms", "at most 150 ms")
    yield Line("memory of a socket", f"{figures['kb_per_socket']:.0f} kB", "at most 60 kB")
    for name, target in (("p50", 15), ("p99", 75)):
        what = f"webhook published → its frame received, {name} at {watch['rate']} messages/s"
        yield Line(what, f"{watch[name]:.1f} ms", f"at most {target} ms")
    what = f"events missing after {figures['storm_clients']:,} clients came back from a killed worker"
    yield Line(what, f"{figures['storm_missing']} of {figures['storm_events']:,}", "0")


def _search(figures: Mapping[str, Any]) -> Iterator[Line]:
    if not figures:
        return
    at = f"with {figures['contacts']:,} contacts of one tenant"
    yield Line(
        f"rebuild of the search index {at} against ready-made documents",
        f"{figures['rebuild_vs_bulk']:.2f}",
        "at least 0.5",
    )
    fresh = figures["freshness_ms"]
    yield Line(
        f"change committed → found, p99 at {fresh['rate']} changes/s, refreshed every {fresh['refresh_ms']} ms,"
        f" after {fresh['warm_up_s']:g} s of them",
        f"{fresh['p99']:.0f} ms",
        f"at most {fresh['refresh_ms'] + 250} ms",
    )
    for engine, most in (("elasticsearch", 50), ("postgres", 150)):
        yield Line(
            f"contact.search answered by {engine} {at}, p99",
            f"{figures['query_ms'][engine]['p99']:.1f} ms",
            f"at most {most} ms",
        )


def table(figures: Mapping[str, Any]) -> str:
    """Markdown."""
    rows = [Line("what", "measured", "target"), Line("---", "---", "---"), *lines(figures)]
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return text + "\nMeasured with `--quick`, which is smaller.\n" if figures.get("quick") else text


def main(arguments: Sequence[str]) -> int:
    """Rewrite the README between its markers. Exit code 64 for wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m ops.bench.readme bench.json\n")
        return 64
    figures = orjson.loads(Path(arguments[0]).read_bytes())
    figures["statements_per_batch"] = _by_size(figures.get("statements_per_batch"))
    if not figures["statements_per_batch"]:
        del figures["statements_per_batch"]
    written, found = BETWEEN.subn(lambda marks: marks[1] + table(figures) + marks[2], README.read_text())
    if found != 1:
        sys.stderr.write("README.md: there must be one pair of <!-- bench --> and <!-- /bench -->\n")
        return 64
    README.write_text(written)
    return 0


def _by_size(counts: Mapping[str, int] | None) -> dict[str, int]:
    """The file's keys are sorted as text; a reader expects 1, 50, 500."""
    return dict(sorted((counts or {}).items(), key=lambda item: int(item[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
