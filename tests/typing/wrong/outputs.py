"""Wrong uses of outputs: each marked line must be red in both checkers, and no other one."""

from __future__ import annotations

from fal_endpoints.fal_ai import flux_dev

REQUEST = flux_dev.Input(prompt="a cat")

output = flux_dev.run(REQUEST)
print(output.image.url)  # error: reportAttributeAccessIssue
print(output.images.url)  # error: reportAttributeAccessIssue
print(output.images[0].uri)  # error: reportAttributeAccessIssue
print(output["images"])  # error: reportIndexIssue
seed: str = output.seed  # error: reportAssignmentType
print(flux_dev.submit(REQUEST).images)  # error: reportAttributeAccessIssue
print(flux_dev.with_result.run(REQUEST).images)  # error: reportAttributeAccessIssue
output.images[0].save(7)  # error: reportArgumentType


async def forgets_to_await() -> None:
    print(flux_dev.run_async(REQUEST).images)  # error: reportAttributeAccessIssue
