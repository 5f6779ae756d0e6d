"""What a forked child must do again: threads and locks of the parent did not come along."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Holds threads, locks or a session that a child process cannot use."""

    def after_fork(self) -> None: ...


_alive: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_in_child(thing: Forkable) -> None:
    """Call ``thing.after_fork()`` in every child that is forked while it lives."""
    _alive.add(thing)


def _after_fork() -> None:
    for thing in list(_alive):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
