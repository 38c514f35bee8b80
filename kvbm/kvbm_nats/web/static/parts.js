// The parts of a page that change with the moment: taken from the same page as the server has it for another URL.

const CHANGING = "[data-live-part]";
const LINKS = ".commands, .tabs, .brand";
let latest = 0;

// Fetch the URL and put its parts in place of ours. Of several calls only the last one's answer is shown.
export async function show(url, { without = [] } = {}) {
  const number = ++latest;
  const answer = await fetch(url, { headers: { Accept: "text/html" }, redirect: "error" });
  const text = await answer.text();
  if (number !== latest) return false;
  if (!answer.ok) throw new Error(`${answer.status}`);
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const part of document.querySelectorAll(CHANGING)) {
    const name = part.dataset.livePart;
    const fresh = page.querySelector(`[data-live-part="${name}"]`);
    if (fresh && !without.includes(name)) part.replaceChildren(...fresh.childNodes);
  }
  const fresh = [...page.querySelectorAll(LINKS)];
  document.querySelectorAll(LINKS).forEach((part, at) => {
    if (fresh[at] && !part.contains(document.activeElement) && part.innerHTML !== fresh[at].innerHTML) {
      part.replaceChildren(...fresh[at].childNodes);
      if (fresh[at].hasAttribute("href")) part.setAttribute("href", fresh[at].getAttribute("href"));
    }
  });
  return true;
}
