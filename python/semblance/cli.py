"""The command ``semblance``: loads the commands, or says which extra they need."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the process ends with 0, 1 (error), 2 (usage) or 130 (Ctrl-C)."""
    try:
        from .commands import app
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich", "click"):
            raise
        print(
            f"semblance: expected typer and rich, got no {error.name} (pip install 'semblance[cli]')", file=sys.stderr
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="semblance")


if __name__ == "__main__":
    main()
