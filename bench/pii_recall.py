"""Recall and precision of the personal-data rules, per kind and language, on the corpus that `pii_corpus.py` makes.

    python bench/pii_recall.py [--seed 0] [--rows 4000] [--misses 5] [--json]

A finding counts when it overlaps a true span of its kind. `whole` is the share of true spans that `sodate data mask`
leaves nothing of. The last line is of companies' numbers, which have to be left. It is a corpus by those who wrote the
rules: an upper bound.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

from pii_corpus import corpus

from sodate.data.mask import mask
from sodate.data.pii import find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--misses", type=int, default=0, help="show so many misses and false alarms")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = corpus(args.seed, args.rows)
    start = time.perf_counter()
    answers = [find(text, wary=True) for _, text, _ in rows]
    seconds = time.perf_counter() - start
    true: Counter[tuple[str, str]] = Counter()
    hit: Counter[tuple[str, str]] = Counter()
    gone: Counter[tuple[str, str]] = Counter()
    said: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    wrong = []
    for (language, text, spans), found in zip(rows, answers, strict=True):
        for kind, start_, end in spans:
            true[language, kind] += 1
            plain = kind.partition(",")[0]
            ok = any(f.kind == plain and f.start < end and start_ < f.end for f in found)
            hit[language, kind] += ok
            gone[language, kind] += text[start_:end] not in mask(text).text
            if not ok:
                wrong.append(f"missed {kind}: {text!r}")
        for f in found:
            said[language, f.kind] += 1
            ok = any(
                f.kind == kind.partition(",")[0] and f.start < end and start_ < f.end for kind, start_, end in spans
            )
            right[language, f.kind] += ok
            if not ok:
                wrong.append(f"false {f.kind} {f.text!r}: {text!r}")
    table = [
        {
            "language": la,
            "kind": k,
            "n": true[la, k],
            "recall": hit[la, k] / true[la, k],
            "whole": gone[la, k] / true[la, k],
            "found": said[la, k],
        }
        | {"precision": right[la, k] / said[la, k] if said[la, k] else None}
        for la, k in sorted(true)
    ]
    companies = [
        text
        for _, text, spans in rows
        if not spans and ("法人番号" in text or "登録番号" in text or "インボイス" in text)
    ]
    left = sum(mask(text).text == text for text in companies)
    if args.json:
        print(
            json.dumps(
                {
                    "seed": args.seed,
                    "rows": args.rows,
                    "rows_per_second": args.rows / seconds,
                    "table": table,
                    "companies": len(companies),
                    "companies_left": left,
                }
            )
        )
        return
    print(f"{'':3}{'kind':<18}{'recall':>8}{'whole':>8}{'n':>6}{'precision':>11}{'found':>7}")
    for row in table:
        precision = "-" if row["precision"] is None else f"{row['precision']:.3f}"
        print(
            f"{row['language']:3}{row['kind']:<18}{row['recall']:8.3f}{row['whole']:8.3f}{row['n']:6}{precision:>11}{row['found']:7}"
        )
    print(f"numbers of companies left as they are: {left} of {len(companies)}")
    print(f"{args.rows} rows, seed {args.seed}, {args.rows / seconds:,.0f} rows/s")
    print("\n".join(wrong[: args.misses]))


if __name__ == "__main__":
    main()
