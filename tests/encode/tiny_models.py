"""Tiny published model folders, built on the spot: a look-up table in ONNX form with a WordPiece tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = ["cat", "dog", "tree", "runs", "sleeps", "a", "the", "big", "small", "un", "##run", "##s", "."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused0]"]
VOCABULARY = {token: number for number, token in enumerate(SPECIAL + WORDS)}
WIDTH = 6


def token_rows() -> np.ndarray:
    """(tokens, WIDTH) f32: what the tiny model says to each id."""
    return np.random.default_rng(7).normal(size=(len(VOCABULARY), WIDTH)).astype(np.float32)


def tokenizer_json() -> str:
    """A WordPiece tokenizer that bakes in a truncation to 4 tokens and a fixed padding to 9."""
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {
                "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
            },
            "added_tokens": [
                {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}
                for token, number in VOCABULARY.items() if token in SPECIAL[:4]
            ],
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {
                    "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
                },
            },
            "decoder": None,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": VOCABULARY},
        }
    )  # fmt: skip


def text_model(rows: np.ndarray) -> onnx.ModelProto:
    """hidden[b, t] = rows[input_ids[b, t]]; the mask and the types are inputs that change nothing."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
    hidden = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", rows.shape[1]])
    nodes = [
        helper.make_node("Add", ["attention_mask", "token_type_ids"], ["both"]),
        helper.make_node("Sub", ["both", "both"], ["nothing"]),
        helper.make_node("Add", ["input_ids", "nothing"], ["ids"]),
        helper.make_node("Gather", ["rows", "ids"], ["last_hidden_state"]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, [hidden], [numpy_helper.from_array(rows, "rows")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_folder(folder: Path, *, pooling: str = "pooling_mode_mean_tokens", max_tokens: int = 8) -> Path:
    """A folder as model hubs have it."""
    (folder / "1_Pooling").mkdir(parents=True)
    onnx.save(text_model(token_rows()), folder / "model.onnx")
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"},
               {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
               {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]  # fmt: skip
    for name, value in {
        "modules.json": modules,
        "config.json": {"model_type": "bert", "max_position_embeddings": 64, "hidden_size": WIDTH},
        "sentence_bert_config.json": {"max_seq_length": max_tokens},
        "1_Pooling/config.json": {"word_embedding_dimension": WIDTH, pooling: True},
    }.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows brought to unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
