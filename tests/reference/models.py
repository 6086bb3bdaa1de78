"""Makes models.json: small data sets of different shape and the objective that scikit-learn reaches on each.

Run: python models.py > models.json      (versions are in the file it writes)

Numbers are k / 256 with small integers k, so that f32, f64 and JSON hold them exactly. The objective is ours,
    sum(w_i loss_i) / sum(w_i) + l1 |b|_1 + l2 / 2 |b|_2^2,   loss (z - y)^2 / 2 or log(1 + exp(z)) - y z, intercept free,
computed in float64 at scikit-learn's coefficients:
    Ridge               alpha = l2 W
    Lasso, ElasticNet   alpha = l1 + l2, l1_ratio = l1 / (l1 + l2)
    LogisticRegression  C = 1 / (W (l1 + l2)), l1_ratio = l1 / (l1 + l2)
with W the sum of weights. "standardize": the columns were divided by their sample deviation (n - 1) first.
"""
import json
import sys
import warnings

import numpy
import scipy
import sklearn
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge

warnings.filterwarnings("ignore")
rng = numpy.random.default_rng(20)


def grid(x):
    """Rounded to multiples of 1 / 256."""
    return numpy.round(numpy.asarray(x, dtype=float) * 256) / 256


def finish(name, x, noise=0.5, weight=None, kinds=None):
    x = grid(x)
    centred = x - x.mean(0)
    spread = centred.std(0)
    truth = rng.normal(size=x.shape[1]) * (rng.uniform(size=x.shape[1]) < 0.6)
    z = (centred / numpy.where(spread > 0, spread, 1)) @ truth / max(1.0, numpy.sqrt((truth**2).sum()) / 1.5)
    real = grid(3.0 + 2.0 * z + noise * rng.normal(size=len(x)))
    binary = (z + 0.2 + rng.logistic(size=len(x)) > 0).astype(float)
    return dict(name=name, x=x, real=real, binary=binary, weight=weight, kinds=kinds or ["f32"] * x.shape[1])


def sets():
    n = rng.normal
    yield finish("tall", n(size=(400, 4)))
    yield finish("wide", n(size=(30, 45)))
    base = n(size=(120, 3))
    yield finish("collinear", numpy.c_[base, base[:, 0] - base[:, 1], base[:, 2] * 2])
    yield finish("badly scaled", n(size=(150, 5)) * [0.05, 1, 30, 1000, 20000] + [0, 5, -100, 20000, 7])
    sparse = n(size=(200, 12)) * (rng.uniform(size=(200, 12)) < 0.15)
    yield finish("sparse", sparse, kinds=["sparse"] * 12)
    level = rng.integers(0, 6, size=200)
    onehot = numpy.eye(6)[level]
    yield finish("categorical", numpy.c_[n(size=(200, 2)), onehot], kinds=["f32"] * 2 + ["codes"] * 6)
    yield finish("weighted", n(size=(150, 6)), weight=grid(rng.exponential(size=150) + 0.01))
    yield finish("tiny", n(size=(9, 2)))
    yield finish("constant column", numpy.c_[n(size=(80, 3)), numpy.full(80, 4.0)])
    yield finish("heavy tails", rng.standard_t(1.5, size=(250, 5)))
    yield finish("counts as u8", rng.poisson(3, size=(200, 4)), kinds=["u8"] * 4)
    yield finish("correlated", n(size=(160, 10)) + 3 * n(size=(160, 1)))


def objective(kind, x, y, w, b, a, l1, l2):
    z = x @ b + a
    loss = (z - y) ** 2 / 2 if kind == "linear" else numpy.logaddexp(0, z) - y * z
    return (w * loss).sum() / w.sum() + l1 * numpy.abs(b).sum() + l2 / 2 * (b**2).sum()


def fit(kind, x, y, w, l1, l2):
    total = l1 + l2
    if kind == "linear":
        if l1 == 0:
            model = Ridge(alpha=l2 * w.sum(), solver="cholesky" if l2 else "svd")
        elif l2 == 0:
            model = Lasso(alpha=l1, tol=1e-15, max_iter=10**6)
        else:
            model = ElasticNet(alpha=total, l1_ratio=l1 / total, tol=1e-15, max_iter=10**6)
    elif l1 == 0:
        model = LogisticRegression(C=1 / (w.sum() * l2), solver="newton-cholesky", tol=1e-12, max_iter=10**4)
    else:
        c = 1 / (w.sum() * total)
        model = LogisticRegression(C=c, l1_ratio=l1 / total, solver="saga", tol=1e-12, max_iter=10**5, random_state=0)
    model.fit(x, y, sample_weight=w)
    b, a = numpy.ravel(model.coef_), float(numpy.ravel(model.intercept_)[0])
    return objective(kind, x, y, w, b, a, l1, l2)


def cases(data):
    x, w = data["x"], data["weight"]
    w = numpy.ones(len(x)) if w is None else w
    deviation = x.std(0, ddof=1)
    divided = x / numpy.where(deviation > 0, deviation, 1)
    strengths = {
        "linear": [(0, 0.1), (0, 1e-4), (0.05, 0), (0.02, 0.1)],
        "logistic": [(0, 0.1), (0, 1e-3), (0.02, 0), (0.01, 0.02)],
    }
    for kind, label in [("linear", "real"), ("logistic", "binary")]:
        for l1, l2 in strengths[kind]:
            for standardize in [True, False]:
                # saga does not come to its tolerance where columns differ by orders of magnitude
                if kind == "logistic" and l1 and not standardize and data["name"] in ("badly scaled", "heavy tails"):
                    continue
                value = fit(kind, divided if standardize else x, data[label], w, l1, l2)
                yield dict(model=kind, l1=l1, l2=l2, standardize=standardize, objective=value)


def main():
    out = dict(
        versions=dict(
            python=sys.version.split()[0], numpy=numpy.__version__, scipy=scipy.__version__, sklearn=sklearn.__version__
        ),
        unit=1 / 256,
        sets=[],
    )
    for data in sets():
        whole = lambda a: None if a is None else numpy.round(numpy.asarray(a) * 256).astype(int).tolist()
        out["sets"].append(
            dict(
                name=data["name"],
                kinds=data["kinds"],
                rows=whole(data["x"]),
                real=whole(data["real"]),
                binary=data["binary"].astype(int).tolist(),
                weight=whole(data["weight"]),
                cases=list(cases(data)),
            )
        )
        print(data["name"], file=sys.stderr)
    json.dump(out, sys.stdout, separators=(",", ":"))
    print()


main()
