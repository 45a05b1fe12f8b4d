"""python -m soak [NAME…] [--count N] [--seed S]: runs campaigns and keeps a row of each in soak/RESULTS.md."""
from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
HEAD = ["# Reliability campaigns, as measured", "",
        "| campaign | what | counts | seed | time |", "|---|---|---|---|---|"]


def row(name: str, count: int | None, seed: int) -> tuple[str, list[str]]:
    """The Markdown row of one campaign, and the failures it found."""
    module, begun = importlib.import_module(f"soak.{name}"), time.monotonic()
    found = module.run(count or module.COUNT, seed)
    failures = [f"{key}: {line}" for key, value in found.items() if isinstance(value, list) for line in value]
    shown = {key: len(v) if isinstance(v, list) else v for key, v in found.items()}
    counts = "; ".join(f"{key} {v:,}" if isinstance(v, int) else f"{key} {v}" for key, v in shown.items())
    title = module.__doc__.partition("\n")[0].rstrip(".")
    return f"| {name} | {title} | {counts} | {seed} | {time.monotonic() - begun:.0f} s |", failures


def main() -> None:
    known = sorted(m.name for m in pkgutil.iter_modules([str(HERE)]) if not m.name.startswith("_") and not m.ispkg)
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; by default all")
    parser.add_argument("--count", type=int, help="inputs to try, instead of each campaign's own number")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if strangers := set(given.names) - set(known):
        parser.error(f"no campaign {', '.join(sorted(strangers))}; known: {', '.join(known)}")
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    rows = {line.split("|")[1].strip(): line for line in lines[len(HEAD):] if line.startswith("|")}
    failed = False
    for name in given.names or known:
        rows[name], failures = row(name, given.count, given.seed)
        print(rows[name], *failures[:200], sep="\n")
        RESULTS.write_text("\n".join([*HEAD, *(rows[n] for n in sorted(rows))]) + "\n")
        failed |= bool(failures)
    sys.exit(failed)


if __name__ == "__main__":
    main()
