"""How faithful the generated types are to their schemas, over all endpoints: scripts/bench fidelity"""

import sys
import time
from collections import Counter

import bootstrap


def fidelity() -> None:
    """Print, for each rule of JSON Schema, how many inputs that break it are refused with its field and its name."""
    sys.path.insert(0, str(bootstrap.ROOT / "tests"))
    from fidelity.measure import endpoints, exceptions, input_of, measure
    from fidelity.oracle import Oracle

    start = time.perf_counter()
    results = [measure(Oracle(endpoint_id), input_of(module)) for endpoint_id, module in endpoints().items()]
    seconds = time.perf_counter() - start
    refused = sum((result.refused for result in results), Counter[str]())
    invalid = sum((result.invalid for result in results), Counter[str]())
    rows = [("valid, accepted and sent unchanged", sum(r.accepted for r in results), sum(r.valid for r in results))]
    rows += [(f"{rule} broken, refused by name", refused[rule], invalid[rule]) for rule in sorted(invalid)]
    rows.append(("all broken", refused.total(), invalid.total()))
    print(f"{f'Input of {len(results)} endpoints':40} {'right':>8} {'of':>8} {'%':>8}   {seconds:.0f} s")
    for name, right, of in rows:
        print(f"{name:40} {right:8} {of:8} {100 * right / of:8.2f}")
    for result in results:
        if result.failures:
            why = exceptions().get(result.endpoint_id, "NOT LISTED: " + result.failures[0].splitlines()[0])
            print(f"exception: {result.endpoint_id} ({len(result.failures)} values): {why}")
