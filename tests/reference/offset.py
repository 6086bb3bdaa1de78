"""Expected values of src/engine/offset_tests.rs: python3 offset.py > offset.json

Generalised linear models of statsmodels with an offset, unpenalised, on rows that an integer recipe makes (the test repeats it), with
and without weights: the mean loss as docs/train.md defines it, and the coefficients.
"""
import json

import numpy as np
import statsmodels
import statsmodels.api as sm

N = 1_200
i = np.arange(N, dtype=np.int64)
a = ((i * 7919) % 401 - 200) / 128.0
b = ((i * 104729) % 307 - 150) / 64.0
exposure = 1 + (i * i) % 37
count = ((i * 31) % 11 + 2 * ((i * 17) % 5) * (a > 0)).astype(float)
weight = 1.0 + i % 4
x = sm.add_constant(np.stack([a, b], axis=1))
offset = np.log(exposure).astype(np.float32).astype(float)

FAMILIES = {
    "poisson": (sm.families.Poisson(), count),
    "gamma": (sm.families.Gamma(sm.families.links.Log()), count + 1),
    "tweedie": (sm.families.Tweedie(sm.families.links.Log(), var_power=1.5), count),
    "linear": (sm.families.Gaussian(), count),
    "logistic": (sm.families.Binomial(), (count > 7).astype(float)),
}
cases = []
for name, (family, y) in FAMILIES.items():
    for weighted in (False, True):
        w = weight if weighted else np.ones(N)
        fit = sm.GLM(y, x, family=family, offset=offset, freq_weights=w).fit(tol=1e-14, maxiter=200)
        if name == "logistic":
            z = fit.params @ x.T + offset
            loss = np.average(np.logaddexp(0, z) - y * z, weights=w)
        else:
            loss = fit.deviance / w.sum() / 2
        cases.append({"model": name, "weighted": weighted, "loss": loss, "coefficients": fit.params.tolist()})
print(json.dumps({"made_with": f"statsmodels {statsmodels.__version__}, numpy {np.__version__}", "cases": cases},
                 indent=1, default=float))
