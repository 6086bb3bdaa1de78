"""Expected values of src/metrics: python3 metrics.py > metrics.json

Rows are made by an integer recipe that the test repeats, so only the figures are committed.
"""
import json
import numpy as np
import sklearn
from sklearn import metrics as m
from sklearn.calibration import calibration_curve

N = 4_000
i = np.arange(N, dtype=np.int64)
# Margins on a coarse grid, so that many are tied.
margin = ((i * 7919) % 1013 - 506) / 128.0
label = (((i * 104729) % 2003) / 2003.0 < 1.0 / (1.0 + np.exp(-margin * 0.8))).astype(np.int64)
weight = ((i * 31) % 7) / 4.0
value = 1e6 + ((i * 6007) % 3001) / 16.0
predicted = value + (((i * 577) % 211) - 105) / 8.0
p = 1.0 / (1.0 + np.exp(-margin))


def binary(w):
    hard = (margin > 0).astype(int)
    edges = np.arange(11) / 10.0
    which = np.searchsorted(edges[1:-1], p)
    ww = np.ones(N) if w is None else w
    bins = [
        [float(ww[which == b].sum()), float(np.average(p[which == b], weights=ww[which == b])),
         float(np.average(label[which == b], weights=ww[which == b]))]
        for b in range(10)
    ]
    if w is None:
        observed, mean = calibration_curve(label, p, n_bins=10)
        assert np.allclose([b[1] for b in bins], mean) and np.allclose([b[2] for b in bins], observed)
    return {
        "log_loss": m.log_loss(label, p, sample_weight=w),
        "accuracy": m.accuracy_score(label, hard, sample_weight=w),
        "precision": m.precision_score(label, hard, sample_weight=w),
        "recall": m.recall_score(label, hard, sample_weight=w),
        "f1": m.f1_score(label, hard, sample_weight=w),
        "auc": m.roc_auc_score(label, margin, sample_weight=w),
        "average_precision": m.average_precision_score(label, margin, sample_weight=w),
        "calibration": bins,
    }


def regression(w):
    return {
        "rmse": m.root_mean_squared_error(value, predicted, sample_weight=w),
        "mae": m.mean_absolute_error(value, predicted, sample_weight=w),
        "r2": m.r2_score(value, predicted, sample_weight=w),
    }


def quantile(w):
    return {
        "pinball_loss": m.mean_pinball_loss(value, predicted, sample_weight=w, alpha=0.9),
        "below": np.average(value <= predicted, weights=w),
        **regression(w),
    }


# Counts from 0 to 40 and means that miss them; for the gamma deviance one more, so that none is 0.
count = ((i * 7907) % 41).astype(float)
mean = 0.5 + ((i * 577) % 211) / 8.0


def deviance(power, w):
    y = count + (power == 2)
    return {
        "deviance": m.mean_tweedie_deviance(y, mean, sample_weight=w, power=power),
        "d2": m.d2_tweedie_score(y, mean, sample_weight=w, power=power),
        "rmse": m.root_mean_squared_error(y, mean, sample_weight=w),
        "mae": m.mean_absolute_error(y, mean, sample_weight=w),
        "r2": m.r2_score(y, mean, sample_weight=w),
    }


def classes_by_margin(w):
    missing = np.maximum(0.0, 1.0 - np.where(label == 1, margin, -margin))
    rest = binary(w)
    return {
        "hinge_loss": m.hinge_loss(label, margin, sample_weight=w),
        "squared_hinge_loss": np.average(missing**2, weights=w),
        **{key: rest[key] for key in ["accuracy", "precision", "recall", "f1", "auc", "average_precision"]},
    }


# Seven classes; no two margins of a row are equal.
K = 7
margins = np.stack([((i * (7919 + 26 * k) + 97 * k) % 1013 - 506) / 128.0 + k / 1024.0 for k in range(K)], axis=1)
classes = (i * 104729 % 2003) % K
classes = np.where(i % 3 == 0, margins.argmax(axis=1), classes)


def multiclass(shares, w):
    hard = margins.argmax(axis=1)
    average = dict(sample_weight=w, zero_division=0)
    figures = {
        "accuracy": m.accuracy_score(classes, hard, sample_weight=w),
        "macro_precision": m.precision_score(classes, hard, average="macro", **average),
        "macro_recall": m.recall_score(classes, hard, average="macro", **average),
        "macro_f1": m.f1_score(classes, hard, average="macro", **average),
        "weighted_f1": m.f1_score(classes, hard, average="weighted", **average),
        "top_5_accuracy": m.top_k_accuracy_score(classes, margins, k=5, sample_weight=w),
        "confusion": m.confusion_matrix(classes, hard, sample_weight=w).tolist(),
    }
    if shares is not None:
        figures["log_loss"] = m.log_loss(classes, shares, sample_weight=w)
    return figures


# Five labels a row; margins are on a coarse grid, so that many of a row are tied, and some rows have no label or all.
L = 5
marks = np.stack([((i * (7919 + 26 * k) + 97 * k) % 101 - 50) / 16.0 for k in range(L)], axis=1)
chances = 1.0 / (1.0 + np.exp(-marks))
owned = np.stack([((i * 104729 + 331 * k) % 2003) / 2003.0 < 1.0 / (1.0 + np.exp(-marks[:, k] * 0.8)) for k in range(L)],
                 axis=1).astype(int)


def multilabel(probabilities, w):
    hard = (marks > 0).astype(int)
    average = dict(sample_weight=w, zero_division=0)

    def of_label(k):
        y, z = owned[:, k], marks[:, k]
        missing = np.maximum(0.0, 1.0 - np.where(y == 1, z, -z))
        losses = {"log_loss": m.log_loss(y, chances[:, k], sample_weight=w)} if probabilities else {
            "hinge_loss": m.hinge_loss(y, z, sample_weight=w), "squared_hinge_loss": np.average(missing**2, weights=w)}
        return losses, {
            "accuracy": m.accuracy_score(y, hard[:, k], sample_weight=w),
            "precision": m.precision_score(y, hard[:, k], sample_weight=w),
            "recall": m.recall_score(y, hard[:, k], sample_weight=w),
            "f1": m.f1_score(y, hard[:, k], sample_weight=w),
            "auc": m.roc_auc_score(y, z, sample_weight=w),
            "average_precision": m.average_precision_score(y, z, sample_weight=w),
        }

    each = [of_label(k) for k in range(L)]
    return {
        **{name: np.mean([losses[name] for losses, _ in each]) for name in each[0][0]},
        "subset_accuracy": m.accuracy_score(owned, hard, sample_weight=w),
        "hamming_loss": m.hamming_loss(owned, hard, sample_weight=w),
        **{f"{kind}_{name}": score(owned, hard, average=kind, **average) for kind in ["micro", "macro"]
           for name, score in [("precision", m.precision_score), ("recall", m.recall_score), ("f1", m.f1_score)]},
        "label_ranking_average_precision": m.label_ranking_average_precision_score(owned, marks, sample_weight=w),
        "coverage_error": m.coverage_error(owned, marks, sample_weight=w),
        "label_ranking_loss": m.label_ranking_loss(owned, marks, sample_weight=w),
        "macro_auc": m.roc_auc_score(owned, marks, average="macro", sample_weight=w),
        "macro_average_precision": m.average_precision_score(owned, marks, average="macro", sample_weight=w),
        "labels": [{**losses, **rest} for losses, rest in each],
    }


joint = np.exp(margins - margins.max(axis=1, keepdims=True))
joint /= joint.sum(axis=1, keepdims=True)
each = 1.0 / (1.0 + np.exp(-margins))
each /= each.sum(axis=1, keepdims=True)

print(json.dumps({
    "made_with": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}",
    "binary": binary(None), "binary_weighted": binary(weight),
    "regression": regression(None), "regression_weighted": regression(weight),
    "quantile": quantile(None), "quantile_weighted": quantile(weight),
    "margin": classes_by_margin(None), "margin_weighted": classes_by_margin(weight),
    "poisson": deviance(1, None), "poisson_weighted": deviance(1, weight),
    "tweedie": deviance(1.5, None), "tweedie_weighted": deviance(1.5, weight),
    "gamma": deviance(2, None), "gamma_weighted": deviance(2, weight),
    "joint": multiclass(joint, None), "joint_weighted": multiclass(joint, weight),
    "each": multiclass(each, None), "each_weighted": multiclass(each, weight),
    "never": multiclass(None, None), "never_weighted": multiclass(None, weight),
    "labels": multilabel(True, None), "labels_weighted": multilabel(True, weight),
    "label_margins": multilabel(False, None), "label_margins_weighted": multilabel(False, weight),
}, indent=1, default=float))
