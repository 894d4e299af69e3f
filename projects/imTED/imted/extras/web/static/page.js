"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const at = (id) => document.getElementById(id);
const COLOURS = ["#1f6feb", "#d1631d", "#2da44e", "#a40e6c", "#bf8700", "#8250df", "#cf222e", "#1b7c83"];

let upload = null; // what was given, as the server is sent it again
let result = null; // what /detect has answered
let chosen = null; // the detection whose attention is shown
let weights = null; // its attention: block, token, token
let token = null; // the token whose row is shown, null for the mean of all
let seed = 0; // of the hidden patches

function say(text, isError = false) {
  at("message").textContent = text;
  at("message").classList.toggle("error", isError);
}

async function ask(path, body) {
  const response = await fetch(path, { method: "POST", body });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

async function show(file) {
  if (file.size > settings.maxBytes) return say(settings.tooLarge, true);
  document.body.classList.add("busy");
  say("Looking …");
  try {
    const answer = await ask("/detect", file);
    [upload, result, chosen, weights, token, seed] = [file, answer, null, null, null, 0];
    at("image").src = answer.picture;
    at("picture").hidden = false;
    at("hint").hidden = true;
    say("");
    draw();
    drawAttention();
    reconstruct();
  } catch (error) {
    say(error instanceof TypeError ? "The server doesn't answer; is it still running?" : error.message, true);
  } finally {
    document.body.classList.remove("busy");
  }
}

const colour = (detection, index) =>
  COLOURS[(settings.colourByClass ? detection.class : index) % COLOURS.length];

function svg(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
}

function draw() {
  at("shown").textContent = Number(at("threshold").value).toFixed(2);
  if (!result) return;
  const shown = result.detections
    .map((detection, index) => ({ detection, index }))
    .filter(({ detection }) => detection.score >= Number(at("threshold").value));
  at("count").textContent = `${shown.length} of ${result.detections.length} detections`;
  at("overlay").replaceChildren();
  at("overlay").setAttribute("viewBox", `0 0 ${result.width} ${result.height}`);
  at("overlay").setAttribute("preserveAspectRatio", "none");
  at("found").replaceChildren();
  for (const { detection, index } of shown) {
    const stroke = colour(detection, index);
    const [left, top, right, bottom] = detection.box;
    if (detection.outline && at("masks").checked) svg("path", { d: detection.outline, fill: stroke }, at("overlay"));
    const box = { x: left, y: top, width: right - left, height: bottom - top, stroke };
    if (detection === chosen) box.class = "chosen";
    const rect = svg("rect", box, at("overlay"));
    svg("title", {}, rect).textContent = `${detection.name} ${detection.score.toFixed(2)}`;
    rect.addEventListener("click", (event) => { event.preventDefault(); choose(detection); });
    const button = document.createElement("button");
    button.type = "button";
    button.style.borderColor = stroke;
    button.classList.toggle("chosen", detection === chosen);
    button.append(detection.name, " ", detection.score.toFixed(2));
    button.addEventListener("click", () => choose(detection));
    at("found").appendChild(document.createElement("li")).append(button);
  }
}

async function choose(detection) {
  if (settings.noAttention) return;
  [chosen, weights, token] = [detection, null, null];
  draw();
  at("attention-hint").hidden = false;
  at("attention-hint").textContent = "Looking …";
  try {
    const answer = await ask(`/attention?box=${detection.box.join(",")}`, upload);
    if (detection !== chosen) return;
    weights = answer.weights;
  } catch (error) {
    at("attention-hint").textContent = error.message;
    return;
  }
  drawAttention();
}

function drawAttention() {
  at("attention").hidden = !weights;
  at("attention-hint").hidden = Boolean(weights);
  if (!weights) {
    at("attention-hint").textContent = settings.noAttention || "Click a detection.";
    return;
  }
  const rows = weights[Number(at("block").value)];
  const side = Math.sqrt(rows.length);
  const row = token === null
    ? rows[0].map((_, i) => rows.reduce((sum, other) => sum + other[i], 0) / rows.length)
    : rows[token];
  at("attention-what").textContent = token === null
    ? `Shown: what all ${rows.length} tokens take up on average; their mean classifies the box. Click one to see its own.`
    : `Shown: what token ${token + 1} of ${rows.length} (outlined) takes up.`;
  const canvas = at("region"), context = canvas.getContext("2d"), cell = canvas.width / side;
  const scale = at("image").naturalWidth / result.width;
  const [left, top, right, bottom] = chosen.box.map((value) => value * scale);
  context.drawImage(at("image"), left, top, right - left, bottom - top, 0, 0, canvas.width, canvas.height);
  const most = Math.max(...row);
  row.forEach((value, i) => {
    context.fillStyle = `rgba(0, 0, 0, ${0.85 * (1 - value / most)})`;
    context.fillRect((i % side) * cell, Math.floor(i / side) * cell, cell + 1, cell + 1);
  });
  if (token !== null) {
    context.strokeStyle = "#ffd33d";
    context.lineWidth = 3;
    context.strokeRect((token % side) * cell + 1.5, Math.floor(token / side) * cell + 1.5, cell - 3, cell - 3);
  }
}

async function reconstruct() {
  if (settings.noReconstruction) return;
  const of = upload;
  try {
    const answer = await ask(`/reconstruction?seed=${seed}`, of);
    if (of !== upload) return;
    for (const name of ["image", "hidden", "predicted"]) at(`mae-${name}`).src = answer[name];
    at("reconstruction").hidden = false;
    at("reconstruction-hint").hidden = true;
  } catch (error) {
    at("reconstruction-hint").hidden = false;
    at("reconstruction-hint").textContent = error.message;
  }
}

at("threshold").value = settings.threshold;
at("threshold").addEventListener("input", draw);
at("masks").addEventListener("change", draw);
at("file").addEventListener("change", () => {
  if (at("file").files.length) show(at("file").files[0]);
  at("file").value = ""; // so that the same file can be given again
});
at("drop").addEventListener("keydown", (event) => { if (event.key === "Enter") at("file").click(); });
for (const name of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name !== "drop") return;
    if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
    else say("That is no file; save the image first.", true);
  });
}
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => show(await (await fetch(`/examples/${button.dataset.example}`)).blob()));
}
for (let block = settings.blocks - 1; block >= 0; block -= 1) {
  at("block").add(new Option(`${block + 1} of ${settings.blocks}`, block));
}
at("block").addEventListener("change", drawAttention);
at("region").addEventListener("click", (event) => {
  const side = Math.sqrt(weights[0].length), bounds = at("region").getBoundingClientRect();
  const column = Math.floor(((event.clientX - bounds.left) / bounds.width) * side);
  const line = Math.floor(((event.clientY - bounds.top) / bounds.height) * side);
  token = Math.min(line, side - 1) * side + Math.min(column, side - 1);
  drawAttention();
});
at("mean").addEventListener("click", () => { token = null; drawAttention(); });
at("again").addEventListener("click", () => { seed += 1; reconstruct(); });
if (settings.noReconstruction) at("reconstruction-hint").textContent = `Not here: ${settings.noReconstruction}`;
if (settings.noAttention) at("attention-hint").textContent = `Not here: ${settings.noAttention}`;
draw();
