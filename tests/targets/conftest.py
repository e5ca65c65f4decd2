"""One bundle of each model for every target that these tests are about."""

from __future__ import annotations

import pytest
from exported_models import MODELS, exported
from kernel_programs import KERNELS, LIBRARIES

from millstream_runtime.bundle import Bundle


@pytest.fixture(scope="session", params=MODELS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(request.param, ["c", *KERNELS, *LIBRARIES], tmp_path_factory.mktemp(request.param))
