"""CUDA graphs: a small batch of a shape seen before is replayed by the driver, not launched kernel by kernel.

ONNX Runtime records one graph for each ``gpu_graph_id``, over fixed shapes and fixed addresses; so each shape has
buffers of its own on the device, and only the numbers in them change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_ROWS = 8  # larger batches keep the device busy for longer than their launches take
MAX_GRAPHS = 64  # shapes that are kept: each holds its inputs, outputs and scratch memory on the device
_GRAPH = "gpu_graph_id"


def run_options(ort: Any, graph: int) -> Any:
    """Options of a run that records or replays a graph by its number, from 1 on; -1 does neither."""
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH, str(graph))
    return options


@dataclass
class _Shape:
    """What is bound for one shape of inputs."""

    binding: Any
    inputs: dict[str, Any]
    outputs: list[Any]
    options: Any


class Replays:
    """Runs of one session by their shapes; one call at a time.

    Parameters
    ----------
    ort : module
        The runtime.
    session : object
        A session of the CUDA provider with ``enable_cuda_graph``.
    kind, ordinal : str, int
        Where its buffers live: "cuda", 0.
    """

    def __init__(self, ort: Any, session: Any, kind: str, ordinal: int) -> None:
        self._ort, self._session, self._place = ort, session, (kind, ordinal)
        self._shapes: dict[object, _Shape] = {}

    def run(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
        """The outputs; None for a call that is better run as usual: a large batch, or a shape too many."""
        counts = {len(array) if array.ndim else 0 for array in feed.values()}
        rows = counts.pop() if len(counts) == 1 else 0
        if not 1 <= rows <= MAX_ROWS:
            return None
        whole = 1 << (rows - 1).bit_length()  # few shapes: 1, 2, 4, 8 rows
        filled = {
            name: np.concatenate([array, array[-1:].repeat(whole - rows, axis=0)]) for name, array in feed.items()
        }
        key = (*outputs, *((name, array.shape, array.dtype.str) for name, array in filled.items()))
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) == MAX_GRAPHS:
                return None
            shape = self._shapes[key] = self._first(outputs, filled)
        else:
            for name, array in filled.items():
                shape.inputs[name].update_inplace(array)
            self._go(shape.binding, shape.options)
        return [np.array(value.numpy()[:rows]) for value in shape.outputs]

    def _first(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> _Shape:
        """A first run, not recorded: what the runtime allocates for its outputs are the buffers from then on."""
        binding = self._session.io_binding()
        inputs = {name: self._ort.OrtValue.ortvalue_from_numpy(array, *self._place) for name, array in feed.items()}
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, *self._place)
        self._go(binding, run_options(self._ort, -1))
        made = list(binding.get_outputs())
        binding.clear_binding_outputs()
        for name, value in zip(outputs, made, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Shape(binding, inputs, made, run_options(self._ort, len(self._shapes) + 1))

    def _go(self, binding: Any, options: Any) -> None:
        """Run, with the copies before it and the outputs after it complete: they may be on other streams."""
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
