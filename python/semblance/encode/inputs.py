"""Named arrays for a model of any signature: checked, and cut into batches along the axis of the items.

Which axis that is, the model's own declaration tells. An input whose first axis carries the same symbol as the others'
(``batch``, ``n``) holds items. One without axes, or whose whole shape is fixed, is shared by all items. Where the first
axes carry different symbols, as a graph's nodes and its ``edge_index`` of shape (2, edges) do, the arrays belong
together and run in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError

_DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}  # fmt: skip


class Items:
    """Inputs of one call.

    Parameters
    ----------
    nodes : mapping of str to node
        The model's declared inputs.
    given : mapping of str to array
        One array an input.

    Raises
    ------
    ArgumentError
        Names, dtypes or shapes that do not fit, or unequal numbers of items.
    UnsupportedError
        The model takes something else than numbers.
    """

    def __init__(self, nodes: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        missing, unknown = set(nodes) - set(given), set(given) - set(nodes)
        if missing or unknown:
            raise ArgumentError(
                f"inputs: expected exactly {sorted(nodes)}, got {sorted(map(str, given))}"
                + (f" (missing {sorted(missing)})" if missing else "")
            )
        self.arrays = {name: as_input(given[name], node) for name, node in nodes.items()}
        shapes = {name: list(node.shape or []) for name, node in nodes.items()}
        self.fixed = _fixed_batch(shapes)
        shared = {name for name, shape in shapes.items() if not self.fixed and _is_whole(shape)}
        self.rows = [name for name in nodes if name not in shared]
        # an axis without a name (None) is taken for the items'
        symbols = {axis for name in self.rows if (axis := shapes[name][0]) is not None}
        self.splits = bool(self.rows) and (bool(self.fixed) or not any(isinstance(a, int) for a in symbols))
        self.splits = self.splits and len(symbols) <= 1
        self.count = self._count()

    def _count(self) -> int:
        if not self.splits:
            return 0
        counts = {name: len(self.arrays[name]) for name in self.rows}
        if len(set(counts.values())) > 1:
            raise ArgumentError(f"inputs: expected one number of items in all, got {counts}")
        count = next(iter(counts.values()))
        if self.fixed and count % self.fixed:
            raise ArgumentError(f"inputs: expected items in multiples of the model's batch {self.fixed}, got {count}")
        return count

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Feeds of up to ``size`` items; a single one where the arrays cannot be cut."""
        if not self.splits:
            yield self.arrays
            return
        size = self.fixed or size
        for start in range(0, self.count, size):
            yield {
                name: array[start : start + size] if name in self.rows else array for name, array in self.arrays.items()
            }

    def fits(self, feed: Mapping[str, np.ndarray], output: np.ndarray) -> bool:
        """Whether an output has one row an item; arrays that cannot be cut may give any number."""
        return not self.splits or len(output) == len(feed[self.rows[0]])

    def lengths(self, feed: Mapping[str, np.ndarray], output: np.ndarray) -> np.ndarray:
        """Real positions of each item along the output's second axis, (n,) int64.

        From an input named ``*attention_mask`` or ``mask`` of that shape, or from one integer an item named
        ``*lengths`` or ``*length``, scaled where the model shortens its second axis (audio); else all positions.
        """
        n = len(output)
        if output.ndim != 3:
            return np.full(n, 1, np.int64)
        for name, array in feed.items():
            if (name == "mask" or name.endswith("attention_mask")) and array.shape == output.shape[:2]:
                real: np.ndarray = np.asarray(array, np.int64).sum(axis=1)
                return real
        for name, array in feed.items():
            if name.endswith(("lengths", "length")) and array.dtype.kind in "iu" and array.shape in ((n,), (n, 1)):
                return self._scaled(feed, array.reshape(n), output.shape[1])
        return np.full(n, output.shape[1], np.int64)

    def _scaled(self, feed: Mapping[str, np.ndarray], lengths: np.ndarray, positions: int) -> np.ndarray:
        """Lengths in input frames as lengths in output positions, rounded up."""
        frames = max((feed[name].shape[1] for name in self.rows if feed[name].ndim >= 3), default=positions)
        scaled: np.ndarray = -(-lengths.astype(np.int64) * positions // max(frames, 1))
        clipped: np.ndarray = np.clip(scaled, 1, positions)
        return clipped


def dtype_of(node: Any) -> Any:
    """The NumPy dtype of an input; UnsupportedError for strings and sequences."""
    if node.type not in _DTYPES:
        raise UnsupportedError(f"inputs: expected numbers, got an input {node.name!r} of type {node.type}")
    return _DTYPES[node.type]


def as_input(value: Any, node: Any) -> np.ndarray:
    """The value as a C-contiguous array of the input's dtype and number of dimensions."""
    dtype = dtype_of(node)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ArgumentError(f"inputs[{node.name!r}]: expected {np.dtype(dtype)}, got {array.dtype}")
    shape = list(node.shape or [])
    fits = array.ndim == len(shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ArgumentError(f"inputs[{node.name!r}]: expected shape {tuple(shape)}, got {array.shape}")
    result: np.ndarray = np.ascontiguousarray(array, dtype).reshape(array.shape)  # ascontiguousarray adds an axis to ()
    return result


def _is_whole(shape: list[Any]) -> bool:
    """Whether a declared shape leaves nothing open: such an input is shared by all items."""
    return all(isinstance(axis, int) for axis in shape)


def _fixed_batch(shapes: Mapping[str, list[Any]]) -> int:
    """The number of items that every call must have, for a model exported with a fixed batch; 0 for any number."""
    first = {shape[0] for shape in shapes.values() if shape}
    size = next(iter(first)) if len(first) == 1 else 0
    return size if isinstance(size, int) else 0
