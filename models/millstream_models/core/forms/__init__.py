"""Time in two forms: one frame at a time, and a whole sequence."""

from millstream_models.core.forms.form import Cell, Form
from millstream_models.core.forms.sequence import SEQUENCE
from millstream_models.core.forms.step import STEP

__all__ = ["SEQUENCE", "STEP", "Cell", "Form"]
