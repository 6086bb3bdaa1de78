"""Expected values of src/engine/crossed_tests.rs: python3 crossed.py > crossed.json

Linear and logistic regression by scikit-learn on categorical columns and their crosses, each made explicitly as a one-hot matrix:
every combination of levels has a column, or the bucket of its hash by sklearn.utils.murmurhash3_32 over the codes as 32-bit
little-endian words. Only objectives are expected values, computed here from the coefficients found.
"""
import json
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.utils import murmurhash3_32

warnings.filterwarnings("ignore")

ROWS, LEVELS = 700, {"a": 5, "b": 7, "c": 3}
i = np.arange(ROWS)
codes = {"a": (i * 7919 % 101) * 5 // 101, "b": (i * i * 31 % 97) * 7 // 97, "c": (i * 5 + i // 7) % 3}
x = (i * 611 % 211) - 105
effect = codes["a"] * 20 - codes["b"] * 9 + 60 * ((codes["a"] == 2) & (codes["b"] > 4)) - 50 * (codes["a"] == codes["c"])
noise = i * 37 % 131 - 65
real = effect + noise + x // 4
binary = (real > np.median(real)).astype(int)


def one_hot(of, levels):
    return (of[:, None] == np.arange(levels)).astype(float)


def crossed(cross, bits):
    names = cross.split("*")
    count = int(np.prod([LEVELS[name] for name in names]))
    if count <= 1 << bits:
        code = np.zeros(ROWS, int)
        for name in names:
            code = code * LEVELS[name] + codes[name]
        return one_hot(code, count)
    words = np.stack([codes[name] for name in names], axis=1).astype("<u4")
    return one_hot(np.array([murmurhash3_32(row.tobytes(), seed=0, positive=True) % (1 << bits) for row in words]), 1 << bits)


def columns(crosses, bits):
    parts = [x[:, None] / 64] + [one_hot(codes[name], LEVELS[name]) for name in "abc"]
    return np.hstack(parts + [crossed(cross, bits) for cross in crosses])


def objective(model, X, coef, intercept, l1, l2):
    z = X @ coef + intercept
    loss = np.logaddexp(0, z) - binary * z if model == "logistic" else (z - real / 64) ** 2 / 2
    return loss.mean() + l1 * np.abs(coef).sum() + l2 / 2 * (coef**2).sum()


def fit(model, X, l1, l2):
    if model == "logistic":
        solver = dict(solver="saga", max_iter=1_000_000, tol=1e-10) if l1 > 0 else dict(solver="lbfgs", max_iter=100_000, tol=1e-11)
        found = LogisticRegression(C=1 / (ROWS * (l1 + l2)), l1_ratio=l1 / (l1 + l2), random_state=0, **solver).fit(X, binary)
        return objective(model, X, found.coef_[0], found.intercept_[0], l1, l2)
    if l1 > 0:
        found = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), max_iter=1_000_000, tol=1e-12).fit(X, real / 64)
    else:
        found = Ridge(alpha=l2 * ROWS, solver="cholesky").fit(X, real / 64)
    return objective(model, X, found.coef_, found.intercept_, l1, l2)


cases = []
for crosses, bits in [(["a*b"], 18), (["b*a", "a*b*c"], 18), (["a*b", "b*c"], 4), (["c*b*a"], 5)]:
    for model, l1, l2 in [("logistic", 0, 0.01), ("logistic", 0.003, 0.001), ("linear", 0, 0.01), ("linear", 0.005, 0.002)]:
        for standardize in [False, True]:
            X = columns(crosses, bits)
            if standardize:
                spread = X.std(axis=0, ddof=1)
                X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
            cases.append(dict(crosses=crosses, bits=bits, model=model, l1=l1, l2=l2, standardize=standardize,
                              objective=fit(model, X, l1, l2)))
data = dict(x=x, real=real, binary=binary, **codes)
print(json.dumps({"made_with": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}",
                  **{name: values.tolist() for name, values in data.items()}, "cases": cases}).replace('{"crosses"', '\n{"crosses"'))
