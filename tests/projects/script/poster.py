"""A script: one call, a picture on disk, and a clear word about what went wrong.

    python poster.py "a lighthouse in a storm" --out lighthouse.png

It needs `pip install fal-bindings`. To try it without a key, run `fal-bindings sandbox` and export what it prints; to run
it live, set FAL_KEY. It exits with 0, or 1 where another try may help, or 2 where it does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import FalError, Queued, Status, errors


def tell(event: Status) -> None:
    """Say how the request stands, and what its program prints."""
    if isinstance(event, Queued):
        print(f"waiting, {event.position or 0} ahead", file=sys.stderr)
    for line in event.logs:
        print(line.message, file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a picture.")
    parser.add_argument("prompt")
    parser.add_argument("--out", type=Path, default=Path("poster.png"))
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    picture = flux_dev.Input(prompt=given.prompt, image_size="portrait_4_3", output_format="png", seed=given.seed)
    try:
        output = flux_dev.subscribe(picture, logs=True, on_queue_update=tell, timeout=300)
        path = output.images[0].save(given.out)
    except errors.ContentPolicyError:
        print("The words were not allowed; put it differently.", file=sys.stderr)
        return 2
    except errors.SubmissionUnknownError as error:
        print(f"It may be running and billed: look into the dashboard before you try again.\n{error}", file=sys.stderr)
        return 2
    except FalError as error:
        print(error, file=sys.stderr)
        return 1 if error.retryable else 2
    print(f"{path} (seed {output.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
