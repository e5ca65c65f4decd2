"""The engine's microprogram against the golden model, on a slow model of the machine."""

from dataclasses import replace

import numpy as np
import pytest
from fixed_graphs import GRAPHS, circuit_of, delta, fixed, gaussian, gru, reflection, window, zeros
from hypothesis import given
from hypothesis import strategies as st

from millstream_hw import circuit as circuits
from millstream_hw import closed_loop, golden, verilator
from millstream_hw.circuit import Circuit, Gather, Operation, Port, Product, State
from millstream_hw.engine import image as machine
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.estimate import frame_cycles
from millstream_hw.engine.files import files
from millstream_hw.engine.instruction import BITS, Instruction, encode, header
from millstream_hw.engine.nest import nest, runs


def _words(circuit, count, seed):
    (port,) = circuit.inputs
    return np.random.default_rng(seed).integers(-32768, 32768, (count, port.size)).astype(np.int16)


def _with_narrow_weights(circuit, how_many):
    """The circuit with the high halves alone as the weights of its first products."""
    left, operations = how_many, []
    for operation in circuit.operations:
        if isinstance(operation.work, Product) and left:
            left -= 1
            weight = (operation.work.weight >> 8).astype(np.int8)
            operation = replace(operation, work=replace(operation.work, weight=weight))
        operations.append(operation)
    return replace(circuit, operations=tuple(operations))


def _stream_both(circuit, image, frames):
    """Outputs and states of golden model and machine, frame after frame."""
    states, data = golden.initial(circuit), machine.reset(image)
    (port,) = circuit.inputs
    for words in frames:
        values = golden.step(circuit, {port.name: words.reshape(port.shape)}, states)
        states = golden.following(circuit, values)
        found = machine.frame(image, data, words)
        yield values, states, found, data


@pytest.mark.parametrize("lanes", [1, 3, 8])
@pytest.mark.parametrize("make", [*GRAPHS.values(), reflection], ids=[*GRAPHS, "reflection"])
def test_the_machine_gives_the_golden_bits_and_states(make, lanes):
    circuit = circuit_of(make())
    image = compile_circuit(circuit, lanes)
    for values, states, found, data in _stream_both(circuit, image, _words(circuit, 30, 2)):
        wanted = np.concatenate([values[port.name].reshape(-1) for port in circuit.outputs])
        assert np.array_equal(found, wanted)
        for name, places in image.states.items():
            assert np.array_equal(data[places], states[name].reshape(-1)), name


@pytest.mark.parametrize("lanes", [1, 3, 8])
@pytest.mark.parametrize("make", [gru, window], ids=["gru", "window"])
def test_weights_of_8_bits_and_of_16_lie_in_one_memory(make, lanes):
    """One narrow product makes the words narrow; the others' weights take two."""
    circuit = _with_narrow_weights(circuit_of(make()), 1)
    image = compile_circuit(circuit, lanes)
    assert image.weight_bits == 8
    assert image.weights.min() >= -128
    assert image.weights.max() <= 127
    assert {it.halves for it in image.program if it.lanes} == {False, True}
    for values, states, found, data in _stream_both(circuit, image, _words(circuit, 20, 2)):
        wanted = np.concatenate([values[port.name].reshape(-1) for port in circuit.outputs])
        assert np.array_equal(found, wanted)
        for name, places in image.states.items():
            assert np.array_equal(data[places], states[name].reshape(-1)), name


@pytest.mark.slow
def test_the_verilog_inverts_sums_of_every_magnitude(tmp_path):
    """Norms and an inverse, also of sums that are not positive, resets in mid-frame, ports that stall."""
    graph = fixed(delta(), gaussian(delta()))
    circuit = circuits.read(graph, zeros(delta()))
    image = compile_circuit(circuit, 3)
    made = files(image)
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    verilator.compile_simulator(str(tmp_path), sorted(name for name in made if name.endswith(".v")))
    like = closed_loop.quantized(circuit, [gaussian(delta(), 100)])
    frames = closed_loop.random_frames(4 * like.astype(np.int64), 300, 1)
    assert frames.resets.any()
    wanted = closed_loop.golden(graph, circuit, frames)
    first = verilator.simulate(str(tmp_path), frames.words, frames.resets, image.out_words)
    closed_loop.compare("the engine", wanted, first.results)
    assert first.cycles.min() == frame_cycles(image)
    stalls = verilator.Traffic(offered=40, taken=30, seed=2)
    again = verilator.simulate(str(tmp_path), frames.words, frames.resets, image.out_words, stalls)
    closed_loop.compare("the engine", wanted, again.results)


def test_a_reset_brings_the_initial_states_back():
    circuit = circuit_of(gru())
    image = compile_circuit(circuit, 4)
    frames = _words(circuit, 5, 3)
    first = [found for *_, found, _ in _stream_both(circuit, image, frames)]
    dirty = machine.reset(image)
    for words in frames[::-1]:
        machine.frame(image, dirty, words)
    # The reset program runs on the used memory, as it does in the circuit.
    restarted = machine.Image(**{**vars(image), "data": dirty})
    data = machine.reset(restarted)
    assert all(
        np.array_equal(machine.frame(image, data, words), wanted)
        for words, wanted in zip(frames, first, strict=True)
    )


@pytest.mark.parametrize("field", ["shift", "low", "n_k"])
def test_a_planted_fault_in_the_program_is_seen(field):
    circuit = circuit_of(gru())
    image = compile_circuit(circuit, 4)
    place = next(at for at in range(image.frame_start, len(image.program)) if image.program[at].lanes)
    fault = {field: getattr(image.program[place], field) - 1 if field != "low" else 0}
    program = list(image.program)
    program[place] = Instruction(**{**vars(program[place]), **fault})
    if field == "n_k":
        program[place] = Instruction(**{**vars(program[place]), "n_j": 1, "m_j": 4})
    broken = machine.Image(**{**vars(image), "program": tuple(program)})
    frames = _words(circuit, 10, 4)
    equal = [
        np.array_equal(found, np.concatenate([values[p.name].reshape(-1) for p in circuit.outputs]))
        for values, _, found, _ in _stream_both(circuit, broken, frames)
    ]
    assert not all(equal)


def test_states_that_take_each_others_places_do_so_at_once():
    """Without a copy, the second commit would read what the first has written."""
    ports = [Port(name, name, (3,), 0) for name in ("x", "a", "b")]
    states = (
        State(ports[1], "b", np.array([1, 2, 3], np.int16)),
        State(ports[2], "turned", np.array([4, 5, 6], np.int16)),
    )
    turn = Operation("turned", (3,), Gather(("a",), np.array([2, 1, 0])), None, "")
    circuit = Circuit((ports[0],), states, (turn,), (Port("turned", "y", (3,), 0),), {}, None)
    image = compile_circuit(circuit, 2)
    for _, following, _, data in _stream_both(circuit, image, np.zeros((4, 3), np.int16)):
        for name, places in image.states.items():
            assert np.array_equal(data[places], following[name])


def test_no_sum_can_leave_its_bits():
    circuit = circuit_of(gru())
    image = compile_circuit(circuit, 4)
    weights = np.abs(image.weights.astype(np.int64))
    tiles = [it for it in image.program if it.lanes]
    worst = max(int(weights[it.weight : it.weight + it.n_k * it.n_j].reshape(it.n_j, it.n_k, -1).sum(1).max())
                for it in tiles)  # fmt: skip
    assert worst * 32768 + int(np.abs(image.biases).max()) < 1 << (image.sum_bits - 1)


def test_an_instruction_keeps_every_field_in_its_place():
    filled = Instruction(
        a=3, a_j=-1, n_k=65536, m_i=1, low=-32768, high=32767, shift=63, lanes=True, last=True
    )
    word = encode(filled)
    assert word < 1 << BITS
    places = dict(line.split()[1:] for line in header().splitlines()[1:])
    assert places["FIELD_LAST"] == f"word[{BITS - 1}]"
    assert word >> (BITS - 1) == 1
    with pytest.raises(OverflowError, match="a ="):
        encode(Instruction(a=70000))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 50))
def test_a_nest_walks_the_pattern_that_it_was_found_for(n_i, n_j, by_i, by_j, base):
    i, j = np.indices((n_i, n_j))
    pattern = (base + i * by_i + j * by_j).reshape(-1)
    found = nest([pattern, np.arange(pattern.size)])
    assert found is not None or n_j > 1
    if found is not None:
        (start, a, b), _ = found.walks
        i, j = np.indices((found.n_i, found.n_j))
        assert np.array_equal((start + i * a + j * b).reshape(-1), pattern)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_runs_cover_a_pattern_with_one_stride_each(places):
    pattern = np.array(places)
    parts = list(runs(pattern))
    assert np.array_equal(np.concatenate([pattern[part] for part in parts]), pattern)
    assert all(np.unique(np.diff(pattern[part])).size <= 1 for part in parts)
