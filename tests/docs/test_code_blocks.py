"""Documentation is run: every python block, and what it prints where a text block follows."""

from __future__ import annotations

import contextlib
import io
import re
import traceback
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if path.is_file() and BLOCK.search(path.read_text())]


def run_blocks(text: str, name: str) -> None:
    """Runs the blocks of one page in order, in one namespace, as a reader would type them."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile("\n" * (line - 1) + match[1], name, "exec"), namespace)
            except Exception as error:
                pytest.fail(f"{name}:{line}: {''.join(traceback.format_exception(error))}")
        if match[2] is not None:
            assert printed.getvalue() == match[2], f"{name}:{line}: the page shows other output"


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_code_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(path.read_text(), path.name)


def test_wrong_blocks_are_seen() -> None:
    run_blocks("```python\nprint(1)\n```\n\n```text\n1\n```\n", "good")
    with pytest.raises(AssertionError, match="other output"):
        run_blocks("```python\nprint(1)\n```\n```text\n2\n```\n", "stale")
    with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
        run_blocks("```python\n1 / 0\n```\n", "broken")
