// The slider of moments: the URL follows it, and the page follows the URL.
import { show } from "./parts.js";

const WAIT_MS = 120;

// Returns what tells of the moment: whether it is now, and how it becomes another.
export function travel(form, say) {
  const slider = form.elements.namedItem("at");
  const output = form.querySelector("output");
  const now = form.querySelector("[data-now]");
  const listeners = [];
  let timer = 0;
  let isDragged = false;

  const isNow = () => !new URL(location.href).searchParams.has("at");

  function label() {
    output.textContent = Number(slider.value).toLocaleString("en-US");
  }

  function urlOf(seq) {
    const url = new URL(location.href);
    if (seq === null) url.searchParams.delete("at");
    else url.searchParams.set("at", seq);
    return url;
  }

  // `how` is pushState, replaceState, or nothing where the browser has moved already.
  async function go(url, how = "") {
    if (how && url.href !== location.href) history[how](null, "", url);
    now.hidden = isNow();
    listeners.forEach((listener) => listener());
    try {
      if (await show(url)) say(isNow() ? "Showing what happens now" : `As of sequence ${output.textContent}`);
    } catch {
      location.assign(url); // the server says what is wrong
    }
  }

  // One way back for each drag, however many moments it passes.
  slider.addEventListener("input", () => {
    label();
    clearTimeout(timer);
    timer = setTimeout(() => {
      go(urlOf(slider.value), isDragged ? "replaceState" : "pushState");
      isDragged = true;
    }, WAIT_MS);
  });
  slider.addEventListener("change", () => {
    clearTimeout(timer);
    go(urlOf(slider.value), isDragged ? "replaceState" : "pushState");
    isDragged = false;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(urlOf(slider.value), "pushState");
  });
  now.addEventListener("click", (event) => {
    event.preventDefault();
    slider.value = slider.max;
    label();
    go(urlOf(null), "pushState");
  });
  window.addEventListener("popstate", () => {
    slider.value = new URL(location.href).searchParams.get("at") ?? slider.max;
    label();
    go(new URL(location.href));
  });

  return {
    isNow,
    onChange: (listener) => listeners.push(listener),
    grow(last) {
      slider.max = last;
      if (isNow() && document.activeElement !== slider) {
        slider.value = last;
        label();
      }
    },
  };
}
