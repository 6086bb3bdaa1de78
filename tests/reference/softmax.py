"""Expected values of src/engine/several_tests.rs: python3 softmax.py > softmax.json

Multinomial logistic regression by scikit-learn: `lbfgs` for l2, `saga` for l1 and the elastic net, on four data sets: iris, wine,
every third of the digits, and a generated one with weights and five classes of unequal size. Features are integers times a unit a set, so
that they are the same numbers everywhere; only objectives are expected values, computed here from the coefficients found.
"""
import json
import warnings

import numpy as np
import sklearn
from scipy.special import logsumexp
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression

warnings.filterwarnings("ignore")


def generated():
    i = np.arange(900)
    x = np.stack([((i * (7919 + 100 * j) + 31 * j * j) % 211) - 105 for j in range(5)], axis=1)
    score = x @ np.array([[3, -2, 1, 0, -1], [0, 2, 2, -3, 1], [1, 1, -4, 2, 0], [-3, 0, 1, 1, 2], [2, -1, 0, -2, 3]])
    score = score + (i[:, None] * np.array([37, 61, 89, 113, 151]) % 701) + np.array([0, -150, 100, -300, -500])
    return x, score.argmax(axis=1), 1 + i % 4


def sets():
    iris, wine, digits = load_iris(), load_wine(), load_digits()
    x, y, w = generated()
    whole = lambda x, unit: np.rint(x / unit).astype(int)
    yield "iris", 0.1, whole(iris.data, 0.1), iris.target, None
    yield "wine", 0.01, whole(wine.data, 0.01), wine.target, None
    yield "digits", 1.0, whole(digits.data[::3], 1.0), digits.target[::3], None
    yield "generated", 1 / 64, x, y, w


def objective(x, y, w, coef, intercept, l1, l2):
    z = x @ coef.T + intercept
    loss = logsumexp(z, axis=1) - z[np.arange(len(y)), y]
    return np.average(loss, weights=w) + l1 * np.abs(coef).sum() + l2 / 2 * (coef**2).sum()


def fit(x, y, w, case):
    l1, l2 = case["l1"], case["l2"]
    total = w.sum()
    c, ratio = 1 / (total * (l1 + l2)), l1 / (l1 + l2)
    solver = dict(solver="saga", max_iter=200_000, tol=1e-9) if l1 > 0 else dict(solver="lbfgs", max_iter=100_000, tol=1e-10)
    model = LogisticRegression(C=c, l1_ratio=ratio, fit_intercept=case["intercept"], random_state=0, **solver)
    model.fit(x, y, sample_weight=w)
    return objective(x, y, w, model.coef_, model.intercept_, l1, l2)


out = []
for name, unit, stored, y, weight in sets():
    real = stored * unit
    spread = real.std(axis=0, ddof=1)
    cases = [
        dict(l1=0.0, l2=0.01, standardize=True, intercept=True, balanced=False),
        dict(l1=0.0, l2=0.001, standardize=True, intercept=False, balanced=False),
        dict(l1=0.0, l2=0.1, standardize=True, intercept=True, balanced=True),
        dict(l1=0.01, l2=0.0, standardize=True, intercept=True, balanced=False),
        dict(l1=0.005, l2=0.01, standardize=True, intercept=True, balanced=False),
    ]
    if name in ("iris", "digits", "generated"):
        cases.append(dict(l1=0.0, l2=0.01, standardize=False, intercept=True, balanced=False))
    for case in cases:
        # Columns are only scaled: centred ones have the same minimum where there is an intercept, and none is asked for elsewhere.
        x = real / np.where(spread > 0, spread, 1.0) if case["standardize"] else real
        x = np.where(spread > 0, x, 0.0)
        if case["intercept"]:
            x = x - x.mean(axis=0)
        w = np.ones(len(y)) if weight is None else weight.astype(float)
        if case["balanced"]:
            rows = np.bincount(y)
            w = w * (len(y) / (len(rows) * rows))[y]
        case["objective"] = fit(x, y, w, case)
    out.append(dict(name=name, unit=unit, x=stored.tolist(), y=y.tolist(),
                    w=None if weight is None else weight.tolist(), cases=cases))
print(json.dumps({"made_with": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}", "sets": out},
                 default=float).replace('{"name"', '\n{"name"').replace('"cases"', '\n"cases"'))
