"""A run that was told which instruction set to use did use it."""

from __future__ import annotations

import os

import pytest

import semblance as sb


@pytest.mark.skipif(not os.environ.get("SEMBLANCE_ISA"), reason="SEMBLANCE_ISA is not set: the best one is in use")
def test_the_forced_instruction_set_is_active() -> None:
    assert sb.kernels.active() == os.environ["SEMBLANCE_ISA"]


def test_the_best_instruction_set_is_active() -> None:
    if os.environ.get("SEMBLANCE_ISA"):
        pytest.skip("SEMBLANCE_ISA forces one")
    assert sb.kernels.active() in sb.kernels.available()
