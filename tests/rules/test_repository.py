"""What the repository says: no machine's paths, no registry hosts, one version, README commands that stay two lines."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
BINARY = {".gz", ".npy", ".npz", ".safetensors", ".onnx", ".png", ".so", ".pyc", ".bin"}
NOT_OURS = {"LICENSE", "licenses", "examples/data"}
WRONG = {
    "an absolute path of one machine": re.compile(r"(?<![\w.:/~-])/(?:home|root|opt|work|mnt|srv|Users)/"),
    "a data folder outside the repository": re.compile(r"\bshared/(?:data|design|bench)"),
    "a package registry's host": re.compile(
        r"\b(?:pypi|pythonhosted|test\.pypi|huggingface|hf-mirror|anaconda|crates|npmjs)\.(?:org|co|com|io)\b"
    ),
}


def tracked_texts() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        names = [name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):  # an unpacked sdist
        tops = ("kernels", "cpp", "python", "tests")
        names = [str(p.relative_to(ROOT)) for top in tops for p in (ROOT / top).rglob("*")]
    paths = [ROOT / n for n in names if not any(n == skip or n.startswith(f"{skip}/") for skip in NOT_OURS)]
    return [p for p in paths if p.is_file() and p.suffix not in BINARY and "__pycache__" not in p.parts]


@pytest.mark.parametrize("path", tracked_texts(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_text_speaks_of_the_product_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    found = {what: match.group() for what, pattern in WRONG.items() if (match := pattern.search(text))}
    if path == ROOT / ".ci" / "run":  # the one place that may look for data beside the checkout
        found.pop("a data folder outside the repository", None)
    assert not found


def test_wrong_words_are_seen() -> None:
    samples = ("see /" + "opt/tools/bin", "in ../shar" + "ed/data/x", "from files.python" + "hosted.org")
    for sample, (what, pattern) in zip(samples, WRONG.items(), strict=True):
        assert pattern.search(sample), what
    assert not WRONG["an absolute path of one machine"].search("https://example.org/home/ and ./build/ and a/opt/b")


def test_one_version() -> None:
    project = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    package = re.search(r'^__version__ = "([^"]+)"', (ROOT / "python/semblance/__init__.py").read_text(), re.MULTILINE)
    changes = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert None not in (project, package, changes)
    assert project[1] == package[1] == changes[1]


def test_readme_starts_with_two_commands_of_one_line() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") <= 150
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks[:2]] == ["sh", "sh"]
    install, tests = (body.strip() for _, body in blocks[:2])
    assert "\n" not in install + tests
    assert re.search(r"pip install .*examples/dictionary\.py", install)
    assert re.search(r"pip install .*pytest", tests)
