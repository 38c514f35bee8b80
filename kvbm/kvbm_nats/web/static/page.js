// What a page does beyond being read: copies commands, moves through time, and shows what comes. Without it, all is readable.
import { live } from "./live.js";
import { travel } from "./travel.js";

document.documentElement.classList.add("scripted");

const status = document.querySelector("[data-status]");

function say(text) {
  if (status) status.textContent = text;
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea"); // pages by plain HTTP from elsewhere have no clipboard
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  say("The command was copied");
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

for (const form of document.querySelectorAll("[data-slow]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.disabled = true;
    button.textContent = form.dataset.slow;
    say(form.dataset.slow);
  });
}
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

const form = document.querySelector("[data-travel]");
if (form) {
  const moment = travel(form, say);
  live(form, moment);
}
