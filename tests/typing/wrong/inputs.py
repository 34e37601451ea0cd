"""Wrong inputs: each marked line must be red in both checkers, and no other one."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from fal_endpoints.fal_ai import bytedance_seedance_v1_lite_reference_to_video as seedance
from fal_endpoints.fal_ai import flux_dev, flux_schnell
from fal_endpoints.fal_ai import kling_video_v2_6_pro_image_to_video as kling

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

kling.Input(prompt="a cat", start_image_url=7)  # error: reportArgumentType
kling.Input(prompt="a cat", start_image_url=StringIO("x"))  # error: reportArgumentType
kling.Input(prompt="a cat", start_image_url=[Path("x")])  # error: reportArgumentType
seedance.Input(prompt="a cat", reference_image_urls="https://example.com/cat.png")  # error: reportArgumentType
seedance.Input(prompt="a cat", reference_image_urls=b"cat")  # error: reportArgumentType
seedance.Input(prompt="a cat", reference_image_urls=Path("cat.png"))  # error: reportArgumentType
seedance.Input(prompt="a cat", reference_image_urls=[7])  # error: reportArgumentType
