"""A factorisation machine for clicks whose embedding rows take the form that a compression method serves.

NumPy only: rows are composed of parts exactly as `semblance.tables.composed` composes them, and gradients go back to
the parts, so that every method is trained in its own form before it is served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CATEGORICAL, NUMERIC = 26, 13


@dataclass
class Clicks:
    """Examples of the Criteo display advertising data: clicks (n,), numbers (n, 13), key rows (n, 26) in one numbering.

    A key that the training part has not seen is row 0 of its field.
    """

    labels: np.ndarray
    numbers: np.ndarray
    keys: np.ndarray
    counts: np.ndarray  # occurrences of each key in the training part
    train: np.ndarray
    test: np.ndarray


def read_clicks(folder: str, seed: int) -> Clicks:
    lines = (Path(folder) / "criteo_10k" / "train_examples.txt").read_text().splitlines()
    cells = np.array([line.split("\t") for line in lines])
    labels = cells[:, 0].astype(np.float32)
    raw = np.where(cells[:, 1 : 1 + NUMERIC] == "", "0", cells[:, 1 : 1 + NUMERIC]).astype(np.float32)
    numbers = np.log1p(np.maximum(raw, 0))
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    numbers = (numbers - numbers[train].mean(0)) / (numbers[train].std(0) + 1e-6)
    keys, start = np.empty((len(labels), CATEGORICAL), np.int64), 0
    for column in range(CATEGORICAL):
        values = cells[:, 1 + NUMERIC + column]
        own = np.unique(values[train])
        at = np.minimum(np.searchsorted(own, values), len(own) - 1)
        keys[:, column] = start + np.where(own[at] == values, at + 1, 0)
        start += len(own) + 1
    counts = np.bincount(keys[train].ravel(), minlength=start)
    return Clicks(labels, numbers, keys, counts, train, test)


@dataclass
class Form:
    """How a key's row is composed: parts' parameters, each part's row for every key, and how they are combined."""

    parts: list[np.ndarray]
    rows: list[np.ndarray]  # of each part, (keys,)
    combine: str = "concat"
    frozen: bool = False
    squares: list[np.ndarray] = field(default_factory=list)

    def values(self, keys: np.ndarray) -> np.ndarray:
        found = [part[rows[keys]] for part, rows in zip(self.parts, self.rows, strict=True)]
        if self.combine == "concat":
            return np.concatenate(found, axis=-1)
        return np.prod(np.broadcast_arrays(*found), axis=0) if self.combine == "multiply" else sum(found)

    def update(self, keys: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Adagrad on the rows that these keys are made of."""
        if self.frozen:
            return
        found = [part[rows[keys]] for part, rows in zip(self.parts, self.rows, strict=True)]
        column = 0
        for at, part in enumerate(self.parts):
            if self.combine == "concat":
                own = gradient[..., column : column + part.shape[1]]
                column += part.shape[1]
            else:
                others = [values for number, values in enumerate(found) if number != at]
                own = gradient * np.prod(others, axis=0) if self.combine == "multiply" and others else gradient
                own = own.sum(-1, keepdims=True) if part.shape[1] == 1 else own
            self._step(at, self.rows[at][keys].ravel(), own.reshape(-1, part.shape[1]), rate)

    def _step(self, at: int, rows: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        if not self.squares:
            self.squares = [np.full(part.shape, 1e-2, np.float32) for part in self.parts]
        touched, place = np.unique(rows, return_inverse=True)
        total = np.zeros((len(touched), gradient.shape[1]), np.float32)
        np.add.at(total, place.ravel(), gradient)
        total += 3e-4 * self.parts[at][touched]
        self.squares[at][touched] += total**2
        self.parts[at][touched] -= rate * total / np.sqrt(self.squares[at][touched])


@dataclass
class Head:
    """What is not in the tables: logit = bias + numbers . slope + (sum of rows) . direction + pairwise dot products."""

    bias: float
    slope: np.ndarray
    direction: np.ndarray

    def logits(self, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        total = rows.sum(1)
        pairs = 0.5 * ((total**2).sum(1) - (rows**2).sum((1, 2)))
        return self.bias + numbers @ self.slope + total @ self.direction + pairs


def train(clicks: Clicks, form: Form, dim: int, seed: int, epochs: int = 6) -> Head:
    """Stochastic gradients, 128 examples at a time; the same budget for every form."""
    rng = np.random.default_rng(seed)
    head = Head(0.0, np.zeros(NUMERIC, np.float32), rng.standard_normal(dim).astype(np.float32) * 0.3)
    rate = 0.05
    for _ in range(epochs):
        order = rng.permutation(clicks.train)
        for first in range(0, len(order), 128):
            batch = order[first : first + 128]
            keys, numbers = clicks.keys[batch], clicks.numbers[batch]
            rows = form.values(keys)
            chance = 1 / (1 + np.exp(-head.logits(rows, numbers)))
            error = ((chance - clicks.labels[batch]) / len(batch)).astype(np.float32)
            total = rows.sum(1)
            gradient = error[:, None, None] * (head.direction + total[:, None] - rows)
            form.update(keys, gradient, rate)
            head.bias -= float(error.sum())
            head.slope -= 0.3 * (numbers.T @ error + 1e-4 * head.slope)
            head.direction -= 0.3 * (total.T @ error + 1e-4 * head.direction)
    return head


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()]
    positive = labels > 0
    return float((ranks[positive].mean() - (positive.sum() + 1) / 2) / (~positive).sum())


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(labels > 0, -logits, logits)).mean())
