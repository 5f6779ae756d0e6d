"""Times by CUDA events, the card's copy bandwidth, and the line that says how far from it a kernel stays."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

import semblance as sb


def milliseconds(call: Callable[[], object], rounds: int = 30, warm_up: int = 5) -> float:
    """The median time of a call on the current stream, which must not wait for it."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def replayed(call: Callable[[torch.cuda.Stream], object]) -> Callable[[], None]:
    """The call as a CUDA graph: what the card does, without the host's part. It allocates nothing that outlives it."""
    stream = torch.cuda.Stream()
    call(stream)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call(stream)
    return graph.replay


def copy_bandwidth(gigabytes: int = 4) -> float:
    """Bytes a second that a copy on the card reads and writes."""
    source = torch.empty(gigabytes << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / (milliseconds(lambda: target.copy_(source), 10) / 1e3)


def roofline(what: str, moved: float, ms: float, bandwidth: float) -> str:
    """One line: bytes counted, time, and the share of the measured copy bandwidth."""
    rate = moved / (ms / 1e3)
    return f"{what}: {moved / 1e6:.1f} MB in {ms:.3f} ms = {rate / 1e12:.2f} TB/s, {rate / bandwidth:.0%} of a copy's"


def require_card() -> str:
    """The card's name; ends the program where there is none."""
    if not sb.gpu.is_available():
        raise SystemExit(f"no GPU to measure: {sb.gpu.reason()}")
    return str(sb.gpu.device()["name"])
