"""Results as files."""

import json

from .._support import storage


def write_json(path, results):
    """Write results, whole or not at all: see `fastbp._support.storage.write_whole`."""
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    storage.write_whole(path, lambda file: file.write(text.encode()))
