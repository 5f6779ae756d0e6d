"""A static encoder from any text encoder: each token through the teacher, then fitted to its vectors of texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FormatError, NotFoundError, UnsupportedError
from ..tables import EmbeddingTable
from ..tables.table import Dtype
from . import fitting, pooling
from .encoder import Encoder
from .progress import Progress
from .static import MAX_TOKENS, StaticModel
from .texts import checked
from .tokenize import Tokenizer, check_length, without_unused

HELD_OUT = 50  # one text in so many is kept aside and only measured on


@dataclass(frozen=True)
class Recipe:
    """The numbers of a distillation; ridge and smoothing were chosen by cosine on held-out glosses.

    Attributes
    ----------
    ridge : float
        Pull towards the first guess; see `fitting.conjugate_gradients`.
    iterations : int
        Steps of conjugate gradients.
    smoothing : float
        The ``a`` of the inverse-frequency weights a / (a + p) of the first guess.
    dtype : str
        Codes of the table's rows, as in `EmbeddingTable.from_dense`.
    max_tokens : int
        Tokens of a text that count.
    """

    ridge: float = 0.03
    iterations: int = 15
    smoothing: float = 1e-3
    dtype: Dtype = "i8"
    max_tokens: int = MAX_TOKENS


def distill(
    encoder: Encoder,
    dims: int = 256,
    *,
    texts: Sequence[str] | None = None,
    vectors: np.ndarray | None = None,
    recipe: Recipe | None = None,
    name: str | None = None,
    progress: Progress = False,
) -> Encoder:
    """A static encoder that says nearly what another encoder says, some hundred times faster.

    Parameters
    ----------
    encoder : Encoder
        The teacher, an ONNX text encoder with a ``tokenizer.json``.
    dims : int
        Dimensions of the new vectors, at most the teacher's.
    texts : sequence of str, optional
        Texts like those to be encoded later, 10,000 or more; the more varied the better. None skips the fit: the
        table is then what the teacher says to each token, weighted by an assumed (Zipf) frequency.
    vectors : ndarray, optional
        (len(texts), teacher's dim), the teacher's vectors of the texts where they are already known.
    recipe : Recipe, optional
        Numbers of the fit.
    name : str, optional
        Name of the new encoder.
    progress : bool or callable
        As in `Encoder.encode`, for the teacher's part.

    Returns
    -------
    Encoder
        Static, quantised; `Encoder.save` writes it to one file.

    Raises
    ------
    ArgumentError
        A static teacher, too many dims, vectors that do not fit the texts.
    UnsupportedError
        SciPy is missing.

    Notes
    -----
    Every token t of the vocabulary goes through the teacher alone. With texts given, the table starts as the best
    linear map of those vectors (inverse-frequency weighted, SIF) and is then moved by ridge regression, solved by
    conjugate gradients, so that the mean of a text's rows is the teacher's vector of the text, reduced to its ``dims``
    principal axes. One text in 50 is held out; the mean cosine on those is kept in the file.

    Cost: the teacher's time for the texts, then about a second per iteration and 100,000 short texts; memory about
    three times tokens × dims × 4 bytes. Deterministic.
    Source: Model2Vec (Tulkens and van Dongen, 2024); SIF (Arora et al., 2017).

    Examples
    --------
    >>> import semblance as sb
    >>> teacher = sb.Encoder("all-MiniLM-L6-v2")                                        # doctest: +SKIP
    >>> sb.distill(teacher, 256, texts=my_texts).save("mine.safetensors")               # doctest: +SKIP
    """
    model = _teacher(encoder, dims)
    recipe = recipe or Recipe()
    definition, kept = without_unused(model.tokenizer.definition)
    tokenizer = Tokenizer(definition)
    tokens = _token_vectors(model, kept, progress)
    if texts is None:
        table, note = _unfitted(tokens, dims), {"texts": "0"}
    else:
        chosen = checked(texts)
        known = _known_vectors(encoder, chosen, vectors, progress)
        table, note = _fitted(_Data(tokenizer, tokens, chosen, known), dims, recipe)
    note["teacher"] = f"{model.name} {model.identity()}"
    empty = tokenizer.pad_id if tokenizer.pad_id < len(table) else 0
    rows = EmbeddingTable.from_dense(table, dtype=recipe.dtype)
    name = name or f"static-{model.name}-{dims}"
    static = StaticModel(rows, tokenizer, empty_id=empty, max_tokens=recipe.max_tokens, name=name, source=note)
    return Encoder._of(static)


def _teacher(encoder: Encoder, dims: int) -> Any:
    model = encoder._model if isinstance(encoder, Encoder) else None
    if model is None or isinstance(model, StaticModel) or getattr(model, "tokenizer", None) is None:
        raise ArgumentError("encoder: expected an ONNX text encoder as the teacher, got another object")
    if encoder._dims is not None or encoder._instruction:
        raise ArgumentError("encoder: expected a teacher without dims= and instruction=, got one that has them")
    if check_length(dims, "dims") > encoder.dim:
        raise ArgumentError(f"dims: expected at most the teacher's {encoder.dim}, got {dims}")
    try:
        import scipy.sparse  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("distill: expected SciPy, got none (pip install 'semblance[distill]')") from error
    return model


def _token_vectors(model: Any, kept: list[int], progress: Progress) -> np.ndarray:
    """What the teacher says to each token alone, unit length: (tokens, d)."""
    prefix, suffix = model.tokenizer.prefix, model.tokenizer.suffix
    parts = []
    for start in range(0, len(kept), 4096):
        rows = [[*prefix, token, *suffix] for token in kept[start : start + 4096]]
        parts.append(model.encode_rows(rows))
        if callable(progress):
            progress(start + len(rows), len(kept))
    return pooling.unit(np.concatenate(parts))


def _known_vectors(encoder: Encoder, texts: list[str], vectors: np.ndarray | None, progress: Progress) -> fitting.Array:
    if vectors is None:
        return encoder.encode(texts, progress=progress)
    array = np.asarray(vectors)
    if array.shape != (len(texts), encoder.dim) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ArgumentError(
            f"vectors: expected finite floats of shape {(len(texts), encoder.dim)}, got {array.dtype} {array.shape}"
        )
    return pooling.unit(np.array(array, np.float32))


def _unfitted(tokens: fitting.Array, dims: int) -> fitting.Array:
    """Principal axes of the token vectors, weighted as if the vocabulary were in order of frequency (Zipf)."""
    ranks = np.arange(len(tokens), dtype=np.float32)
    weights = (np.log1p(ranks) / np.log1p(np.float32(len(tokens)))).astype(np.float32)
    table: fitting.Array = fitting.aside(np.matmul, tokens, fitting.principal_axes(tokens, dims)) * weights[:, None]
    return table


@dataclass(frozen=True)
class _Data:
    """What a fit sees: the tokenizer, what the teacher says to each token (tokens, d) and to each text (texts, d)."""

    tokenizer: Tokenizer
    tokens: fitting.Array
    texts: list[str]
    vectors: fitting.Array


def _fitted(data: _Data, dims: int, recipe: Recipe) -> tuple[fitting.Array, dict[str, str]]:
    """The table (tokens, dims) and the notes on how well it fits."""
    tokenizer, tokens, texts, vectors = data.tokenizer, data.tokens, data.texts, data.vectors
    rows = tokenizer.ids(texts, recipe.max_tokens)
    usable = np.array([len(row) > 0 for row in rows], bool)
    if int(usable.sum()) < 2 * HELD_OUT:
        raise ArgumentError(f"texts: expected at least {2 * HELD_OUT} texts with tokens, got {int(usable.sum())}")
    bags = fitting.bag_matrix(rows, len(tokens))[usable]
    targets: fitting.Array = fitting.aside(np.matmul, vectors[usable], fitting.principal_axes(vectors[usable], dims))
    held = np.arange(len(targets)) % HELD_OUT == 0
    fit_bags, fit_targets = bags[~held], targets[~held]
    weights = fitting.inverse_frequency(np.bincount(bags.indices, minlength=len(tokens)), recipe.smoothing)
    guess = fitting.linear_guess(fit_bags, fit_targets, tokens * weights[:, None])
    table = fitting.conjugate_gradients(fit_bags, fit_targets, guess, recipe.ridge, recipe.iterations)
    cosine = fitting.mean_cosine(bags[held], targets[held], table)
    if tokenizer.pad_id < len(table):  # stands for a text without tokens
        table[tokenizer.pad_id] = np.asarray(fit_bags.mean(axis=0) @ table).reshape(-1)
    return table, {"texts": str(len(texts)), "held_out_cosine": f"{cosine:.4f}", "recipe": repr(recipe)}


def distill_file(
    teacher: str | os.PathLike[str],
    texts: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dims: int = 256,
    dtype: Dtype = "i8",
    progress: Progress = False,
) -> Encoder:
    """`distill` from a model's folder and a file of texts, saved: what ``semblance distill`` does.

    Parameters
    ----------
    teacher : str or PathLike
        What `Encoder` opens.
    texts : str or PathLike
        UTF-8, one text a line; blank lines are skipped.
    out : str or PathLike
        The file to write.
    dims, dtype, progress
        As in `distill` and `Recipe`.

    Returns
    -------
    Encoder
        The encoder that was saved.

    Raises
    ------
    NotFoundError
        No file of texts.
    FormatError
        Texts that are not UTF-8.
    """
    path = Path(texts)
    if not path.is_file():
        raise NotFoundError(f"texts: expected a file, got {os.fspath(texts)!r}, which is none")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name}: expected UTF-8 text, got {error}") from error
    chosen = [line for line in lines if line.strip()]
    made = distill(Encoder(teacher), dims, texts=chosen, recipe=Recipe(dtype=dtype), progress=progress)
    made.save(out)
    return made
