"""A program that calls openai-python: run it under any interpreter that has the package.

    <interpreter> openai_driver.py

It must stand alone (no import of this project), because the interpreter belongs to another virtual
environment with another major version of the package. Everything comes by stdin as JSON, one object a
line, so no secret is in the arguments or the environment:

    first line  {"base_url": ..., "ca_file": path, "api_key": ..., and optionally "lookup": {name: address}}
    every other {"id": n, "call": "chat.completions.create", "arguments": {...}, "mode": "sync" | "async",
                 "read_timeout_s": 60, and optionally "base_url", "api_key", "default_trust": true}

One JSON object a line answers on stdout. The first describes the package; each other one has `id` and
either `result`, or `chunks` and `chunk_times_s` of a streamed call (`"stream": true` in the arguments), or
`exception` with class, bases, status, body and message. Times are seconds since the call was made.
`max_retries` is 0, because a retry hides the defect one is looking for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

import openai

CONNECT_TIMEOUT_S = 10.0


def look_up(names: dict[str, str]) -> None:
    """From now on these names, which need not resolve, lead to these addresses; all other names as before."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve(names.get(name, name), *arguments, **options)

    socket.getaddrinfo = getaddrinfo


def http_client(asynchronous: bool, setup: dict[str, Any]) -> Any:
    """The package's own default client with another trust anchor. Major 3 uses httpx2, 2 httpx."""
    kind = "Httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "Httpx"
    factory = getattr(openai, f"Default{'Async' if asynchronous else ''}{kind}Client")
    if setup.get("default_trust"):
        return factory(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a pinned certificate is an anchor
    context.load_verify_locations(cafile=setup["ca_file"])
    return factory(verify=context, trust_env=False)


def client_arguments(asynchronous: bool, setup: dict[str, Any], read_timeout_s: float) -> dict[str, Any]:
    client = http_client(asynchronous, setup)
    timeout = client.timeout.__class__(read_timeout_s, connect=CONNECT_TIMEOUT_S)
    return {
        "base_url": setup["base_url"],
        "api_key": setup["api_key"],
        "max_retries": 0,
        "timeout": timeout,
        "http_client": client,
    }


def find_call(client: Any, name: str) -> Callable[..., Any]:
    found = client
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value


def run_sync(job: dict[str, Any], setup: dict[str, Any]) -> dict[str, Any]:
    with openai.OpenAI(**client_arguments(False, setup, job["read_timeout_s"])) as client:
        started = time.perf_counter()
        answer = find_call(client, job["call"])(**job["arguments"])
        if not job["arguments"].get("stream"):
            return {"result": plain(answer), "total_s": time.perf_counter() - started}
        chunks, times = [], []
        for chunk in answer:
            times.append(time.perf_counter() - started)
            chunks.append(plain(chunk))
        return {"chunks": chunks, "chunk_times_s": times, "total_s": time.perf_counter() - started}


async def run_async(job: dict[str, Any], setup: dict[str, Any]) -> dict[str, Any]:
    async with openai.AsyncOpenAI(**client_arguments(True, setup, job["read_timeout_s"])) as client:
        started = time.perf_counter()
        answer = await find_call(client, job["call"])(**job["arguments"])
        if not job["arguments"].get("stream"):
            return {"result": plain(answer), "total_s": time.perf_counter() - started}
        chunks, times = [], []
        async for chunk in answer:
            times.append(time.perf_counter() - started)
            chunks.append(plain(chunk))
        return {"chunks": chunks, "chunk_times_s": times, "total_s": time.perf_counter() - started}


def describe(error: Exception) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__ if base not in (object, BaseException)],
        "status": getattr(error, "status_code", None),
        "body": getattr(error, "body", None),
        "message": str(error),
        "cause": repr(error.__cause__) if error.__cause__ else None,
    }


def answer_job(job: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        key: job[key] for key in ("base_url", "api_key", "default_trust") if key in job
    }
    setup = {**defaults, **overrides}
    started = time.perf_counter()
    try:
        asynchronous = job["mode"] == "async"
        outcome = asyncio.run(run_async(job, setup)) if asynchronous else run_sync(job, setup)
    except Exception as error:  # every exception of the package is a result here
        outcome = {"exception": describe(error), "total_s": time.perf_counter() - started}
    return {"id": job["id"], **outcome}


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    defaults = json.loads(sys.stdin.readline())
    look_up(defaults.pop("lookup", {}))
    say({"package": "openai", "version": openai.__version__, "python": sys.version.split()[0]})
    for line in sys.stdin:
        if line.strip():
            say(answer_job(json.loads(line), defaults))


if __name__ == "__main__":
    main()
