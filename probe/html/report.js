// Draws what the page carries as data; decides nothing about it (probe/page.cc does).
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const page = document.getElementById("page");
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = [];
  let ready = 0;

  const add = (parent, tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    parent.appendChild(element);
    return element;
  };

  const short = value => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    if (size >= 1e9) return (value / 1e9).toPrecision(3) + " G";
    if (size >= 1e6) return (value / 1e6).toPrecision(3) + " M";
    if (size >= 1e4) return (value / 1e3).toPrecision(3) + " k";
    return String(+value.toPrecision(3));
  };

  // Vertical or horizontal lines with a word: cache sizes, limits.
  const marks = chart => ({
    hooks: {
      // Counted for the test of the page: a chart that throws is never ready.
      ready: [() => { document.documentElement.dataset.charts = ++ready; }],
      draw: [plot => {
        const context = plot.ctx;
        context.save();
        context.strokeStyle = context.fillStyle = colour("--soft");
        context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        context.setLineDash([4, 4]);
        context.textAlign = "left";
        context.textBaseline = "alphabetic";
        const { left, top, width, height } = plot.bbox;
        for (const mark of chart.marks || []) {
          context.beginPath();
          if (mark.x !== undefined) {
            const x = plot.valToPos(mark.x, "x", true);
            if (x < left || x > left + width) continue;
            context.moveTo(x, top);
            context.lineTo(x, top + height);
            context.fillText(mark.label, x + 4, top + 12 * devicePixelRatio);
          } else {
            const y = plot.valToPos(mark.y, "y", true);
            if (y < top || y > top + height) continue;
            context.moveTo(left, y);
            context.lineTo(left + width, y);
            context.fillText(mark.label, left + 6, y - 4);
          }
          context.stroke();
        }
        context.restore();
      }],
    },
  });

  const series = (chart, bars) => [{ label: chart.x_label }].concat(chart.series.map((one, index) => {
    const same = chart.series.slice(0, index).filter(other => other.side === one.side).length;
    const stroke = same ? colour(`--more${(same - 1) % 4}`) : colour(one.side === "host" ? "--host" : "--container");
    const made = { label: one.name, stroke, width: 1.5, value: (plot, value) => short(value), spanGaps: true };
    if (bars) {
      made.fill = stroke;
      made.points = { show: false };
      made.paths = uPlot.paths.bars({ size: [0.36, 60], align: chart.series.length === 1 ? 0 : index === 0 ? -1 : 1 });
    } else if (chart.kind === "points") {
      made.paths = () => null;
      made.points = { show: true, size: 5, fill: stroke };
    } else if (same) {
      made.dash = [6, 3];
    }
    return made;
  }));

  const draw = (holder, chart) => {
    const bars = chart.kind === "bars";
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    const labels = chart.labels || [];
    const x = { ...axis, label: chart.x_label };
    if (bars || chart.labels) {
      x.splits = () => labels.map((_, index) => index);
      x.values = (plot, splits) => splits.map(index => labels[index]);
      x.rotate = labels.length > 3 ? -40 : 0;
      x.size = labels.length > 3 ? 110 : 50;
      x.grid = { show: false };
    } else {
      x.values = (plot, splits) => splits.map(short);
    }
    const last = Math.max(labels.length - 1, 0);
    const range = bars ? { range: [-0.6, last + 0.6] } : chart.log_x ? { distr: 3, log: 2 } : {};
    const options = {
      width: Math.max(260, holder.clientWidth - 22),
      height: labels.length > 3 ? 330 : 280,
      scales: { x: { time: false, ...range }, y: chart.log_y ? { distr: 3 } : { range: (plot, low, high) => [0, (high || 1) * 1.08] } },
      axes: [x, { ...axis, label: chart.y_label, values: (plot, splits) => splits.map(value => value === null ? "" : short(value)), size: 64 }],
      series: series(chart, bars),
      legend: { live: !bars },
      padding: [null, labels.length > 3 ? 56 : null, null, null],
      plugins: [marks(chart)],
    };
    return new uPlot(options, [chart.x, ...chart.series.map(one => one.y)], holder);
  };

  const drawAll = () => {
    ready = 0;
    for (const one of drawn) {
      if (one.plot) one.plot.destroy();
      one.plot = draw(one.holder, one.chart);
    }
    document.documentElement.dataset.expected = drawn.length;
    // For the test of the page too: nothing may be wider than the window.
    document.documentElement.dataset.over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  };

  const table = (parent, head, rows) => {
    const element = add(add(parent, "div", undefined, "scroll"), "table");
    const line = add(add(element, "thead"), "tr");
    for (const word of head) add(line, "th", word);
    const body = add(element, "tbody");
    for (const row of rows) {
      const tr = add(body, "tr");
      for (const cell of row) add(tr, "td", cell);
    }
  };

  add(page, "h1", "minirun probe report");
  for (const file of data.files) {
    add(page, "h2", file.name);
    add(page, "p", file.about, "soft");
    const charts = add(page, "div", undefined, "charts");
    for (const chart of file.charts) {
      const holder = add(charts, "section", undefined, "chart");
      add(holder, "h3", chart.title);
      if (chart.note) add(holder, "p", chart.note, "soft");
      drawn.push({ holder, chart });
    }
    if (file.textbook.length) {
      add(page, "h3", "What the texts say");
      table(page, ["", "the text says", "this host", "this container", "found"], file.textbook);
    }
    add(page, "h3", "All numbers");
    table(page, ["metric", "host", "container", "ratio", "p5 to p95, host", "p5 to p95, container", "n", "what explains it"], file.rows);
    const list = add(page, "ul");
    for (const text of file.notes) add(list, "li", text);
  }
  drawAll();
  let wait;
  new ResizeObserver(() => { clearTimeout(wait); wait = setTimeout(drawAll, 150); }).observe(page);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
