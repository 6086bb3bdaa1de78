"""Expected values of buckets and of rare levels: python3 categories.py > categories.json (scikit-learn 1.9.1).

Numbers are made by an integer recipe that the test repeats, so only the answers are committed.
"""
import json
import warnings

import numpy as np
import sklearn
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder

assert sklearn.__version__ == "1.9.1", sklearn.__version__
warnings.simplefilter("ignore")

i = np.arange(1_000, dtype=np.int64)
COLUMNS = {
    "spread": ((i * 7919) % 1013 - 506) / 8.0,
    "tied": ((i * i) % 17).astype(float),
    "mostly_zero": np.where(i % 4 == 0, (i % 97) / 4.0, 0.0),
}
NEW = [-1e9, -63.25, -1.0, 0.0, 0.25, 3.0, 4.0, 16.0, 24.0, 1e9]


def buckets(values, n):
    found = KBinsDiscretizer(n, encode="ordinal", strategy="quantile", quantile_method="averaged_inverted_cdf")
    codes = found.fit_transform(values[:, None])[:, 0].astype(int)
    return {
        "edges": found.bin_edges_[0][1:-1].tolist(),
        "counts": np.bincount(codes).tolist(),
        "new": found.transform(np.array(NEW)[:, None])[:, 0].astype(int).tolist(),
    }


LEVELS = ["b"] * 5 + ["a"] * 3 + ["c"] * 3 + ["d"] * 2 + ["e"]


def rare(minimum, new):
    encoder = OneHotEncoder(min_frequency=minimum, handle_unknown="infrequent_if_exist", sparse_output=False)
    encoder.fit(np.array(LEVELS)[:, None])
    names = encoder.get_feature_names_out(["k"])
    return [[name for name, x in zip(names, row) if x] for row in encoder.transform(np.array(new)[:, None])]


new = ["a", "b", "c", "d", "e", "never"]
print(json.dumps({
    "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    "buckets": {name: {n: buckets(values, n) for n in [2, 4, 10, 50]} for name, values in COLUMNS.items()},
    "rare": {minimum: rare(minimum, new) for minimum in [1, 2, 3, 4]},
}, indent=1))
