/* Tensors as bytes: the safetensors format, as far as Millstream writes it. */

/** The array of each dtype; of a float16, its bits. */
export const ARRAYS = {
    float32: Float32Array,
    float64: Float64Array,
    float16: Uint16Array,
    int8: Int8Array,
    uint8: Uint8Array,
    int16: Int16Array,
    uint16: Uint16Array,
    int32: Int32Array,
    uint32: Uint32Array,
    int64: BigInt64Array,
    uint64: BigUint64Array,
    bool: Uint8Array,
};

/** Names of the format, in its order of writing: widest alignment first. */
const NAMES = {
    uint64: "U64",
    int64: "I64",
    float64: "F64",
    float32: "F32",
    uint32: "U32",
    int32: "I32",
    float16: "F16",
    uint16: "U16",
    int16: "I16",
    int8: "I8",
    uint8: "U8",
    bool: "BOOL",
};
const ORDER = Object.keys(NAMES);
const ALIGNMENT = 8;

/** The bytes of tensors [{name, dtype, shape, array}] and of texts by name. */
export function writeTensors(tensors, metadata) {
    const place = ({ dtype }) => ORDER.indexOf(dtype);
    const sorted = [...tensors].sort((a, b) => place(a) - place(b) || (a.name < b.name ? -1 : 1));
    const header = { __metadata__: metadata };
    let end = 0;
    for (const { name, dtype, shape, array } of sorted) {
        header[name] = { dtype: NAMES[dtype], shape, data_offsets: [end, end + array.byteLength] };
        end += array.byteLength;
    }
    const text = new TextEncoder().encode(JSON.stringify(header));
    const begin = 8 + Math.ceil(text.length / ALIGNMENT) * ALIGNMENT;
    const bytes = new Uint8Array(begin + end).fill(32, 0, begin);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(begin - 8), true);
    bytes.set(text, 8);
    for (const { name, array } of sorted) {
        bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), begin + header[name].data_offsets[0]);
    }
    return bytes;
}

/** {tensors: {name: {dtype, shape, array}}, metadata} of such bytes; throws where they are damaged. */
export function readTensors(bytes) {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    if (length > bytes.length - 8) {
        throw new Error("the tensors are cut short");
    }
    const { __metadata__: metadata = {}, ...entries } = JSON.parse(
        new TextDecoder().decode(bytes.subarray(8, 8 + length)),
    );
    const tensors = {};
    for (const [name, { dtype: short, shape, data_offsets: [begin, end] }] of Object.entries(entries)) {
        const dtype = ORDER.find((known) => NAMES[known] === short);
        const data = bytes.slice(8 + length + begin, 8 + length + end);
        const array = dtype && data.length === end - begin && new ARRAYS[dtype](data.buffer);
        if (!array || array.length !== shape.reduce((a, b) => a * b, 1)) {
            throw new Error(`the tensor ${name} is damaged`);
        }
        tensors[name] = { dtype, shape, array };
    }
    return { tensors, metadata };
}
