"""The peers behind one face: a name and ``encode(texts) -> (n, 384) unit vectors``, on so many threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Encode = Callable[[list[str]], np.ndarray]


def semblance(folder: Path, threads: int) -> Encode:
    """This library."""
    import semblance as sb

    return sb.Encoder(folder, device="cpu", threads=threads).encode


def fastembed(folder: Path, threads: int) -> Encode:
    """fastembed with its defaults: batches of 256 in the order given, padded to the longest."""
    from fastembed import TextEmbedding

    name = "sentence-transformers/all-MiniLM-L6-v2"
    model = TextEmbedding(name, specific_model_path=str(folder), threads=threads, providers=["CPUExecutionProvider"])
    _limit(model, 256)
    return lambda texts: np.stack(list(model.embed(texts)))


def _limit(model: Any, tokens: int) -> None:
    """The folder's tokenizer.json bakes in 128 tokens; the model's own limit is 256, as everybody else here uses."""
    model.model.tokenizer.enable_truncation(tokens)
    model.model.tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")


def sentence_transformers_torch(folder: Path, threads: int) -> Encode:
    """sentence-transformers on torch, with the weights of the same ONNX file."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    torch.set_num_threads(threads)
    modules = [Transformer(str(_torch_folder(folder)), max_seq_length=256), Pooling(384), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu")
    return lambda texts: model.encode(texts, show_progress_bar=False)


def sentence_transformers_onnx(folder: Path, threads: int) -> Encode:
    """sentence-transformers on its ONNX backend."""
    import onnxruntime
    from sentence_transformers import SentenceTransformer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    given = {"file_name": "model.onnx", "session_options": options, "provider": "CPUExecutionProvider", "export": False}
    model = SentenceTransformer(str(folder), backend="onnx", device="cpu", model_kwargs=given)
    model.max_seq_length = 256
    model.tokenizer.backend_tokenizer.no_padding()  # or the fixed 128 of tokenizer.json stays
    return lambda texts: model.encode(texts, show_progress_bar=False)


def _torch_folder(folder: Path) -> Path:
    """The model's folder with its weights as torch wants them, made once from the ONNX file."""
    import onnx
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    made = Path(os.environ.get("TMPDIR", "/tmp")) / "semblance-bench-minilm-torch"
    if (made / "model.safetensors").is_file():
        return made
    made.mkdir(exist_ok=True)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(folder / "model.onnx")).graph.initializer}
    model = BertModel(BertConfig.from_pretrained(str(folder)), add_pooling_layer=False)
    state = {}
    for name, value in model.state_dict().items():
        stored = tensors[name] if name in tensors else tensors[name + ".T"].T
        assert stored.shape == tuple(value.shape), name
        state[name] = torch.from_numpy(np.array(stored, order="C"))
    save_file(state, str(made / "model.safetensors"), metadata={"format": "pt"})
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (made / file).write_bytes((folder / file).read_bytes())
    return made


COMPETITORS: dict[str, Callable[[Path, int], Encode]] = {
    "semblance": semblance,
    "sentence-transformers, torch": sentence_transformers_torch,
    "sentence-transformers, ONNX": sentence_transformers_onnx,
    "fastembed": fastembed,
}
