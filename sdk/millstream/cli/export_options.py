"""The options of an export, from flags and a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from millstream.budget import Budget, read_size
from millstream.budgeted import Allowance
from millstream.errors import UsageError
from millstream.quantize import Format, format_named
from millstream.quantize.states.storage import Storage
from millstream.quantize.states.storages import STORAGES, storage_of

_SECTION = "export"
#: Where the file goes and who signs it is not part of what it is; targets are stored as they resolve.
_NOT_STORED = {"output", "sign", "target", "trials"}
#: Two ways to say the same, so that a flag of the one overrides the file's other.
_LABELS = {"label", "labels"}
#: Of states that may drift.
STATE_DTYPES = tuple(storage.dtype for storage in STORAGES)


#: Bytes, given as a number or as a text such as 512K.
Size = Annotated[int, BeforeValidator(lambda given: read_size(str(given)))]

#: A part of one, given as a number or as a text such as 0.5%.
Share = Annotated[float, BeforeValidator(lambda given: _share(given)), Field(ge=0, le=1)]


def _share(given: object) -> object:
    text = str(given)
    return float(text[:-1]) / 100 if text.endswith("%") else given


class ExportOptions(BaseModel):
    """Named as the flags are; see `millstream export --help` for what each means."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        protected_namespaces=(),
    )

    model: Annotated[str, Field(min_length=1)]
    target: Annotated[tuple[str, ...], Field(min_length=1)] = ("cpu", "numba")
    output: str | None = None
    checkpoint: str = ""
    streamify: bool = False
    time_axis: int = 1
    window: Annotated[int | None, Field(ge=2)] = None
    example: str | None = None
    labelled: str | None = None
    name: Annotated[str | None, Field(min_length=1)] = None
    sample_rate: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    hop: Annotated[int | None, Field(ge=1)] = None
    label: tuple[str, ...] = ()
    labels: str | None = None
    sign: str | None = None
    flash: Size | None = None
    ram: Size | None = None
    quantize: str | None = None
    max_error: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    most_lost: Share | None = None
    states: Share | None = None
    state_dtype: Annotated[tuple[str, ...], Field(min_length=1)] = STATE_DTYPES
    trials: str | None = None
    formats: Annotated[tuple[str, ...], Field(min_length=1)] = ("w4a8", "w8a8")
    reparameterize: bool = True

    @property
    def budget(self) -> Budget | None:
        """What the device has, when the options say anything of it."""
        given = (self.flash, self.ram)
        return None if given == (None, None) else Budget(*given)

    @property
    def format(self) -> Format | None:
        """How to quantize, when the options say so. Raises UnknownFormat."""
        if self.quantize is None:
            return None
        chosen = format_named(self.quantize)
        return chosen if self.max_error is None else replace(chosen, max_error=self.max_error)

    @property
    def allowance(self) -> Allowance | None:
        """What quantization may lose, when the options say so. Raises UnknownFormat."""
        if self.most_lost is None:
            return None
        return Allowance(self.most_lost, tuple(map(format_named, self.formats)), self.trials)

    @property
    def storages(self) -> tuple[Storage, ...]:
        """What states may be kept in. Raises UsageError for a dtype that is none of them."""
        return tuple(map(storage_of, self.state_dtype))

    def stored(self) -> dict[str, Any]:
        """What the manifest keeps: the options that were set and that shape the bundle."""
        return self.model_dump(mode="json", by_alias=True, exclude=_NOT_STORED, exclude_defaults=True)


def resolve(config: str | None, flags: Mapping[str, Any]) -> ExportOptions:
    """The file's options with the flags that were given (not None, not empty) put over them.

    Raises UsageError.
    """
    given = {name.replace("_", "-"): value for name, value in flags.items() if value not in (None, [])}
    section = _section(config) if config else {}
    if given.keys() & _LABELS:
        section = {name: value for name, value in section.items() if name not in _LABELS}
    try:
        options = ExportOptions.model_validate({**section, **given})
    except ValidationError as error:
        raise UsageError("the options make no sense", where=config or "", why=_reasons(error)) from error
    if options.label and options.labels:
        raise UsageError(
            "labels are given twice",
            where=config or "",
            fix="use --label for each, or --labels for a file of them",
        )
    if options.quantize and options.most_lost is not None:
        raise UsageError(
            "a format, and a loss that formats are searched for", where=config or "", fix="give one of them"
        )
    if options.states is not None and options.quantize and format_named(options.quantize).whole:
        raise UsageError(
            f"{options.quantize} takes the states as well", where=config or "", fix="drop --states"
        )
    if "state_dtype" in options.model_fields_set and options.states is None:
        raise UsageError(
            "dtypes of states, and no drift that they may have", where=config or "", fix="add --states 2%"
        )
    if options.max_error and not options.quantize:
        raise UsageError(
            "a largest error, and nothing that is quantized", where=config or "", fix="add --quantize w8a8"
        )
    return options


def _section(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("the configuration cannot be read", where=path, why=str(error)) from error
    section = document.get(_SECTION)
    if not isinstance(section, dict):
        raise UsageError(f"no table [{_SECTION}]", where=path, fix=f"put the options under [{_SECTION}]")
    return section


def _reasons(error: ValidationError) -> str:
    """Every complaint of pydantic, as `option: what is wrong`."""
    told = {"extra_forbidden": "no such option", "missing": "is needed"}
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {told.get(one['type'], one['msg'])}" for one in error.errors()
    )
