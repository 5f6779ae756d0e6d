"""A model folder as published on model hubs: which file is the model, and what its configuration says about vectors."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FormatError, NotFoundError, UnsupportedError
from . import checksums
from .dense import Normalize, Step, read_dense
from .onnx_file import check_external
from .tokenize import MAX_FILE_BYTES

MAX_CONFIG_BYTES = 16 << 20
MAX_MODEL_BYTES = 64 << 30
DEFAULT_MAX_TOKENS = 512
POOLING_KEYS = {  # in the order in which sentence-transformers puts several side by side
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")  # dropout does nothing outside training


@dataclass(frozen=True)
class _Files:
    """The files of a folder, each looked over before it is read: place, size, and digest where one is kept."""

    root: Path  # where they may really lie
    digests: dict[Path, str]

    def has(self, path: Path) -> bool:
        """Whether the file is there; FormatError where it should be."""
        if path.is_file():
            return True
        if checksums.place(path) in self.digests:
            raise FormatError(f"{path.name}: expected the file that {checksums.NAME} lists, got no such file")
        return False

    def check(self, path: Path, limit: int) -> None:
        """FormatError unless the file may be read."""
        if not path.resolve().is_relative_to(self.root):
            raise FormatError(f"{path.name}: expected a file inside the model's folder, got a link to {path.resolve()}")
        size = path.stat().st_size
        if size > limit:
            raise FormatError(f"{path.name}: expected at most {limit} bytes, got {size}")
        wanted = self.digests.get(checksums.place(path))
        if wanted is not None:
            checksums.compare(path, wanted)

    def json(self, path: Path) -> Any:
        """The value in a JSON file."""
        self.check(path, MAX_CONFIG_BYTES)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path.name}: expected JSON, got {error}") from error

    def settings(self, path: Path) -> dict[str, Any]:
        """The object in a JSON file; empty where there is no file."""
        if not self.has(path):
            return {}
        value = self.json(path)
        if not isinstance(value, dict):
            raise FormatError(f"{path.name}: expected a JSON object, got {type(value).__name__}")
        return value


@dataclass(frozen=True)
class ModelFolder:
    """Paths and settings of one model; `None` where the folder says nothing."""

    model: Path
    name: str
    root: Path
    tokenizer: Path | None = None
    pooling: str | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    hidden_size: int | None = None
    include_prompt: bool = True  # whether pooling counts an instruction's tokens
    after: tuple[Step, ...] = ()  # what is done to the pooled vectors, up to the last Dense
    position_offset: int = 0  # rows of the position table before the first position
    external: tuple[Path, ...] = field(default=())


def open_folder(path: str | os.PathLike[str]) -> ModelFolder:
    """Read a folder, or a bare ``.onnx`` file together with what lies beside it.

    Parameters
    ----------
    path : str or PathLike
        A folder with ``model.onnx``, ``onnx/model.onnx`` or a single ``.onnx`` file, or the file itself.

    Returns
    -------
    ModelFolder
        Nothing but JSON has been read, apart from the names of external data files and the weights of Dense modules.

    Raises
    ------
    NotFoundError
        No such folder, or no model in it.
    FormatError
        A configuration that is no JSON object, a file that lies outside the folder or is another than ``SHA256SUMS``
        lists, a damaged model file.
    UnsupportedError
        The folder lists a module (such as LSTM) that is not run, or a Dense that cannot be.
    """
    given = Path(path)
    if not given.exists():
        raise NotFoundError(f"model: expected a folder or an .onnx file, got {os.fspath(path)!r}, which does not exist")
    model = given if given.is_file() else _find_model(given)
    folder = _root(model) if given.is_file() else given
    files = _files(folder)
    files.check(model, MAX_MODEL_BYTES)
    tokenizer = next((p for p in (folder / "tokenizer.json", model.parent / "tokenizer.json") if files.has(p)), None)
    if tokenizer is not None:
        files.check(tokenizer, MAX_FILE_BYTES)
    external = tuple(check_external(model, files.root))
    for data in external:
        files.check(data, MAX_MODEL_BYTES)
    config = files.settings(folder / "config.json")
    modules = _modules(folder, files)
    pooling, include_prompt = _pooling(folder, files, modules)
    return ModelFolder(
        model=model,
        root=folder,
        name=folder.resolve().name if not given.is_file() or tokenizer else model.stem,
        tokenizer=tokenizer,
        pooling=pooling,
        max_tokens=_max_tokens(folder, files, config),
        hidden_size=_whole(config.get("hidden_size")),
        include_prompt=include_prompt,
        after=_after(folder, files, modules),
        position_offset=_position_offset(config),
        external=external,
    )


def _files(folder: Path) -> _Files:
    files = _Files(_allowed_root(folder), {})
    sums = folder / checksums.NAME
    if not sums.is_file():
        return files
    files.check(sums, MAX_CONFIG_BYTES)
    return _Files(files.root, checksums.read(sums))


def _find_model(folder: Path) -> Path:
    for candidate in (folder / "model.onnx", folder / "onnx" / "model.onnx"):
        if candidate.is_file():
            return candidate
    found = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    if len(found) == 1:
        return found[0]
    names = ", ".join(p.relative_to(folder).as_posix() for p in found) or "none"
    raise NotFoundError(f"model: expected model.onnx in {folder.name!r}, got these .onnx files: {names} (name one)")


def _root(model: Path) -> Path:
    """The published folder of a bare model file: its own, or the one above ``onnx/``."""
    above = model.parent.parent
    is_export = model.parent.resolve().name == "onnx" and (above / "config.json").is_file()
    return above if is_export else model.parent


def _allowed_root(folder: Path) -> Path:
    """Where files may really lie: the folder; for a hub cache's snapshot, whose files are links, that cache entry."""
    real = folder.resolve()
    if real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--"):
        return real.parent.parent
    return real


def _modules(folder: Path, files: _Files) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    if not files.has(path):
        return []
    value = files.json(path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise FormatError("modules.json: expected a list of objects, got other JSON")
    for module in value:
        if _kind(module) not in _MODULES:
            raise UnsupportedError(f"modules.json: expected {', '.join(_MODULES)}, got the module {_kind(module)!r}")
    return value


def _kind(module: dict[str, Any]) -> str:
    """ "Dense" of ``sentence_transformers.models.Dense``."""
    return str(module.get("type", "")).rsplit(".", 1)[-1]


def _pooling(folder: Path, files: _Files, modules: list[dict[str, Any]]) -> tuple[str | None, bool]:
    """The pooling of the sentence-transformers modules (None where there is none), and whether instructions count."""
    place = next((str(m.get("path", "1_Pooling")) for m in modules if _kind(m) == "Pooling"), "1_Pooling")
    config = files.settings(folder / place / "config.json")
    chosen = [method for key, method in POOLING_KEYS.items() if config.get(key)]
    return "+".join(chosen) or None, config.get("include_prompt") is not False


def _after(folder: Path, files: _Files, modules: list[dict[str, Any]]) -> tuple[Step, ...]:
    """What is done to the pooled vectors; unit length at the end is left to the encoder's ``normalize``."""
    kinds = [_kind(module) for module in modules]
    if "Dense" not in kinds:
        return ()
    if "Pooling" not in kinds[: kinds.index("Dense")]:
        raise UnsupportedError("modules.json: expected Pooling before Dense, got the module 'Dense' on tokens")
    last = len(kinds) - 1 - kinds[::-1].index("Dense")
    return tuple(_step(folder, files, m) for m in modules[: last + 1] if _kind(m) in ("Dense", "Normalize"))


def _step(folder: Path, files: _Files, module: dict[str, Any]) -> Step:
    if _kind(module) == "Normalize":
        return Normalize()
    place = folder / str(module.get("path", ""))
    return read_dense(place, files.settings(place / "config.json"), files.check)


def _position_offset(config: dict[str, Any]) -> int:
    """Rows of the position table before the first position: RoBERTa's family starts behind the padding id."""
    return 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0


def _max_tokens(folder: Path, files: _Files, config: dict[str, Any]) -> int:
    """The model's own limit: sentence-transformers' setting, else the tokenizer's, else the positions it has."""
    positions = _whole(config.get("max_position_embeddings"))
    positions = positions - _position_offset(config) if positions else None
    stated = _whole(files.settings(folder / "sentence_bert_config.json").get("max_seq_length"))
    stated = stated or _whole(files.settings(folder / "tokenizer_config.json").get("model_max_length"))
    limits = [limit for limit in (stated, positions) if limit]
    return min(limits) if limits else DEFAULT_MAX_TOKENS


def _whole(value: Any) -> int | None:
    """A usable count; None for absent values and the 1e30 that stands for 'no limit'."""
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 24
    return value if usable else None
