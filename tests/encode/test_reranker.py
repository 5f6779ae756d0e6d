"""Cross-encoders: pairs as the tokenizer joins them, one score or several outputs, order, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import VOCABULARY, tokenizer_json, write_folder

import semblance as sb

TEXTS = ["the dog runs.", "tree", "a small cat", "", "the big big big dog"]


def worth() -> np.ndarray:
    """What each token id adds to a score as a query's (column 0) and as a text's (column 1)."""
    return np.random.default_rng(5).normal(size=(len(VOCABULARY), 2)).astype(np.float32)


def cross_model(labels: int = 1) -> onnx.ModelProto:
    """logits = sum over tokens of worth[id, type] × mask; ``topics`` is a second head of 3 columns."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
               for name, width in (("logits", labels), ("topics", 3))]  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["worth", "input_ids"], ["both"]),
        helper.make_node("OneHot", ["token_type_ids", "depth", "values"], ["which"]),
        helper.make_node("Mul", ["both", "which"], ["chosen"]),
        helper.make_node("ReduceSum", ["chosen", "last"], ["each"], keepdims=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["each", "mask"], ["real"]),
        helper.make_node("ReduceSum", ["real", "one"], ["total"], keepdims=1),
        helper.make_node("MatMul", ["total", "columns"], ["logits"]),
        helper.make_node("MatMul", ["total", "topic_columns"], ["topics"]),
    ]
    tensors = {
        "worth": worth(), "depth": np.array(2), "values": np.array([0, 1], np.float32), "last": np.array([-1]),
        "one": np.array([1]), "columns": np.linspace(1, -1, labels, dtype=np.float32)[None],
        "topic_columns": np.array([[1, 2, 3]], np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "cross", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_cross(folder: Path, labels: int = 1) -> Path:
    write_folder(folder, max_tokens=12)
    onnx.save(cross_model(labels), folder / "model.onnx")
    parts = json.loads(tokenizer_json())
    special = [
        {"SpecialToken": {"id": name, "type_id": kind}} for name, kind in (("[CLS]", 0), ("[SEP]", 0), ("[SEP]", 1))
    ]
    first, second = ({"Sequence": {"id": name, "type_id": kind}} for name, kind in (("A", 0), ("B", 1)))
    parts["post_processor"]["pair"] = [special[0], first, special[1], second, special[2]]
    (folder / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross(tmp_path_factory.mktemp("hub") / "cross")


def expected(query: list[str], text: list[str]) -> float:
    ids = [VOCABULARY[token] for token in ("[CLS]", *query, "[SEP]", *text, "[SEP]")]
    types = [0] * (len(query) + 2) + [1] * (len(text) + 1)
    return float(worth()[ids, types].sum())


def test_scores_are_those_of_the_joined_pair(folder: Path) -> None:
    words = [["the", "dog", "runs", "."], ["tree"], ["a", "small", "cat"], [], ["the", "big", "big", "big", "dog"]]
    scores = sb.Reranker(folder).score("a cat", TEXTS)
    np.testing.assert_allclose(scores, [expected(["a", "cat"], text) for text in words], atol=1e-5)


def test_the_order_is_that_of_the_scores(folder: Path) -> None:
    reranker = sb.Reranker(folder)
    scores = reranker.score("a cat", TEXTS)
    positions, best = reranker.rerank("a cat", TEXTS)
    assert positions.tolist() == np.argsort(-scores, kind="stable").tolist()
    assert np.array_equal(best, scores[positions])
    assert reranker.rerank("a cat", TEXTS, k=2).positions.tolist() == positions[:2].tolist()
    assert reranker.rerank("a cat", ["tree"] * 4).positions.tolist() == [0, 1, 2, 3]
    assert reranker.rerank("a cat", []).scores.shape == (0,)


def test_a_score_does_not_depend_on_its_batch(folder: Path) -> None:
    reranker = sb.Reranker(folder)
    alone = np.concatenate([reranker.score("a cat", [text]) for text in TEXTS])
    for size in (1, 20, 10_000):
        np.testing.assert_allclose(reranker.score("a cat", TEXTS, batch_tokens=size), alone, atol=1e-6)


def test_long_pairs_are_cut_from_the_longer(folder: Path) -> None:
    reranker = sb.Reranker(folder)
    assert np.array_equal(reranker.score("a cat", ["dog " * 7]), reranker.score("a cat", ["dog " * 2_000_000]))
    assert np.array_equal(reranker.score("cat " * 500_000, ["dog"]), reranker.score("cat " * 8, ["dog"]))
    with pytest.raises(sb.ArgumentError, match="max_tokens: expected at least 5 for a pair"):
        sb.Reranker(folder, max_tokens=4)


def test_several_outputs(folder: Path) -> None:
    reranker = sb.Reranker(folder)
    assert reranker.outputs == ["logits", "topics"]
    every = reranker.outputs_of("a cat", TEXTS)
    np.testing.assert_allclose(every["topics"], every["logits"] * [1, 2, 3], rtol=1e-5)
    assert list(reranker.outputs_of("a cat", TEXTS, ["topics"])) == ["topics"]
    third = sb.Reranker(folder, output="topics", label=2)
    np.testing.assert_allclose(third.score("a cat", TEXTS), every["topics"][:, 2])
    for bad in (["x"], "topics"):
        with pytest.raises(sb.ArgumentError, match="outputs: expected names among"):
            reranker.outputs_of("a", TEXTS, bad)


def test_which_column_is_the_score(folder: Path, tmp_path: Path) -> None:
    one, two = sb.Reranker(folder), sb.Reranker(write_cross(tmp_path / "two", 2))
    np.testing.assert_allclose(two.score("a cat", TEXTS), -one.score("a cat", TEXTS), atol=1e-6)
    with pytest.raises(sb.ArgumentError, match="label: expected the column of the score, one of 3"):
        sb.Reranker(folder, output="topics")
    for bad in (3, -1, True, "1"):
        with pytest.raises(sb.ArgumentError, match="label: expected an integer from 0 to 2"):
            sb.Reranker(folder, output="topics", label=bad)  # type: ignore[arg-type]


def test_progress_is_told(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    sb.Reranker(folder).rerank("a", TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)


@pytest.mark.parametrize(
    ("query", "texts", "options", "words"),
    [
        (7, TEXTS, {}, "query: expected str, got int"),
        (["a"], TEXTS, {}, "query: expected str, got list"),
        ("a", "text", {}, "a single str"),
        ("a", ["b", None], {}, "NoneType at position 1"),
        ("a", TEXTS, {"k": 0}, "k: expected an integer of at least 1"),
    ],
)
def test_bad_input(folder: Path, query: object, texts: object, options: dict[str, object], words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        sb.Reranker(folder).rerank(query, texts, **options)  # type: ignore[arg-type]


def test_lone_surrogates_are_read(folder: Path) -> None:
    assert np.isfinite(sb.Reranker(folder).score("\ud800 cat", ["dog \udfff"])).all()


def test_a_model_of_token_vectors_is_no_reranker(tiny: Path) -> None:
    with pytest.raises(sb.UnsupportedError, match="output: expected scores"):
        sb.Reranker(tiny)
    with pytest.raises(sb.NotFoundError):
        sb.Reranker("nowhere")
