#!/usr/bin/env python3
"""Peer of stochastic training: Vowpal Wabbit's one pass of logistic regression over click logs, from its cache.

    gristmill generate clicks --rows 5500000 -o clicks.parquet
    python benches/peers/online.py clicks.parquet --gristmill target/release/gristmill [--held-out 500000] [--rounds 3]

The last rows are held out. Both train on the same rows, once, with their defaults; the runs take turns. Printed as JSON lines:
medians of the seconds of the training alone (gristmill: the epoch in metrics.jsonl; vw: the process that reads its cache), held-out log
loss of both, and the ratio. Writes about 3 GB beside the source. Needs pyarrow, numpy and vowpalwabbit.
"""
import argparse, json, os, statistics, subprocess, sys, time

import numpy as np
import pyarrow.parquet as pq

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("--held-out", type=int, default=500_000)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch-rows", type=int, default=None)
parser.add_argument("--gristmill", default="target/release/gristmill")
parser.add_argument("--folder", default="online-peer")
args = parser.parse_args()
os.makedirs(args.folder, exist_ok=True)
at = lambda name: os.path.join(args.folder, name)
vw = [sys.executable, "-m", "vowpalwabbit"]

table = pq.read_table(args.source)
cut = table.num_rows - args.held_out
names = [name for name in table.column_names if name != "label"]
numbers = [name for name in names if name.startswith("i")]
levels = [name for name in names if name.startswith("c")]


def vw_text(part, path):
    if os.path.exists(path):
        return
    with open(path, "w") as out:
        for batch in part.to_batches(max_chunksize=50_000):
            columns = batch.to_pydict()
            for row in range(batch.num_rows):
                own = [f"{name}:{columns[name][row]:.7g}" for name in numbers if columns[name][row] is not None]
                own += [f"{name}={columns[name][row]}" for name in levels if columns[name][row] is not None]
                out.write(f"{1 if columns['label'][row] else -1} | {' '.join(own)}\n")


if not os.path.exists(at("train.parquet")):
    pq.write_table(table.slice(0, cut), at("train.parquet"))
    pq.write_table(table.slice(cut), at("test.parquet"))
vw_text(table.slice(0, cut), at("train.vw"))
vw_text(table.slice(cut), at("test.vw"))
truth = np.asarray(table.slice(cut).column("label"), dtype=np.float64)
del table

quiet = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
begin = time.perf_counter()
subprocess.run([args.gristmill, "ingest", at("train.parquet"), "--label", "label", "-o", at("data"), "--force", "-q"], **quiet)
ingest = time.perf_counter() - begin
# The cache holds the rows in vw's own form, hashed to the bits that the model has.
learn = ["--loss_function", "logistic", "-b", "22", "--cache_file", at("cache"), "--holdout_off"]
begin = time.perf_counter()
subprocess.run(vw + learn + ["-d", at("train.vw"), "-k", "--noop"], **quiet)
cache = time.perf_counter() - begin

seconds = {"vw": [], "gristmill": []}
for _ in range(args.rounds):
    begin = time.perf_counter()
    subprocess.run(vw + learn + ["-d", at("train.vw"), "-f", at("model.vw")], **quiet)
    seconds["vw"].append(time.perf_counter() - begin)
    ours = [args.gristmill, "train", at("data"), "--model", "logistic", "--solver", "adagrad"]
    ours += ["--batch-rows", str(args.batch_rows)] if args.batch_rows else []
    subprocess.run(ours + ["--threads", str(args.threads), "-o", at("run"), "--force", "-q"], **quiet)
    epoch = json.loads(open(at("run/metrics.jsonl")).readline())
    seconds["gristmill"].append(epoch["seconds"])

subprocess.run(vw + ["-t", "-i", at("model.vw"), "-d", at("test.vw"), "--loss_function", "logistic", "-p", at("vw.txt"), "--link", "logistic"], **quiet)
subprocess.run([args.gristmill, "predict", at("run"), at("test.parquet"), "-o", at("ours.parquet"), "--force", "-q"], **quiet)
loss = lambda p: float(-np.mean(truth * np.log(p) + (1 - truth) * np.log1p(-p)))
theirs = np.clip(np.loadtxt(at("vw.txt")), 1e-12, 1 - 1e-12)
found = pq.read_table(at("ours.parquet"))
probability = [name for name in found.column_names if "prob" in name][-1]
own = np.clip(np.asarray(found.column(probability), dtype=np.float64), 1e-12, 1 - 1e-12)
assert max(loss(theirs), loss(own)) < 0.9 * loss(np.full(len(truth), truth.mean())), "one of them has learnt nothing"
medians = {name: statistics.median(own) for name, own in seconds.items()}
print(json.dumps({"rows": cut, "training_seconds": medians, "ratio": medians["vw"] / medians["gristmill"],
                  "preparing_seconds": {"vw": cache, "gristmill": ingest},
                  "held_out_log_loss": {"vw": loss(theirs), "gristmill": loss(own)}}))
