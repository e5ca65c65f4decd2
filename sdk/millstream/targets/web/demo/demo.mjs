/* The page: proves the model on its golden frames, then streams what it is given. */
import { Model, listen } from "./stream.mjs";
import { ARRAYS, readTensors } from "./tensors.mjs";

const SHOWN = 24;
const KEPT_TIMES = 400;
const TIMED = 100;
const place = (id) => document.getElementById(id);
const simd = new URLSearchParams(location.search).get("simd") !== "0";
const model = await Model.fetch(import.meta.url, { simd });
const { spec } = model;
let stop = () => {};

place("name").textContent = spec.name;
document.title = spec.name;
place("about").append(about());
place("bytes").textContent = `${spec.states.reduce((sum, s) => sum + s.size * ARRAYS[s.dtype].BYTES_PER_ELEMENT, 0)} bytes`;
place("microphone").hidden = !hears();
place("golden").onclick = () => begin(replay);
place("microphone").onclick = () => begin(microphone);
place("stop").onclick = () => stop();
place("file").firstElementChild.onchange = ({ target }) => target.files[0] && begin(() => open(target.files[0]));
const golden = readTensors(new Uint8Array(await (await fetch("golden.safetensors")).arrayBuffer())).tensors;
const allowed = await (await fetch("golden.json")).json();
globalThis.millstream = { model, proof: await prove(), heard: [] };
await begin(replay);

/** Sizes of both builds, and which of them runs. */
function about() {
    const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
    const { "step.wasm": with_, "plain.wasm": without } = spec.builds;
    const text = document.createElement("span");
    const link = document.createElement("a");
    link.href = model.simd ? "?simd=0" : "?";
    link.textContent = model.simd ? "run without" : "run with";
    text.append(`Runs here ${model.simd ? "with" : "without"} SIMD: ${kilobytes(with_)} with, `);
    text.append(`${kilobytes(without)} without (`, link, "). Nothing leaves this page.");
    return text;
}

/** Whether the model takes audio: samples of one number, cut into frames. */
function hears() {
    return Boolean(spec.framing && spec.sample_rate && spec.inputs[0].shape.length === 1);
}

/** Every golden tick from the initial states: the largest difference in proportion to what is allowed. */
async function prove() {
    const stream = await model.stream();
    const frames = goldenFrames();
    const got = [];
    for (const frame of frames) {
        const result = stream.step(...frame);
        if (result !== null) {
            got.push(listed(result).map((array) => array.slice()));
        }
    }
    got.push(...stream.flush().map(listed));
    let [share, largest] = [0, 0];
    const compare = (values, wanted) => {
        const bound = allowed.absolute + allowed.relative * wanted.reduce((most, w) => Math.max(most, Math.abs(Number(w))), 0);
        values.forEach((value, at) => {
            const gap = Math.abs(Number(value) - Number(wanted[at]));
            largest = Math.max(largest, gap);
            share = Math.max(share, Number.isNaN(gap) ? Infinity : gap / bound);
        });
    };
    spec.outputs.forEach(({ name, size }, output) => {
        const wanted = golden[`output.${name}`].array.slice(spec.look_ahead * size);
        compare(got.flatMap((result) => [...result[output]]), wanted);
    });
    Object.entries(stream.states()).forEach(([name, array]) => compare([...array], golden[`state.${name}`].array));
    const passed = share <= 1;
    place("proof").className = passed ? "ok" : "failed";
    place("proof").textContent = passed
        ? `✓ ${got.length} golden frames: outputs and states are those of the bundle (largest difference ${largest.toExponential(1)})`
        : `✗ golden frames: the largest difference is ${share.toExponential(1)} times what is allowed`;
    return { passed, share, largest, ticks: got.length };
}

/** The golden frames that are real, one list of arrays each. */
function goldenFrames() {
    const [first] = spec.inputs;
    const count = golden[`input.${first.name}`].array.length / first.size - spec.look_ahead;
    return Array.from({ length: count }, (_, tick) =>
        spec.inputs.map(({ name, size }) => golden[`input.${name}`].array.slice(tick * size, (tick + 1) * size)),
    );
}

async function begin(source) {
    stop();
    place("error").textContent = "";
    try {
        await source();
    } catch (error) {
        place("error").textContent = error.message;
    }
}

/** The golden frames, at a speed that can be watched. */
async function replay() {
    await play(goldenFrames());
}

async function play(frames) {
    const stream = await model.stream();
    let [next, running] = [0, true];
    const times = [];
    stop = () => (running = false);
    const tick = () => {
        if (!running || next >= frames.length) {
            return;
        }
        const result = stream.step(...frames[next]);
        next += 1;
        if (result !== null) {
            show(listed(result)[0], stream.states(), next);
        }
        times.push(timed(frames[next - 1]));
        draw(times.slice(-KEPT_TIMES));
        requestAnimationFrame(tick);
    };
    const measured = await model.stream();
    /** Microseconds of one step, from many: the browser's clock is coarse. */
    function timed(frame) {
        const before = performance.now();
        for (let count = 0; count < TIMED; count += 1) {
            measured.step(...frame);
        }
        return (1000 * (performance.now() - before)) / TIMED;
    }
    tick();
}

async function microphone() {
    const media = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 },
    });
    const context = new AudioContext({ sampleRate: spec.sample_rate });
    await context.resume();
    const { heard } = Object.assign(globalThis.millstream, { heard: [] });
    let frames = 0;
    const node = await listen(context, model, ({ outputs, states, samples }) => {
        heard.push({ outputs, samples });
        heard.splice(0, heard.length - 2000);
        frames += outputs.length;
        if (outputs.length) {
            show(listed(outputs.at(-1))[0], states, frames);
        }
    });
    context.createMediaStreamSource(media).connect(node);
    stop = () => {
        media.getTracks().forEach((track) => track.stop());
        context.close();
    };
}

/** A sound file as the model hears it, or rows of numbers. */
async function open(file) {
    if (file.name.endsWith(".csv")) {
        const rows = (await file.text()).trim().split("\n").map((row) => row.split(",").map(Number));
        const { dtype } = spec.inputs[0];
        await play(rows.map((row) => [ARRAYS[dtype].from(dtype.endsWith("64") && dtype !== "float64" ? row.map(BigInt) : row)]));
        return;
    }
    if (!hears()) {
        throw new Error("this model takes no audio: give it a .csv, one frame a line");
    }
    const context = new OfflineAudioContext(1, 1, spec.sample_rate);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    const samples = audio.getChannelData(0);
    const { length, hop } = spec.framing;
    const count = Math.max(0, Math.floor((samples.length - length) / hop) + 1);
    await play(Array.from({ length: count }, (_, frame) => [samples.slice(frame * hop, frame * hop + length)]));
}

function listed(result) {
    return Array.isArray(result) ? result : [result];
}

/** The output as bars: probabilities where there are labels. */
function show(output, states, frame) {
    place("frames").textContent = `frame ${frame}`;
    const values = Array.from(output, Number);
    const shares = spec.labels.length ? probabilities(values) : values;
    const best = shares.indexOf(Math.max(...shares));
    const widest = spec.labels.length ? 1 : Math.max(...values.map(Math.abs), 1e-9);
    const rows = shares.slice(0, SHOWN).map((value, at) => {
        const row = document.createElement("div");
        const [name, bar, number] = ["span", "i", "b"].map((tag) => document.createElement(tag));
        row.className = at === best && spec.labels.length ? "bar best" : "bar";
        name.textContent = spec.labels[at] ?? at;
        bar.style.width = `${(100 * Math.abs(value)) / widest}%`;
        number.textContent = spec.labels.length ? `${(100 * value).toFixed(1)} %` : value.toPrecision(3);
        row.append(name, bar, number);
        return row;
    });
    place("output").replaceChildren(...rows);
    drawStates(states);
}

/** The values themselves when they are probabilities already, else their softmax. */
function probabilities(values) {
    const sum = values.reduce((a, b) => a + b, 0);
    if (Math.abs(sum - 1) < 1e-3 && values.every((value) => value >= 0)) {
        return values;
    }
    const most = Math.max(...values);
    const powers = values.map((value) => Math.exp(value - most));
    const total = powers.reduce((a, b) => a + b, 0);
    return powers.map((power) => power / total);
}

function drawStates(states) {
    const arrays = Object.values(states).filter((array) => array.length);
    const canvas = place("state");
    const row = 14;
    canvas.height = Math.max(1, arrays.length * row);
    const pen = canvas.getContext("2d");
    arrays.forEach((array, line) => {
        const values = Array.from(array, Number);
        const most = Math.max(...values.map(Math.abs), 1e-30);
        const width = canvas.width / values.length;
        values.forEach((value, at) => {
            pen.fillStyle = `hsl(${value < 0 ? 207 : 35} 75% 55% / ${Math.abs(value) / most})`;
            pen.fillRect(at * width, line * row, Math.ceil(width), row - 2);
        });
    });
}

/** Microseconds of the last steps, newest at the right. */
function draw(times) {
    const sorted = [...times].sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)];
    place("latency").textContent = `median ${median.toFixed(1)} µs`;
    const canvas = place("times");
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = style.getPropertyValue("--accent");
    const width = canvas.width / KEPT_TIMES;
    const top = Math.max(2 * median, 1e-3);
    times.forEach((time, at) => {
        const height = Math.min(1, time / top) * canvas.height;
        pen.fillRect(canvas.width - (times.length - at) * width, canvas.height - height, Math.ceil(width), height);
    });
}
