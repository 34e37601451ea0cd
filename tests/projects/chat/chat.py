"""A stream of a language model: the answer is printed while it grows.

    python chat.py "Why is the sky blue?" --model google/gemini-2.5-flash

It needs `pip install fal-bindings`. To try it without a key, run `fal-bindings sandbox` and export what it prints; to run
it live, set FAL_KEY. The answer goes to the standard output, everything else to the standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from fal_endpoints.openrouter import router
from fal_runtime import FalError, errors


def pieces(question: router.Input) -> Iterator[str]:
    """What each event adds to the answer. An event has the whole answer up to it.

    Raises:
        RuntimeError: if the model gave up.
        FalError: any other error; what came before it has been given.
    """
    shown = ""
    with router.stream(question, timeout=300) as stream:  # leaving it early closes the connection
        for event in stream:
            if event.error:
                raise RuntimeError(event.error)
            if not event.output.startswith(shown):  # it was put differently after all
                shown = ""
                yield "\n"
            yield event.output[len(shown) :]
            shown = event.output
            if event.usage is not None:
                print(f"\n{event.usage.total_tokens} tokens, cost {event.usage.cost:g}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a language model.")
    parser.add_argument("question")
    parser.add_argument("--model", default="google/gemini-2.5-flash")
    given = parser.parse_args()
    try:
        for piece in pieces(router.Input(prompt=given.question, model=given.model)):
            print(piece, end="", flush=True)
    except errors.StreamTruncated:
        print("\nThe answer broke off; it may have been billed, so it is not asked for again.", file=sys.stderr)
        return 1
    except (FalError, RuntimeError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
