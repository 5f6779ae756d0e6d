"""Every table of the encoders in one go, in less than eight minutes on two cores that do nothing else.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/all.py [--peers-python P] [--model2vec-python P] [--full]

The interpreters are those that have fastembed and sentence-transformers, or model2vec, installed. The slowest peer
reads ten texts a second, so by default all peers read 1,000 texts; ``--full`` gives them 10,000 and adds the quality of
MiniLM on STS-B and SciFact (about an hour). A script that fails is named at the end, and the others run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def runs(given: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """(title, command) of each table."""
    own, texts = sys.executable, "10000" if given.full else "1000"
    return [
        ("64 concurrent callers, MiniLM", [own, "callers.py", "--texts", "1000"]),
        ("64 concurrent callers, embedded encoder", [own, "callers.py", "--static", "--texts", "10000"]),
        ("over a bare ONNX Runtime session", [own, "overhead.py", "--texts", "384", "--rounds", "4"]),
        ("resident memory", [own, "memory.py", "--texts", "200000", "--minilm-texts", "3000"]),
        ("static encoder", [given.model2vec_python, "static_speed.py", "--texts", "10000", "--repeats", "5"]),
        ("texts of mixed lengths", [given.peers_python, "peers.py", "--texts", texts, "--rounds", "1"]),
        *([("quality", [own, "quality.py", "--full"])] if given.full else []),
    ]


def main() -> int:
    """Run each script by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--model2vec-python", default=sys.executable)
    parser.add_argument("--full", action="store_true")
    failed, begin = [], time.perf_counter()
    for title, (python, script, *options) in runs(parser.parse_args()):
        print(f"\n## {title}\n\n`{script} {' '.join(options)}`, load {os.getloadavg()[0]:.1f}\n", flush=True)
        start = time.perf_counter()
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false" if script == "static_speed.py" else "true"}
        if subprocess.run([python, str(HERE / script), *options], env=environment, check=False).returncode:
            failed.append(script)
        print(f"\n({time.perf_counter() - start:.0f} s)", flush=True)
    print(f"\n{time.perf_counter() - begin:.0f} s in all; failed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main())
