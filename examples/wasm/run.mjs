/* Run a step over frames from standard input, as examples/c/main.c does: needs Node alone.
 *
 * Reads one input struct after the other, writes an output struct for each, and at the end the state, all as
 * bytes of the structs of step.h; ../c/golden.py makes such frames and checks what comes back:
 *
 *     millstream extract kws.mill --target wasm32 -o kws
 *     python ../c/golden.py frames kws.mill | node run.mjs kws | python ../c/golden.py check kws.mill wasm32
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2] ?? ".");
const { Step } = await import(pathToFileURL(`${folder}/step.mjs`));
const step = await Step.load(readFileSync(`${folder}/step.wasm`));

const frames = readFileSync(0);
for (let place = 0; place + step.input.length <= frames.length; place += step.input.length) {
    step.input.set(frames.subarray(place, place + step.input.length));
    step.take();
    writeFileSync(1, step.output);
}
writeFileSync(1, step.state);
