"""Prints the polynomial coefficients of kernels/src/math.rs (Python 3 alone, 80 decimal digits).

Each polynomial interpolates its function in the Chebyshev points of the interval, which is within a small factor of
the best possible polynomial of that degree; the printed error is the largest relative error on a grid, before the
coefficients are rounded.
"""
from decimal import Decimal as D, getcontext
import math

getcontext().prec = 80
PI = D("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803")


def cos(x):
    term, total, k = D(1), D(1), 0
    while abs(term) > D(10) ** -78:
        k += 2
        term = -term * x * x / (k * (k - 1))
        total += term
    return total


def interpolate(function, low, high, degree):
    """Monomial coefficients of the interpolant at the Chebyshev points."""
    n = degree + 1
    xs = [(low + high) / 2 + (high - low) / 2 * cos(PI * (2 * k + 1) / (2 * n)) for k in range(n)]
    table = [function(x) for x in xs]
    for step in range(1, n):  # divided differences
        for i in range(n - 1, step - 1, -1):
            table[i] = (table[i] - table[i - 1]) / (xs[i] - xs[i - step])
    coefficients = [D(0)] * n
    for i in range(n - 1, -1, -1):  # Newton form to monomials
        shifted = [D(0)] + coefficients[:-1]
        coefficients = [a - xs[i] * b for a, b in zip(shifted, coefficients)]
        coefficients[0] += table[i]
    return coefficients


def evaluate(coefficients, x):
    total = D(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def exp_rest(r):
    """(exp(r) - 1 - r) / r^2."""
    if abs(r) < D(10) ** -20:
        return D(1) / 2
    return (r.exp() - 1 - r) / (r * r)


def log1p_ratio(t):
    """log(1 + u) / u for u = t + 1/2."""
    u = t + D(1) / 2
    return D(1) if abs(u) < D(10) ** -30 else (1 + u).ln() / u


half_log2 = D(2).ln() / 2
for name, function, low, high, whole, degrees in [
    ("EXP", exp_rest, -half_log2, half_log2, lambda x, q: (1 + x + x * x * q) / x.exp() - 1, {"f32": 4, "f64": 9}),
    ("LOG1P", log1p_ratio, D(-1) / 2, D(1) / 2, lambda x, q: q / log1p_ratio(x) - 1, {"f32": 9, "f64": 21}),
]:
    for real, degree in degrees.items():
        c = interpolate(function, low, high, degree)
        grid = [low + (high - low) * k / 2000 for k in range(2001)]
        error = max(abs(whole(x, evaluate(c, x))) for x in grid)
        print(f"{name} {real} degree {degree} relative error {float(error):.2e} = 2^{math.log2(error):.1f}")
        for k in reversed(c):
            print(f"    {float(k)!r}," if real == "f64" else f"    {float(k):.9e},")
