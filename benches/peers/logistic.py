#!/usr/bin/env python3
"""Peers of `gristmill train --model logistic`: seconds to a relative objective gap of 1e-6.

    python benches/peers/logistic.py DATA.parquet --l2 1e-4 --gristmill target/release/gristmill [--rounds 5]

Objective, the same for all: mean(log(1 + exp(z)) - y z) + l2/2 |b|^2, intercept not penalised, no standardisation.
Every peer gets the data in memory in the form it likes best (load and conversion are not timed) and the loosest
tolerance of a ladder that reaches the gap; gristmill starts from its mapped shards (ingest is not timed), and its time
is that of `train` between the opened dataset and the model. The runs take turns; medians are printed as JSON lines.
Needs numpy, pyarrow, scikit-learn; scikit-learn-intelex, snapml where installed.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--l2", type=float, default=1e-4)
parser.add_argument("--label", default="label")
parser.add_argument("--gap", type=float, default=1e-6)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--gristmill", default="target/release/gristmill")
parser.add_argument("--peers", default="intelex,newton-cholesky,lbfgs,snapml")
args = parser.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(args.threads)

import numpy as np
import pyarrow.parquet as pq
import sklearn
from sklearn.linear_model import LogisticRegression

table = pq.read_table(args.data)
y = table[args.label].to_numpy().astype(np.float32)
names = [n for n in table.column_names if n != args.label]
X = np.column_stack([table[n].to_numpy() for n in names]).astype(np.float32)
X = np.ascontiguousarray(X)
n = len(y)


def objective(coef, intercept):
    """In f64, in blocks, from the coefficients alone."""
    total = 0.0
    coef = np.asarray(coef, dtype=np.float64).ravel()
    for at in range(0, n, 1 << 18):
        z = X[at:at + (1 << 18)].astype(np.float64) @ coef + float(np.ravel(intercept)[0])
        total += np.sum(np.logaddexp(0, z) - y[at:at + (1 << 18)] * z)
    return total / n + args.l2 / 2 * coef @ coef


def fit_sklearn(solver, tol, cls=LogisticRegression):
    model = cls(C=1 / (args.l2 * n), solver=solver, tol=tol, max_iter=1000)
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start, model.coef_, model.intercept_


def fit_intelex(tol):
    from sklearnex.linear_model import LogisticRegression as Patched
    return fit_sklearn("lbfgs", tol, Patched)


def fit_snapml(tol):
    from snapml import LogisticRegression as Snap
    model = Snap(regularizer=args.l2 * n, tol=tol, max_iter=1000, n_jobs=args.threads, fit_intercept=True,
                 use_gpu=False, dual=True)
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start, model.coef_, model.intercept_


def fit_gristmill(tol):
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        subprocess.run([args.gristmill, "train", dataset, "--model", "logistic", "--l2", repr(args.l2), "--standardize",
                        "false", "--tolerance", repr(tol), "--threads", str(args.threads), "-o", run, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        model = json.loads(subprocess.run([args.gristmill, "inspect", run, "--json"], check=True, capture_output=True).stdout)
        summary = json.load(open(os.path.join(run, "summary.json")))
        coefficients = model["coefficients"]
        return summary["seconds"], [coefficients[name] for name in names], model["intercept"]


peers = {
    "intelex": fit_intelex,
    "newton-cholesky": lambda tol: fit_sklearn("newton-cholesky", tol),
    "lbfgs": lambda tol: fit_sklearn("lbfgs", tol),
    "snapml": fit_snapml,
}
wanted = {name: peers[name] for name in args.peers.split(",") if name}
scratch = tempfile.TemporaryDirectory()
dataset = os.path.join(scratch.name, "dataset")
subprocess.run([args.gristmill, "ingest", args.data, "--label", args.label, "--test-share", "0", "-o", dataset, "--quiet"], check=True, stdout=subprocess.DEVNULL)
wanted["gristmill"] = fit_gristmill

best_model = LogisticRegression(C=1 / (args.l2 * n), solver="newton-cholesky", tol=1e-12, max_iter=200).fit(X.astype(np.float64), y)
best = objective(best_model.coef_, best_model.intercept_)
print(json.dumps({"rows": n, "columns": len(names), "best_objective": best, "scikit-learn": sklearn.__version__}), flush=True)

ladder = {}
for name, fit in wanted.items():
    for tol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
        try:
            seconds, coef, intercept = fit(tol)
        except ImportError as error:
            print(json.dumps({"peer": name, "skipped": str(error)}), flush=True)
            break
        gap = (objective(coef, intercept) - best) / best
        if gap <= args.gap:
            ladder[name] = tol
            break
times = {name: [] for name in ladder}
gaps = {}
for _ in range(args.rounds):
    for name, tol in ladder.items():
        seconds, coef, intercept = wanted[name](tol)
        times[name].append(seconds)
        gaps[name] = (objective(coef, intercept) - best) / best
ours = statistics.median(times["gristmill"]) if times.get("gristmill") else None
for name, values in sorted(times.items(), key=lambda item: statistics.median(item[1])):
    median = statistics.median(values)
    print(json.dumps({"peer": name, "tolerance": ladder[name], "median_s": round(median, 4), "min_s": round(min(values), 4),
                      "relative_gap": gaps[name], "times_gristmill": round(median / ours, 2) if ours else None}), flush=True)
