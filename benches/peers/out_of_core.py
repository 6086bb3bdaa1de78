#!/usr/bin/env python3
"""Peers of `gristmill train --model logistic` on data that do not fit: time and memory inside one memory limit.

    python benches/peers/out_of_core.py FOLDER --gristmill target/release/gristmill [--rows 60000000] [--limit 2GiB]
                                        [--peers gristmill,sgd,vw,spark] [--vw-rows 20000000] [--spark-iterations 3]

Makes `FOLDER/numeric.parquet` (gristmill generate numeric, 28 columns) unless it is there, and runs each peer as a process of its
own in a memory cgroup (version 1, root needed) of the limit, page cache included, after the page cache was dropped:

| peer | what is timed |
|---|---|
| gristmill | ingest of the Parquet file, and train to a relative gap of 1e-6, each alone |
| sgd | scikit-learn SGDClassifier, partial_fit over Parquet batches, one pass |
| vw | Vowpal Wabbit, one pass from its cache over the first --vw-rows rows (making text and cache is not timed) |
| spark | Spark local[2], LogisticRegression over the Parquet file, --spark-iterations iterations |

Objective: mean(log(1 + exp(z)) - y z) + l2/2 |b|^2 with l2 = 1e-4 (scikit-learn and Spark the same; Vowpal Wabbit none). Prints
JSON lines: seconds, peak of the cgroup, and the log loss on the first million rows. Needs numpy, pyarrow; scikit-learn, vowpalwabbit,
pyspark with Java for their peers. Needs about 45 GB of disk with vw, 15 GB without.
"""
import argparse, json, os, subprocess, sys, time

L2, JUDGED_ROWS = 1e-4, 1_000_000
VW = [sys.executable, "-m", "vowpalwabbit"]


def columns():
    return [f"x{i:02}" for i in range(28)]


def judge(path, coef, intercept):
    """Log loss on the first rows."""
    import numpy as np
    import pyarrow.parquet as pq
    batch = next(pq.ParquetFile(path).iter_batches(JUDGED_ROWS))
    z = np.column_stack([batch[n].to_numpy() for n in columns()]).astype(np.float64) @ np.asarray(coef) + intercept
    y = batch["label"].to_numpy().astype(np.float64)
    return float(np.mean(np.logaddexp(0, z) - y * z))


def peer_sgd(args):
    import numpy as np
    import pyarrow.parquet as pq
    from sklearn.linear_model import SGDClassifier
    model = SGDClassifier(loss="log_loss", alpha=L2)
    start = time.perf_counter()
    for batch in pq.ParquetFile(args.data, pre_buffer=False).iter_batches(1 << 16):
        X = np.column_stack([batch[n].to_numpy() for n in columns()])
        model.partial_fit(X, batch["label"].to_numpy(), classes=[0, 1])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "passes": 1, "model": [model.coef_[0].tolist(), float(model.intercept_[0])]}


def peer_spark(args):
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import VectorAssembler
    from pyspark.sql import SparkSession
    spark = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "1200m").config("spark.ui.enabled", "false")
             .config("spark.local.dir", args.folder).config("spark.log.level", "ERROR").getOrCreate())
    start = time.perf_counter()
    data = VectorAssembler(inputCols=columns(), outputCol="features").transform(spark.read.parquet(args.data)).select("features", "label")
    model = LogisticRegression(regParam=L2, standardization=False, maxIter=args.spark_iterations).fit(data)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "passes": model.summary.totalIterations, "model": [model.coefficients.toArray().tolist(), model.intercept]}


def make_vw_cache(args):
    """Text of the first rows, and Vowpal Wabbit's cache of it."""
    cache = os.path.join(args.folder, f"vw-{args.vw_rows}.cache")
    if os.path.exists(cache):
        return cache
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    text, left = os.path.join(args.folder, "vw.txt"), args.vw_rows
    with open(text, "wb") as out:
        for batch in pq.ParquetFile(args.data).iter_batches(1 << 18):
            batch = batch.slice(0, min(left, batch.num_rows))
            label = pc.if_else(pc.equal(batch["label"], 1), "1 |", "-1 |")
            fields = [pc.binary_join_element_wise(pa.scalar(f" {i}:"), pc.cast(pc.round(batch[n], 5), pa.string()), "") for i, n in enumerate(columns())]
            lines = pc.binary_join_element_wise(label, *fields, "\n", "")
            offsets = np.frombuffer(lines.buffers()[1], np.int32)
            out.write(memoryview(lines.buffers()[2])[:offsets[len(lines)]])
            left -= batch.num_rows
            if left == 0:
                break
    subprocess.run([*VW, "-d", text, "--cache_file", cache, "--loss_function", "logistic", "--quiet", "--noop"], check=True)
    os.remove(text)
    return cache


def peer_vw(args):
    cache = os.path.join(args.folder, f"vw-{args.vw_rows}.cache")
    start = time.perf_counter()
    # Without -d it waits for rows on standard input and reads none; with it, whatever it names, the cache is taken.
    told = subprocess.run([*VW, "-d", cache, "--cache_file", cache, "--loss_function", "logistic"], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if f"number of examples = {args.vw_rows}" not in told.stderr + told.stdout:
        sys.exit(f"Vowpal Wabbit did not read {args.vw_rows} rows:\n{told.stderr}")
    return {"seconds": seconds, "passes": 1, "rows": args.vw_rows}


def peer_ingest(args):
    out = os.path.join(args.folder, "dataset")
    start = time.perf_counter()
    subprocess.run([args.gristmill, "ingest", args.data, "--label", "label", "-o", out, "--quiet", "--force"], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - start}


def peer_gristmill(args):
    out = os.path.join(args.folder, "run")
    start = time.perf_counter()
    subprocess.run([args.gristmill, "train", os.path.join(args.folder, "dataset"), "--model", "logistic", "--l2", repr(L2), "--standardize", "false",
                    "--tolerance", "1e-6", "-o", out, "--quiet", "--force"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    summary = json.load(open(os.path.join(out, "summary.json")))
    model = json.loads(subprocess.run([args.gristmill, "inspect", out, "--json"], check=True, capture_output=True).stdout)
    return {"seconds": seconds, "passes": summary["passes"], "model": [[model["coefficients"][n] for n in columns()], model["intercept"]]}


PEERS = {"ingest": peer_ingest, "gristmill": peer_gristmill, "sgd": peer_sgd, "vw": peer_vw, "spark": peer_spark}


def size(text):
    units = {"KiB": 10, "MiB": 20, "GiB": 30}
    return int(text[:-3]) << units[text[-3:]] if text[-3:] in units else int(text)


def limited(args, name):
    """Runs a peer in a new cgroup; its result with the cgroup's peak."""
    group = f"/sys/fs/cgroup/memory/gristmill-peer-{os.getpid()}"
    os.makedirs(group)
    try:
        with open(f"{group}/memory.limit_in_bytes", "w") as file:
            file.write(str(size(args.limit)))
        subprocess.run(["sync"], check=True)
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")

        def enter():
            with open(f"{group}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))

        run = subprocess.run([sys.executable, *sys.argv, "--run-peer", name], preexec_fn=enter, stdout=subprocess.PIPE, text=True)
        with open(f"{group}/memory.max_usage_in_bytes") as file:
            peak = int(file.read())
        result = json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else {"failed": run.returncode}
        model = result.pop("model", None)
        if model:
            result["log_loss"] = judge(args.data, *model)
        return {"peer": name, **result, "limit": args.limit, "cgroup_peak_mib": peak >> 20}
    finally:
        for _ in range(100):
            try:
                os.rmdir(group)
                break
            except OSError:
                time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--gristmill", default="target/release/gristmill")
    parser.add_argument("--rows", type=int, default=60_000_000)
    parser.add_argument("--limit", default="2GiB")
    parser.add_argument("--peers", default="gristmill,sgd,vw,spark")
    parser.add_argument("--vw-rows", type=int, default=20_000_000)
    parser.add_argument("--spark-iterations", type=int, default=3)
    parser.add_argument("--run-peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder = os.path.abspath(args.folder)
    args.data = os.path.join(args.folder, "numeric.parquet")
    if args.run_peer:
        print(json.dumps(PEERS[args.run_peer](args)))
        return
    os.makedirs(args.folder, exist_ok=True)
    if not os.path.exists(args.data):
        subprocess.run([args.gristmill, "generate", "numeric", "--rows", str(args.rows), "-o", args.data, "--quiet"], check=True)
    wanted = args.peers.split(",")
    if "vw" in wanted:
        make_vw_cache(args)
    for name in [peer for wish in wanted for peer in (["ingest", "gristmill"] if wish == "gristmill" else [wish])]:
        print(json.dumps(limited(args, name)), flush=True)


if __name__ == "__main__":
    main()
