"""The commands: index, search, check, distill, quantize, doctor."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from . import __version__
from .errors import ArgumentError, Error
from .inputs import Fields, read_items, vector_dim

app = typer.Typer(
    name="semblance",
    help="Find records by meaning, in files on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
P = ParamSpec("P")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="Model folder, ONNX file or name; the embedded encoder unless given.")
]


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into one line on stderr and exit code 1, Ctrl-C into 130."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:  # the reader of our output has gone: nothing is left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(130) from None
        except (Error, OSError, MemoryError) as error:
            _say(" ".join(str(error).split()) or type(error).__name__)
            raise typer.Exit(1) from None

    return run


def _say(text: str) -> None:
    print(f"semblance: {text}", file=sys.stderr, flush=True)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit(0)


@app.command()
@reported
def index(
    *,
    files: Annotated[list[str], typer.Argument(help="JSON Lines, JSON, CSV, TSV (each also .gz), Parquet or .npy.")],
    db: Annotated[str, typer.Option("--db", help="The collection to make or to add to.")],
    text_field: Annotated[list[str], typer.Option("--text-field", help="Field of the text; several are joined.")] = [  # noqa: B006
        "text"
    ],
    id_field: Annotated[str, typer.Option("--id-field", help="Field of the id.")] = "id",
    vector_field: Annotated[str, typer.Option("--vector-field", help="Field of the vector, if any.")] = "vector",
    auto_id: Annotated[bool, typer.Option("--auto-id", help="Make ids of the file's name and line.")] = False,
    encoder: EncoderOption = None,
    indexed: Annotated[list[str], typer.Option("--indexed", help="Field to filter by fast; may be repeated.")] = [],  # noqa: B006
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records in one transaction.")] = 1024,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out malformed records; count them.")] = False,
    as_json: Json = False,
) -> None:
    """Put the records of FILES into a collection; one whose id exists is replaced.

    Every batch is stored for good before the next begins: after Ctrl-C the collection is whole and usable.
    """
    from .collection import Collection

    fields = Fields(id_field, tuple(text_field), vector_field, auto_id)
    for file in files:
        _check_input(file)
    begun = time.perf_counter()
    dim = None if encoder or os.path.exists(db) else vector_dim(files, fields)
    with Collection.open(db, encoder=encoder, dim=dim, indexed=tuple(indexed)) as collection:
        work = _Indexing(collection, fields, skip_bad)
        try:
            work.run(files, batch)
        except KeyboardInterrupt:
            _say(f"{db} holds {len(collection)} records; the same command goes on from the start and replaces them")
            raise
        seconds = time.perf_counter() - begun
        result = {
            "records": work.stored,
            "skipped": work.skipped,
            "total": len(collection),
            "seconds": round(seconds, 3),
        }
    if as_json:
        print(json.dumps({"db": db, **result}))
    else:
        skipped = f", {work.skipped} skipped" if work.skipped else ""
        print(f"{work.stored} records in {seconds:.1f} s{skipped}; {db} holds {result['total']}")


def _check_input(file: str) -> None:
    for _ in read_items(file):
        return


class _Indexing:
    """Feeds the checked records of files to a collection, with a progress bar on stderr."""

    def __init__(self, collection: Any, fields: Fields, skip_bad: bool) -> None:
        self.collection, self.fields, self.skip_bad = collection, fields, skip_bad
        self.stored = self.skipped = 0
        self.part = 0.0  # of all files, 0 to 1

    def run(self, files: list[str], batch: int) -> None:
        parts = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        with Progress(*parts, console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("indexing", total=1.0)

            def show(done: int, _: int | None) -> None:
                self.stored = done
                bar.update(task, completed=self.part, description=f"{done} records")

            self.collection.upsert(self._records(files), batch=batch, progress=show)

    def _records(self, files: list[str]) -> Iterator[dict[str, Any]]:
        from .collection.records import check_direction, checked_row

        first = 0  # number of the next matrix row
        for number, file in enumerate(files):
            rows = 0
            for item in read_items(file):
                self.part = (number + item.done) / len(files)
                try:
                    record = self.fields.record_of(item)
                    if file.endswith(".npy") and not self.fields.number:
                        record["id"] += first
                        rows += 1
                    row = checked_row(record, item.place, self.collection.dim)
                    check_direction(row, self.collection.metric, item.place)
                except ArgumentError:
                    if not self.skip_bad:
                        raise
                    self.skipped += 1
                    continue
                yield record
            first += rows


@app.command()
@reported
def search(
    *,
    db: Annotated[str, typer.Argument(help="A collection.")],
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...", help="Texts; - reads one a line from stdin.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits of each query.")] = 10,
    where: Annotated[
        str | None, typer.Option("--where", help="Condition, as \"year >= 1990 AND genre = 'drama'\".")
    ] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Fuse with hits of the query's words (BM25).")] = False,
    encoder: EncoderOption = None,
    as_json: Json = False,
) -> None:
    """Print the records nearest to each QUERY."""
    texts = [line.rstrip("\n") for line in sys.stdin if line.strip()] if queries == ["-"] else queries
    with _existing(db, encoder) as collection:
        console = Console()
        for text in texts:
            begun = time.perf_counter()
            hits = collection.search(text, k=k, where=where, hybrid=hybrid)
            milliseconds = (time.perf_counter() - begun) * 1000
            if as_json:
                found = [{"id": hit.id, "score": hit.score, "record": hit.record} for hit in hits]
                print(json.dumps({"query": text, "ms": round(milliseconds, 3), "hits": found}, ensure_ascii=False))
            else:
                _print_hits(console, text, hits, milliseconds)


def _print_hits(console: Console, text: str, hits: list[Any], milliseconds: float) -> None:
    table = Table("score", "id", "record", title=f"{text}  ({milliseconds:.1f} ms)", title_justify="left", expand=False)
    for hit in hits:
        fields = {name: value for name, value in hit.record.items() if name not in ("id", "text")}
        shown = [str(hit.record.get("text", ""))] if "text" in hit.record else []
        shown += [json.dumps(fields, ensure_ascii=False)] if fields else []
        table.add_row(f"{hit.score:.4f}", _plain(hit.id), _plain("\n".join(shown)))
    console.print(table if hits else f"{text}: nothing found", markup=False)


def _plain(value: Any) -> Any:
    from rich.text import Text

    text = str(value)
    return Text(text if len(text) <= 400 else text[:399] + "…")


@app.command()
@reported
def check(db: Annotated[str, typer.Argument(help="A collection.")], as_json: Json = False) -> None:
    """Compare a collection's records, words, vectors and index with each other; exit 1 where they disagree."""
    with _existing(db, None) as collection:
        report = collection.check()
    if as_json:
        print(json.dumps({"db": db, "records": report.records, "problems": report.problems}))
    else:
        for problem in report.problems:
            _say(f"{db}: {problem}")
        print(f"{db}: {report.records} records, {len(report.problems)} problems")
    if report.problems:
        raise typer.Exit(1)


@contextlib.contextmanager
def _existing(db: str, encoder: str | None) -> Iterator[Any]:
    from .collection import Collection

    if not os.path.isfile(db):
        raise ArgumentError(f"{db}: expected a collection, got {'a folder' if os.path.isdir(db) else 'nothing there'}")
    with Collection.open(db, encoder=encoder) as collection:
        yield collection


@app.command()
@reported
def distill(
    *,
    model: Annotated[str, typer.Argument(metavar="MODEL_FOLDER", help="Folder of an ONNX sentence encoder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    dims: Annotated[int, typer.Option("--dims", min=1, help="Dimensions of the new vectors.")] = 256,
    texts: Annotated[list[str], typer.Option("--texts", help="File of texts to fit on; may be repeated.")] = [],  # noqa: B006
    text_field: Annotated[str, typer.Option("--text-field", help="Field of the text in those files.")] = "text",
    as_json: Json = False,
) -> None:
    """Make a small static encoder that says nearly what MODEL_FOLDER says, some hundred times faster."""
    from .encode import Encoder
    from .encode import distill as run_distill

    begun = time.perf_counter()
    samples = [text for file in texts for text in _texts_of(file, text_field)] if texts else None
    encoder = run_distill(Encoder(model), dims, texts=samples, progress=sys.stderr.isatty())
    encoder.save(out)
    result = {"out": str(out), "dims": encoder.dim, "bytes": out.stat().st_size, "texts": len(samples or [])}
    result["seconds"] = round(time.perf_counter() - begun, 1)
    print(json.dumps(result) if as_json else f"{out}: {result['dims']} dimensions, {result['bytes']} bytes")


def _texts_of(file: str, name: str) -> Iterator[str]:
    for item in read_items(file):
        text = (item.record or {}).get(name)
        if not isinstance(text, str):
            raise ArgumentError(f"{item.place}: expected text in the field {name!r}, got {item.problem or text!r}")
        yield text


@app.command()
@reported
def quantize(
    *,
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help=".npy, .safetensors or .parquet.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The table file to write.")],
    dtype: Annotated[str, typer.Option("--dtype", help="f32, f16, bf16, i8, i4, i2 or fp8.")] = "i8",
    tensor: Annotated[str | None, typer.Option("--tensor", help="Which tensor of a .safetensors file.")] = None,
    column: Annotated[str | None, typer.Option("--column", help="Which column of a .parquet file.")] = None,
    key_column: Annotated[str | None, typer.Option("--key-column", help="Keys of the rows in a .parquet file.")] = None,
    missing: Annotated[str, typer.Option("--missing", help="Unknown keys: error, zero, mean or row:N.")] = "error",
    as_json: Json = False,
) -> None:
    """Turn embedding WEIGHTS into a table file, and print the error that this introduces.

    Nothing is unpickled: write torch weights as .safetensors first.
    """
    from .tables import EmbeddingTable, fidelity
    from .weights import read_weights

    source = read_weights(weights, tensor, column, key_column)
    table = EmbeddingTable.from_dense(source.rows, dtype, source.keys, missing)  # type: ignore[arg-type]
    report = fidelity(table, source.rows, source.keys)
    table.save(out)
    result = {
        "out": str(out),
        "name": source.name,
        "rows": len(table),
        "dim": table.dim,
        "dtype": table.dtype,
        "bytes_before": source.rows.nbytes,
        "bytes": table.nbytes,
        "bytes_per_row": table.stats()["row_bytes"],
        **report._asdict(),
    }
    if as_json:
        print(json.dumps(result))
        return
    share = table.nbytes / max(source.rows.nbytes, 1)
    print(f"{out}: {len(table)} rows x {table.dim} as {table.dtype}, {table.nbytes} bytes ({share:.1%} of before)")
    print(
        f"error: rmse {report.rmse:.3g}, {report.relative:.3%} of the weights' root mean square, "
        f"largest {report.largest:.3g}; mean cosine {report.cosine:.6f}"
    )


@app.command()
@reported
def doctor(as_json: Json = False) -> None:
    """Print what this installation has: version, instruction sets, ONNX Runtime, GPU."""
    from .diagnosis import diagnosis

    found = diagnosis()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        print(f"{name.replace('_', ' '):24} {text}")
