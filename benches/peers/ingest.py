#!/usr/bin/env python3
"""Peer of `gristmill ingest`: pyarrow's dataset API converting the same files to Arrow IPC.

    python benches/peers/ingest.py SOURCE [SOURCE...] --gristmill target/release/gristmill [--rounds 5] [--threads 2]

The file of the README (169 MB, 8 row groups, Snappy) is made by

    gristmill generate numeric --rows 1000000 -o plain.parquet
    python -c "import pyarrow.parquet as p; p.write_table(p.read_table('plain.parquet'), 'num.parquet', row_group_size=131072)"

Both read warm files and write to the same folder; the runs take turns; medians and their ratio are printed as JSON lines.
Needs pyarrow.
"""
import argparse, json, os, shutil, statistics, subprocess, tempfile, time

import pyarrow as pa
import pyarrow.dataset as ds

parser = argparse.ArgumentParser()
parser.add_argument("sources", nargs="+")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--label", default="label")
parser.add_argument("--gristmill", default="target/release/gristmill")
parser.add_argument("--folder", default=None)
args = parser.parse_args()
pa.set_cpu_count(args.threads)
pa.set_io_thread_count(args.threads)


def peer(source, out):
    form = "csv" if source.endswith(".csv") else "parquet"
    start = time.perf_counter()
    ds.write_dataset(ds.dataset(source, format=form), out, format="ipc")
    return time.perf_counter() - start


def ours(source, out):
    start = time.perf_counter()
    subprocess.run([args.gristmill, "ingest", source, "--label", args.label, "-o", out, "--threads", str(args.threads), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


for source in args.sources:
    times = {"pyarrow": [], "gristmill": []}
    for _ in range(args.rounds):
        for name, run in (("pyarrow", peer), ("gristmill", ours)):
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                os.sync()
                times[name].append(run(source, os.path.join(folder, "out")))
    a, b = statistics.median(times["pyarrow"]), statistics.median(times["gristmill"])
    print(json.dumps({"source": os.path.basename(source), "bytes": os.path.getsize(source), "pyarrow": pa.__version__, "pyarrow_s": round(a, 3),
                      "gristmill_s": round(b, 3), "ratio": round(a / b, 2)}), flush=True)
