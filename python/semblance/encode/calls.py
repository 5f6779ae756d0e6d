"""What only an encoder of an ONNX model can do: layers, raw outputs, streams, vectors that stay on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from . import pooling
from .inputs import Items
from .opening import Model
from .progress import Progress, reporter
from .static import StaticModel
from .texts import checked, windows
from .tokenize import check_length

if TYPE_CHECKING:
    from .model import OnnxModel
    from .streams import Stream


class OnnxCalls:
    """Methods of `Encoder` that a static encoder refuses."""

    _model: Model
    _dims: int | None
    _instruction: str

    def layers(
        self, texts: Iterable[str], *, batch_tokens: int | None = None, progress: Progress = False,
        normalize: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """Vectors after every layer, in one pass over the texts.

        Parameters
        ----------
        texts, batch_tokens, progress, normalize
            As for `encode`.

        Returns
        -------
        ndarray
            (layers, n, dim) f32; row k - 1 is what ``Encoder(model, layers=k).encode`` gives.

        Raises
        ------
        UnsupportedError
            A static encoder, a model whose graph has no numbered layers, or no ``onnx`` package.
        ArgumentError
            As for `encode`.

        Notes
        -----
        The first call opens a second session, which holds the weights once more.
        Source: 2D Matryoshka embeddings (Li et al., 2024).
        """
        size = None if batch_tokens is None else check_length(batch_tokens, "batch_tokens")
        model = self._onnx("layers")
        chosen = checked(texts)
        with reporter(progress, len(chosen)) as report:
            every = model.encode_layers(model.rows([self._instruction + text for text in chosen]), size, report)
        return np.stack([self._finished(vectors, normalize) for vectors in every])

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs of an ONNX model by name, as the model gives them: one call, no pooling, no scaling.

        Parameters
        ----------
        inputs : mapping of str to array
            Every input by name.
        outputs : sequence of str, optional
            Names of outputs; None gives all.

        Returns
        -------
        dict of str to ndarray
            Each output in its own shape and dtype.

        Raises
        ------
        ArgumentError
            Inputs that do not fit, or an output of another name.
        UnsupportedError
            A static encoder.
        """
        model = self._onnx("run")
        known = model.session.outputs
        names = list(known) if outputs is None else list(outputs)
        if isinstance(outputs, str) or any(name not in known for name in names):
            raise ArgumentError(f"outputs: expected names among {list(known)}, got {outputs!r}")
        return dict(zip(names, model.session.run(names, Items(model.session.inputs, inputs).arrays), strict=True))

    def stream(self, state: Mapping[str, str], start: Mapping[str, Any] | None = None) -> Stream:
        """A stream of calls of a stateful ONNX model, each of which goes on where the one before ended.

        Parameters
        ----------
        state : mapping of str to str
            Input → the output whose value it has in the next call, as ``{"hidden": "new_hidden"}``.
        start : mapping of str to array, optional
            The first state; zeros where it is not given.

        Returns
        -------
        Stream
            With ``encode(inputs)``, ``state`` and ``reset()``; independent of all others of this encoder.

        Raises
        ------
        ArgumentError
            Names that the model does not have.
        UnsupportedError
            A static encoder.
        """
        from .streams import Stream

        if not isinstance(state, Mapping):
            raise ArgumentError(f"state: expected a mapping of inputs to outputs, got {type(state).__name__}")
        return Stream(self._onnx("stream"), state, start, self._finished)

    def device_batches(
        self, texts: Iterable[str], *, batch_tokens: int | None = None
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Unit vectors of texts that stay on the encoder's device, batch by batch.

        Pooling and scaling are part of the graph that runs, so nothing but ids goes to the device and nothing comes
        back. Needs ``onnx``; pooling "mean" or "cls", or an output that is pooled already.

        Parameters
        ----------
        texts, batch_tokens
            As for `encode`.

        Yields
        ------
        positions : ndarray
            (b,) int64, which texts of the input these are.
        vectors : object
            (b, dim) f32 with ``__dlpack__``, on `device`.

        Raises
        ------
        UnsupportedError
            A static encoder, another pooling, or an instruction that pooling leaves out.
        ArgumentError
            As for `encode`.
        """
        size = None if batch_tokens is None else check_length(batch_tokens, "batch_tokens")
        model, start = self._onnx("device_batches"), 0
        for window in windows(texts):
            rows = model.rows([self._instruction + text for text in window])
            for positions, vectors in model.device_batches(rows, size, self._dims):
                yield positions + start, vectors
            start += len(window)

    def _onnx(self, call: str) -> OnnxModel:
        if isinstance(self._model, StaticModel):
            raise UnsupportedError(f"{call}: expected an ONNX model, got a static encoder")
        model: OnnxModel = self._model  # type: ignore[assignment]
        return model

    def _finished(self, vectors: np.ndarray, normalize: bool) -> np.ndarray:
        vectors = pooling.shortened(vectors, self._dims)
        return pooling.unit(vectors) if normalize else vectors
