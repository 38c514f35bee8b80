// What comes: lines of events as the server sends them, and the other parts again after a while.
import { show } from "./parts.js";

const LINES_MAX = 20;
const AGAIN_MS = 2000;
const COST = 5; // a refresh that takes long comes less often

function cell(row, text, className) {
  const td = row.insertCell();
  td.className = className;
  td.textContent = text;
  return td;
}

function line(event, base) {
  const row = document.createElement("tr");
  row.className = "fresh";
  const link = document.createElement("a");
  link.href = `${base}?at=${event.seq}`;
  link.textContent = event.seq.toLocaleString("en-US");
  cell(row, "", "n").append(link);
  cell(row, event.time, "time");
  const type = document.createElement("span");
  type.className = "type";
  type.textContent = event.type;
  cell(row, "", "").append(type);
  cell(row, event.said, "said");
  return row;
}

export function live(form, moment) {
  const lines = document.querySelector("[data-events]");
  let source = null;
  let after = Number(form.dataset.after);
  let due = 0;
  let isShowing = false;

  async function refresh() {
    if (isShowing || document.hidden || !moment.isNow() || performance.now() < due) return;
    isShowing = true;
    const began = performance.now();
    try {
      await show(location.href, { without: ["events"] });
    } catch {
      // the next one may come
    }
    due = performance.now() + Math.max(AGAIN_MS, COST * (performance.now() - began));
    isShowing = false;
  }

  function take(message) {
    const news = JSON.parse(message.data);
    after = news.last;
    moment.grow(news.last);
    lines.prepend(...news.events.map((event) => line(event, lines.dataset.events)).reverse());
    while (lines.rows.length > LINES_MAX) lines.deleteRow(-1);
    refresh();
  }

  function follow() {
    const wanted = moment.isNow();
    if (wanted && !source) {
      source = new EventSource(`${form.dataset.stream}?after=${after}`);
      source.addEventListener("news", take);
      source.addEventListener("open", () => document.body.classList.remove("is-lost"));
      source.addEventListener("error", () => document.body.classList.add("is-lost"));
    } else if (!wanted && source) {
      source.close();
      source = null;
    }
  }

  moment.onChange(follow);
  window.addEventListener("pagehide", () => source?.close());
  follow();
}
