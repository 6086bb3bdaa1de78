"""How many passes do several step lengths a pass save L-BFGS? The figures in ARCHITECTURE.md ("One step length a pass").

Run: python steps.py      (numpy 2.4, scipy 1.17)

L-BFGS with ten pairs and the Wolfe conditions of src/optim/line_search.rs on logistic problems whose columns are centred and scaled
as the engine does it, until the objective is within 1e-7 of the smallest. A pass evaluates all steps of a list at once and takes the
lowest of those that meet the conditions; where none does, the next pass looks between them. Printed: passes (gradients).
"""
import numpy as np
from scipy.optimize import minimize

rng = np.random.default_rng(0)
LISTS = {"1": [1], "1, 2": [1, 2], "1/2, 1, 2, 4": [1, 0.5, 2, 4], "1/4 .. 4": [1, 0.25, 0.5, 0.75, 1.5, 2, 3, 4]}
PROBLEMS = [  # rows, columns, decades of scale before the columns are mixed, l2
    (2000, 28, 0, 0), (2000, 28, 1, 1e-3), (2000, 60, 2, 1e-4), (2000, 60, 2, 0),
    (1500, 200, 1, 1e-3), (1500, 200, 2, 1e-5), (1000, 400, 1.5, 1e-4), (3000, 10, 3, 1e-6),
]


def problem(n, p, decades, l2):
    x = rng.normal(size=(n, p)) * np.logspace(0, -decades, p) @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    x = (x - x.mean(0)) / x.std(0)
    y = (x @ rng.normal(size=p) / np.sqrt(p) * 2 + rng.logistic(size=n) > 0).astype(float)
    x, penalty = np.c_[x, np.ones(n)], np.r_[np.full(p, l2), 0.0]

    def objective(t):
        z = x @ t
        value = np.mean(np.logaddexp(0, z) - y * z) + 0.5 * np.sum(penalty * t * t)
        return value, x.T @ (1 / (1 + np.exp(-z)) - y) / n + penalty * t

    return objective, p + 1


def direction(pairs, g):
    q, alphas = -g.copy(), []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * (s @ q))
        q -= alphas[-1] * y
    if pairs:
        s, y, rho = pairs[-1]
        q /= rho * (y @ y)
    for (s, y, rho), alpha in zip(pairs, reversed(alphas)):
        q += (alpha - rho * (y @ q)) * s
    return q


def passes(objective, n, least, steps, tolerance=1e-7, most=3000):
    t, pairs, made, gradients = np.zeros(n), [], 1, 1
    f, g = objective(t)
    while made < most and f - least > tolerance * abs(least):
        d = direction(pairs, g)
        slope = d @ g
        first = 1.0 if pairs else min(1, 1 / np.linalg.norm(g))
        lengths, low, high = [first * step for step in steps], 0.0, None
        while True:
            found = [(a, *objective(t + a * d)) for a in lengths]
            made, gradients = made + 1, gradients + len(found)
            enough = [(v, a, h) for a, v, h in found if v <= f + 1e-4 * a * slope]
            good = [(v, a, h) for v, a, h in enough if abs(h @ d) <= 0.9 * abs(slope)]
            if good:
                break
            low = max([low] + [a for v, a, h in enough if h @ d < 0])
            above = [a for a, v, h in found if a > low] + ([high] if high else [])
            high = min(above) if above else None
            middle = 3 * low if high is None else (low + high) / 2
            lengths = [middle] if len(steps) == 1 else [middle, middle / 2 + low / 2]
        f, a, h = min(good, key=lambda found: found[0])
        s, y = a * d, h - g
        pairs = (pairs + [(s, y, 1 / (s @ y))])[-10:]
        t, g = t + s, h
    return made, gradients


total = {name: [0, 0] for name in LISTS}
for shape in PROBLEMS:
    objective, n = problem(*shape)
    least = minimize(objective, np.zeros(n), jac=True, method="BFGS", options=dict(gtol=1e-11, maxiter=20000)).fun
    found = {name: passes(objective, n, least, steps) for name, steps in LISTS.items()}
    for name, counts in found.items():
        total[name] = [a + b for a, b in zip(total[name], counts)]
    print(shape, *(f"{made} ({gradients})" for made, gradients in found.values()), sep="  ", flush=True)
for name, (made, gradients) in total.items():
    print(f"steps {name:13}  {made} passes ({gradients} gradients), {made / total['1'][0] - 1:+.0%}")
