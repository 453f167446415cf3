"""How long Airflow takes to parse the DAGs of many municipalities, beside the same number of one-task DAGs without Kryss.

./kryss bench dag_parse [--municipalities 50] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PROBE = """
import json, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
import kryss
began, cpu = time.perf_counter(), time.process_time()
bag = DagBag({folder!r}, safe_mode=False)
wall, cpu = time.perf_counter() - began, time.process_time() - cpu
print("PROBE" + json.dumps([wall, cpu, len(bag.dags), "torch" in sys.modules, bag.import_errors]))
"""

PEER = """
from airflow.sdk import dag, task
for n in range({count}):
    @dag(dag_id=f"peer_{{n}}", schedule=None)
    def peer():
        @task
        def one():
            return 1
        one()
    peer()
"""


def parse(folder: Path, home: Path, towns: Path) -> tuple[float, float, int, bool]:
    """Seconds of wall clock and of processor, DAGs found, and whether torch was imported; Airflow was imported before."""
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": str(ROOT / "include"),
        "KRYSS_MUNICIPALITIES": str(towns),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(folder=str(folder))], env=env, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("PROBE"))
    seconds, cpu, dags, torch, errors = json.loads(line[5:])
    if errors:
        raise SystemExit(f"DAGs that do not parse: {errors}")
    return seconds, cpu, dags, torch


def main() -> int:
    parser = argparse.ArgumentParser(prog="kryss bench dag_parse", description=__doc__.splitlines()[0])
    parser.add_argument("--municipalities", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        towns = home / "towns.yaml"
        entries = [{"code": f"{n:04d}", "name": f"Town {n}"} for n in range(options.municipalities)]
        towns.write_text(json.dumps({"municipalities": entries}))
        peer = home / "peer"
        peer.mkdir()
        (peer / "peer.py").write_text(PEER.format(count=2 * options.municipalities))
        ours, theirs = [], []
        for _ in range(options.runs):
            ours.append(parse(ROOT / "dags", home, towns))
            theirs.append(parse(peer, home, towns))
    print(f"{'':24}{'DAGs':>6}{'wall s':>8}{'CPU s':>8}  torch imported")
    for name, runs in (("Kryss", ours), ("one-task DAGs (peer)", theirs)):
        wall, cpu = (statistics.median(run[index] for run in runs) for index in (0, 1))
        print(f"{name:24}{runs[0][2]:>6}{wall:>8.2f}{cpu:>8.2f}  {'yes' if runs[0][3] else 'no'}")
    ratio = statistics.median(o[1] / t[1] for o, t in zip(ours, theirs, strict=True))
    print(f"CPU ratio {ratio:.1f}; median of {options.runs} runs in pairs; {options.municipalities} municipalities")
    return 0


if __name__ == "__main__":
    sys.exit(main())
