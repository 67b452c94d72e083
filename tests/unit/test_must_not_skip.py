"""In CI a test that skips has failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MUST_NOT_SKIP

TESTS = """
import pytest

def test_that_needs_what_is_not_there():
    pytest.skip("no Java")

@pytest.mark.xfail
def test_that_is_known_to_fail():
    assert False
"""


@pytest.mark.parametrize(("variable", "code", "said"), [("", 0, "1 skipped"), ("1", 1, "no Java")])
def test_a_skip_counts_as_a_failure_where_that_is_asked_for(tmp_path, variable, code, said):
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, MUST_NOT_SKIP: variable, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, said in ran.stdout, "1 xfailed" in ran.stdout) == (code, True, True), ran.stdout
