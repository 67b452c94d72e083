"""``python -m ops.devstack.elasticsearch`` builds it now, so that nothing that uses it has to wait."""

from __future__ import annotations

import sys

from ops.devstack.elasticsearch.recipe import prepare

try:
    sys.stdout.write(f"{prepare().directory}\n")
except RuntimeError as error:
    sys.exit(str(error))
