"""Expected values of hashed columns: python3 hashing.py, pasted into io/src/encode/murmur3.rs and io/src/ingest/tests/hashed.rs.

scikit-learn 1.9.1. A row of a hashed column is what FeatureHasher(input_type="dict", alternate_sign=False) makes of {column: value};
a missing value is the column's name without a value.
"""
import sklearn
from sklearn.feature_extraction import FeatureHasher
from sklearn.utils import murmurhash3_32

assert sklearn.__version__ == "1.9.1", sklearn.__version__

TEXTS = ["", "a", "ab", "abc", "abcd", "city=New York", "Grüße, 世界", "x" * 37]
for text in TEXTS:
    for seed in [0, 2**31 + 7]:
        print(f'            ("{text}", {seed}, {murmurhash3_32(text, seed, positive=True):#010x}),')
for text in TEXTS[1:]:
    for bits in [1, 8, 20, 30]:
        row = FeatureHasher(n_features=2**bits, input_type="string").transform([[text]])
        print(f'            ("{text}", {bits}, {row.indices[0]}, {str(row.data[0] > 0).lower()}),')
for bits in [8, 12, 20]:
    rows = [{"city": value} for value in ["b", "a", "b", "Zürich", "42", ""]] + [{"city": 1.0}]
    found = FeatureHasher(n_features=2**bits, input_type="dict", alternate_sign=False).transform(rows)
    print(bits, [int(found[i].indices[0]) for i in range(len(rows))])
