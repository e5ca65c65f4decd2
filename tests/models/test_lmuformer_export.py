"""The step traces under torch.export with a free batch, and the coarse operators stay whole in the trace."""

import torch


class _Step(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *arguments):
        return self.model.step(*arguments)


def _arguments(model, batch):
    generator = torch.Generator().manual_seed(batch)
    frame = torch.randn(batch, 6, generator=generator, dtype=torch.float64)
    valid = (torch.ones(batch, dtype=torch.bool),) if model.look_ahead else ()
    return (frame, model.initial_state(batch), *valid)


def _exported(model):
    arguments, batch = _arguments(model, 2), torch.export.Dim("batch")
    shapes = torch.utils._pytree.tree_map(lambda _: {0: batch}, arguments)
    return torch.export.export(_Step(model), arguments, dynamic_shapes=(shapes,))


def test_the_exported_step_runs_at_any_batch(either_model):
    exported = _exported(either_model).module()
    for batch in (1, 3, 8):
        arguments = _arguments(either_model, batch)
        y, state = exported(*arguments)
        expected_y, expected_state = either_model.step(*arguments)
        torch.testing.assert_close(y, expected_y, rtol=0, atol=1e-13)
        torch.testing.assert_close(state, expected_state, rtol=0, atol=1e-13)


def test_the_trace_holds_the_coarse_operators_whole(either_model):
    targets = [str(node.target) for node in _exported(either_model).graph.nodes]
    assert targets.count("millstream.causal_conv_ring.default") == 5
    assert targets.count("millstream.linear_memory.default") == either_model.config.blocks
    assert not any("mm" in target or "conv1d" in target for target in targets)
