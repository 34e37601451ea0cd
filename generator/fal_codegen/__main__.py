"""The console script's entry: it needs the `[generator]` extra, and says so where that is missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `fal-bindings` command."""
    try:
        from fal_codegen.cli import cli
    except ModuleNotFoundError as error:
        sys.exit(f"fal-bindings: {error.name} is not installed; run: pip install 'fal-bindings[generator,sandbox]'")
    cli(prog_name="fal-bindings")


if __name__ == "__main__":
    main()
