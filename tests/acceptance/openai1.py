"""Run by the interpreter that has the SDK's last 1.x: does what it is told on standard input, prints what it saw.

Takes a JSON list of jobs, `{"key", "call": "generate" | "list" | "retrieve", "fields"}`; answers with a JSON list. It
stands alone: nothing of the project can be imported there.
"""

import asyncio
import json
import os
import sys
from typing import Any

import openai


def told(answer: openai.BaseModel) -> dict[str, Any]:
    """What came back, as JSON."""
    return {"answer": answer.to_dict()}


def raised(error: openai.APIStatusError) -> dict[str, Any]:
    """An exception of the SDK, as JSON."""
    return {
        "error": type(error).__name__,
        "status": error.status_code,
        "code": error.code,
        "param": error.param,
        "type": error.type,
    }


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job."""
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=os.environ["BASE_URL"], api_key=job["key"], http_client=http, _strict_response_validation=True
    ) as client:
        try:
            if job["call"] == "list":
                return {"answer": [model.id for model in client.models.list()]}
            if job["call"] == "retrieve":
                return told(client.models.retrieve(**job["fields"]))
            return told(client.images.generate(**job["fields"]))
        except openai.APIStatusError as error:
            return raised(error)


async def run_async(job: dict[str, Any]) -> dict[str, Any]:
    """Do one generation with the asynchronous client."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(base_url=os.environ["BASE_URL"], api_key=job["key"], http_client=http) as client:
        try:
            return told(await client.images.generate(**job["fields"]))
        except openai.APIStatusError as error:
            return raised(error)


jobs = json.load(sys.stdin)
json.dump([asyncio.run(run_async(job)) if job.get("async") else run(job) for job in jobs], sys.stdout)
