// What the pages do without a reload: keys, theme, live mode. All of it is on top of plain links and forms.
"use strict";

const search = document.getElementById("search");
const live = document.getElementById("live");
const rows = document.getElementById("rows");
const keys = document.getElementById("keys");
const POLL_MS = 1000;

// -- theme

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function changeTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=strict`;
}

document.getElementById("theme").addEventListener("click", changeTheme);
document.getElementById("help").addEventListener("click", () => keys.showModal());

// -- keys

function move(step) {
  const links = [...document.querySelectorAll("main a.open")];
  if (!links.length) return;
  const here = links.indexOf(document.activeElement);
  const next = here < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, here + step));
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
}

const ACTIONS = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => { if (search) search.focus(); else location.href = "/"; },
  "?": () => keys.showModal(),
  t: changeTheme,
  g: () => { location.href = "/"; },
  o: () => { location.href = "/overview"; },
  l: () => { if (live && !live.disabled) live.click(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  const target = event.target;
  if (target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const action = Object.hasOwn(ACTIONS, event.key) ? ACTIONS[event.key] : null;
  if (action) { event.preventDefault(); action(); }
});

// -- live

let timer = 0;

async function look() {
  const address = new URL(location.href);
  address.pathname = "/";
  address.searchParams.set("part", "rows");
  address.searchParams.set("change", live.dataset.change);
  const news = document.getElementById("news");
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    if (answer.status === 200) show(await answer.text(), answer.headers.get("x-change"));
    if (news.dataset.lost) { news.textContent = "Live"; delete news.dataset.lost; }
  } catch {
    news.textContent = "The viewer does not answer.";
    news.dataset.lost = "1";
  }
  if (live.checked) timer = setTimeout(look, POLL_MS);
}

function show(html, change) {
  const before = new Set([...rows.querySelectorAll("tr[id]")].map((row) => row.id));
  const focused = document.activeElement && document.activeElement.closest("tr[id]");
  // Parsed, not run: the policy of these pages allows no script but this one.
  const parsed = new DOMParser().parseFromString(html, "text/html");
  rows.replaceChildren(...parsed.body.childNodes);
  let fresh = 0;
  for (const row of rows.querySelectorAll("tr[id]")) {
    if (!before.has(row.id)) { row.classList.add("new"); fresh += 1; }
  }
  if (focused) {
    const again = document.getElementById(focused.id);
    if (again) again.querySelector("a.open").focus({ preventScroll: true });
  }
  if (fresh) document.getElementById("news").textContent = `${fresh} new`;
  live.dataset.change = change;
}

if (live) {
  live.addEventListener("change", () => {
    clearTimeout(timer);
    document.getElementById("news").textContent = live.checked ? "Live" : "";
    sessionStorage.setItem("live", live.checked ? "1" : "");
    if (live.checked) look();
  });
  if (!live.disabled && sessionStorage.getItem("live")) { live.checked = true; live.dispatchEvent(new Event("change")); }
}
