// What every page shares. No page needs this file to be usable.
"use strict";

// [data-back]: one step back; without a history (a link opened in a new tab), to the page it names.
document.addEventListener("click", (event) => {
  const back = event.target instanceof Element && event.target.closest("[data-back]");
  if (!back) return;
  event.preventDefault();
  if (history.length > 1) history.back();
  else location.assign(back.dataset.back || "/admin/flow");
});

// A form is sent once: a second click on a slow answer must not start a second run.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || form.method === "dialog" || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});

// Coming back by the browser's history shows the page as it was left: sendable again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Times are written in UTC; who has scripts reads them on their own clock.
for (const time of document.querySelectorAll("time[datetime]")) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) continue;
  time.title = time.textContent;
  time.textContent = moment.toLocaleString();
}
