"""Encoder files of released format versions stay readable: same tokens, same vectors; and are written again alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import semblance as sb

# Of tests/golden/make_v1.py, written again here so that both must agree.
ROW, COLUMN = np.arange(9)[:, None], np.arange(12)[None]
NUMBERS = ((ROW * 7 + COLUMN * 5 + ROW * COLUMN * 3 + ROW * ROW) % 151 % 9 - 4).astype(np.float32) + 0.5
GOLDEN = Path(__file__).parents[1] / "golden" / "v1" / "encoder.sb"


def test_an_encoder_of_version_1() -> None:
    encoder = sb.Encoder(GOLDEN)
    assert (encoder.dim, encoder.max_tokens, encoder.name) == (12, 6, "golden")
    texts = ["Cat runs.", "dogs", "", "a cat", "cat cat cat dog dog dog dog runs"]
    assert encoder.tokens(texts) == [
        ["cat", "runs", "."], ["dog", "##s"], ["[SEP]"], ["[UNK]", "cat"], ["cat", "cat", "cat", "dog", "dog", "dog"],
    ]  # fmt: skip
    rows = [[4, 7, 8], [5, 6], [3], [1, 4], [4, 4, 4, 5, 5, 5]]
    wanted = np.stack([NUMBERS[each].mean(axis=0) for each in rows])
    np.testing.assert_allclose(encoder.encode(texts, normalize=False), wanted, atol=0.02)


def test_it_is_written_again(tmp_path: Path) -> None:
    before, encoder = GOLDEN.read_bytes(), sb.Encoder(GOLDEN)
    encoder.save(tmp_path / "again.sb")
    again = sb.Encoder(tmp_path / "again.sb")
    assert again.fingerprint == encoder.fingerprint
    assert np.array_equal(again.encode(["dogs run."]), encoder.encode(["dogs run."]))
    assert GOLDEN.read_bytes() == before
