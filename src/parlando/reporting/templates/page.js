"use strict";
(() => {
  const audio = new Audio();
  const addresses = new Map();
  let button = null;

  /** Turn the text of an embedded sound into an address that can be sought in. */
  function address(id) {
    if (!addresses.has(id)) {
      const text = document.getElementById(id).textContent.trim();
      const comma = text.indexOf(",");
      addresses.set(id, !text.startsWith("data:") ? text : URL.createObjectURL(new Blob(
        [Uint8Array.from(atob(text.slice(comma + 1)), (c) => c.charCodeAt(0))],
        { type: "audio/ogg" })));
    }
    return addresses.get(id);
  }

  /** Pictures of the sound that a button plays, in the same utterance. */
  function pictures(of) {
    return of.closest("li").querySelectorAll(`[data-picture="${of.dataset.sound}"] svg`);
  }

  function show() {
    if (!button) return;
    const share = audio.duration ? audio.currentTime / audio.duration : 0;
    button.style.setProperty("--progress", `${100 * share}%`);
    for (const svg of pictures(button)) {
      const head = svg.querySelector(".playhead");
      const x = share * svg.viewBox.baseVal.width;
      head.setAttribute("x1", x);
      head.setAttribute("x2", x);
    }
    if (!audio.paused) requestAnimationFrame(show);
  }

  function stop() {
    audio.pause();
    if (!button) return;
    button.setAttribute("aria-pressed", "false");
    button.style.removeProperty("--progress");
    for (const svg of pictures(button)) svg.classList.remove("playing");
    button = null;
  }

  function play(next, share) {
    if (button !== next) {
      stop();
      button = next;
      audio.src = address(next.dataset.sound);
    }
    const start = () => {
      if (share !== undefined) audio.currentTime = share * audio.duration;
    };
    if (audio.readyState) start();
    else audio.addEventListener("loadedmetadata", start, { once: true });
    button.setAttribute("aria-pressed", "true");
    for (const svg of pictures(button)) svg.classList.add("playing");
    // Another sound taken up meanwhile breaks this one off: that is no fault of the other.
    audio.play().then(show, (error) => { if (error.name !== "AbortError") stop(); });
  }

  function toggle(next) {
    if (button === next && !audio.paused) {
      audio.pause();
      next.setAttribute("aria-pressed", "false");
    } else {
      play(next);
    }
  }

  audio.addEventListener("ended", stop);
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("button.play");
    if (pressed) toggle(pressed);
    const picture = event.target.closest("[data-picture] svg");
    if (picture) {
      const holder = picture.closest("[data-picture]");
      const box = picture.getBoundingClientRect();
      const of = holder.closest("li").querySelector(`[data-sound="${holder.dataset.picture}"]`);
      if (of) play(of, (event.clientX - box.left) / box.width);
    }
  });

  const list = document.querySelector("ol.utterances");
  if (!list) return;
  const items = [...list.children];
  const facts = new Map(items.map((item) => [item, JSON.parse(item.dataset.facts)]));
  const field = (id) => document.getElementById(id);

  /** Sort by the chosen quantity, failures first, and hide what the filters leave out. */
  function arrange() {
    const key = field("sort").value;
    const title = field("sort").selectedOptions[0].dataset.title || "";
    const badness = (item) => {
      const fact = facts.get(item);
      if (!key) return -fact.place;
      if (fact.silent) return Infinity;
      return key in fact.values ? fact.values[key][0] : -Infinity;
    };
    const sorted = [...items].sort((a, b) => {
      const [x, y] = [badness(a), badness(b)];
      return x === y ? facts.get(a).place - facts.get(b).place : y - x;
    });
    const label = field("label").value;
    const wanted = field("find").value.trim().toLowerCase();
    const failed = field("failed").checked;
    let count = 0;
    for (const item of sorted) {
      const fact = facts.get(item);
      item.hidden = (label && !fact.labels.includes(label)) || (failed && !fact.failed)
        || (wanted && !fact.words.toLowerCase().includes(wanted));
      count += !item.hidden;
      const value = fact.values[key];
      const chosen = item.querySelector(".chosen");
      chosen.textContent = value ? `${title} ` : "";
      if (value) chosen.append(Object.assign(document.createElement("b"), { textContent: value[1] }));
    }
    list.append(...sorted);
    field("count").textContent = count === items.length
      ? `${count} utterances` : `${count} of ${items.length} utterances`;
  }

  for (const id of ["sort", "label", "failed"]) field(id).addEventListener("change", arrange);
  field("find").addEventListener("input", arrange);
  arrange();

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (button && ["ArrowLeft", "ArrowRight"].includes(event.key) && event.target === button) {
      audio.currentTime += event.key === "ArrowLeft" ? -1 : 1;
      event.preventDefault();
      show();
      return;
    }
    const here = document.activeElement?.closest("li.utterance");
    if (event.key === "j" || event.key === "k") {
      const visible = [...list.children].filter((item) => !item.hidden);
      const step = event.key === "j" ? 1 : -1;
      const at = here ? visible.indexOf(here) + step : 0;
      const next = visible[Math.min(Math.max(at, 0), visible.length - 1)];
      next?.focus();
      next?.scrollIntoView({ block: "nearest" });
    } else if (here && /^[1-9]$/.test(event.key)) {
      const chosen = here.querySelectorAll("button.play")[Number(event.key) - 1];
      if (chosen) toggle(chosen);
    }
  });
})();
