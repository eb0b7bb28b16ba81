"""How many durable envelopes a second the ingest role takes, beside a bare ASGI application on the same server.

    python -m benchmarks.accept [--seconds 30] [--connections 32] [--rounds 1]

Prints JSON. The appliance and the bare application take turns, so that what else the machine does hits both.
Every request of the first is answered after its fdatasync; rates are off, durability is as shipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from appliance.ingest.admission import AdmissionTable, AdmittedProject, hash_key, publish
from benchmarks.payloads import events, templates

KEY: Final = "0123456789abcdef0123456789abcdef"
BODIES: Final = 400  # distinct; twice what the caches of a small core hold
SCRIPT: Final = Path(__file__).with_name("accept.lua")
BARE: Final = """
import socket, sys
import uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})

uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False,
            log_level="warning", server_header=False, date_header=False, proxy_headers=False)
"""
ENVIRONMENT: Final = {
    "CONDEV__INGEST__REQUESTS_PER_SECOND": "0",
    "CONDEV__INGEST__REQUESTS_PER_SECOND_PER_ADDRESS": "0",
    "CONDEV__INGEST__SPOOL_MAX_BYTES": "40g",
    "CONDEV__LOG__LEVEL": "warning",
}


def write_requests(path: Path, port: int) -> None:
    """Whole HTTP requests, cut where the event id goes: three parts each, with their lengths."""
    with path.open("wb") as file:
        for body in events(templates(BODIES, KEY), BODIES, seed=7):
            event_id = json.loads(body.split(b"\n", 1)[0])["event_id"].encode()
            head = (
                f"POST /api/1/envelope/?sentry_version=7&sentry_key={KEY}"
                "&sentry_client=sentry.javascript.browser%2F10.78.0"
                f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
                "Content-Type: text/plain;charset=UTF-8\r\nAccept: */*\r\nOrigin: https://shop.example.com\r\nReferer: https://shop.example.com/\r\n"
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:151.0) Gecko/20100101 Firefox/151.0\r\n\r\n"
            )
            parts = (head.encode() + body).split(event_id)
            if len(parts) != 3:
                raise RuntimeError(f"the event id stands {len(parts) - 1} times in a body, not twice")
            for part in parts:
                file.write(len(part).to_bytes(4, "little") + part)


def wrk(port: int, requests: Path, seconds: int, connections: int) -> dict[str, Any]:
    """Send for a while."""
    program = shutil.which("wrk")
    if program is None:
        sys.exit("wrk is not installed: apt install wrk")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
    run = time.time_ns() % 10**15
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/", "--", str(requests), str(run)],
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("JSON "))
    figures = json.loads(line.removeprefix("JSON "))
    return {"per_second": round(figures["requests"] / figures["seconds"]), **figures}


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Generator[subprocess.Popen[bytes]]:
    """A server, from ready to stopped."""
    process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, cwd=folder)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(f"the server ended with {process.returncode}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(seconds: int, connections: int, rounds: int) -> dict[str, Any]:
    """Both, in turns, `rounds` times."""
    base = Path(__file__).parent / "data"
    base.mkdir(exist_ok=True)
    accepted: list[dict[str, Any]] = []
    bare: list[dict[str, Any]] = []
    condev = str(Path(sys.executable).with_name("condev"))
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=base) as name:  # on disk: fdatasync on a tmpfs means nothing
            folder, port = Path(name), free_port()
            requests = folder / "requests.bin"
            write_requests(requests, port)
            with running([sys.executable, "-c", BARE, str(port)], port, folder):
                bare.append(wrk(port, requests, seconds, connections))
            table = AdmissionTable(projects=[AdmittedProject(id=1, key_hashes=[hash_key(KEY)])])
            publish(folder / "data" / "admission.json", table)
            serve = [condev, "serve", "--role", "ingest", "--port", str(port), "--data-dir", str(folder / "data")]
            with running(serve, port, folder) as process:
                before = cpu_seconds(process)
                figures = wrk(port, requests, seconds, connections)
                figures["cpu_us_per_request"] = round((cpu_seconds(process) - before) / figures["requests"] * 1e6, 1)
                accepted.append(figures)
    rate = statistics.median(figures["per_second"] for figures in accepted)
    floor = statistics.median(figures["per_second"] for figures in bare)
    return {
        "accept": accepted,
        "bare": bare,
        "per_second": rate,
        "bare_per_second": floor,
        "ratio": round(rate / floor, 3),
        "p99_ms": max(figures["p99_ms"] for figures in accepted),
        "not_2xx": sum(figures["not_2xx"] + figures["socket_errors"] for figures in accepted),
        "load_before": os.getloadavg()[0],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=30, help="of load on each")
    parser.add_argument("--connections", type=int, default=32, help="kept alive")
    parser.add_argument("--rounds", type=int, default=1, help="how often the two take turns")
    given = parser.parse_args()
    print(json.dumps(measure(given.seconds, given.connections, given.rounds), indent=2))


if __name__ == "__main__":
    main()
