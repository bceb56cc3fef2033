#!/bin/sh
# pyarrow drops a column in to_pylist and to_pydict where two columns have one name, and cannot read the Parquet it wrote.
#
# Expected: two columns of one name are either kept or refused, the same way everywhere.
# Happens:  a Table keeps the last and says nothing; a StructArray of the same two fields raises; read_csv reads such a
#           header without a word; write_table writes it, and read_table of that very file raises. ParquetFile reads it.
# Seen on 30 November 2026 with pyarrow 26.0.1.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet pyarrow==26.0.1
"$dir/venv/bin/python" - <<'EOF'
import io
import sys

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq


def outcome(call):
    try:
        return call()
    except (ValueError, pa.ArrowInvalid) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


table = pyarrow.csv.read_csv(io.BytesIO(b"answer,answer\nyes,no\n"))
file = io.BytesIO()
pq.write_table(table, file)
struct = pa.StructArray.from_arrays([pa.array(["yes"]), pa.array(["no"])], names=["answer", "answer"])
seen = {
    "column names": table.column_names,
    "Table.to_pylist": outcome(table.to_pylist),
    "Table.to_pydict": outcome(table.to_pydict),
    "StructArray.to_pylist": outcome(struct.to_pylist),
    "read_table": outcome(lambda: pq.read_table(file)),
    "ParquetFile.read": outcome(lambda: pq.ParquetFile(file).read().column_names),
}
print("pyarrow", pa.__version__)
for name, value in seen.items():
    print(f"{name}: {value}")
kept = seen["Table.to_pylist"] == [{"answer": "no"}] and seen["Table.to_pydict"] == {"answer": ["no"]}
raised = str(seen["StructArray.to_pylist"]).startswith("ValueError") and str(seen["read_table"]).startswith("ArrowInvalid")
if not (kept and raised and seen["ParquetFile.read"] == ["answer", "answer"]):
    sys.exit("This has changed.")
EOF
