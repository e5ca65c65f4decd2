/* The audio thread's half of `listen`: takes the first channel, block by block. */
import { Step } from "./step.mjs";
import { Stream } from "./stream.mjs";

class Processor extends AudioWorkletProcessor {
    constructor({ processorOptions: { spec, bytes } }) {
        super();
        this.early = [];
        Step.load(bytes).then((step) => {
            this.stream = new Stream(spec, step);
            this.early.forEach((samples) => this.take(samples));
        });
    }

    process([[channel]]) {
        if (channel && this.stream) {
            this.take(channel.slice());
        } else if (channel) {
            // The module is still being compiled: nothing that was said is lost.
            this.early.push(channel.slice());
        }
        return true;
    }

    take(samples) {
        const outputs = this.stream.push(samples);
        const states = outputs.length ? copies(this.stream.states()) : {};
        this.port.postMessage({ outputs, states, samples });
    }
}

function copies(states) {
    return Object.fromEntries(Object.entries(states).map(([name, array]) => [name, array.slice()]));
}

registerProcessor("millstream", Processor);
