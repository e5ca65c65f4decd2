/* A step in JavaScript: the structs of step.h as bytes, in the memory of step.wasm. Made by Millstream.
 *
 *     const step = await Step.load(bytes);                // the contents of step.wasm
 *     const frame = new Float32Array(step.input.buffer, step.input.byteOffset, 12);
 *     frame.set(...);
 *     step.take();                                        // reads `input` and `state`, writes `output`
 *
 * The views stay valid for the life of the step: its memory never moves. A module serves one stream at a time;
 * keep a copy of `state` to change streams.
 */
export class Step {
    /** A step from the bytes of step.wasm, at the beginning of a stream. */
    static async load(bytes) {
        const module = await WebAssembly.compile(bytes);
        // Most steps need nothing; some ask for functions of <math.h>, which JavaScript has as well.
        const names = WebAssembly.Module.imports(module).map(({ name }) => name);
        const env = Object.fromEntries(names.map((name) => [name, mathematics(name)]));
        return new Step((await WebAssembly.instantiate(module, { env })).exports);
    }

    constructor({ memory, __heap_base: heap, ...own }) {
        const [[bytes, table]] = Object.entries(own).filter(([, value]) => value instanceof WebAssembly.Global);
        const prefix = bytes.slice(0, -"_bytes".length);
        this.begin = own[`${prefix}_initial_state`];
        this.run = own[`${prefix}_step`];
        const [input, state, output, scratch] = new Uint32Array(memory.buffer, table.value, 4);
        const sizes = [input, state, state, output, scratch];
        const places = [];
        let end = heap.value;
        for (const size of sizes) {
            places.push(Math.ceil(end / 64) * 64);
            end = places.at(-1) + size;
        }
        memory.grow(Math.max(0, Math.ceil((end - memory.buffer.byteLength) / 65536)));
        const views = places.map((place, number) => new Uint8Array(memory.buffer, place, sizes[number]));
        [this.input, this.state, this.next, this.output, this.scratch] = views;
        this.reset();
    }

    /** Go back to the state that a stream starts from. */
    reset() {
        this.begin(this.state.byteOffset);
    }

    /** Take the frame in `input`: afterwards `output` belongs to it, and `state` is the next one. */
    take() {
        const { input, state, output, next, scratch } = this;
        this.run(...[input, state, output, next, scratch].map((view) => view.byteOffset));
        [this.state, this.next] = [next, state];
    }
}

/** What C calls otherwise, or defines otherwise: one to any power is one, and minus one to an infinite power. */
const own = {
    fmod: (x, y) => x % y,
    pow: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y),
};

/** The function of <math.h> of that name; WebAssembly rounds to float what a name on f returns. */
function mathematics(name) {
    const plain = name.replace(/f$/, "");
    return own[plain] ?? Math[plain];
}
