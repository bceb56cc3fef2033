// Curves of runs: fetched thinned, drawn, looked at closer by dragging, drawn again while the run goes on.
"use strict";
(function () {
  const place = document.querySelector("[data-curves]");
  if (!place) return;
  const names = place.dataset.curves.split(" ");
  const several = names.length > 1;
  const words = JSON.parse(place.dataset.names); // of metrics, in the reader's language
  const called = (key) => words[key] || key;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map(); // figure → { plot, range }
  let busy = false;

  async function fetched(range) {
    // In hundreds, so that windows of like width are answered by what the server has made already.
    const points = Math.max(200, Math.min(2000, 100 * Math.ceil((place.clientWidth * window.devicePixelRatio) / 100)));
    const part = range ? `&first=${Math.floor(range[0])}&last=${Math.ceil(range[1])}` : "";
    const answers = await Promise.all(names.map((name) => fetch(`/v1/sodate/runs/${encodeURIComponent(name)}/curve?points=${points}${part}`)));
    return Promise.all(answers.map((answer) => answer.json()));
  }

  // Every metric has steps of its own: the union of all, with a gap where one has none.
  function table(told, keys) {
    const columns = [];
    told.forEach((one, run) => {
      for (const key of keys) {
        const found = one.series[key];
        if (found) columns.push({ label: several ? `${names[run]} ${called(key)}` : called(key), key, run, x: found.x, y: found.y, bad: found.not_finite });
      }
    });
    const joined = columns.length ? uPlot.join(columns.map((one) => [one.x, one.y])) : null;
    return { columns, joined };
  }

  function draw(figure, told, keys, range) {
    const { columns, joined } = table(told, keys);
    if (!joined) return;
    figure.hidden = false;
    const before = drawn.get(figure);
    if (before && before.labels === columns.map((one) => one.label).join("\n")) {
      before.plot.setData(joined, true);
      return;
    }
    if (before) before.plot.destroy();
    const box = figure.querySelector(".plot");
    const axis = { stroke: style("--soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line") } };
    const plot = new uPlot(
      {
        width: box.clientWidth, height: 220, cursor: { drag: { x: true, y: false, setScale: false } },
        scales: { x: { time: false } },
        axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick && Math.abs(tick) < 0.001 ? tick.toExponential(1) : String(Number(tick.toPrecision(6))))) }],
        series: [
          { label: called("step") },
          ...columns.map((one, n) => ({
            label: one.bad.length ? `${one.label} (NaN/∞: ${one.bad.slice(0, 3).join(", ")})` : one.label,
            stroke: style(`--c${n % 8}`), width: 1.5, spanGaps: true, points: { show: one.x.length < 60, size: 4 },
            dash: one.key.startsWith("eval") ? [6, 3] : undefined,
            value: (_, value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(4)),
          })),
        ],
        hooks: {
          setSelect: [(self) => {
            if (self.select.width < 5) return;
            const ends = [self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x")];
            self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (ends[1] - ends[0] >= 2) refresh(ends);
          }],
        },
      },
      joined, box,
    );
    plot.over.addEventListener("dblclick", () => refresh(null));
    drawn.set(figure, { plot, labels: columns.map((one) => one.label).join("\n") });
  }

  let shown = null;
  let drawnStep = 0; // the last one in the picture
  async function refresh(range) {
    if (busy) return;
    busy = true;
    const began = performance.now();
    try {
      shown = range;
      const told = await fetched(range);
      drawnStep = told[0].last_step || 0;
      const known = new Set(["tokens", "supervised_tokens", "computed_tokens", "seconds", "epoch"]);
      for (const figure of place.querySelectorAll("figure[data-keys]")) {
        const keys = figure.dataset.keys.split(" ");
        keys.forEach((key) => known.add(key));
        draw(figure, told, keys, range);
      }
      const others = new Set(told.flatMap((one) => Object.keys(one.series)).filter((key) => !known.has(key)));
      for (const key of others) draw(another(key), told, [key], range);
      place.dataset.drawn = String(Math.round(performance.now() - began));
    } catch (error) {
      console.warn(error); // the server is away for a moment: what is drawn stays, and the next step draws again
    } finally {
      busy = false;
    }
  }

  function another(key) {
    for (const figure of place.querySelectorAll("figure[data-key]")) if (figure.dataset.key === key) return figure;
    const figure = document.createElement("figure");
    figure.className = "chart";
    figure.dataset.key = key;
    const caption = document.createElement("figcaption");
    caption.textContent = called(key);
    const box = document.createElement("div");
    box.className = "plot";
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", called(key));
    figure.append(caption, box);
    place.append(figure);
    return figure;
  }

  refresh(null);
  let last = 0;
  document.addEventListener("sodate:step", (event) => {
    const now = performance.now();
    if (now - last < 2000 || shown) return; // who looks at a part goes on looking at it
    // Where many steps lie within a pixel, the picture is another one only after as many more.
    if ((event.detail - drawnStep) * place.clientWidth < drawnStep && now - last < 30_000) return;
    last = now;
    refresh(null);
  });
  new ResizeObserver(() => {
    for (const [figure, { plot }] of drawn) plot.setSize({ width: figure.querySelector(".plot").clientWidth, height: 220 });
  }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const { plot } of drawn.values()) plot.destroy();
    drawn.clear();
    refresh(shown);
  });
})();
