"""Which model a name stands for, and whether the options given with it go with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ArgumentError, NotFoundError, UnsupportedError
from . import checksums, hub, long_texts, pooling
from .devices import check_device
from .precision import PRECISIONS
from .static import StaticModel, default_model
from .texts import Report
from .tokenize import check_length


class Model(Protocol):
    """What an encoder needs of a model that reads texts."""

    name: str
    device: str
    max_tokens: int

    @property
    def dim(self) -> int: ...

    def encode_windows(
        self, windows: Iterable[list[str]], batch_tokens: int | None = None, report: Report | None = None
    ) -> Iterator[np.ndarray]: ...

    def tokens(self, texts: list[str]) -> list[list[str]]: ...

    def identity(self) -> str: ...


def check_options(options: dict[str, Any]) -> None:
    """ArgumentError for an option of another form than `Encoder` documents."""
    check_device(options["device"])
    method, threads, instruction = options["pooling"], options["threads"], options["instruction"]
    if not isinstance(method, str) or (method != "auto" and not pooling.is_known(method)):
        known = sorted(pooling.POOLINGS)
        raise ArgumentError(f"pooling: expected 'auto', one of {known} or several joined by '+', got {method!r}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise ArgumentError(f"threads: expected an integer of at least 0, got {threads!r}")
    for name in ("max_tokens", "layers"):
        if options[name] is not None:
            check_length(options[name], name)
    graphs, device = options.get("cuda_graphs", False), options["device"]
    if not isinstance(graphs, bool) or (graphs and not device.startswith("cuda")):
        raise ArgumentError(f"cuda_graphs: expected a bool, True only with device='cuda', got {graphs!r} on {device!r}")
    digest = options["sha256"]
    if digest is not None and not (isinstance(digest, str) and re.fullmatch(r"[0-9a-fA-F]{64}", digest)):
        raise ArgumentError(f"sha256: expected 64 hexadecimal digits, got {digest!r:.80}")
    for name, choices in (("long", long_texts.METHODS), ("precision", PRECISIONS)):
        if options[name] not in choices:
            raise ArgumentError(f"{name}: expected one of {', '.join(choices)}, got {options[name]!r}")
    if instruction is not None and not isinstance(instruction, str):
        raise ArgumentError(f"instruction: expected str, got {type(instruction).__name__}")


def open_model(model: str | os.PathLike[str] | None, options: dict[str, Any]) -> Model:
    """The model that a name stands for."""
    digest = options.pop("sha256")
    if model is None:
        if digest is not None:
            raise ArgumentError("sha256: expected None for the embedded encoder, got a digest")
        return _static(default_model(), options)
    path = local_path(model)
    if os.path.isfile(path) and not path.endswith(".onnx"):
        if digest is not None:
            checksums.compare(Path(path), digest)
        return _static(StaticModel.load(path), options)
    from .folder import open_folder
    from .model import OnnxModel, Settings

    folder = open_folder(path)
    if digest is not None:
        checksums.compare(folder.model, digest)
    return OnnxModel(folder, Settings(**options))


def local_path(model: object) -> str:
    """The path that a model's name stands for, fetched where it is ``org/name``."""
    if not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(f"model: expected a path or 'org/name', got {type(model).__name__}")
    path = os.fspath(model)
    if os.path.exists(path):
        return path
    if not (isinstance(model, str) and hub.is_repository(path)):
        raise NotFoundError(f"model: expected a folder, a file or 'org/name', got {path!r}, which does not exist")
    return os.fspath(hub.fetch(path))


def _static(model: StaticModel, options: dict[str, Any]) -> StaticModel:
    if options["device"] not in ("auto", "cpu"):
        got = f"got {options['device']!r} (a table look-up needs no GPU)"
        raise UnsupportedError(f"device: expected 'cpu' for a static encoder, {got}")
    if options["pooling"] not in ("auto", "mean") or options["output"] is not None:
        raise ArgumentError("pooling: expected 'auto' or 'mean' and no output= for a static encoder, got others")
    if options["layers"] is not None or options["long"] != "truncate" or options["precision"] != "fp32":
        raise ArgumentError("layers, long, precision: expected none of them for a static encoder, got at least one")
    limit = options["max_tokens"]
    return model if limit is None else model.with_max_tokens(limit)
