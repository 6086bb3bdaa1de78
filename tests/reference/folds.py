"""Makes folds.json: held-out losses that scikit-learn's cross_val_score finds on folds assigned by (seed, row).

Run: python folds.py > folds.json      (versions are in the file it writes)

The folds are those of src/engine/folds.rs, written again here: row i of n folds is in fold floor(n bits(i) / 2^64), with bits
the counter-based generator of io/src/rng.rs (SplitMix64) for seed 11 and purpose 4. Numbers are k / 256, exact in f32 and
JSON. Objective: the mean loss over the rows of training plus l2 / 2 |b|^2, so in each fold C = 1 / (l2 rows), alpha = l2 rows.
Scores: neg_log_loss, accuracy, neg_mean_squared_error (ours is half of it).
"""
import json
import sys

import numpy
import scipy
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_score

MASK = 2**64 - 1
SEED, FOLDS, STRENGTHS = 11, 5, [0.001, 0.01, 0.1, 1.0]


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def fold(row):
    start = mix(mix(SEED ^ 0x6A09E667F3BCC908) + mix(4) & MASK)
    return mix(start + row * 0x9E3779B97F4A7C15 & MASK) * FOLDS >> 64


class MeanLogistic(LogisticRegression):
    """LogisticRegression with C from a strength of the mean loss."""

    def __init__(self, l2=1.0):
        super().__init__(solver="newton-cholesky", tol=1e-12, max_iter=10**4)
        self.l2 = l2

    def fit(self, x, y, sample_weight=None):
        self.C = 1 / (self.l2 * len(y))
        return super().fit(x, y, sample_weight)


class MeanRidge(Ridge):
    """Ridge with alpha from a strength of the mean loss."""

    def __init__(self, l2=1.0):
        super().__init__(solver="cholesky")
        self.l2 = l2

    def fit(self, x, y, sample_weight=None):
        self.alpha = self.l2 * len(y)
        return super().fit(x, y, sample_weight)


def main():
    rng = numpy.random.default_rng(7)
    x = numpy.round(rng.normal(size=(600, 5)) * [1, 2, 0.5, 1, 3] * 256) / 256
    z = x @ [0.8, -0.3, 0.0, 0.5, 0.1] + 0.3
    binary = (z + rng.logistic(size=len(x)) > 0).astype(int)
    real = numpy.round((2 * z + rng.normal(size=len(x))) * 256) / 256
    folds = [fold(row) for row in range(len(x))]
    split = PredefinedSplit(folds)
    score = lambda model, y, scoring: cross_val_score(model, x, y, cv=split, scoring=scoring).tolist()
    cases = [
        dict(
            l2=l2,
            log_loss=[-s for s in score(MeanLogistic(l2), binary, "neg_log_loss")],
            accuracy=score(MeanLogistic(l2), binary, "accuracy"),
            squared=[-s for s in score(MeanRidge(l2), real, "neg_mean_squared_error")],
        )
        for l2 in STRENGTHS
    ]
    versions = dict(
        python=sys.version.split()[0], numpy=numpy.__version__, scipy=scipy.__version__, sklearn=sklearn.__version__
    )
    whole = lambda a: numpy.round(numpy.asarray(a) * 256).astype(int).tolist()
    out = dict(versions=versions, unit=1 / 256, seed=SEED, folds=folds, x=whole(x), binary=binary.tolist(), real=whole(real))
    json.dump(dict(out, cases=cases), sys.stdout, separators=(",", ":"))
    print()


main()
