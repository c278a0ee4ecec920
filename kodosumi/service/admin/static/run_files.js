// The files of a run: what it was given and what it gives. A file makes no event of its own, so the list is asked for again
// when the page shows anything new, and at the end, and only while somebody looks at it. Nothing is asked for in between.
"use strict";
(() => {
  const root = document.getElementById("run-files");
  const byId = (id) => document.getElementById(id);
  const fid = root.dataset.fid;
  const ROOTS = ["in", "out"];
  const MOST = 1000;
  const SETTLE_MS = 1000;
  const panel = root.closest("[role=tabpanel]") || root;
  const shown = new Map();
  let timer = 0;
  let asked = 0;
  let outdated = true;

  const size = (bytes) => {
    if (bytes < 1000) return `${bytes} B`;
    const units = ["kB", "MB", "GB", "TB"];
    let value = bytes;
    let unit = -1;
    do { value /= 1000; unit += 1; } while (value >= 999.5 && unit < units.length - 1);
    return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
  };

  // Each part by itself: a slash stays a slash, everything else of a name is only that.
  const address = (path) => `/files/${fid}/${path.split("/").map(encodeURIComponent).join("/")}`;

  function row({ path, size: bytes, last_modified: changed }) {
    const name = path.slice(path.indexOf("/") + 1);
    const link = document.createElement("a");
    link.href = address(path);
    link.download = name.slice(name.lastIndexOf("/") + 1);
    link.textContent = name;
    const made = document.createElement("tr");
    for (const content of [link, size(bytes), new Date(changed * 1000).toLocaleString()]) {
      const cell = document.createElement("td");
      cell.append(content);
      made.append(cell);
    }
    return made;
  }

  function show(folder, files) {
    const text = JSON.stringify(files);
    if (shown.get(folder) === text) return;
    shown.set(folder, text);
    const section = byId(`files-${folder}`);
    section.hidden = !files.length;
    section.querySelector("tbody").replaceChildren(...files.slice(0, MOST).map(row));
    const total = files.reduce((sum, file) => sum + file.size, 0);
    section.querySelector("[data-total]").textContent = `${files.length.toLocaleString()} ${files.length === 1 ? "file" : "files"}, ${size(total)}`;
    const more = section.querySelector("[data-more]");
    more.hidden = files.length <= MOST;
    more.textContent = `And ${(files.length - MOST).toLocaleString()} more: they are in the ZIP.`;
  }

  async function load() {
    timer = 0;
    outdated = false;
    asked = Date.now();
    const problem = byId("files-problem");
    try {
      const found = await Promise.all(ROOTS.map(async (folder) => {
        const answer = await fetch(`/files/${fid}/${folder}`, { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `The panel answered ${answer.status}.`);
        return answer.json();
      }));
      ROOTS.forEach((folder, index) => show(folder, found[index]));
      problem.hidden = true;
      byId("files-empty").hidden = found.some((files) => files.length);
      byId("files-empty").textContent = ["finished", "error"].includes(byId("run-state")?.dataset.state) ? "No files." : "No files yet.";
    } catch (error) {
      problem.textContent = `The files cannot be listed: ${error.message}`;
      problem.hidden = false;
      outdated = true;
    }
  }

  // Many events come at once: one question answers them all.
  function refresh() {
    outdated = true;
    if (timer || panel.hidden || document.hidden) return;
    timer = setTimeout(load, Math.max(0, asked + SETTLE_MS - Date.now()));
  }

  const look = () => { if (outdated && !panel.hidden && !document.hidden) refresh(); };
  new MutationObserver(look).observe(panel, { attributes: true, attributeFilter: ["hidden"] });
  document.addEventListener("visibilitychange", look);
  const news = new MutationObserver(refresh);
  for (const id of ["run-state", "run-locks", "result-list", "stdio-list"]) {
    if (byId(id)) news.observe(byId(id), { childList: true, characterData: true, subtree: true });
  }
  // A run whose output nobody follows still writes files: coming back to the list asks again.
  for (const tab of document.querySelectorAll("[role=tab]")) tab.addEventListener("click", refresh);
  refresh();
})();
