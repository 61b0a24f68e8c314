// Warns before a session ends of silence, and asks the person to stay. Without it nothing breaks: the
// session ends as it would have, and the next click leads to the sign-in. It changes no text but its own.
"use strict";
(() => {
  const dialog = document.getElementById("idle");
  if (!dialog || typeof dialog.showModal !== "function") return;
  const address = "/.gateway/session";
  const warn = Number(dialog.dataset.warn) * 1000;
  const left = dialog.querySelector("[data-left]");
  let ends = 0;
  let isLast = false;
  let timer = 0;

  const show = (when) => {
    for (const part of dialog.querySelectorAll("[data-when]")) part.hidden = !part.dataset.when.split(" ").includes(when);
  };
  const wait = (milliseconds, then) => {
    clearTimeout(timer);
    // Browsers keep a time of at most 2^31 - 1 ms.
    timer = setTimeout(then, Math.min(Math.max(milliseconds, 250), 2147483647));
  };
  const learn = (idle, absolute) => {
    isLast = absolute <= idle;
    ends = Date.now() + Math.min(idle, absolute) * 1000;
    if (ends - Date.now() > warn) {
      if (dialog.open) dialog.close();
      wait(ends - Date.now() - warn, ask);
    } else {
      show(isLast ? "last" : "idle");
      if (!dialog.open) dialog.showModal();
      tick();
    }
  };
  const over = () => {
    show("over");
    if (!dialog.open) dialog.showModal();
  };
  const tick = () => {
    const seconds = Math.max(0, Math.round((ends - Date.now()) / 1000));
    left.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if (seconds > 0) wait(1000, tick);
    else wait(1500, ask);
  };
  const request = async (method) => {
    const answer = await fetch(address, { method, credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  };
  // Another tab may have been used meanwhile: only the gateway knows.
  const ask = async (method) => {
    try {
      const told = await request(method === "POST" ? "POST" : "GET");
      if (told.signed_in) learn(told.idle_s, told.absolute_s);
      else over();
    } catch {
      wait(10000, ask);
    }
  };

  dialog.querySelector("[data-stay]").addEventListener("click", () => ask("POST"));
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    if (!isLast) ask("POST");
    else dialog.close();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && ends - Date.now() < warn) ask("GET");
  });
  learn(Number(dialog.dataset.idle), Number(dialog.dataset.absolute));
})();
