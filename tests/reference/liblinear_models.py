"""Expected values of src/engine/liblinear_tests.rs: python3 liblinear_models.py > liblinear_models.json

LIBLINEAR itself (PyPI liblinear-official; of the hinge the copy in scikit-learn's LinearSVC) on sets of models.json: minima of

    L2-regularised logistic regression (-s 0), L1-regularised (-s 6), L2-regularised squared hinge (-s 2), L2-regularised hinge (-s 3)

LIBLINEAR sums losses, C times, and penalises the intercept that it makes of a bias column. Made equal: divided by C n its objective is
ours, with l2 (l1) = 1 / (C n); and the intercept is either left out on both sides (-B -1, `intercept = false`), or not penalised (-B 1 -R,
which it has for -s 0, 2 and 6). -s 3 stops after 300 rounds over the rows, up to 7e-3 above the minimum here; the copy takes as many as
it is told. Columns are as they are (`standardize = false`). Objectives are computed here from the coefficients found.
"""
import json
import math
import os
from importlib.metadata import version

import numpy as np
import sklearn
from liblinear.liblinearutil import problem, parameter, train
from sklearn.svm import LinearSVC

SETS = ["tall", "heavy tails", "correlated", "counts as u8", "sparse"]
KINDS = {"logistic": (0, "l2"), "logistic-l1": (6, "l1"), "squared-hinge": (2, "l2"), "hinge": (3, "l2")}


def loss(model, z, s):
    if model == "logistic":
        return np.logaddexp(0, -s * z)
    gap = np.maximum(0, 1 - s * z)
    return gap**2 if model == "squared-hinge" else gap


def fit(x, s, kind, strength, intercept):
    solver, norm = KINDS[kind]
    model, n = kind.removesuffix("-l1"), len(s)
    if kind == "hinge":
        svm = LinearSVC(loss="hinge", C=1 / (strength * n), fit_intercept=False, tol=1e-10, max_iter=10**7, random_state=0)
        coef = svm.fit(x, s).coef_[0]
        assert svm.n_iter_ < 10**7
        return float(np.mean(loss(model, x @ coef, s)) + strength * np.dot(coef, coef) / 2)
    bias = "-B 1 -R" if intercept else "-B -1"
    options = f"-s {solver} -c {1 / (strength * n)!r} -e {1e-10 if solver != 6 else 1e-9} -q {bias}"
    found = train(problem(s.tolist(), x.tolist()), parameter(options))
    coef, b = found.get_decfun(0)
    sign = found.get_labels()[0]
    z = sign * (x @ np.array(coef) + (b if intercept else 0.0))
    penalty = np.abs(coef).sum() if norm == "l1" else np.dot(coef, coef) / 2
    return float(np.mean(loss(model, z, s)) + strength * penalty)


data = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "models.json")))
out = []
for name in SETS:
    found = next(own for own in data["sets"] if own["name"] == name)
    x, s = np.array(found["rows"]) * data["unit"], np.where(np.array(found["binary"]) > 0, 1.0, -1.0)
    cases = []
    for kind, (_, norm) in KINDS.items():
        for strength in [0.1, 0.01]:
            for intercept in [False, True] if kind != "hinge" else [False]:
                cases.append(dict(model=kind.removesuffix("-l1"), **{"l1": 0.0, "l2": 0.0, norm: strength},
                                  intercept=intercept, objective=fit(x, s, kind, strength, intercept)))
                assert math.isfinite(cases[-1]["objective"])
    out.append(dict(name=name, cases=cases))
print(json.dumps({"made_with": f"LIBLINEAR {version('liblinear-official')}, scikit-learn {sklearn.__version__}, numpy {np.__version__}", "sets": out})
      .replace('{"name"', '\n{"name"').replace('{"model"', '\n  {"model"'))
