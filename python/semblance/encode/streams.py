"""Stateful models: what one call leaves behind goes into the next, one stream each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError
from . import pooling
from .inputs import Items, as_input, dtype_of
from .model import OnnxModel


class Stream:
    """A sequence of calls of one stateful model; made by `Encoder.stream`.

    Streams of one encoder share its session and know nothing of one another. A call that fails leaves the state as it
    was.
    """

    def __init__(
        self, model: OnnxModel, state: Mapping[str, str], start: Mapping[str, Any] | None,
        finish: Callable[[np.ndarray, bool], np.ndarray],
    ) -> None:  # fmt: skip
        inputs, outputs = model.session.inputs, model.session.outputs
        for given, known, what in ((state.keys(), inputs, "inputs"), (state.values(), outputs, "outputs")):
            unknown = sorted(set(given) - set(known))
            if unknown or not state:
                raise ArgumentError(f"state: expected {what} among {sorted(known)}, got {unknown}")
        foreign = sorted(set(start or {}) - set(state))
        if foreign:
            raise ArgumentError(f"start: expected names among {sorted(state)}, got {foreign}")
        self._model, self._state, self._finish = model, dict(state), finish
        self._start = {name: as_input(value, inputs[name]) for name, value in (start or {}).items()}
        self.state: dict[str, np.ndarray] = dict(self._start)

    def reset(self) -> None:
        """Begin again from the first state."""
        self.state = dict(self._start)

    def encode(self, inputs: Mapping[str, Any], *, normalize: bool = True) -> np.ndarray:
        """Vectors (n, dim) f32 of the next piece of the stream; the state moves on.

        Parameters
        ----------
        inputs : mapping of str to array
            Every input of the model but those of the state.
        normalize : bool
            Bring every vector to unit length.

        Raises
        ------
        ArgumentError
            Inputs that do not fit, or a first state whose shape cannot be told (give ``start``).
        Error
            NaN or inf, in a vector or in the new state.
        """
        clash = sorted(set(inputs) & set(self._state))
        if clash:
            raise ArgumentError(f"inputs: expected none of the state's {sorted(self._state)}, got {clash}")
        session = self._model.session
        state = {name: self.state[name] if name in self.state else self._zeros(name, inputs) for name in self._state}
        items = Items(session.inputs, {**inputs, **state})
        names = list(dict.fromkeys([self._model.output.name, *self._state.values()]))
        got = dict(zip(names, session.run(names, items.arrays), strict=True))
        output = got[self._model.output.name]
        vectors = self._model.pooled(output, items.lengths(items.arrays, output))
        after = {name: got[output_name] for name, output_name in self._state.items()}
        for name, value in after.items():
            pooling.check_finite(value.reshape(len(value) if value.ndim else 1, -1), f"{self._model.name}: {name}")
        self.state = after
        return self._finish(vectors, normalize)

    def _zeros(self, name: str, inputs: Mapping[str, Any]) -> np.ndarray:
        """A first state: zeros of the declared shape, its symbols bound by the other inputs'."""
        nodes = self._model.session.inputs
        sizes: dict[str, int] = {}
        for other, value in inputs.items():
            if other in nodes:
                declared = nodes[other].shape or []
                sizes.update({a: n for a, n in zip(declared, np.shape(value), strict=False) if isinstance(a, str)})
        shape = [axis if isinstance(axis, int) else sizes.get(axis, -1) for axis in nodes[name].shape or []]
        if -1 in shape:
            raise ArgumentError(f"start: expected a first state {name!r} of shape {tuple(nodes[name].shape)}, got none")
        return np.zeros(shape, dtype_of(nodes[name]))
