"""Expected values of src/engine/labels_tests.rs: python3 labels.py > labels.json

Several labels by scikit-learn's MultiOutputClassifier of LogisticRegression: `lbfgs` for l2, `saga` for l1 and the elastic net, on three
data sets: scikit-learn's own generator of several labels, wine with labels made of its kind and its columns, and a generated one
with weights. Features are integers times a unit a set, so that they are the same numbers everywhere; only objectives, one a label, are
expected values, computed here from the coefficients found.
"""
import json
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_wine, make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

warnings.filterwarnings("ignore")


def generated():
    i = np.arange(600)
    x = np.stack([((i * (7919 + 100 * j) + 31 * j * j) % 211) - 105 for j in range(4)], axis=1)
    score = x @ np.array([[3, -2, 1], [0, 2, 2], [1, 1, -4], [-3, 0, 1]])
    score = score + (i[:, None] * np.array([37, 61, 89]) % 701) - np.array([350, 500, 100])
    return x, (score > 0).astype(int), 1 + i % 4


def sets():
    counts, labels = make_multilabel_classification(n_samples=300, n_features=8, n_classes=5, random_state=7)
    yield "counts", 1.0, counts.astype(int), labels, None
    wine = load_wine()
    kind = [wine.target == 0, wine.target != 1]
    above = [wine.data[:, j] > np.median(wine.data[:, j]) for j in (0, 9)]
    yield "wine", 0.01, np.rint(wine.data / 0.01).astype(int), np.stack(kind + above, axis=1).astype(int), None
    x, y, w = generated()
    yield "generated", 1 / 64, x, y, w


def objective(x, y, w, coef, intercept, l1, l2):
    z = x @ coef + intercept
    return np.average(np.logaddexp(0, z) - y * z, weights=w) + l1 * np.abs(coef).sum() + l2 / 2 * (coef**2).sum()


def fit(x, y, w, case):
    l1, l2 = case["l1"], case["l2"]
    c, ratio = 1 / (w.sum() * (l1 + l2)), l1 / (l1 + l2)
    solver = dict(solver="saga", max_iter=400_000, tol=1e-10) if l1 > 0 else dict(solver="lbfgs", max_iter=100_000, tol=1e-10)
    one = LogisticRegression(C=c, l1_ratio=ratio, fit_intercept=case["intercept"], random_state=0, **solver)
    model = MultiOutputClassifier(one).fit(x, y, sample_weight=w)
    return [objective(x, y[:, k], w, found.coef_[0], found.intercept_[0] if case["intercept"] else 0.0, l1, l2)
            for k, found in enumerate(model.estimators_)]


out = []
for name, unit, stored, y, weight in sets():
    real = stored * unit
    spread = real.std(axis=0, ddof=1)
    cases = [
        dict(l1=0.0, l2=0.01, standardize=True, intercept=True),
        dict(l1=0.0, l2=0.1, standardize=True, intercept=False),
        dict(l1=0.02, l2=0.0, standardize=True, intercept=True),
        dict(l1=0.005, l2=0.01, standardize=True, intercept=True),
    ]
    for case in cases:
        # Columns are only scaled: centred ones have the same minimum where there is an intercept, and none is asked for elsewhere.
        x = real / spread
        if case["intercept"]:
            x = x - x.mean(axis=0)
        case["objectives"] = fit(x, y, np.ones(len(y)) if weight is None else weight.astype(float), case)
    out.append(dict(name=name, unit=unit, x=stored.tolist(), y=y.tolist(),
                    w=None if weight is None else weight.tolist(), cases=cases))
print(json.dumps({"made_with": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}", "sets": out},
                 default=float).replace('{"name"', '\n{"name"').replace('"cases"', '\n"cases"'))
