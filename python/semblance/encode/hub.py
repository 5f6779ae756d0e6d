"""``org/name``: the files of a published model through ``huggingface_hub``, only those that an encoder reads."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import NotFoundError, UnsupportedError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
# "*" goes through folders; the weights of other runtimes (model.safetensors of the folder itself, .bin) stay there
PATTERNS = ["*.json", "*_Dense/model.safetensors", "model.onnx*", "onnx/model.onnx*", "SHA256SUMS"]


def is_repository(name: str) -> bool:
    """Whether a string has the form ``org/name`` or ``org/name@revision``."""
    return _REPOSITORY.fullmatch(name) is not None


def fetch(name: str) -> Path:
    """The local folder with the files of ``org/name``, downloaded unless the hub's cache has them.

    Parameters
    ----------
    name : str
        ``org/name``, or ``org/name@revision`` for a branch, tag or commit.

    Raises
    ------
    UnsupportedError
        ``huggingface_hub`` is not installed.
    NotFoundError
        The hub has no such repository, or cannot be reached and the cache lacks it.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UnsupportedError(
            f"model: expected huggingface_hub to fetch {name!r}, got no such package (pip install 'semblance[hub]')"
        ) from error
    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=PATTERNS))
    except Exception as error:  # the hub's own tree, OSError, HTTP errors of several libraries
        reason = str(error).strip().split("\n")[0]
        raise NotFoundError(f"model: expected a reachable repository {name!r}, got {reason}") from error
