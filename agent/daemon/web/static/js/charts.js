// Line charts by uPlot, sparklines and strips, in the colours of the page.

import { el, svg } from "./dom.js";
import { count, number } from "./format.js";

export const SERIES = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5"];
const HEIGHT = 250;

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function withAlpha(hex, alpha) {
  return `${hex}${Math.round(alpha * 255).toString(16).padStart(2, "0")}`;
}

/** Return the union of all positions, and each line's values at them (null where a line has none). */
function aligned(lines) {
  const xs = [...new Set(lines.flatMap((line) => line.points.map((p) => p.x)))].sort((a, b) => a - b);
  const at = new Map(xs.map((x, index) => [x, index]));
  const columns = (read) => lines.map((line) => {
    const values = new Array(xs.length).fill(null);
    for (const point of line.points) values[at.get(point.x)] = read(point);
    return values;
  });
  return { xs, ys: columns((p) => p.y), low: columns((p) => p.y - (p.error ?? 0)), high: columns((p) => p.y + (p.error ?? 0)) };
}

/** Draw horizontal lines with names: that of a low one below it at the right, that of a high one above it at the left. */
function levelsPlugin(levels) {
  const each = (u, draw) => {
    const context = u.ctx;
    context.save();
    for (const level of levels) {
      const y = Math.round(u.valToPos(level.value, "y", true));
      if (y >= u.bbox.top && y <= u.bbox.top + u.bbox.height) draw(context, level, y, devicePixelRatio);
    }
    context.restore();
  };
  const lines = (u) => each(u, (context, level, y, ratio) => {
    context.strokeStyle = colour("--muted");
    context.lineWidth = ratio;
    context.setLineDash([4 * ratio, 4 * ratio]);
    context.beginPath();
    context.moveTo(u.bbox.left, y);
    context.lineTo(u.bbox.left + u.bbox.width, y);
    context.stroke();
  });
  const names = (u) => each(u, (context, level, y, ratio) => {
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    const width = context.measureText(level.name).width;
    const x = level.always ? u.bbox.left + u.bbox.width - width - 6 * ratio : u.bbox.left + 6 * ratio;
    context.globalAlpha = 0.85;
    context.fillStyle = colour("--panel");
    const base = level.always ? y + 13 * ratio : y - 5 * ratio;
    context.fillRect(x - 3 * ratio, base - 10 * ratio, width + 6 * ratio, 13 * ratio);
    context.globalAlpha = 1;
    context.fillStyle = colour("--muted");
    context.fillText(level.name, x, base);
  });
  return { hooks: { drawClear: [lines], draw: [names] } };
}

/** Say the values under the cursor in a node, and what it said before when the cursor leaves. */
function readoutPlugin(lines, node, shownX) {
  const before = node?.textContent ?? "";
  const say = (u) => {
    const index = u.cursor.idx;
    if (!node) return;
    if (index === null || index === undefined) { node.textContent = before; return; }
    const said = lines.map((line, i) => [line.name, u.data[1 + 3 * i][index]]).filter(([, y]) => y !== null);
    node.textContent = `${shownX(u.data[0][index])}: ${said.map(([n, y]) => (n ? `${n} ` : "") + number(y)).join(", ")}`;
  };
  return { hooks: { setCursor: [say] } };
}

function seriesOf(lines, few) {
  return lines.flatMap((line, index) => {
    const stroke = colour(line.colour ?? SERIES[index % SERIES.length]);
    return [
      { label: line.name, stroke, width: 2, spanGaps: true, dash: line.dash, points: { show: few, size: 6, fill: stroke } },
      { stroke: "transparent", spanGaps: true, points: { show: false } },
      { stroke: "transparent", spanGaps: true, points: { show: false } },
    ];
  });
}

function axes(isTime, xName) {
  const common = {
    stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
    font: "11px system-ui, sans-serif",
  };
  return [
    { ...common, size: 34, ...(isTime ? {} : { values: (u, ticks) => ticks.map(count) }), label: xName, labelSize: 16, labelFont: common.font },
    { ...common, size: 52, values: (u, ticks) => ticks.map((t) => (Math.abs(t) >= 1000 ? count(t) : String(Number(t.toPrecision(6))).replace("-", "−"))) },
  ];
}

const drawn = new Map();

/**
 * Draw lines into a node. A line is {name, points: [{x, y, error}], colour, dash}; bands show the standard errors.
 * `levels` are horizontal lines with names; `readout` is the node that says the values under the cursor.
 */
export function drawLines(node, lines, { isTime = false, xName = "", levels = [], readout = null, whole = false, title = "" } = {}) {
  drawn.get(node)?.destroy();
  drawn.delete(node);
  node.replaceChildren();
  const { xs, ys, low, high } = aligned(lines);
  if (!xs.length) {
    node.append(el("p", { class: "none" }, "nothing was measured yet"));
    return;
  }
  const data = [xs, ...lines.flatMap((_, i) => [ys[i], high[i], low[i]])];
  const values = [...high.flat(), ...low.flat(), ...levels.filter((l) => l.always).map((l) => l.value)].filter((v) => v !== null);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const margin = (most - least || Math.abs(most) || 1) * 0.1;
  const padX = xs.length > 1 ? 0 : isTime ? 60 : 1;
  const options = {
    width: Math.max(200, node.clientWidth), height: HEIGHT, padding: [10, 12, 0, 0],
    scales: {
      x: { time: isTime, range: (u, from, to) => [from - padX, to + padX] },
      y: { range: () => [least - margin, most + margin] },
    },
    axes: axes(isTime, xName),
    series: [{}, ...seriesOf(lines, xs.length <= 60)],
    bands: lines.map((line, i) => ({
      series: [2 + 3 * i, 3 + 3 * i], fill: withAlpha(colour(line.colour ?? SERIES[i % SERIES.length]), 0.14),
    })),
    cursor: { drag: { x: true, y: false }, points: { size: 7 } },
    legend: { show: false },
    plugins: [levelsPlugin(levels), readoutPlugin(lines, readout, isTime ? (x) => new Date(x * 1000).toLocaleString() : (x) => `${xName} ${count(x)}`)],
  };
  if (whole) options.axes[0].splits = () => xs.filter((x) => Number.isInteger(x));
  const chart = new uPlot(options, data, node);
  chart.root.setAttribute("role", "img");
  chart.root.setAttribute("aria-label", title);
  drawn.set(node, chart);
}

addEventListener("resize", () => {
  for (const [node, chart] of drawn) chart.setSize({ width: Math.max(200, node.clientWidth), height: HEIGHT });
});

/** Return a sparkline of values, with a line at 0 for scores. */
export function sparkline(values, isScore) {
  const [width, height, pad] = [84, 26, 3];
  if (!values.length) return svg("svg", { class: "spark", "aria-hidden": "true" });
  const least = Math.min(...values, ...(isScore ? [0] : []));
  const most = Math.max(...values, ...(isScore ? [0.2] : []));
  const x = (i) => (values.length < 2 ? width / 2 : pad + (i * (width - 2 * pad)) / (values.length - 1));
  const y = (v) => height - pad - ((v - least) / (most - least || 1)) * (height - 2 * pad);
  const last = values.length - 1;
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    isScore ? svg("line", { x1: 0, x2: width, y1: y(0), y2: y(0) }) : null,
    svg("polyline", { points: values.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ") }),
    svg("circle", { cx: x(last), cy: y(values[last]), r: 2.2 }));
}

function parse(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function heat(value) {
  const [low, high] = value < -0.05 ? [parse(colour("--heat-low")), parse(colour("--heat-under"))] : [parse(colour("--heat-low")), parse(colour("--heat-high"))];
  const share = Math.min(1, Math.abs(value));
  return `rgb(${low.map((c, i) => Math.round(c + (high[i] - c) * share)).join(",")})`;
}

/** Return a strip of a family's scores over a common axis: each score holds until the next one. */
export function strip(points, from, to, title) {
  const canvas = el("canvas", { class: "strip", width: 400, height: 22, role: "img", "aria-label": title });
  const context = canvas.getContext("2d");
  const x = (v) => (to > from ? ((v - from) / (to - from)) * 392 : 0);
  points.forEach((point, i) => {
    const end = i + 1 < points.length ? x(points[i + 1].x) : 400;
    context.fillStyle = heat(point.score);
    context.fillRect(x(point.x), 0, Math.max(2, end - x(point.x)), 22);
    if (point.is_practised) { context.fillStyle = colour("--ink"); context.fillRect(x(point.x), 19, Math.max(2, end - x(point.x)), 3); }
  });
  return canvas;
}
