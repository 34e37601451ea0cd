"""Wrong inputs: each marked line must be red in both checkers, and no other one."""

from __future__ import annotations

from fal_endpoints.fal_ai import flux_dev, flux_schnell

flux_dev.Input(prompt="a cat", num_image=2)  # error: reportCallIssue
flux_dev.Input()  # error: reportCallIssue
flux_dev.Input("a cat")  # error: reportCallIssue
flux_dev.Input(prompt="a cat", output_format="gif")  # error: reportArgumentType
flux_dev.Input(prompt="a cat", image_size="square-hd")  # error: reportArgumentType
flux_dev.Input(prompt="a cat", num_images="2")  # error: reportArgumentType
flux_dev.Input(prompt=7)  # error: reportArgumentType
flux_dev.Input(prompt=None)  # error: reportArgumentType
flux_dev.Input(prompt="a cat", num_images=None)  # error: reportArgumentType
flux_dev.Input(prompt="a cat", num_images=2.5)  # error: reportArgumentType
flux_dev.Input(prompt="a cat", image_size={"width": 640, "height": 480})  # error: reportArgumentType
flux_dev.ImageSize(640, 480)  # error: reportCallIssue

flux_dev.Input.from_dict("a cat")  # error: reportArgumentType
flux_schnell.Input(prompt="a cat", num_images=None)  # error: reportArgumentType

request = flux_dev.Input(prompt="a cat", num_images=2)
request.num_image = 2  # error: reportAttributeAccessIssue
request.num_images = "2"  # error: reportAttributeAccessIssue
