"""A customer's visit at the studio: prints what every request answered. The studio's folder is on the path."""

import asyncio
import json
import time

import app as studio
import httpx


async def visit() -> list[object]:
    seen: list[object] = []
    transport = httpx.ASGITransport(app=studio.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://studio", timeout=60) as customer:

        async def ask(method: str, path: str, body: object = None) -> object:
            answer = await customer.request(method, path, json=body)
            content = answer.json() if answer.content else None
            seen.append([method, path, answer.status_code, content])
            return content

        order = {"prompt": "a red door", "count": 2, "seed": 11}
        await ask("POST", "/pictures", order)
        await ask("POST", "/pictures", {**order, "format": "square_hd", "count": 1})
        studio_job = studio.jobs["job-1"]
        deadline = time.monotonic() + 30
        while studio.jobs["job-1"].state in ("waiting", "painting") and time.monotonic() < deadline:
            await customer.get("/jobs/job-1")
            if studio_job.state == "painting":
                await customer.post("/hooks/fal", json={"request_id": studio_job.request_id})
        await ask("GET", "/jobs/job-1")
        await ask("POST", "/hooks/fal", {"request_id": studio.jobs["job-2"].request_id})
        await ask("GET", "/jobs/job-2")
        await ask("POST", "/hooks/fal", {"request_id": "nobody's"})
        await ask("GET", "/jobs/job-9")
        await ask("POST", "/pictures", {**order, "seed": 12})
        await ask("DELETE", "/jobs/job-3")
        await ask("POST", "/previews", {"prompt": "a blue door", "width": 320, "height": 240})
        await ask("POST", "/voices", {"text": "namaste"})
        await ask("POST", "/remix", {"model": "fal-ai/flux/schnell", "input": {"prompt": "a door", "seed": 1}})
    return seen


print(json.dumps(asyncio.run(visit()), indent=1))
