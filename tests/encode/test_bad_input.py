"""What is wrong with a model, a device or a text is said, at once, and changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from layered_models import layered_model, write_layered
from onnx import TensorProto, helper
from tiny_models import text_model, token_rows, tokenizer_json, write_folder

import semblance as sb
from semblance.encode import devices, folder
from semblance.encode import onnx as runner
from semblance.encode.model import GPU_BATCH_TOKENS
from semblance.encode.tokenize import Tokenizer

Make = Callable[..., Path]


def test_a_text_model_with_an_input_that_nobody_knows(make_folder: Make) -> None:
    path = make_folder()
    model = text_model(token_rows())
    model.graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, path / "model.onnx")
    with pytest.raises(sb.UnsupportedError, match=r"takes input_ids, .* got one that also takes pixel_values"):
        sb.Encoder(path).encode(["a cat"])


def test_a_model_that_takes_strings(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("texts", TensorProto.STRING, ["n"])]
    outputs = [helper.make_tensor_value_info("same", TensorProto.STRING, ["n"]),
               helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]  # fmt: skip
    nodes = [
        helper.make_node("Identity", ["texts"], ["same"]),
        helper.make_node("Shape", ["texts"], ["count"]),
        helper.make_node("ConstantOfShape", ["count"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    encoder = sb.Encoder(tmp_path / "m.onnx")
    with pytest.raises(sb.UnsupportedError, match=r"expected numbers, got an input 'texts' of type tensor\(string\)"):
        encoder.encode({"texts": np.array(["a"])})


def test_a_tokenizer_with_ids_that_the_model_lacks(make_folder: Make) -> None:
    path = make_folder()
    onnx.save(text_model(token_rows()[:9]), path / "model.onnx")  # the tokenizer knows 18
    encoder = sb.Encoder(path)
    with pytest.raises(sb.ArgumentError, match=r"out of data bounds.*does the tokenizer.json belong"):
        encoder.encode(["the big dog."])
    assert encoder.encode(["cat"]).shape == (1, 6)  # ids that it has


def test_a_tokenizer_of_another_kind_of_file(make_folder: Make) -> None:
    path = make_folder()
    (path / "tokenizer.json").write_text(tokenizer_json().replace("WordPiece", "WordPizza"))
    with pytest.raises(sb.FormatError, match=r"tokenizer\.json: expected a tokenizer"):
        sb.Encoder(path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.onnx"])
def test_files_beyond_their_bounds_are_not_read(make_folder: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = make_folder()
    for limit in ("MAX_CONFIG_BYTES", "MAX_FILE_BYTES", "MAX_MODEL_BYTES"):
        monkeypatch.setattr(folder, limit, (path / name).stat().st_size - 1 if limit[4:7] == kind_of(name) else 1 << 40)
    with pytest.raises(sb.FormatError, match=rf"{name}: expected at most \d+ bytes"):
        sb.Encoder(path)


def kind_of(name: str) -> str:
    return {"config.json": "CON", "tokenizer.json": "FIL", "model.onnx": "MOD"}[name]


@pytest.mark.parametrize("absolute", [False, True])
def test_a_pooling_folder_outside_the_model_is_refused(make_folder: Make, tmp_path: Path, absolute: bool) -> None:
    path = make_folder()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    place = str(tmp_path / "outside") if absolute else "../outside"
    (path / "modules.json").write_text(json.dumps([{"type": "Pooling", "path": place}]))
    with pytest.raises(sb.FormatError, match="inside the model's folder"):
        sb.Encoder(path)


@pytest.mark.parametrize("kind", ["onnx", "static"])
def test_a_checksum_that_is_given_is_verified(tiny: Path, tmp_path: Path, kind: str) -> None:
    if kind == "static":
        sb.Encoder().save(tmp_path / "static.safetensors")
    path = tiny if kind == "onnx" else tmp_path / "static.safetensors"
    file = tiny / "model.onnx" if kind == "onnx" else path
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sb.Encoder(path, sha256=digest.upper()).encode(["cat"]).shape[0] == 1
    with pytest.raises(sb.FormatError, match=rf"expected sha256 {'0' * 64}, got {digest}"):
        sb.Encoder(path, sha256="0" * 64)
    for bad in ("abc", 7, "g" * 64):
        with pytest.raises(sb.ArgumentError, match="sha256: expected 64 hexadecimal digits"):
            sb.Encoder(path, sha256=bad)  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="sha256: expected None"):
        sb.Encoder(sha256=digest)


# -- NaN


def nan_model(path: Path) -> Path:
    """The row of "tree" is NaN."""
    rows = token_rows()
    rows[7] = np.nan
    write_folder(path)
    onnx.save(text_model(rows), path / "model.onnx")
    return path


def test_nan_is_an_error_that_names_the_model(tmp_path: Path) -> None:
    encoder = sb.Encoder(nan_model(tmp_path / "sick"))
    with pytest.raises(sb.Error, match="sick: expected finite numbers from the model, got NaN or inf for item"):
        encoder.encode(["cat", "a tree", "dog"])
    assert np.isfinite(encoder.encode(["cat", "dog"])).all()


def test_nan_of_one_caller_is_not_that_of_the_others(tmp_path: Path) -> None:
    encoder = sb.Encoder(nan_model(tmp_path / "sick"), batching=sb.Batching(max_delay_ms=20))

    async def callers() -> list[object]:
        calls = [encoder.aencode([text]) for text in ("cat", "tree", "dog", "big", "tree", "small")]
        return await asyncio.gather(*calls, return_exceptions=True)

    for _ in range(3):
        outcomes = asyncio.run(callers())
        assert [isinstance(outcome, sb.Error) for outcome in outcomes] == [False, True, False, False, True, False]


# -- interruption


class Stop(Exception):
    """Raised by a progress callable, as Ctrl-C would be between two batches."""


@pytest.mark.parametrize("model", ["static", "onnx"])
def test_an_encode_that_is_stopped_in_the_middle_leaves_the_encoder_whole(tiny: Path, model: str) -> None:
    encoder = sb.Encoder() if model == "static" else sb.Encoder(tiny)
    threads = threading.active_count()
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        raise Stop

    def endless() -> Iterator[str]:
        while True:
            yield "the cat runs."

    with pytest.raises(Stop):
        encoder.encode(endless(), progress=stop)
    assert len(seen) == 1
    assert threading.active_count() <= threads + 2  # aencode's threads of other tests may end, none is left behind
    assert encoder.encode(["the cat runs."]).shape == (1, encoder.dim)


def test_a_generator_that_fails_is_heard(tiny: Path) -> None:
    def failing() -> Iterator[str]:
        yield from ["cat"] * 5000
        raise Stop

    with pytest.raises(Stop):
        sb.Encoder(tiny).encode(failing())
    with pytest.raises(Stop):
        asyncio.run(sb.Encoder(tiny).aencode(failing()))


def test_an_event_loop_that_ends_with_calls_under_way(tiny: Path) -> None:
    encoder = sb.Encoder(tiny)

    async def leave() -> None:
        tasks = [asyncio.ensure_future(encoder.aencode(["the cat runs."] * 500)) for _ in range(4)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)

    for _ in range(3):
        asyncio.run(leave())
    assert np.array_equal(asyncio.run(encoder.aencode(["cat"])), encoder.encode(["cat"]))


# -- sizes


def test_ten_megabytes_through_aencode(tiny: Path) -> None:
    encoder = sb.Encoder(tiny)
    texts = ["the big dog " * 900_000, "x" * 10_000_000, ""]
    assert np.array_equal(asyncio.run(encoder.aencode(texts)), encoder.encode(texts))


def test_a_length_between_padding_steps_stays_within_the_models_positions(tmp_path: Path) -> None:
    """Seven positions: a text of seven tokens must not be padded to eight."""
    model = layered_model()
    for tensor in model.graph.initializer:
        if "position_embeddings" in tensor.name:
            rows = onnx.numpy_helper.to_array(tensor)[:7]
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(rows), tensor.name))
    path = write_layered(tmp_path / "seven", model)
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    vectors = sb.Encoder(path).encode(["the big dog runs a tree the small cat", "cat"])
    assert np.isfinite(vectors).all()


# -- devices


class _CudaThatWorks:
    """An ONNX Runtime whose sessions say that they run on CUDA, and what they were asked for."""

    def __init__(self, real: object, asked: list[object]) -> None:
        self._real, self._asked = real, asked

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return [devices.CUDA, devices.CPU]

    def preload_dlls(self) -> None:
        self._asked.append("preload_dlls")

    def InferenceSession(self, model: object, options: object, providers: list[object]) -> object:
        self._asked.append(providers)
        session = self._real.InferenceSession(model, options, providers=[devices.CPU])  # type: ignore[attr-defined]
        session.get_providers = lambda: [devices.CUDA, devices.CPU]
        return session


def test_cuda_is_asked_for_with_its_number_and_its_libraries(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    asked: list[object] = []
    monkeypatch.setattr(runner, "runtime", lambda: _CudaThatWorks(onnxruntime, asked))
    encoder = sb.Encoder(tiny, device="cuda:1")
    assert encoder.device == "cuda"
    assert asked == ["preload_dlls", [(devices.CUDA, {"device_id": 1}), devices.CPU]]
    assert encoder._model.session.place == "cuda:1"  # type: ignore[attr-defined]
    assert encoder._model.batch_tokens == GPU_BATCH_TOKENS  # type: ignore[attr-defined]


def test_a_reranker_does_not_fall_back_either(tiny: Path) -> None:
    import onnxruntime

    if devices.CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(sb.UnsupportedError, match="device: expected 'cuda'"):
        sb.Reranker(tiny, device="cuda")


@pytest.mark.data
def test_minilm_gives_the_same_bits_in_every_batch() -> None:
    encoder = sb.Encoder(Path(os.environ["SEMBLANCE_DATA"]) / "minilm", device="cpu")
    sentence = "the law of large numbers says that the mean of many trials is close to the value expected"
    texts = [sentence[: 3 + i] for i in range(0, 90, 2)]
    alone = encoder.encode(texts, batch_tokens=1)
    assert all(np.array_equal(encoder.encode(texts, batch_tokens=size), alone) for size in (100, 1000, 10_000))
    assert np.array_equal(asyncio.run(encoder.aencode(texts)), alone)


@pytest.mark.parametrize("probe", ["a", "b"])
def test_tokenizer_without_a_token_for_unknown_words(probe: str) -> None:
    """Found by fuzzing: the library's bare Exception came through."""
    model = {"type": "WordPiece", "unk_token": "]UNK]", "continuing_subword_prefix": "#", "max_input_chars_per_word": 9}
    definition = json.dumps({"version": "1.0", "added_tokens": [], "model": {**model, "vocab": {probe: 0}}})
    with pytest.raises(sb.FormatError, match=r"tokenizer: expected ids for any text, got .*Missing"):
        Tokenizer(definition).ids(["a", "b", "\ud800"], 8)
