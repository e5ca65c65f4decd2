/* A model in a browser, in Node or in an AudioWorklet: no dependency. Made by Millstream.
 *
 *     const model = await Model.fetch(new URL("kws/", import.meta.url));
 *     const stream = await model.stream();
 *     const y = stream.step(frame);               // the stream's own array, until the next step
 *     for (const y of stream.push(samples)) ...   // any chunk length; the remainder waits in the stream
 *     const tail = stream.flush();                // the look-ahead drained
 *     const blob = await stream.save(); await stream.load(blob);
 *
 * Results are one array for a model with one output, else a list of arrays in the model's order. Nothing that
 * throws changes the stream.
 */
import { Step } from "./step.mjs";
import { readSnapshot, writeSnapshot } from "./snapshot.mjs";
import { ARRAYS } from "./tensors.mjs";

/** What all streams share: the contract (model.json) and the bytes of the WebAssembly module. */
export class Model {
    /** Read a model from the folder at `base`: the build with SIMD where this engine takes it. */
    static async fetch(base, { simd = true } = {}) {
        const get = async (name) => {
            const response = await fetch(new URL(name, base));
            if (!response.ok) {
                throw new Error(`${response.url} cannot be read: ${response.status}`);
            }
            return response;
        };
        const spec = await (await get("model.json")).json();
        const bytes = simd && (await (await get("step.wasm")).arrayBuffer());
        if (bytes && WebAssembly.validate(bytes)) {
            return new Model(spec, bytes, true);
        }
        return new Model(spec, await (await get("plain.wasm")).arrayBuffer(), false);
    }

    constructor(spec, bytes, simd) {
        Object.assign(this, { spec, bytes, simd });
    }

    /** A new stream. Each has a memory of its own, weights included. */
    async stream() {
        return new Stream(this.spec, await Step.load(this.bytes));
    }
}

/** One stream: frame after frame in constant memory. */
export class Stream {
    constructor(spec, step) {
        Object.assign(this, { spec, machine: step });
        this.inputs = spec.inputs.map((tensor) => view(tensor, step.input));
        this.outputs = spec.outputs.map((tensor) => view(tensor, step.output));
        this.valid = spec.valid && view(spec.valid, step.input);
        this.reset();
    }

    /** Begin again: initial states, no frames, no remainder. */
    reset() {
        this.machine.reset();
        this.count(0, 0, false);
        this.remainder = new ARRAYS[this.spec.inputs[0].dtype](0);
    }

    /** Take one frame (one array for each input) and return the output; null while the look-ahead warms up. */
    step(...frames) {
        this.check(frames, (array, size) => array.length === size);
        return this.advance(frames);
    }

    /** Take a chunk of any length and return copies of the outputs that it completes.
     *
     * With framing these are samples, cut into frames; without, whole frames one after the other.
     */
    push(...samples) {
        const sizes = this.spec.inputs.map(({ size }) => size);
        const { framing } = this.spec;
        const unit = (size) => (framing ? size / framing.length : size);
        this.check(samples, (array, size) => array.length % unit(size) === 0);
        const chunks = framing ? [joined(this.remainder, samples[0])] : samples;
        const hops = sizes.map((size) => (framing ? framing.hop * unit(size) : size));
        const results = [];
        const places = sizes.map(() => 0);
        while (chunks.every((chunk, input) => places[input] + sizes[input] <= chunk.length)) {
            const frames = chunks.map((chunk, input) => chunk.slice(places[input], places[input] + sizes[input]));
            const result = this.advance(frames);
            places.forEach((_, input) => (places[input] += hops[input]));
            if (result !== null) {
                results.push(copied(result));
            }
        }
        if (framing) {
            this.remainder = chunks[0].slice(places[0]);
        }
        return results;
    }

    /** Declare the end: copies of the outputs that the look-ahead still holds. Only `reset` goes on from here. */
    flush() {
        const results = [];
        this.inputs.forEach((input) => input.fill(zero(input)));
        for (let drained = this.drained + 1; drained <= this.spec.look_ahead; drained += 1) {
            this.count(this.frames, drained, true);
            this.valid[0] = 0;
            this.machine.take();
            if (this.frames + drained > this.spec.look_ahead) {
                results.push(copied(this.result()));
            }
        }
        this.count(this.frames, this.spec.look_ahead, true);
        return results;
    }

    /** Every state by name, as views that hold until the next step. */
    states() {
        return Object.fromEntries(this.spec.states.map((state) => [state.name, view(state, this.machine.state)]));
    }

    /** The whole state as bytes: the snapshot of every Millstream backend. */
    async save() {
        return writeSnapshot(this.spec, this.states(), this);
    }

    /** Continue where the saved stream stood, wherever that was. */
    async load(bytes) {
        const { states, counters, remainder } = await readSnapshot(this.spec, bytes);
        Object.entries(this.states()).forEach(([name, array]) => array.set(states[name]));
        this.count(counters.frames, counters.drained, counters.ended);
        this.remainder = remainder;
    }

    count(frames, drained, ended) {
        Object.assign(this, { frames, drained, ended });
    }

    check(arrays, fits) {
        if (this.ended) {
            throw new Error("the stream was flushed to its end: call reset() to begin a new one");
        }
        if (arrays.length !== this.inputs.length) {
            throw new Error(`${arrays.length} arrays for ${this.inputs.length} inputs`);
        }
        this.spec.inputs.forEach(({ name, size, shape, dtype }, input) => {
            const array = arrays[input];
            if (!(array instanceof ARRAYS[dtype])) {
                throw new TypeError(`${name} takes ${ARRAYS[dtype].name}`);
            }
            if (!fits(array, size)) {
                throw new RangeError(`${name} takes ${size} numbers a frame, shape (${shape}); given ${array.length}`);
            }
            if (dtype.startsWith("float") && !array.every(Number.isFinite)) {
                throw new RangeError(`${name} is not finite: a NaN would stay in the state`);
            }
        });
    }

    advance(frames) {
        this.inputs.forEach((input, place) => input.set(frames[place]));
        if (this.valid) {
            this.valid[0] = 1;
        }
        this.machine.take();
        this.frames += 1;
        return this.frames > this.spec.look_ahead ? this.result() : null;
    }

    result() {
        return this.outputs.length === 1 ? this.outputs[0] : this.outputs;
    }
}

/** A node that runs the model on its audio input, in the audio thread.
 *
 * `hear` gets {outputs, states, samples} after each block that completes frames. The context should have the
 * model's sample rate: new AudioContext({ sampleRate: model.spec.sample_rate }).
 */
export async function listen(context, model, hear) {
    await context.audioWorklet.addModule(new URL("worklet.mjs", import.meta.url));
    const node = new AudioWorkletNode(context, "millstream", {
        numberOfOutputs: 0,
        processorOptions: { spec: model.spec, bytes: model.bytes },
    });
    node.port.onmessage = ({ data }) => hear(data);
    return node;
}

function view({ dtype, offset, size }, bytes) {
    return new ARRAYS[dtype](bytes.buffer, bytes.byteOffset + offset, size);
}

function zero(array) {
    return array instanceof BigInt64Array || array instanceof BigUint64Array ? 0n : 0;
}

function copied(result) {
    return Array.isArray(result) ? result.map((array) => array.slice()) : result.slice();
}

function joined(first, second) {
    const both = new first.constructor(first.length + second.length);
    both.set(first);
    both.set(second, first.length);
    return both;
}
