#!/usr/bin/env python3
"""How near stochastic training comes to the minimum that solvers by passes find, for every loss, l1 and l2, on three datasets each.

    python benches/peers/minima.py --gristmill target/release/gristmill

The datasets are those that scikit-learn carries, and two that it generates. Each case is trained by four optimisers for 100 epochs; where
none came within 0.001 of the least objective, by three of 2,000. A JSON line a case: the least objective (the solver by passes, to 1e-9; its
objectives are held against scikit-learn, statsmodels and LIBLINEAR by the tests), the epochs, and how far above it each optimiser ended, as a
share of it. The exit code is 1 when a case stays beyond 0.001. Needs numpy and scikit-learn.
"""
import argparse, csv, json, os, subprocess, sys, tempfile

import numpy as np
from sklearn import datasets

parser = argparse.ArgumentParser()
parser.add_argument("--gristmill", default="target/release/gristmill")
args = parser.parse_args()
NEAR = 1e-3

diabetes, cancer, wine, digits = (
    load() for load in (datasets.load_diabetes, datasets.load_breast_cancer, datasets.load_wine, datasets.load_digits)
)
rng = np.random.default_rng(0)
plain = rng.normal(size=(3000, 8))
counts = rng.poisson(np.exp(0.15 * plain @ rng.normal(size=8) + 0.5)) + 1
GROUPS = [
    (["linear", "huber", "absolute", "quantile"], {
        "diabetes": (diabetes.data, diabetes.target),
        "wine alcohol": (wine.data[:, 1:], wine.data[:, 0]),
        "friedman1": datasets.make_friedman1(2000, 10, noise=1.0, random_state=1),
    }),
    (["logistic", "hinge", "squared-hinge"], {
        "breast cancer": (cancer.data, cancer.target),
        "digits even": (digits.data, digits.target % 2),
        "wine first": (wine.data, (wine.target == 0).astype(int)),
    }),
    (["poisson", "gamma", "tweedie"], {
        "diabetes": (diabetes.data, diabetes.target),
        "wine colour": (np.delete(wine.data, 9, 1), wine.data[:, 9]),
        "counts": (plain, counts),
    }),
    (["softmax"], {"wine": (wine.data, wine.target), "digits": (digits.data, digits.target), "iris": datasets.load_iris(return_X_y=True)}),
]
SHORT = {
    "sgd": "--solver sgd --learning-rate 0.02 --momentum 0.9 --schedule cosine --warmup 2",
    "adagrad": "--solver adagrad --learning-rate 0.6 --averaging 60",
    "adam": "--solver adam --learning-rate 0.02 --schedule cosine",
    "ftrl": "--solver ftrl --learning-rate 0.6 --averaging 60",
}
LONG = {
    "adam": "--solver adam --learning-rate 0.02 --schedule cosine",
    "adam, rate 0.1": "--solver adam --learning-rate 0.1 --schedule cosine",
    "ftrl": "--solver ftrl --learning-rate 0.6 --averaging 1200",
}


def objective(dataset, flags, run):
    """The objective of a training; none where it said that it diverges."""
    command = [args.gristmill, "train", dataset, *flags.split(), "--threads", "1", "-o", run, "--force", "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "diverged" in done.stderr:
        return None
    if done.returncode:
        sys.exit(done.stderr)
    with open(os.path.join(run, "summary.json")) as summary:
        return json.load(summary)["models"][0]["objective"]


far = 0
with tempfile.TemporaryDirectory() as folder:
    source, dataset, run = (os.path.join(folder, name) for name in ("source.csv", "dataset", "run"))
    for models, sets in GROUPS:
        for name, (columns, label) in sets.items():
            with open(source, "w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([*(f"x{j}" for j in range(columns.shape[1])), "y"])
                writer.writerows([*map(float, row), target] for row, target in zip(columns, np.asarray(label).tolist()))
            subprocess.run([args.gristmill, "ingest", source, "--label", "y", "-o", dataset, "-q", "--force"], check=True, stdout=subprocess.DEVNULL)
            # An l1 in the units of the label.
            unit = float(np.std(label)) if models[0] == "linear" else 1.0
            for model in models:
                for penalty in ("--l2 0.01", f"--l1 {0.01 * unit:g}"):
                    case = f"--model {model} {penalty}"
                    least = objective(dataset, f"{case} --tolerance 1e-9", run)
                    for epochs, solvers in ((100, SHORT), (2000, LONG)):
                        found = {
                            solver: objective(dataset, f"{case} {flags} --epochs {epochs} --batch-rows 50", run)
                            for solver, flags in solvers.items()
                        }
                        above = {solver: None if end is None else end / least - 1 for solver, end in found.items()}
                        is_near = any(gap is not None and gap <= NEAR for gap in above.values())
                        print(json.dumps({"dataset": name, "case": case, "least": least, "epochs": epochs, "above": above}), flush=True)
                        if is_near:
                            break
                    far += not is_near
sys.exit(1 if far else 0)
