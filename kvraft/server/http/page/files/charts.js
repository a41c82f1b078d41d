// Throughput and latency of the last minutes, at the node that serves this page.

import { getSeries } from "./api.js";
import { byId, setText } from "./dom.js";
import { milliseconds, rate, time } from "./words.js";

const WINDOW_S = 300;
const WINDOW_MIN_S = 60;
const HEIGHT_PX = 190;
const AXIS_PX = 52;
const TIME_AXIS_PX = 30;
const SKIP_S = 3; // a longer pause between two points is shown as a gap

const CHARTS = [
  { id: "throughput", say: (value) => `${rate(value)}/s`, series: [{ name: "writes", color: "--series-1" }, { name: "reads", color: "--series-2" }] },
  { id: "latency", say: milliseconds, series: [{ name: "write_p99_ms", color: "--series-1" }, { name: "read_p99_ms", color: "--series-2" }] },
];

export function showCharts(cluster) {
  const points = [];
  const charts = CHARTS.map((plan) => new Chart(plan, points));
  const draw = () => charts.forEach((chart) => chart.draw());
  const load = async () => {
    try {
      const told = await getSeries();
      points.splice(0, points.length, ...told);
      draw();
    } catch {
      // the next one of /status/events begins it
    }
  };
  cluster.addEventListener("point", ({ detail }) => {
    const last = points.at(-1);
    if (last && detail.time <= last.time) return;
    if (!last || detail.time - last.time > SKIP_S) load(); // points of a time when this page was hidden
    points.push(detail);
    while (points.length && points[0].time < detail.time - 2 * WINDOW_S) points.shift();
    draw();
  });
  const restyle = () => charts.forEach((chart) => chart.restyle());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
  addEventListener("themechange", restyle);
}

class Chart {
  constructor(plan, points) {
    this.plan = plan;
    this.points = points;
    this.place = byId(`chart-${plan.id}`);
    this.values = [...byId(`legend-${plan.id}`).querySelectorAll(".now")];
    this.plot = null;
    this.hovered = null;
    new ResizeObserver(() => this.#resize()).observe(this.place);
  }

  restyle() {
    this.plot?.destroy();
    this.plot = null;
    this.draw();
  }

  draw() {
    if (!this.points.length || !this.place.clientWidth) return;
    const data = this.#data();
    if (this.plot) {
      this.plot.setData(data);
    } else {
      this.place.replaceChildren();
      this.plot = new window.uPlot(this.#options(), data, this.place);
    }
    this.#say();
  }

  #data() {
    const columns = [[], ...this.plan.series.map(() => [])];
    const from = this.points.at(-1).time - WINDOW_S;
    let before = null;
    for (const point of this.points) {
      if (point.time < from) continue;
      if (before !== null && point.time - before > SKIP_S) {
        columns[0].push(before + 1);
        columns.slice(1).forEach((column) => column.push(null));
      }
      columns[0].push(point.time);
      this.plan.series.forEach(({ name }, at) => columns[at + 1].push(point[name] ?? null));
      before = point.time;
    }
    return columns;
  }

  #options() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: this.place.clientWidth,
      height: HEIGHT_PX,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { range: (_plot, min, max) => [Math.min(max - WINDOW_MIN_S, Math.max(min, max - WINDOW_S)), max] }, y: { range: (_plot, _min, max) => [0, Math.max(1, (max ?? 0) * 1.15)] } },
      axes: [
        { ...axis, size: TIME_AXIS_PX, values: (_plot, ticks) => ticks.map((tick) => time(tick).slice(0, tick % 60 ? 8 : 5)), space: 70, incrs: [30, 60, 120, 300] },
        { ...axis, size: AXIS_PX, values: (_plot, ticks) => ticks.map((tick) => this.plan.say(tick).replace("/s", "")), space: 34 },
      ],
      series: [{}, ...this.plan.series.map((each) => ({ stroke: color(each.color), width: 2, fill: `${color(each.color)}1f`, points: { show: false } }))],
      hooks: { setCursor: [(plot) => { this.hovered = plot.cursor.idx ?? null; this.#say(); }] },
    };
  }

  /** Show the values below the pointer, or the newest. */
  #say() {
    const data = this.plot.data;
    const at = this.hovered ?? data[0].length - 1;
    const said = this.plan.series.map((_each, index) => this.plan.say(data[index + 1][at]));
    said.forEach((text, index) => setText(this.values[index], text));
    const suffix = this.hovered === null ? "" : ` at ${time(data[0][at])}`;
    setText(byId(`legend-${this.plan.id}`).querySelector(".when"), suffix);
    const names = [...byId(`legend-${this.plan.id}`).querySelectorAll(".what")].map((each) => each.textContent);
    this.place.setAttribute("aria-label", `${this.place.dataset.title}: ${names.map((name, index) => `${name} ${said[index]}`).join(", ")}`);
  }

  #resize() {
    if (this.plot) this.plot.setSize({ width: this.place.clientWidth, height: HEIGHT_PX });
    else this.draw();
  }
}
