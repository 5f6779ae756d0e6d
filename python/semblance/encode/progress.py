"""Progress of long calls: a bar, or calls (done, total)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .texts import Report

Progress = bool | Callable[[int, int], object]


@contextmanager
def reporter(progress: Progress, total: int) -> Iterator[Report | None]:
    """Turns "this many more are done" into a bar or into calls (done, total)."""
    if progress is True:
        from tqdm import tqdm

        with tqdm(total=total or None, unit="text", smoothing=0.05) as bar:

            def advance(more: int) -> None:
                bar.update(more)

            yield advance
    elif callable(progress):
        done = 0

        def report(more: int) -> None:
            nonlocal done
            done += more
            progress(done, total)

        yield report
    else:
        yield None
