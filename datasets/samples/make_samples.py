"""Small files in the encodings and codecs that other writers use, to be read back by the tests of io/src/source.

    pip install pyarrow==26.0.1 && python datasets/samples/make_samples.py

Every file holds the same 150 rows, made by the formulas below (io/src/source/sample_tests.rs has them again).
"""

import datetime
import decimal
import pathlib

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent
rows = range(150)
table = pa.table({
    "i": pa.array([i * 7 % 101 for i in rows], pa.int64()),
    "x": pa.array([None if i % 10 == 3 else i / 8 - 3 for i in rows], pa.float64()),
    "h": pa.array([i / 4 for i in rows], pa.float16()),
    "b": pa.array([i % 3 == 0 for i in rows], pa.bool_()),
    "s": pa.array([f"w{i % 13}" for i in rows], pa.string()),
    "d": pa.array([datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in rows], pa.date32()),
    "t": pa.array([i * 1_000_003 for i in rows], pa.timestamp("us")),
    "m": pa.array([decimal.Decimal(i * 25) / 100 for i in rows], pa.decimal128(10, 2)),
    "v": pa.array([[i, i + 0.5] for i in rows], pa.list_(pa.float32())),
    "n": pa.array([None if i % 7 == 0 else {"a": i, "c": i / 2} for i in rows], pa.struct({"a": pa.int32(), "c": pa.float32()})),
})


def parquet(name, data=table, **options):
    pq.write_table(data, here / f"{name}.parquet", **options)


for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    version = "2.0" if codec in ("gzip", "lz4", "zstd") else "1.0"
    parquet(f"codec_{codec}", compression=codec, data_page_version=version, row_group_size=90)
parquet("int96", use_deprecated_int96_timestamps=True)
delta = table.select(["i", "x", "s", "d", "t"])
encodings = {"i": "DELTA_BINARY_PACKED", "d": "DELTA_BINARY_PACKED", "t": "DELTA_BINARY_PACKED", "x": "BYTE_STREAM_SPLIT"}
parquet("delta_byte_array", delta, use_dictionary=False, column_encoding={**encodings, "s": "DELTA_BYTE_ARRAY"})
parquet("delta_length", delta, use_dictionary=False, column_encoding={**encodings, "s": "DELTA_LENGTH_BYTE_ARRAY"})
parquet("dictionary", table.set_column(4, "s", table["s"].dictionary_encode()), store_schema=True, write_page_index=True)

levels = table.set_column(4, "s", table["s"].dictionary_encode())
for codec in [None, "lz4", "zstd"]:
    options = ipc.IpcWriteOptions(compression=codec)
    with ipc.new_file(here / f"file_{codec}.arrow", levels.schema, options=options) as writer:
        writer.write_table(levels, max_chunksize=90)
    with ipc.new_stream(here / f"stream_{codec}.arrows", levels.schema, options=options) as writer:
        writer.write_table(levels, max_chunksize=90)
feather.write_feather(table, here / "feather_v2.feather", compression="lz4")

flat = table.select(["i", "x", "b", "s", "d", "t"])
csv.write_csv(flat, here / "quoted.csv", csv.WriteOptions(quoting_style="all_valid"))
csv.write_csv(flat, here / "plain.tsv", csv.WriteOptions(delimiter="\t", quoting_style="none"))
