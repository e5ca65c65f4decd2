"""The shared core: definition, chunked form and step form of every recurrence, at odd lengths and extreme
gates.
"""

import pytest
import torch

from millstream_models.core.forms import SEQUENCE, STEP
from millstream_models.core.forms.gating import NOTHING

#: Sums of up to 50 frames in float64, each rounded a few times.
EXACT = 1e-12
B, H, K, V = 2, 3, 5, 4
LENGTHS = (1, 2, 15, 16, 17, 50)


def random(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def keys_and_values(length, seed=0, width=V):
    q, k, v = (
        random(seed, B, length, H, K),
        random(seed + 1, B, length, H, K),
        random(seed + 2, B, length, H, width),
    )
    return q, k / k.norm(dim=-1, keepdim=True), v


def ordinary(shape):
    return torch.sigmoid(random(9, *shape))


def signed(shape):
    return 2 * torch.sigmoid(random(10, *shape)) - 1


def extreme(shape):
    """Zeros, ones, minus ones and the smallest positive numbers: nothing to divide by."""
    choices = torch.tensor([0.0, 1.0, -1.0, 1e-300, 0.5], dtype=torch.float64)
    return choices[torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(3))]


GATES = (ordinary, signed, extreme)


def naive(q, k, v, decay, past, erase=None, probe=None):
    """S_t = (diag(a) + e pᵀ) S_(t-1) + k vᵀ, o = Sᵀ q, with S of (K, V), one matrix after the other."""
    outputs, states = torch.zeros(v.shape, dtype=v.dtype), past.mT.clone()
    for t in range(v.shape[1]):
        for b in range(B):
            for h in range(H):
                transition = torch.diag(decay[b, t, h].expand(K))
                if erase is not None:
                    transition = transition + torch.outer(erase[b, t, h], probe[b, t, h])
                states[b, h] = transition @ states[b, h] + torch.outer(k[b, t, h], v[b, t, h])
                outputs[b, t, h] = states[b, h].T @ q[b, t, h]
    return outputs, states.mT


def stepped(operation, operands, past):
    outputs = []
    for frame in zip(*(x.unbind(1) for x in operands), strict=True):
        y, past = operation(*frame, past)
        outputs.append(y)
    return torch.stack(outputs, 1), past


def agree(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=EXACT, atol=EXACT * (1 + float(b.abs().max())))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("width", [1, K])
@pytest.mark.parametrize("length", LENGTHS)
def test_linear_recurrence(length, width, gate):
    operands = (*keys_and_values(length), gate((B, length, H, width)))
    past = random(5, B, H, V, K)
    expected = naive(*operands, past)
    agree(SEQUENCE.recur(*operands, past), expected)
    agree(stepped(STEP.recur, operands, past), expected)


@pytest.mark.parametrize("length", [1, 17])
def test_wide_values_go_by_products_and_narrow_ones_by_a_scan(length):
    """Both ways of a chunk are the same recurrence: the values of 20 columns, and those columns one by
    one.
    """
    q, k, v = keys_and_values(length, width=20)
    decay, past = ordinary((B, length, H, K)), random(5, B, H, 20, K)
    o, state = SEQUENCE.recur(q, k, v, decay, past)
    parts = [SEQUENCE.recur(q, k, v[..., i : i + 1], decay, past[:, :, i : i + 1]) for i in range(20)]
    agree((o, state), (torch.cat([p[0] for p in parts], -1), torch.cat([p[1] for p in parts], 2)))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("width", [1, K])
@pytest.mark.parametrize("length", LENGTHS)
def test_rank_one_recurrence(length, width, gate):
    operands = (*keys_and_values(length), gate((B, length, H, width)))
    erase, probe = 0.5 * random(7, B, length, H, K), 0.5 * random(8, B, length, H, K)
    past = random(5, B, H, V, K)
    expected = naive(*operands, past, erase, probe)
    agree(SEQUENCE.rank_one(*operands, erase, probe, past), expected)
    agree(stepped(STEP.rank_one, (*operands, erase, probe), past), expected)


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0, None])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("width", [1, K])
@pytest.mark.parametrize("length", [1, 17, 50])
def test_delta_rule(length, width, gate, strength):
    """With k of length 1: erase -s k, probe a k, write s k vᵀ; a strength of 2 reflects."""
    q, k, v = keys_and_values(length)
    decay, past = gate((B, length, H, width)), random(5, B, H, V, K)
    s = (
        2 * ordinary((B, length, H, 1))
        if strength is None
        else torch.full((B, length, H, 1), strength).double()
    )
    expected = naive(q, s * k, v, decay, past, -s * k, decay * k)
    agree(SEQUENCE.delta(q, k, v, s, decay, past), expected)
    agree(stepped(STEP.delta, (q, k, v, s, decay), past), expected)


@pytest.mark.parametrize("micro", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 7, 23])
def test_delta_product(length, micro):
    q, past = keys_and_values(length)[0], random(5, B, H, V, K)
    pairs = [keys_and_values(length, seed=20 + 3 * j)[1:] for j in range(micro)]
    k, v = (torch.stack([pair[i] for pair in pairs], 2) for i in (0, 1))
    s, decay = 2 * ordinary((B, length, micro, H, 1)), ordinary((B, length, H, 1))
    operands = (q, k, v, s, decay)
    agree(SEQUENCE.delta_product(*operands, past), stepped(STEP.delta_product, operands, past))
    if micro == 1:
        agree(
            SEQUENCE.delta_product(*operands, past),
            SEQUENCE.delta(q, k[:, :, 0], v[:, :, 0], s[:, :, 0], decay, past),
        )


def test_two_reflections_are_a_rotation():
    """det +1 and a complex pair: what no single delta step and no decay can do."""
    angle = torch.tensor(0.7, dtype=torch.float64)
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)
    second = torch.stack((torch.cos(angle / 2), torch.sin(angle / 2)))
    k = torch.stack((first, second)).view(1, 2, 1, 2)
    zero, two, one = (torch.full((1, 2, 1, 1), x, dtype=torch.float64) for x in (0.0, 2.0, 1.0))
    _, state = STEP.delta_product(
        zero[:, 0].expand(1, 1, 2), k, zero, two, one[:, 0], torch.eye(2).double()[None, None, :1]
    )
    torch.testing.assert_close(
        state[0, 0, 0], torch.stack((torch.cos(angle), torch.sin(angle))), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_of_any_cut_continue_each_other(length):
    q, k, v = keys_and_values(length)
    decay, past = ordinary((B, length, H, K)), random(5, B, H, V, K)
    whole = SEQUENCE.recur(q, k, v, decay, past)
    cut = length // 2
    if not cut:
        return
    first, state = SEQUENCE.recur(q[:, :cut], k[:, :cut], v[:, :cut], decay[:, :cut], past)
    second, state = SEQUENCE.recur(q[:, cut:], k[:, cut:], v[:, cut:], decay[:, cut:], state)
    agree((torch.cat((first, second), 1), state), whole)


@pytest.mark.parametrize("gate", [ordinary, signed])
@pytest.mark.parametrize("width", [1, 3])
def test_gradients_of_the_chunked_forms(width, gate):
    length = 18
    torch.manual_seed(0)
    shapes = [(1, length, 1, 3), (1, length, 1, 3), (1, length, 1, 2)]
    q, k, v = (random(i, *shape).requires_grad_(True) for i, shape in enumerate(shapes))
    decay = gate((1, length, 1, width)).requires_grad_(True)
    erase, probe = (0.3 * random(i, *shapes[0]) for i in (7, 8))
    past = random(5, 1, 1, 2, 3).requires_grad_(True)
    torch.autograd.gradcheck(SEQUENCE.recur, (q, k, v, decay, past), fast_mode=True)
    operands = (q, k, v, decay, erase.requires_grad_(True), probe.requires_grad_(True), past)
    torch.autograd.gradcheck(SEQUENCE.rank_one, operands, fast_mode=True)


def test_a_gradient_passes_a_decay_of_zero():
    """A quotient of cumulative products would give 0 / 0 here, and a logarithm minus infinity."""
    q, k, v = keys_and_values(6)
    decay = torch.zeros(B, 6, H, K, dtype=torch.float64, requires_grad=True)
    o, _ = SEQUENCE.recur(q, k, v, decay, random(5, B, H, V, K))
    o.sum().backward()
    assert decay.grad.isfinite().all()
    assert decay.grad.abs().max() > 0


@pytest.mark.parametrize("size", [1.0, 50.0, 800.0])
@pytest.mark.parametrize("start", [0.0, NOTHING])
def test_exponential_gates_neither_overflow_nor_lose_a_frame(size, start):
    """e^800 is beyond float64: only ratios are asked for, and those are a softmax."""
    length = 33
    log_decay = torch.nn.functional.logsigmoid(size * random(1, B, length, H))
    log_write = size * random(2, B, length, H)
    past = torch.full((B, H), start, dtype=torch.float64)
    whole = SEQUENCE.stabilize(log_decay, log_write, past)
    outputs, state = [], past
    for t in range(length):
        *found, state = STEP.stabilize(log_decay[:, t], log_write[:, t], state)
        outputs.append(torch.stack(found))
    for part, expected in zip(whole[:3], torch.stack(outputs, 2), strict=True):
        # The running maximum is a difference of sums of up to size * length.
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-15 * size * length * length)
    if start == NOTHING:
        decay, write = whole[0], whole[1]
        numerator, total = torch.zeros(B, H).double(), torch.zeros(B, H).double()
        value = random(4, B, length, H)
        for t in range(length):
            numerator = decay[:, t] * numerator + write[:, t] * value[:, t]
            total = decay[:, t] * total + write[:, t]
        log_weight = log_write + log_decay.sum(1, keepdim=True) - log_decay.cumsum(1)
        expected = (torch.softmax(log_weight, 1) * value).sum(1)
        torch.testing.assert_close(numerator / total, expected, rtol=0, atol=1e-13 * size * length)


@pytest.mark.parametrize("length", LENGTHS)
def test_complex_diagonal(length):
    """Against Python's complex numbers, from a state that is not zero."""
    channels, order = 3, 4
    size, angle = torch.sigmoid(random(1, channels, order)), random(2, channels, order)
    parts = (
        size * torch.cos(angle),
        size * torch.sin(angle),
        random(3, channels, order),
        random(4, channels, order),
    )
    u = random(5, B, length, channels)
    past = (random(6, B, channels, order), random(7, B, channels, order))
    a, c = torch.complex(*parts[:2]), torch.complex(*parts[2:])
    x, outputs = torch.complex(*past), []
    for t in range(length):
        x = a * x + u[:, t, :, None]
        outputs.append((c * x).sum(-1).real)
    agree(SEQUENCE.oscillate(u, *parts, *past), (torch.stack(outputs, 1), x.real, x.imag))
    state, streamed = past, []
    for t in range(length):
        y, *state = STEP.oscillate(u[:, t], *parts, *state)
        streamed.append(y)
    agree((torch.stack(streamed, 1), *state), (torch.stack(outputs, 1), x.real, x.imag))


@pytest.mark.parametrize("length", LENGTHS)
def test_memory_windows_sums_and_the_frame_before(length):
    x = random(1, B, length, 3)
    transition, column, past = 0.4 * random(2, 4, 4), random(3, 4), random(4, B, 4)
    m, outputs = past, []
    for t in range(length):
        m = m @ transition.T + x[:, t, :1] * column
        outputs.append(m)
    agree(SEQUENCE.remember(x[..., :1], transition, column, past), (torch.stack(outputs, 1), m))
    ring = random(5, B, 2, 3)
    for name, past in (("window", ring), ("total", ring[:, 0]), ("previous", ring[:, 0])):
        state, streamed = past, []
        for t in range(length):
            y, state = getattr(STEP, name)(x[:, t], state)
            streamed.append(y)
        agree(getattr(SEQUENCE, name)(x, past), (torch.stack(streamed, 1), state))
    weight, bias = random(6, 3, 3), random(7, 3)
    state, streamed = ring, []
    for t in range(length):
        y, state = STEP.convolve(x[:, t], weight, bias, state)
        streamed.append(y)
    agree(SEQUENCE.convolve(x, weight, bias, ring), (torch.stack(streamed, 1), state))
