"""An ONNX encoder, as it is run (cut, in fewer bits, merged), written as a folder that `Encoder` opens."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from .. import storage
from ..errors import ArgumentError
from . import checksums, dense, graph
from .dense import Dense
from .folder import POOLING_KEYS
from .model import OnnxModel

_COPIED = ("tokenizer.json", "config.json", "tokenizer_config.json", "special_tokens_map.json")


def save_folder(model: OnnxModel, path: str | os.PathLike[str]) -> None:
    """Write model, tokenizer and settings to a new folder, as a whole or not at all.

    Raises
    ------
    ArgumentError
        A path that exists or cannot be made, or settings that a folder has no words for.
    """
    target, own = Path(path), model.settings
    methods = {method: key for key, method in POOLING_KEYS.items()}
    unsaid = [name for name in model.pooling.split("+") if name not in methods]
    if unsaid or own.output is not None or own.long != "truncate":
        raise ArgumentError(f"save: expected an encoder without output=, long= and pooling {unsaid}, got one with them")
    if target.exists():
        raise ArgumentError(f"path: expected a folder that does not exist yet, got {os.fspath(path)!r}")
    try:
        with tempfile.TemporaryDirectory(prefix=".semblance-", dir=target.parent) as made:
            folder = Path(made) / "model"
            folder.mkdir()
            (folder / "model.onnx").write_bytes(_bytes(model))
            for name in _COPIED:
                if (model.folder.root / name).is_file():
                    shutil.copyfile(model.folder.root / name, folder / name)
            _write_settings(folder, model, {methods[name]: True for name in model.pooling.split("+")})
            checksums.write(folder, [path for path in folder.rglob("*") if path.is_file()])
            _sync(folder)
            folder.rename(target)
        storage.sync_folder(target.parent)
    except OSError as error:
        raise ArgumentError(f"path: expected a folder that can be written, got {error}") from error


def _sync(folder: Path) -> None:
    """Every file and folder below, and the folder itself."""
    for where, _, names in os.walk(folder):
        for name in names:
            with (Path(where) / name).open("rb") as file:
                storage.sync(file.fileno())
        storage.sync_folder(where)


def _bytes(model: OnnxModel) -> bytes:
    """The model that the session runs, its weights inside."""
    return graph.serialized(model.edited(weights=True), model.name)


def _write_settings(folder: Path, model: OnnxModel, pooling: dict[str, bool]) -> None:
    kind = "sentence_transformers.models."
    modules = [{"idx": place, "name": str(place), "path": path, "type": kind + name}
               for place, (path, name) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling")))]  # fmt: skip
    after = dense.settings(model.folder.after, first=len(modules))
    for step, entry in zip(model.folder.after, after, strict=True):
        for file in step.files:
            (folder / entry["path"]).mkdir(exist_ok=True)
            shutil.copyfile(file, folder / entry["path"] / file.name)
    modules += after
    pooled = next((step.weight.shape[1] for step in model.folder.after if isinstance(step, Dense)), model.dim)
    (folder / "1_Pooling").mkdir()
    for name, value in {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": model.max_tokens},
        "1_Pooling/config.json": {"word_embedding_dimension": pooled, **pooling},
    }.items():
        (folder / name).write_text(json.dumps(value, indent=2), encoding="utf-8")
