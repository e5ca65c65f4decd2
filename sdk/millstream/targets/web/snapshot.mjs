/* The state of a stream as bytes, in the form of every Millstream backend: see docs/bundle.md. */
import { ARRAYS, readTensors, writeTensors } from "./tensors.mjs";

// An AudioWorklet has no TextEncoder, and reads this file as well.
const START = Uint8Array.from("MSSNAP01", (letter) => letter.charCodeAt(0));
const PAYLOAD = START.length + 32;

/** The bytes of a snapshot; `crypto.subtle` asks for a page from https or localhost. */
export async function writeSnapshot(spec, states, { frames, drained, ended, remainder }) {
    const tensors = spec.states.map(({ name, shape, dtype }) => ({
        name: `state.${name}`,
        shape,
        dtype,
        array: states[name],
    }));
    if (remainder.length) {
        const [, ...sample] = spec.inputs[0].shape;
        const shape = [remainder.length / product(sample), ...sample];
        tensors.push({ name: "remainder", shape, dtype: spec.inputs[0].dtype, array: remainder });
    }
    const counters = { drained: `${drained}`, ended: `${Number(ended)}`, frames: `${frames}` };
    const payload = writeTensors(tensors, { ...counters, model: spec.identity });
    const bytes = new Uint8Array(PAYLOAD + payload.length);
    bytes.set(START);
    bytes.set(await digest(payload), START.length);
    bytes.set(payload, PAYLOAD);
    return bytes;
}

/** {states, counters, remainder}; throws for a snapshot that is damaged or of another model. */
export async function readSnapshot(spec, bytes) {
    if (!START.every((byte, place) => bytes[place] === byte)) {
        throw new Error("these bytes are no snapshot of this version");
    }
    const payload = bytes.slice(PAYLOAD);
    if (!(await digest(payload)).every((byte, place) => bytes[START.length + place] === byte)) {
        throw new Error("the snapshot is damaged or cut short: its SHA-256 differs");
    }
    const { tensors, metadata } = readTensors(payload);
    if (metadata.model !== spec.identity) {
        throw new Error(`the snapshot belongs to another model, not to ${spec.name}`);
    }
    const states = {};
    for (const { name, size, dtype } of spec.states) {
        const tensor = tensors[`state.${name}`];
        if (!tensor || tensor.dtype !== dtype || tensor.array.length !== size) {
            throw new Error("the snapshot's states are not those of the model");
        }
        states[name] = tensor.array;
    }
    const remainder = tensors.remainder?.array ?? new ARRAYS[spec.inputs[0].dtype](0);
    if (remainder.length && !(spec.framing && remainder.length < spec.inputs[0].size)) {
        throw new Error("the snapshot's remainder does not fit the model's framing");
    }
    const [frames, drained] = [Number(metadata.frames), Number(metadata.drained)];
    return { states, counters: { frames, drained, ended: metadata.ended === "1" }, remainder };
}

async function digest(bytes) {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function product(shape) {
    return shape.reduce((a, b) => a * b, 1);
}
