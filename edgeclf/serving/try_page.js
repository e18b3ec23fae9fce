"use strict";
const at = (id) => document.getElementById(id);
const margins = document.body.dataset.scores === "margin";
const WHY_UNKNOWN = {
  score: () => "No class is sure enough.",
  energy: ({energy}) => "Like no class that it knows: energy " + energy.toFixed(2) + ".",
  features: ({similarity}) => "Looks like no class that it knows: similarity of features " + similarity.toFixed(3) + ".",
};
let file = null, shown = 0, place = "";

function say(text, failed = false) {
  at("status").textContent = text;
  at("status").className = failed ? "failed" : "dim";
}

async function post(path, body) {
  const headers = {"Content-Type": "application/octet-stream"};
  const reply = await fetch(path, {method: "POST", body, headers}).catch(() => null);
  if (!reply) throw new Error("The service doesn't answer; is it still running?");
  if (!reply.ok) {
    const {error} = await reply.json().catch(() => ({})); // a proxy in front answers with pages
    throw new Error(error || "The service answers with status " + reply.status + ".");
  }
  return reply;
}

function bars(scores, predicted) {
  const least = Math.min(...scores.map((each) => each.probability)), most = scores[0].probability;
  at("bars").replaceChildren(...scores.map(({label, probability}) => {
    const row = document.createElement("li"), name = document.createElement("span"), value = document.createElement("span");
    const bar = document.createElement("i"), full = document.createElement("b");
    name.textContent = label;
    if (predicted) name.style.fontWeight = predicted.includes(label) ? "bold" : "normal";
    value.textContent = margins ? probability.toFixed(3) : (100 * probability).toFixed(1) + " %";
    const share = margins ? (most > least ? (probability - least) / (most - least) : 1) : probability;
    full.style.width = 100 * share + "%";
    bar.setAttribute("aria-hidden", "true");
    bar.append(full);
    row.append(name, value, bar);
    return row;
  }));
}

async function predict(chosen) {
  if (!chosen) return;
  const turn = ++shown;
  file = chosen;
  URL.revokeObjectURL(place);
  place = URL.createObjectURL(chosen);
  at("image").src = place;
  at("map").hidden = true;
  at("result").hidden = true;
  say("Predicting …");
  try {
    const start = performance.now();
    const {prediction} = await (await post("predict?top=5", chosen)).json();
    const took = performance.now() - start;
    if (turn !== shown) return;
    const unknown = prediction.unknown_by;
    const several = prediction.labels; // there where an image may have several
    at("label").textContent = unknown ? "unknown" : several ? several.join(", ") || "no label" : prediction.label;
    at("unknown").hidden = !unknown;
    at("unknown").textContent = unknown ? WHY_UNKNOWN[unknown](prediction) : "";
    bars(prediction.scores, several);
    at("latency").textContent = [took.toFixed(0) + " ms, there and back", ...prediction.notes].join("; ");
    at("why").disabled = false;
    at("result").hidden = false;
    say(chosen.name || "Pasted image");
    at("label").focus({preventScroll: true});
  } catch (error) {
    if (turn === shown) say(error.message, true);
  }
}

async function explain() {
  const turn = shown;
  at("why").disabled = true;
  say("Hiding parts of the image to see what matters: this takes seconds …");
  try {
    const start = performance.now();
    const picture = await (await post("explain", file)).blob();
    if (turn !== shown) return;
    URL.revokeObjectURL(at("overlay").src);
    at("overlay").src = URL.createObjectURL(picture);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    at("mapped").textContent = "What glows matters for the best class (" + seconds + " s)";
    at("map").hidden = false;
    say(file.name || "Pasted image");
  } catch (error) {
    if (turn === shown) say(error.message, true);
  }
  if (turn === shown) at("why").disabled = false;
}

for (const id of ["file", "photo"]) {
  at(id).addEventListener("change", (event) => {
    predict(event.target.files[0]);
    event.target.value = "";
  });
}
at("why").addEventListener("click", explain);
at("form").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => predict(event.clipboardData.files[0]));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") predict(event.dataTransfer.files[0]);
  });
}
