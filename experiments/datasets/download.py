"""Fetch a file from its publisher: with a progress bar, a checked hash, and in place only when it is whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from torch.hub import download_url_to_file


def download(url: str, path: Path, sha256: str) -> None:
    """Put the file at ``path``, or leave nothing behind.

    Raises:
        OSError: if there is no network, or the file is not there.
        RuntimeError: if it came with another hash.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrived = Path(folder) / path.name
        download_url_to_file(url, str(arrived), hash_prefix=sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(arrived, path)
