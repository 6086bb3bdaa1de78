"""Expected rows of text columns: python3 words.py > words.json (scikit-learn 1.9.1, Python 3).

Also prints (python3 words.py table) the ranges of io/src/encode/word_table.rs: characters that Rust's char::is_alphanumeric counts and
Python's \\w does not. It needs the list of Rust's, one "first last" in hexadecimal a line, on standard input.
"""
import json
import sys
import unicodedata

import sklearn
from sklearn.feature_extraction.text import HashingVectorizer

assert sklearn.__version__ == "1.9.1", sklearn.__version__

TEXTS = [
    "the cat sat on the mat",
    "The CAT; the cat's mat -- a b c 42 4.5 x_y __ _",
    "",
    "a I ! ?",
    "Grüße aus Köln: STRASSE straße ÉTÉ été",
    "ΟΔΥΣΣΕΥΣ Σ ΑΣ ὈΔΥΣΣΕΎΣ",
    "İstanbul ısı DİYARBAKIR",
    "Привет, мир! Ёлка",
    "機械学習は 楽しい。データ 分析",
    "नमस्ते दुनिया किताब",
    "ภาษาไทย สวัสดี",
    "مرحبا بالعالم، كتابٌ",
    "e\u0301te\u0301 x\u200dy \u2168 \u2468\u2469 \u24b6\u24b7 \u00b2\u00b3 \u0663\u0664 \u3007\u4e00",
    "emoji 🙂 ab🙂cd 👩‍💻 tab\tnew\nline\u00a0nbsp",
    "repeat repeat repeat repeat other other third",
]


def rows(**settings):
    made = HashingVectorizer(n_features=2**18, **settings).transform(TEXTS)
    made.sort_indices()
    found = []
    for i in range(len(TEXTS)):
        row = made[i]
        # Words whose signs cancel leave a zero, which gristmill does not store.
        found.append([[int(j), float(x)] for j, x in zip(row.indices, row.data) if x != 0.0])
    return found


def table():
    rust = set()
    for line in sys.stdin:
        first, last = (int(word, 16) for word in line.split())
        rust.update(range(first, last + 1))
    odd = []
    for c in sorted(set(range(0x110000)) - set(range(0xD800, 0xE000))):
        known = unicodedata.category(chr(c)) != "Cn"
        if known and (c in rust) != chr(c).isalnum():
            assert c in rust, hex(c)
            odd.append(c)
    ranges = []
    for c in odd:
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    print(f"// Unicode {unicodedata.unidata_version}, {len(ranges)} ranges")
    for first, last in ranges:
        print(f"('\\u{{{first:04x}}}', '\\u{{{last:04x}}}'),")


if sys.argv[1:] == ["table"]:
    table()
else:
    cases = {
        "words": {},
        "pairs": {"ngram_range": (1, 2)},
        "threes": {"ngram_range": (2, 3)},
    }
    json.dump({
        "versions": {"scikit-learn": sklearn.__version__, "python": sys.version.split()[0], "unicode": unicodedata.unidata_version},
        "texts": TEXTS,
        "rows": {name: rows(**settings) for name, settings in cases.items()},
    }, sys.stdout)
    print()
