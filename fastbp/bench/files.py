"""Results as files."""

from __future__ import annotations

import json
import os
from typing import Any

from .._support import storage


def write_json(path: str | os.PathLike[str], results: Any) -> None:
    """Write results as JSON, whole or not at all."""
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    storage.write_whole(os.fspath(path), lambda file: file.write(text.encode()))
