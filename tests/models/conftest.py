"""Small LMUFormers with every parameter and statistic random, so that no term is hidden by a default."""

import pytest
import torch

from millstream_models.lmuformer import CausalLMUFormer, LMUFormer, LMUFormerConfig

CONFIG = LMUFormerConfig(inputs=6, classes=4, width=10, order=8, theta=12.0, blocks=2, normalize_input=True)


@pytest.fixture(params=[CausalLMUFormer, LMUFormer])
def either_model(request):
    """Both kinds in float64 and evaluation mode: any difference beyond 1e-12 is a wrong formula."""
    return randomized(request.param)


@pytest.fixture
def causal_model():
    return randomized(CausalLMUFormer)


@pytest.fixture
def symmetric_model():
    return randomized(LMUFormer)


def randomized(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(CONFIG).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.weight.data.normal_(generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    model.normalize.mean.normal_(generator=generator)
    model.normalize.scale.uniform_(0.5, 2.0, generator=generator)
    return model.double()
