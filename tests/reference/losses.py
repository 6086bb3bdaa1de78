"""Makes losses.json: targets for the data sets of models.json, and the least objective of each loss on them.

Run: python losses.py > losses.json      (versions are in the file it writes; what is compared goes to standard error)

The objective is ours, sum(w_i loss_i) / sum(w_i) + l1 |b|_1 + l2 / 2 |b|_2^2 with a free intercept. It is minimised here in
float64 by a second-order method of some lines, which must end where the smallest subgradient is below 1e-7 (columns scaled to 1):
for a convex objective that is the minimum, whoever found it. Where another library minimises the same function its answer is compared to 1e-7:
    PoissonRegressor, GammaRegressor, TweedieRegressor(power=1.5)     alpha = l2 (half the mean deviance)
    LinearSVC(loss="squared_hinge", dual=False, fit_intercept=False)  C = 1 / (W l2), weights of rows as sample_weight
    HuberRegressor(epsilon, alpha), which also finds a scale s        delta = epsilon s, l2 = s alpha / n
with W the sum of weights. "standardize": the columns were divided by their sample deviation (n - 1) first.
"""
import json
import sys
import warnings

import numpy as np
import scipy
import sklearn
from sklearn.linear_model import GammaRegressor, HuberRegressor, PoissonRegressor, TweedieRegressor
from sklearn.svm import LinearSVC

warnings.filterwarnings("ignore")
rng = np.random.default_rng(21)
UNIT = 1 / 256
POWER, DELTA = 1.5, 0.75
SETS = ["tall", "collinear", "badly scaled", "sparse", "categorical", "weighted", "tiny", "counts as u8", "correlated"]


def terms(kind, z, y, delta):
    """Loss, derivative, curvature; half deviances in full."""
    with np.errstate(all="ignore"):
        if kind == "poisson":
            m = np.exp(z)
            return scipy.special.xlogy(y, y) - y - y * z + m, m - y, m
        if kind == "gamma":
            r = y * np.exp(-z)
            return r - 1 + z - np.log(y), 1 - r, r
        if kind == "tweedie":
            p = POWER
            a, b = np.exp((2 - p) * z), y * np.exp((1 - p) * z)
            return y ** (2 - p) / ((1 - p) * (2 - p)) - b / (1 - p) + a / (2 - p), a - b, (2 - p) * a + (p - 1) * b
    if kind == "huber":
        e = z - y
        size = np.abs(e)
        near = np.minimum(size, delta)
        bend = np.where(size <= delta, 1.0, 1e-4 * delta / np.maximum(size, 1e-300))
        return near * (size - near / 2), np.sign(e) * near, bend
    s = 2 * y - 1
    m = np.maximum(0, 1 - s * z)
    return m * m, -2 * s * m, 2.0 * (m > 0)


def value(kind, x, y, w, b, a, l1, l2, delta):
    loss = terms(kind, x @ b + a, y, delta)[0]
    return (w * loss).sum() / w.sum() + l1 * np.abs(b).sum() + l2 / 2 * (b**2).sum()


def solve(kind, x, y, w, l1, l2, delta, intercept=True):
    """Proximal Newton: coordinate descent on the second-order model, halved until it falls."""
    n, p = x.shape
    scale = np.maximum(np.abs(x - intercept * x.mean(0)).max(0), 1e-12)
    centre = intercept * x.mean(0)
    d = np.c_[(x - centre) / scale, np.ones(n)] if intercept else x / scale
    k = d.shape[1]
    f1, f2 = np.zeros(k), np.zeros(k)
    f1[:p], f2[:p] = l1 / scale, l2 / scale**2
    w = w / w.sum()
    t = np.zeros(k)
    if intercept:
        mean = (w * y).sum()
        t[p] = np.log(mean) if kind in ("poisson", "gamma", "tweedie") else mean if kind == "huber" else 0.0
    full = lambda t: (w * terms(kind, d @ t, y, delta)[0]).sum() + (f1 * np.abs(t)).sum() + (f2 * t * t).sum() / 2
    for step in range(3000):
        _, r, h = terms(kind, d @ t, y, delta)
        g = d.T @ (w * r) + f2 * t
        sub = np.where(t != 0, g + f1 * np.sign(t), np.sign(g) * np.maximum(np.abs(g) - f1, 0))
        if np.abs(sub).max() < 1e-12:
            break
        q = (d * (w * h)[:, None]).T @ d + np.diag(f2)
        u = t.copy()
        if l1 == 0:
            u = t - np.linalg.lstsq(q, g, rcond=1e-13)[0]
        else:
            qd = np.zeros(k)
            for sweep in range(4000):
                most = 0.0
                for j in range(k):
                    if q[j, j] <= 0:
                        continue
                    old = u[j]
                    pull = q[j, j] * old - (g[j] + qd[j])
                    u[j] = np.sign(pull) * max(abs(pull) - f1[j], 0) / q[j, j]
                    if u[j] != old:
                        qd += q[:, j] * (u[j] - old)
                        most = max(most, abs(u[j] - old) * np.sqrt(q[j, j]))
                if most < 1e-15:
                    break
        now, length = full(t), 1.0
        while not full(t + length * (u - t)) <= now + 1e-16 * abs(now) and length > 1e-8:
            length /= 2
        if length <= 1e-8:
            break
        t = t + length * (u - t)
    assert np.abs(sub).max() < 1e-7, (kind, l1, l2, step, np.abs(sub).max())
    b = t[:p] / scale
    return b, (t[p] - (b * centre).sum()) if intercept else 0.0


def check(kind, x, y, w, l1, l2, delta, best, intercept):
    """The same by another library, where it minimises the same function."""
    if l1 or not l2:
        return
    if kind == "squared-hinge":
        if intercept:
            return
        other = LinearSVC(C=1 / (w.sum() * l2), dual=False, fit_intercept=False, tol=1e-10, max_iter=10**6)
        other.fit(x, y, sample_weight=w)
    elif kind == "huber":
        return
    else:
        make = {"poisson": PoissonRegressor, "gamma": GammaRegressor, "tweedie": TweedieRegressor}[kind]
        more = {"power": POWER, "link": "log"} if kind == "tweedie" else {}
        other = make(alpha=l2, solver="newton-cholesky", tol=1e-10, max_iter=10**5, **more).fit(x, y, sample_weight=w)
    theirs = value(kind, x, y, w, np.ravel(other.coef_), float(np.ravel(other.intercept_)[0]) if intercept else 0.0, l1, l2, delta)
    print(f"  {kind} l2 {l2}: {type(other).__name__} {theirs / best - 1:.1e} above", file=sys.stderr)
    # LIBLINEAR ends early on columns of very different size.
    most = 1e-4 if kind == "squared-hinge" and x.std(0).max() > 100 * x.std(0).min() else 1e-7
    assert -1e-10 < theirs / best - 1 < most, (kind, l2, theirs, best)


def cases(x, w, labels):
    deviation = x.std(0, ddof=1)
    divided = x / np.where(deviation > 0, deviation, 1)
    for kind, label in labels.items():
        for l1, l2 in [(0, 0.1), (0, 1e-3), (0.02, 0), (0.01, 0.02)]:
            for standardize in [True, False]:
                for intercept in [True, False] if kind == "squared-hinge" and l1 == 0 else [True]:
                    columns = divided if standardize else x
                    b, a = solve(kind, columns, label, w, l1, l2, DELTA, intercept)
                    best = value(kind, columns, label, w, b, a, l1, l2, DELTA)
                    check(kind, columns, label, w, l1, l2, DELTA, best, intercept)
                    yield dict(model=kind, l1=l1, l2=l2, standardize=standardize, intercept=intercept, delta=DELTA, objective=best)
        # With more columns than rows the scale goes to 0.
        if kind == "huber" and np.all(w == 1) and len(x) > 3 * x.shape[1]:
            other = HuberRegressor(epsilon=1.35, alpha=0.5, tol=1e-10, max_iter=10**5).fit(divided, label)
            delta, l2 = 1.35 * other.scale_, other.scale_ * 0.5 / len(x)
            b, a = solve(kind, divided, label, w, 0, l2, delta)
            best = value(kind, divided, label, w, b, a, 0, l2, delta)
            theirs = value(kind, divided, label, w, other.coef_, other.intercept_, 0, l2, delta)
            print(f"  huber: HuberRegressor {theirs / best - 1:.1e} above", file=sys.stderr)
            assert -1e-10 < theirs / best - 1 < 1e-5, "its L-BFGS ends earlier"
            yield dict(model=kind, l1=0, l2=l2, standardize=True, intercept=True, delta=delta, objective=best)


def main():
    known = json.load(open("models.json"))
    versions = dict(python=sys.version.split()[0], numpy=np.__version__, scipy=scipy.__version__, sklearn=sklearn.__version__)
    out = dict(versions=versions, power=POWER, sets=[])
    for data in known["sets"]:
        if data["name"] not in SETS:
            continue
        print(data["name"], file=sys.stderr)
        x = np.array(data["rows"]) * UNIT
        w = np.ones(len(x)) if data["weight"] is None else np.array(data["weight"]) * UNIT
        z = (np.array(data["real"]) * UNIT - 3.0) / 2.0
        mean = np.exp(0.3 + 0.8 * z)
        grid = lambda v: np.round(np.asarray(v) * 256) / 256
        counts = rng.poisson(mean).astype(float)
        labels = {
            "poisson": counts,
            "gamma": np.maximum(grid(rng.gamma(2.0, mean / 2.0)), UNIT),
            "tweedie": grid(np.array([rng.gamma(1.5 * max(k, 1), 0.7) * (k > 0) for k in counts])),
            "huber": grid(np.array(data["real"]) * UNIT + rng.standard_t(1.5, size=len(x))),
            "squared-hinge": np.array(data["binary"], dtype=float),
        }
        whole = {kind: np.round(y * 256).astype(int).tolist() for kind, y in labels.items()}
        out["sets"].append(dict(name=data["name"], labels=whole, cases=list(cases(x, w, labels))))
    json.dump(out, sys.stdout, separators=(",", ":"))
    print()


main()
