"""Published folders: what their files decide, and files that lie, climb out or are damaged."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file
from tiny_models import WIDTH, text_model, token_rows, tokenizer_json, write_folder

import semblance as sb
from semblance.encode import checksums, hub
from semblance.encode.onnx_file import external_locations

Make = Callable[..., Path]


def test_the_limit_is_the_models_and_not_the_baked_in_truncation(tiny: Path) -> None:
    encoder = sb.Encoder(tiny)  # its tokenizer.json says: cut at 4, pad to 9
    assert encoder.max_tokens == 8
    assert encoder.tokens(["a a a a a a a a a a"]) == [["[CLS]", *"aaaaaa", "[SEP]"]]
    assert encoder.tokens(["cat"]) == [["[CLS]", "cat", "[SEP]"]]


def test_limits_fall_back_from_file_to_file(make_folder: Make) -> None:
    folder = make_folder()
    (folder / "sentence_bert_config.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 12}))
    assert sb.Encoder(folder).max_tokens == 12
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1e30}))
    assert sb.Encoder(folder).max_tokens == 64
    (folder / "config.json").unlink()
    assert sb.Encoder(folder).max_tokens == 512


def test_pooling_follows_the_folder(make_folder: Make) -> None:
    folder = make_folder(pooling="pooling_mode_cls_token")
    np.testing.assert_allclose(sb.Encoder(folder).encode(["cat"], normalize=False)[0], token_rows()[2])


def test_two_poolings_at_once_are_put_side_by_side(make_folder: Make) -> None:
    folder = make_folder()
    both = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(both))
    encoder = sb.Encoder(folder)
    alone = [sb.Encoder(folder, pooling=name).encode(["the cat"], normalize=False) for name in ("cls", "mean")]
    assert encoder.dim == 12
    assert np.array_equal(encoder.encode(["the cat"], normalize=False), np.concatenate(alone, axis=1))


def test_a_bare_file_finds_what_lies_beside_it(make_folder: Make) -> None:
    folder = make_folder()
    expected = sb.Encoder(folder).encode(["the dog"])
    assert np.array_equal(sb.Encoder(folder / "model.onnx").encode(["the dog"]), expected)
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx/model.onnx")
    assert np.array_equal(sb.Encoder(folder).encode(["the dog"]), expected)
    assert np.array_equal(sb.Encoder(folder / "onnx/model.onnx").encode(["the dog"]), expected)


def test_a_folder_with_several_models_wants_one_named(make_folder: Make) -> None:
    folder = make_folder()
    (folder / "model.onnx").rename(folder / "one.onnx")
    assert sb.Encoder(folder).dim == 6
    onnx.save(text_model(token_rows()), folder / "two.onnx")
    with pytest.raises(sb.NotFoundError, match=r"one\.onnx, two\.onnx"):
        sb.Encoder(folder)


def test_missing_things_are_not_found(tmp_path: Path) -> None:
    for missing in (tmp_path / "nowhere", tmp_path, str(tmp_path / "none.onnx"), ""):
        with pytest.raises(sb.NotFoundError, match="model: expected"):
            sb.Encoder(missing)
    with pytest.raises(sb.ArgumentError, match="model: expected a path"):
        sb.Encoder(7)  # type: ignore[arg-type]


def test_a_model_without_a_tokenizer_says_so(make_folder: Make) -> None:
    folder = make_folder()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(sb.UnsupportedError, match=r"tokenizer\.json"):
        sb.Encoder(folder).encode(["a"])


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer.json", "sentence_bert_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b"7", b"\xff\xfe", b"[" * 100_000])
def test_damaged_configurations_are_format_errors(make_folder: Make, name: str, content: bytes) -> None:
    folder = make_folder()
    (folder / name).write_bytes(content)
    with pytest.raises(sb.FormatError, match=name.replace(".", r"\.")):
        sb.Encoder(folder)


@pytest.mark.parametrize("size", [0, 1, 7, 100, 400])
def test_truncated_models_are_format_errors(make_folder: Make, size: int) -> None:
    folder = make_folder()
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:size])
    with pytest.raises(sb.FormatError, match="expected"):
        sb.Encoder(folder)


def test_noise_is_a_format_error(make_folder: Make) -> None:
    folder = make_folder()
    random = np.random.default_rng(5)
    for _ in range(30):
        (folder / "model.onnx").write_bytes(random.bytes(500))
        with pytest.raises(sb.FormatError):
            sb.Encoder(folder)


def external_model(folder: Path, location: str) -> None:
    """Rewrites the model so that its rows lie in the file ``location``."""
    model = text_model(token_rows())
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def test_external_data_beside_the_model_is_used(make_folder: Make) -> None:
    folder = make_folder()
    expected = sb.Encoder(folder).encode(["the dog"])
    external_model(folder, "rows.bin")
    (folder / "rows.bin").write_bytes(token_rows().tobytes())
    assert external_locations(folder / "model.onnx") == {"rows.bin"}
    encoder = sb.Encoder(folder)
    assert np.array_equal(encoder.encode(["the dog"]), expected)
    before = encoder.fingerprint
    (folder / "rows.bin").write_bytes((2 * token_rows()).tobytes())
    assert sb.Encoder(folder).fingerprint != before


@pytest.mark.parametrize("location", ["../rows.bin", "/etc/passwd", "sub/../../rows.bin", "C:\\rows.bin", "..\\r", ""])
def test_external_data_outside_the_folder_is_refused(make_folder: Make, tmp_path: Path, location: str) -> None:
    folder = make_folder()
    (tmp_path / "rows.bin").write_bytes(token_rows().tobytes())
    external_model(folder, location)
    with pytest.raises(sb.FormatError, match="inside the model's folder"):
        sb.Encoder(folder)


def test_external_data_that_is_cut_off_is_a_format_error(make_folder: Make) -> None:
    folder = make_folder()
    onnx.save(text_model(token_rows()), folder / "model.onnx", save_as_external_data=True, location="rows.bin",
              size_threshold=0)  # fmt: skip
    (folder / "rows.bin").write_bytes((folder / "rows.bin").read_bytes()[:10])
    with pytest.raises(sb.FormatError, match=r"that ONNX Runtime can load, got .*given file_length: 10"):
        sb.Encoder(folder)


def test_external_data_that_is_missing_is_named(make_folder: Make) -> None:
    folder = make_folder()
    external_model(folder, "rows.bin")
    with pytest.raises(sb.FormatError, match=r"'rows\.bin' beside it"):
        sb.Encoder(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["rows.bin", "tokenizer.json", "config.json", "model.onnx"])
def test_links_out_of_the_folder_are_refused(make_folder: Make, tmp_path: Path, name: str) -> None:
    folder = make_folder()
    external_model(folder, "rows.bin")
    (folder / "rows.bin").write_bytes(token_rows().tobytes())
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(sb.FormatError, match="inside the model's folder"):
        sb.Encoder(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_external_data_under_a_second_name_is_refused(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder()
    external_model(folder, "rows.bin")
    (tmp_path / "outside").write_bytes(token_rows().tobytes())
    (folder / "rows.bin").hardlink_to(tmp_path / "outside")
    with pytest.raises(sb.FormatError, match=r"data of its own, got a hard link 'rows\.bin'"):
        sb.Encoder(folder)
    (tmp_path / "outside").unlink()
    assert sb.Encoder(folder).dim == 6


# -- SHA256SUMS


def listed(folder: Path) -> Path:
    """The folder, every file of it listed."""
    external_model(folder, "rows.bin")
    (folder / "rows.bin").write_bytes(token_rows().tobytes())
    checksums.write(folder, [path for path in folder.rglob("*") if path.is_file()])
    return folder


@pytest.mark.parametrize("name", [
    "model.onnx", "rows.bin", "tokenizer.json", "config.json", "modules.json", "1_Pooling/config.json",
    "sentence_bert_config.json",
])  # fmt: skip
def test_a_file_that_is_not_the_listed_one_is_refused(make_folder: Make, name: str) -> None:
    folder = listed(make_folder())
    expected = sb.Encoder(folder).encode(["the dog"])
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    with pytest.raises(sb.FormatError, match=r"expected sha256 [0-9a-f]{64}, got"):
        sb.Encoder(folder)
    (folder / name).unlink()
    with pytest.raises((sb.FormatError, sb.NotFoundError), match="expected"):
        sb.Encoder(folder)
    (folder / name).write_bytes(whole)
    assert np.array_equal(sb.Encoder(folder).encode(["the dog"]), expected)


def test_the_list_is_that_of_sha256sum(make_folder: Make) -> None:
    folder = listed(make_folder())
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    of_rows = hashlib.sha256(token_rows().tobytes()).hexdigest()
    assert f"{of_rows}  rows.bin" in lines
    assert [line[66:] for line in lines] == sorted(line[66:] for line in lines)
    (folder / "SHA256SUMS").write_text(f"{of_rows.upper()} *rows.bin\n{'0' * 64}  not-read.onnx\n")
    assert sb.Encoder(folder).dim == 6  # what it does not list, and what is never read, is not looked at


@pytest.mark.parametrize("content", [b"x", b"0" * 64 + b" rows.bin", b"\xff\n", b"\\" + b"0" * 64 + b"  a\\nb", b"\n"])
def test_a_list_of_another_form_is_refused(make_folder: Make, content: bytes) -> None:
    folder = listed(make_folder())
    (folder / "SHA256SUMS").write_bytes(content)
    with pytest.raises(sb.FormatError, match="SHA256SUMS: expected"):
        sb.Encoder(folder)


def test_saved_folders_are_listed(make_folder: Make, tmp_path: Path) -> None:
    sb.Encoder(make_folder()).save(tmp_path / "saved")
    names = [line[66:] for line in (tmp_path / "saved/SHA256SUMS").read_text().splitlines()]
    there = [path.relative_to(tmp_path / "saved").as_posix() for path in (tmp_path / "saved").rglob("*")]
    assert sorted([*names, "SHA256SUMS", "1_Pooling"]) == sorted(there)
    (tmp_path / "saved/tokenizer.json").write_text(tokenizer_json().replace('"cat": 5', '"cat": 6'))
    with pytest.raises(sb.FormatError, match=r"tokenizer\.json: expected sha256"):
        sb.Encoder(tmp_path / "saved")


# -- org/name


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, object]]:
    """A ``huggingface_hub`` whose cache holds one repository as the real one does: a snapshot of links to blobs."""
    cache = tmp_path / "models--org--tiny"
    source = write_folder(tmp_path / "source")
    snapshot = cache / "snapshots/abc"
    (cache / "blobs").mkdir(parents=True)
    calls: list[tuple[str, object]] = []

    def snapshot_download(repo_id: str, *, revision: str | None = None, allow_patterns: list[str]) -> str:
        calls.append((repo_id, revision))
        if repo_id != "org/tiny":
            raise OSError(f"Repository Not Found for {repo_id}")
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            name = file.relative_to(source).as_posix()
            if not any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):  # as huggingface_hub has it
                continue
            blob = cache / "blobs" / str(len(list((cache / "blobs").iterdir())))
            link = snapshot / name
            link.parent.mkdir(parents=True, exist_ok=True)
            file.rename(blob)
            link.symlink_to(blob)
        return str(snapshot)

    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_org_name_is_fetched(fake_hub: list[tuple[str, object]], tiny: Path) -> None:
    encoder = sb.Encoder("org/tiny", device="cpu")
    assert np.array_equal(encoder.encode(["the dog"]), sb.Encoder(tiny).encode(["the dog"]))
    sb.Encoder("org/tiny@v1.0")
    assert fake_hub == [("org/tiny", None), ("org/tiny", "v1.0")]


def test_all_that_an_encoder_reads_is_fetched_and_no_more(fake_hub: list[tuple[str, object]], tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "model.onnx_data").write_bytes(token_rows().astype(np.float32).tobytes())
    external_model(source, "model.onnx_data")
    modules = json.loads((source / "modules.json").read_text(encoding="utf-8"))
    modules.insert(2, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (source / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (source / "2_Dense").mkdir()
    settings = {"in_features": WIDTH, "out_features": 3, "bias": False}
    (source / "2_Dense/config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file({"linear.weight": np.ones((3, WIDTH), np.float32)}, source / "2_Dense/model.safetensors")
    checksums.write(source, (path for path in source.rglob("*") if path.is_file()))
    for name in ("model.safetensors", "pytorch_model.bin", "2_Dense/pytorch_model.bin", "tf_model.h5", "README.md"):
        (source / name).write_bytes(b"other runtimes")
    shutil.copytree(source, tmp_path / "copy")
    assert np.array_equal(sb.Encoder("org/tiny").encode(["the dog"]), sb.Encoder(tmp_path / "copy").encode(["the dog"]))
    left = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    assert left == ["2_Dense/pytorch_model.bin", "README.md", "model.safetensors", "pytorch_model.bin", "tf_model.h5"]
    blob = (tmp_path / "models--org--tiny/snapshots/abc/2_Dense/model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(sb.FormatError, match=r"model\.safetensors: expected sha256"):
        sb.Encoder("org/tiny")


def test_a_repository_that_is_not_there_is_not_found(fake_hub: list[tuple[str, object]]) -> None:
    with pytest.raises(sb.NotFoundError, match="'org/other', got Repository Not Found"):
        sb.Encoder("org/other")


def test_without_the_hub_package_the_line_to_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(sb.UnsupportedError, match=r"pip install 'semblance\[hub\]'"):
        sb.Encoder("org/name")


def test_only_org_name_goes_to_the_hub() -> None:
    assert all(map(hub.is_repository, ["org/name", "a-b/c_d.e", "org/name@main"]))
    assert not any(map(hub.is_repository, ["name", "/etc/x", "../x", "a/b/c", "org/", "./a", "a b/c", "org/na\n"]))
