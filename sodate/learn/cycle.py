"""`sodate cycle`: one month from what was reviewed to a version that was measured, and released only if it passed.

    cycles/orders/lock                 one cycle of a name at a time
    cycles/orders/2026-11/
      cycle.json                       every step with its status and reason; what was found
      reviewed.jsonl                   rows of the month's reviewed exchanges, before they were divided
      held-out.jsonl, gate.yaml        what candidates were measured on, and held against
      page.html                        the month; ../page.html has all months side by side

A step is written down when it is done, with all that the next ones need. Killed at any moment and started again, the
cycle goes on where it was: what is added twice makes no new dataset, a training is resumed, an alias that has moved
stays where it is. What month it is, is asked of the clock once, at the beginning.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sodate.api import datasets as dataset_verbs
from sodate.api.releasing import check_gate, meaning, promote
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import lock, write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, CycleManifest, CycleStep, read_manifest
from sodate.core.recipe import load_recipe
from sodate.core.runs import RunFolder, now
from sodate.core.text import counted, json_text, tr
from sodate.data import datasets
from sodate.data.adding import Role
from sodate.learn import cycle_page
from sodate.learn.cycle_file import CycleFile, read_cycle
from sodate.learn.measured import measured_by
from sodate.learn.stock import reviewed_rows, take_stock, written_rows

STEPS = ("stock", "propose", "fresh", "continued", "compare", "gate", "promote")
SIDE = "cycle_rows"  # the field that says of a held-out row whether it came with this cycle
Listener = Callable[[str, Any], None]
_MONTH = re.compile(r"(?!0000)[0-9]{4}-(0[1-9]|1[0-2])")


def cycle(
    file: str | Path, *, plan: bool = False, month: str | None = None, on_event: Listener = lambda kind, data: None
) -> dict[str, Any]:
    """Goes through the steps of a month's cycle, or goes on with the one that was interrupted; `plan` only says what
    would be done. `month` is YYYY-MM, by default the clock's.

    Returns `steps` with name, status (done, nothing, skipped, stopped, planned) and why, the `candidate`, the `verdict`
    of its comparison with production, whether it was `promoted`, and the `page`.
    Raises SodateError `in_use` while another process works on it.
    """
    asked = read_cycle(file)
    if month is not None and not _MONTH.fullmatch(month):
        raise UsageError(
            tr(f"{month!r} is not a month like 2026-11.", f"{month!r} は 2026-11 のような年月ではありません。"),
            code="bad_value", param="month",
        )  # fmt: skip
    root = home.cycles_dir() / asked.name
    with lock(root / "lock", tr(f"The cycle {asked.name}", f"サイクル {asked.name}")):
        work = _Work(asked, root / _which(root, month), on_event)
        if plan:
            return work.planned()
        return work.through()


def _which(root: Path, month: str | None) -> str:
    """The month that was begun and not ended; else the one asked for, or the clock's. A month that is over stays so."""
    known = months(root)
    if (begun := next((one for one in known if not _ended(root / one)), None)) is not None:
        return begun
    wanted = month or datetime.datetime.now(datetime.UTC).strftime("%Y-%m")
    if known and wanted < known[-1]:
        raise UsageError(
            tr(f"The last cycle was of {known[-1]}, and this would be of {wanted}: is the clock right?",
               f"前回のサイクルは {known[-1]} で、今回は {wanted} になります。時計が正しいか確かめてください。"),
            "--month YYYY-MM", code="bad_value", param="month",
        )  # fmt: skip
    return wanted


def months(root: Path) -> list[str]:
    """The months of a cycle that were begun, oldest first."""
    found = root.iterdir() if root.is_dir() else iter(())
    return sorted(one.name for one in found if _MONTH.fullmatch(one.name) and (one / "cycle.json").exists())


def _ended(folder: Path) -> bool:
    return "ended_at" in read_manifest(folder / "cycle.json")


@dataclass
class _Work:
    asked: CycleFile
    folder: Path
    on_event: Listener
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.folder / "cycle.json"
        self.state = dict(read_manifest(path)) if path.exists() else {"steps": []}

    # ── going through ────────────────────────────────────────────────────────────────────────────────────────────────

    def through(self) -> dict[str, Any]:
        if "ended_at" not in self.state:
            if not self.state["steps"]:
                self._keep(schema_version=SCHEMA_VERSION, cycle=self.asked.name, month=self.folder.name,
                           created_at=now(), production=self._production(),
                           dataset_before=self._newest(self.asked.dataset),
                           held_out_before=self._newest(self.asked.held_out))  # fmt: skip
            for name in STEPS:
                if self._done(name) is None:
                    self.on_event("step", name)
                    self._note(name, *getattr(self, f"_{name}")())
            self._keep(ended_at=now())
        return self._told()

    def _done(self, name: str) -> CycleStep | None:
        return next((one for one in self.state["steps"] if one["name"] == name), None)

    def _note(self, name: str, status: str, why: str) -> None:
        self._keep(steps=[*self.state["steps"], {"name": name, "status": status, "why": str(why), "at": now()}])

    def _keep(self, **what: Any) -> None:
        self.state |= what
        home.make_folder(self.folder)
        write_json(self.folder / "cycle.json", self.state)

    def _told(self) -> dict[str, Any]:
        page = cycle_page.write(self.folder.parent, self.folder.name)
        about = self.state
        steps = [{key: one[key] for key in ("name", "status", "why")} for one in about["steps"]]
        return {
            "cycle": self.asked.name, "month": self.folder.name, "steps": steps, "candidate": about.get("candidate"),
            "verdict": about.get("verdict"), "promoted": bool(about.get("promoted")), "page": str(page),
            "production": self._production(), "dataset": about.get("dataset"), "held_out": about.get("held_out"),
            "stock": about.get("stock"), "measured": about.get("measured"),
        }  # fmt: skip

    def planned(self) -> dict[str, Any]:
        """What would be done, and nothing of it done."""
        stock = take_stock(self.asked.project, self._since())
        ready = list(self._divided(self._rows(None)))
        to_train = sum(not held for held, _ in ready)
        adds = tr(f"{counted(to_train, 'row')} to {self.asked.dataset}, "
                  f"{len(ready) - to_train} to {self.asked.held_out}",
                  f"{self.asked.dataset} に {to_train} 行、"
                  f"{self.asked.held_out} に {len(ready) - to_train} 行")  # fmt: skip
        base = load_recipe(self.asked.recipe, {"data": ["-"]}).model
        production = self._production()
        whys = {
            "stock": _stock_said(stock), "propose": adds,
            "fresh": tr(f"{base} on old and new rows", f"{base} を新旧の行で学習"),
            "continued": tr(f"{production} trained further", f"{production} を追加学習")
            if production and self.asked.continuation else tr("nothing to continue", "続きを学習するものがない"),
            "compare": tr(f"with {production or base} on old and new held-out rows",
                          f"{production or base} と新旧の評価用の行で比較"),
            "gate": tr("only what passes goes on", "合格したものだけが先へ進む"),
            "promote": self.asked.alias if self.asked.promote else tr("not asked for", "指定されていない"),
        }  # fmt: skip
        steps = []
        for name in STEPS:
            done = self._done(name)
            steps.append({"name": name, "status": done["status"] if done else "planned",
                          "why": done["why"] if done else str(whys[name])})  # fmt: skip
        return {
            "cycle": self.asked.name, "month": self.folder.name, "steps": steps, "candidate": None, "verdict": None,
            "promoted": False, "page": None, "production": production, "stock": stock,
        }  # fmt: skip

    # ── the steps: each returns its status and why ───────────────────────────────────────────────────────────────────

    def _stock(self) -> tuple[str, str]:
        stock = take_stock(self.asked.project, self._since())
        self._keep(stock=stock)
        return ("done" if stock else "nothing"), _stock_said(stock)

    def _propose(self) -> tuple[str, str]:
        if self.state["held_out_before"] is None:
            raise UsageError(
                tr(f"There is no held-out dataset {self.asked.held_out} to measure with.",
                   f"測定に使う評価用データセット {self.asked.held_out} がありません。"),
                f"sodate data add FILE --name {self.asked.held_out} --held-out",
                code="dataset_not_found", param="held_out", file=self.asked.path,
            )  # fmt: skip
        files = {side: self.folder / f"{side}.jsonl" for side in ("new-held-out", "new-training")}
        rows: dict[str, list[str]] = {side: [] for side in files}
        for held_out, row in self._divided(self._rows(self.folder / "reviewed.jsonl")):
            rows["new-held-out" if held_out else "new-training"].append(json_text(row) + "\n")
        # Held-out rows first: what is like them then never comes to the training side.
        self._add(files["new-held-out"], rows["new-held-out"], self.asked.held_out, "held-out")
        self._add(files["new-training"], rows["new-training"], self.asked.dataset, "training")
        new = {
            "training": self._came(self.asked.dataset, self.state["dataset_before"]),
            "held_out": self._came(self.asked.held_out, self.state["held_out_before"]),
        }
        self._keep(dataset=self._newest(self.asked.dataset), held_out=self._newest(self.asked.held_out), new=new)
        if self.state["dataset"] is None:
            raise UsageError(
                tr(f"There is no dataset {self.asked.dataset} to train on.",
                   f"学習用のデータセット {self.asked.dataset} がありません。"),
                f"sodate data add FILE --name {self.asked.dataset}",
                code="dataset_not_found", param="dataset", file=self.asked.path,
            )  # fmt: skip
        if not new["training"] and self.state["production"] is not None:
            return "nothing", tr("no new row to train on", "学習に加える新しい行がない")
        return "done", tr(
            f"{new['training']} new rows in {self.state['dataset']}, {new['held_out']} in {self.state['held_out']}",
            f"{self.state['dataset']} に {new['training']} 行、{self.state['held_out']} に {new['held_out']} 行を追加",
        )

    def _add(self, file: Path, lines: list[str], name: str, role: Role) -> None:
        write_text(file, "".join(lines))
        if not lines:
            return
        try:
            done = dataset_verbs.add(file, name, role=role, note=f"cycle {self.folder.name}",
                                     unreviewed=self.asked.unreviewed,
                                     by=f"cycle {self.asked.name}")  # fmt: skip
        except SodateError as error:
            if error.code != "no_rows":
                raise
            return
        self.state.setdefault("set_aside", {})[name] = dict(done.ledger.counts)

    def _fresh(self) -> tuple[str, str]:
        if self._nothing_new():
            return "skipped", tr("nothing is new", "新しいものがない")
        return self._trained("fresh", load_recipe(self.asked.recipe, {"data": ["-"]}).model)

    def _continued(self) -> tuple[str, str]:
        if self._nothing_new():
            return "skipped", tr("nothing is new", "新しいものがない")
        if not self.asked.continuation:
            return "skipped", tr("the file says continuation: false", "continuation: false と指定されている")
        if self.state["production"] is None:
            return "skipped", tr("nothing to continue", "続きを学習するものがない")
        return self._trained("continued", self.state["production"])

    def _compare(self) -> tuple[str, str]:
        candidates = [self.state[way] for way in ("fresh", "continued") if self.state.get(way)]
        if not candidates:
            return "skipped", tr("there is no candidate", "候補がない")
        file = self.folder / "held-out.jsonl"
        old = datasets.find(self.state["held_out_before"])
        before = {data["origin"]["row"] for data in old.each()}
        lines = ({**data, SIDE: "old" if data["origin"]["row"] in before else "new"}
                 for data in datasets.find(self.state["held_out"]).each())  # fmt: skip
        write_text(file, "".join(json_text(line) + "\n" for line in lines))
        found = measured_by(self.asked, candidates, self._baseline(), file, SIDE, self.on_event)
        wear = datasets.count_use(self.state["held_out"], "evaluation", Path(found["report"]).parent.name)
        self._keep(measured={**found, "wear": wear}, candidate=found["best"], verdict=found["verdict"])
        return "done", found["why"]

    def _gate(self) -> tuple[str, str]:
        if not self.state.get("candidate"):
            return "skipped", tr("there is no candidate", "候補がない")
        path = self.folder / "gate.yaml"
        asked = {key: value for key, value in self.asked.gate.items() if value}
        write_text(
            path, yaml.safe_dump({"baseline": self._baseline(), "data": "held-out.jsonl", **asked}, allow_unicode=True)
        )
        record = check_gate(self.state["candidate"], path)
        self._keep(gate={"passes": record["passes"], "tiers": record["tiers"], "record": record["record"]})
        why = "; ".join(f"{row['tier']} {row['metric']}: {row['why']}" for row in record["tiers"] if not row["passes"])
        return ("done", tr("passed", "合格")) if record["passes"] else ("stopped", why)

    def _promote(self) -> tuple[str, str]:
        gate = self.state.get("gate")
        if gate is None:
            return "skipped", tr("there is no candidate", "候補がない")
        if not gate["passes"]:
            return "stopped", tr("the gate was not passed", "ゲートに合格していない")
        if not self.asked.promote:
            return "stopped", tr("the file says promote: false", "promote: false と指定されている")
        if self._production() != self.state["candidate"]:
            promote(self.state["candidate"], self.asked.alias, gate=self.folder / "gate.yaml",
                    by=f"cycle {self.asked.name} {self.folder.name}")  # fmt: skip
        self._keep(promoted=True)
        return "done", tr(f"{self.asked.alias} is {self.state['candidate']} now",
                          f"{self.asked.alias} は {self.state['candidate']} になった")  # fmt: skip

    # ── what the steps ask ───────────────────────────────────────────────────────────────────────────────────────────

    def _trained(self, way: str, model: str) -> tuple[str, str]:
        """Trains, or goes on with the run that was begun for this."""
        from sodate.api.training import resume, train

        key = f"{way}_run"

        def heard(kind: str, data: Any) -> None:
            if kind == "run":
                self._keep(**{key: data.name})
            self.on_event(kind, data)

        begun = self.state.get(key)
        if begun is not None and (home.runs_dir() / begun / "run.json").exists():
            result = resume(begun, on_event=heard)
        else:
            keys = {"model": model, "data": [self.state["dataset"]], "name": self.asked.name}
            result = train(load_recipe(self.asked.recipe, keys), on_event=heard)
        rows = RunFolder(home.runs_dir() / self.state[key]).manifest["data"]["rows_used"]
        self._keep(**{way: result["version"], f"{way}_seconds": result.get("train_seconds")})
        return "done", tr(f"{result['version']} from {model} on {counted(rows, 'row')}",
                          f"{model} から {rows} 行で {result['version']} を学習")  # fmt: skip

    def _production(self) -> str | None:
        found: str | None = meaning(self.asked.alias)["version"]
        return found

    def _baseline(self) -> str:
        return self.state["production"] or load_recipe(self.asked.recipe, {"data": ["-"]}).model

    def _newest(self, name: str) -> str | None:
        found = datasets.versions(name)
        return found[-1].id if found else None

    def _came(self, name: str, before: str | None) -> int:
        """How many rows of the newest version were not in the one before this cycle, or are changed."""
        newest = self._newest(name)
        if newest is None or newest == before:
            return 0
        if before is None:
            return datasets.find(newest).manifest["rows"]
        found = dataset_verbs.diff(before, newest)
        return len(found["added"]) + len(found["changed"])

    def _nothing_new(self) -> bool:
        done = self._done("propose")
        return done is not None and done["status"] == "nothing"

    def _since(self) -> int:
        """The first day of the month, from 1970; or the day of the cycle before, where that was earlier: what was used
        after it belongs to this month."""
        days = [f"{self.folder.name}-01"]
        if before := [month for month in months(self.folder.parent) if month < self.folder.name]:
            days.append(read_manifest(self.folder.parent / before[-1] / "cycle.json")["created_at"][:10])
        return (min(map(datetime.date.fromisoformat, days)) - datetime.date(1970, 1, 1)).days

    def _rows(self, into: Path | None) -> Iterator[dict[str, Any]]:
        """Every row that might be new: the reviewed exchanges of the project, and the files."""
        yield from reviewed_rows(self.asked.project, into)
        yield from written_rows(self.asked.new)

    def _divided(self, rows: Iterator[dict[str, Any]]) -> Iterator[tuple[bool, dict[str, Any]]]:
        """(held out, row): which side a row goes to is decided by what it is, once and for all."""
        for row in rows:
            origin = row.get("origin") or {}
            own = origin.get("exchange") or json.dumps(
                {key: value for key, value in row.items() if key != "origin"}, ensure_ascii=False, sort_keys=True
            )
            drawn = int.from_bytes(hashlib.sha256(f"{self.asked.name}\0{own}".encode()).digest()[:6], "big") / 2**48
            yield drawn < self.asked.held_out_share, row


def _stock_said(stock: dict[str, Any] | None) -> str:
    if not stock:
        return tr("no exchanges are looked at", "やり取りは対象にしていない")
    rate, count = stock.get("reviewed") or {}, stock["exchanges"]
    if rate.get("rate") is None:
        return tr(f"{counted(count, 'exchange')}, none reviewed at random", f"やり取り {count} 件、無作為の確認なし")
    failed, low, high, n = f"{100 * rate['rate']:.0f}", *(f"{100 * end:.0f}" for end in rate["ci"]), rate["n"]
    return tr(f"{counted(count, 'exchange')}, {failed} % failed ({low} to {high} %, n = {n})",
              f"やり取り {count} 件、失敗 {failed}%（{low}〜{high}%、n = {n}）")  # fmt: skip


def cycles(name: str) -> list[CycleManifest]:
    """Every month of a cycle, oldest first."""
    root = home.cycles_dir() / home.checked_name(name, tr("The name of a cycle", "サイクルの名前"))
    return [read_manifest(root / month / "cycle.json") for month in months(root)]
