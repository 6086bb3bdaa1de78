"""Expected values of src/engine/narrow_tests.rs: python3 kinked.py > kinked.json

Losses with a kink on sets of models.json: quantile regression by scikit-learn's `QuantileRegressor` (linear programming, HiGHS; its
objective at 0.5 is half that of least absolute deviations), linear support vector machines by `SVC(kernel="linear")`, whose intercept
is not penalised. Objectives are computed here from the coefficients found.
"""
import json
import warnings

import numpy as np
import scipy
import sklearn
from sklearn.linear_model import QuantileRegressor
from sklearn.svm import SVC

warnings.filterwarnings("ignore")
reference = json.load(open("models.json"))
unit = reference["unit"]
out = []
for s in reference["sets"]:
    x = np.array(s["rows"]) * unit
    if not 40 <= len(x) <= 1_000 or x.shape[1] > 20:
        continue
    real, binary = np.array(s["real"]) * unit, np.array(s["binary"])
    w = np.ones(len(x)) if s["weight"] is None else np.array(s["weight"]) * unit
    spread = x.std(axis=0, ddof=1)
    if (spread == 0).any() or np.linalg.matrix_rank(x - x.mean(axis=0)) < x.shape[1]:
        continue
    x = x / spread
    cases = []
    for model, q, l1 in [("absolute", 0.5, 0.0), ("absolute", 0.5, 0.02), ("quantile", 0.9, 0.0), ("quantile", 0.2, 0.01)]:
        factor = 2 if model == "absolute" else 1
        fit = QuantileRegressor(quantile=q, alpha=l1 / factor, solver="highs").fit(x, real, sample_weight=w)
        e = real - fit.predict(x)
        loss = np.average(factor * np.maximum(q * e, (q - 1) * e), weights=w)
        cases.append(dict(model=model, quantile=q, l1=l1, l2=0.0, objective=loss + l1 * np.abs(fit.coef_).sum()))
    for l2 in (0.01, 0.1):
        sign = 2 * binary - 1
        fit = SVC(kernel="linear", C=1 / (l2 * w.sum()), tol=1e-9, max_iter=2_000_000, cache_size=500)
        fit.fit(x - x.mean(axis=0), sign, sample_weight=w)
        z = (x - x.mean(axis=0)) @ fit.coef_[0] + fit.intercept_[0]
        loss = np.average(np.maximum(0, 1 - sign * z), weights=w)
        cases.append(dict(model="hinge", quantile=0.0, l1=0.0, l2=l2, objective=loss + l2 / 2 * (fit.coef_**2).sum()))
    out.append(dict(name=s["name"], cases=cases))
print(json.dumps({"made_with": f"scikit-learn {sklearn.__version__}, scipy {scipy.__version__}", "sets": out}, indent=1))
