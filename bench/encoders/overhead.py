"""What `Encoder.encode` costs over a bare ONNX Runtime session that is given ready batches of the same texts.

    SEMBLANCE_DATA=… PYTHONPATH=python python bench/encoders/overhead.py [--texts 512] [--rounds 5]

The bare session gets the very batches of the encoder, tokenised and padded beforehand, with the same options; pooling,
tokenising, planning and copying are the overhead. Rounds are interleaved; CPU seconds of the process, best of rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from mixed import mixed_texts
from texts import glosses

import semblance as sb
from semblance.encode.batching import padded, plan


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    data = Path(os.environ["SEMBLANCE_DATA"])
    encoder = sb.Encoder(data / "minilm", device="cpu")
    model = encoder._model
    print(f"load before: {os.getloadavg()[0]:.1f}\n| texts | bare CPU-s | encode CPU-s | overhead |\n|---|---|---|---|")
    for name, texts in (
        ("mixed", mixed_texts(data, given.texts)),
        ("dictionary entries", glosses(data)[: given.texts]),
    ):
        rows = model.rows(texts)
        batches = plan([len(row) for row in rows], model.batch_tokens, model.limit)
        feeds = [model.feed(*padded([rows[p] for p in positions], 0, model.limit)) for positions in batches]
        session, best = model.session._session, {"bare": np.inf, "encode": np.inf}
        for _ in range(given.rounds):
            start = time.process_time()
            for feed in feeds:
                session.run([model.output.name], feed)
            middle = time.process_time()
            encoder.encode(texts)
            best["encode"] = min(best["encode"], time.process_time() - middle)
            best["bare"] = min(best["bare"], middle - start)
        share = 100 * (best["encode"] / best["bare"] - 1)
        print(f"| {len(texts)} {name} | {best['bare']:.2f} | {best['encode']:.2f} | {share:.1f} % |", flush=True)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
