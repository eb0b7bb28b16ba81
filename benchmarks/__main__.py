"""`make bench`: every figure that README quotes, with the command that made it, into benchmarks/results/.

    python -m benchmarks [--loads 15] [--events 1000000] [--limited-events 2000000] [--seconds 30]

Takes about forty minutes on two cores with the defaults; smaller numbers take less and say less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import accept, decode, drain, sdk
from benchmarks.processes import machine

RESULTS: Final = Path(__file__).parent / "results"
LIMIT_MB: Final = 750


def main() -> None:
    """Run all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=30, help="of accepting")
    parser.add_argument("--events", type=int, default=1_000_000, help="stored before pages are asked for")
    parser.add_argument("--loads", type=int, default=15, help="of the page that carries the SDK; 0 = skip")
    parser.add_argument("--limited-events", type=int, default=2_000_000, help="stored in the memory cgroup; 0 = skip")
    given = parser.parse_args()
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks {' '.join(sys.argv[1:])}".strip(),
        "machine": machine(),
    }
    name = RESULTS / f"{found['at'][:10]}.json"
    if given.loads:  # first: the figures of a page want a machine that is cool and does nothing else
        found["sdk"] = sdk.measure(given.loads, seconds=60, minutes=60)
        _write(name, found)
    print("accepting …", file=sys.stderr)
    found["accept"] = accept.measure(given.seconds, 32, 1)
    _write(name, found)  # after each stage: what fails later must not take an hour's figures with it
    print("decoding …", file=sys.stderr)
    found["decode"] = decode.measure(4_000, 5)
    _write(name, found)
    print("draining …", file=sys.stderr)
    found |= {name: value for name, value in drain.measure(given.events, 0).items() if name != "machine"}
    _write(name, found)
    if given.limited_events and os.geteuid() == 0:
        print(f"draining in {LIMIT_MB} MB …", file=sys.stderr)
        limited = drain.measure(given.limited_events, LIMIT_MB)
        found["limited"] = {name: limited[name] for name in ("memory_limit_mb", "drain", "pages")}
        _write(name, found)
    print(json.dumps(found, indent=2))
    print(f"written to {name}", file=sys.stderr)


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
