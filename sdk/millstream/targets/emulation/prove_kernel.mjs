/* As prove_kernel.c: takes steps of ./step.wasm for a host that watches. */
import { readFileSync, readSync, writeSync } from "node:fs";

const { Step } = await import(new URL("step.mjs", `file://${process.cwd()}/`));
const step = await Step.load(readFileSync("step.wasm"));

/** False at the end of standard input. */
function read(view) {
    let place = 0;
    while (place < view.length) {
        const got = readSync(0, view, place, view.length - place);
        if (got === 0) {
            return false;
        }
        place += got;
    }
    return true;
}

function write(view) {
    let place = 0;
    while (place < view.length) {
        place += writeSync(1, view, place, view.length - place);
    }
}

while (read(step.input) && read(step.state)) {
    for (const view of [step.output, step.next, step.scratch]) {
        view.fill(255);
    }
    step.take();
    write(step.output);
    write(step.state);
}
