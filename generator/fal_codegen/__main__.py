"""The console script's entry: it needs an extra, and says so where none is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `fal-bindings` command."""
    try:
        from fal_codegen.cli import cli
    except ModuleNotFoundError as error:
        text = f"fal-bindings: {error.name} is not installed; run: pip install 'fal-bindings[generator,sandbox]'\n"
        sys.stderr.write(text)
        sys.exit(3)  # as `cli` does for a command whose extra is missing
    cli(prog_name="fal-bindings")


if __name__ == "__main__":
    main()
