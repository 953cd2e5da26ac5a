// The three ways to rate. Each knows its scores, draws itself and reads keys:
// {question, notes, names(count), keys, start(count), step(scores, row, by), digit(scores, row, d),
//  draw(scores, rate, rows) -> element}. A score of null is not given yet.

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function scaleOf(values, describe, scores, rate, kind) {
  const buttons = values.map((value) => {
    const button = make("button", {
      type: "button",
      role: "radio",
      "aria-checked": String(scores[0] === value),
      class: Number.isInteger(value) ? "" : "half",
    }, describe(value));
    button.addEventListener("click", () => rate(0, value));
    return button;
  });
  return make("div", { class: `scale ${kind}`, role: "radiogroup", "aria-label": "Rating" }, buttons);
}

const VERDICTS = [
  "A is much better", "A is better", "A is slightly better", "About the same",
  "B is slightly better", "B is better", "B is much better",
];

const cmos = {
  question: "Which one sounds more natural?",
  notes: [
    "You hear the same words twice, A and B. Say which sounds more like a person speaking, and by how much.",
    "The voices may differ. Judge how natural they sound, not whether you like them.",
    "If you hear no difference, say so: some pairs have none.",
  ],
  names: () => ["A", "B"],
  keys: [["1 – 7", "rate"], ["← →", "move the rating"], ["↑ ↓", "choose a sound"]],
  start: () => [null],
  step: (scores, row, by) => [0, scores[0] === null ? clamp(by, -1, 1) : clamp(scores[0] + by, -3, 3)],
  digit: (scores, row, digit) => (digit >= 1 && digit <= 7 ? [0, digit - 4] : null),
  draw: (scores, rate) =>
    scaleOf([-3, -2, -1, 0, 1, 2, 3], (value) => [
      make("b", {}, String(value + 4)), VERDICTS[value + 3],
    ], scores, rate, ""),
};

const LIKENESS = [
  "certainly different people", "probably different people", "could be the same person",
  "probably the same person", "certainly the same person",
];

const smos = {
  question: "Is this the same voice?",
  notes: [
    "You hear a voice, then a recording. Say how likely it is that the same person speaks in both.",
    "Judge the voice and the way of speaking, not the words and not the quality of the sound.",
    "Some recordings end in a few beeps. Then count the beeps and give their number as the rating.",
  ],
  names: () => ["Voice", "Recording"],
  keys: [["1 – 5", "rate"], ["← →", "half a point less or more"], ["↑ ↓", "choose a sound"]],
  start: () => [null],
  step: (scores, row, by) => [0, scores[0] === null ? 3 : clamp(scores[0] + Math.sign(by) / 2, 1, 5)],
  digit: (scores, row, digit) => (digit >= 1 && digit <= 5 ? [0, digit] : null),
  draw: (scores, rate) =>
    scaleOf([1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5], (value) => [
      make("b", {}, String(value)), LIKENESS[value - 1] ?? "",
    ], scores, rate, "halves"),
};

const BANDS = ["bad", "poor", "fair", "good", "excellent"];

const mushra = {
  question: "How close is each sound to the reference?",
  notes: [
    "You hear a reference and several sounds. Rate each from 0 (bad) to 100 (no different from the reference).",
    "One of the sounds is the reference itself: find it and give it a high rating.",
    "Listen as often as you like, and compare.",
  ],
  names: (count) => Array.from({ length: count }, (_, place) => `Sound ${place + 1}`),
  keys: [["1 – 9, 0", "rate 10 – 90, 100"], ["← →", "one less or more (Shift: ten)"], ["↑ ↓", "choose a sound"]],
  start: (count) => Array(count).fill(null),
  step: (scores, row, by) => [row, clamp((scores[row] ?? 50) + by, 0, 100)],
  digit: (scores, row, digit) => [row, digit === 0 ? 100 : 10 * digit],
  draw: (scores, rate, rows) =>
    make("div", { class: "rows" }, [
      make("div", { class: "row" }, [
        make("span"), make("div", { class: "bands" }, BANDS.map((band) => make("span", {}, band))), make("span"),
      ]),
      ...scores.map((score, place) => {
        const slider = make("input", {
          type: "range", min: 0, max: 100, step: 1, value: score ?? 50,
          "aria-label": `Rating of sound ${place + 1}`,
        });
        // A click on the middle changes nothing and is a rating all the same.
        slider.addEventListener("input", () => rate(place, Number(slider.value)));
        slider.addEventListener("click", () => rate(place, Number(slider.value)));
        slider.addEventListener("focus", () => rows[place].dispatchEvent(new Event("choose")));
        return make("div", { class: score === null ? "row unset" : "row" }, [
          rows[place], slider, make("output", {}, score === null ? "–" : String(score)),
        ]);
      }),
    ]),
};

const KINDS = { cmos, smos, mushra };
