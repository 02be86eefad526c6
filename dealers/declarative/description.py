"""The shape of a description: what may stand in the document, and of which size.

Here each value is looked at by itself; whether they fit one another is seen when the description
is compiled. `docs/describing-a-dealer.md` walks through it.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from dealers.contract import Fault, Outcome, Recovery
from dealers.declarative.faults import DescriptionRefused

LONGEST_DESCRIPTION = 32_000
"""Characters of the JSON text."""
LONGEST_REFERENCE = 22

_LONGEST_PATTERN = 1_000
_LONGEST_PATH = 200

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
TemplateText = str
"""What may stand in it, and how much, is seen when it is compiled."""
PatternText = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_PATTERN)]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_PATH)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
ParameterName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Seconds = Annotated[float, Field(ge=0, le=366 * 86_400, allow_inf_nan=False)]
Parameters = Annotated[dict[ParameterName, TemplateText], Field(max_length=50)]
ContentType = Annotated[
    str, StringConstraints(pattern=r"^[a-z]+/[a-zA-Z0-9.+-]+(; ?[a-z0-9=-]+)?$")
]


class Part(BaseModel):
    """Any part of a description: what it does not know is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _as_setting(value: object) -> object:
    return {"meaning": value} if isinstance(value, str) else value


def _as_words(value: object) -> object:
    return [value] if isinstance(value, str) else value


class SettingPart(Part):
    """A credential or an option; a text alone is its meaning, and it is required."""

    meaning: Line
    required: bool = True


Settings = Annotated[
    dict[Name, Annotated[SettingPart, BeforeValidator(_as_setting)]], Field(max_length=20)
]


class CapabilitiesPart(Part):
    """What the dealer can do; see `dealers.contract.Capabilities`."""

    recovery: Recovery
    max_age_seconds: Seconds | None = None
    absent_after_seconds: Seconds | None = None
    min_check_interval_seconds: Seconds = 0
    check_schedule: (
        Annotated[
            list[tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0, le=86_400)]]],
            Field(min_length=1, max_length=20),
        ]
        | None
    ) = None
    requests_per_second: Annotated[float, Field(gt=0, le=10_000)] | None = None
    price_list_interval_seconds: Seconds = 0
    balance_interval_seconds: Seconds = 0
    low_balance_codes: Annotated[list[Line], Field(max_length=20)] = []
    failures_count: bool = False
    reference_max_length: Annotated[int, Field(ge=1, le=LONGEST_REFERENCE)] = LONGEST_REFERENCE


class Recipe(Part):
    """How a text is signed."""

    algorithm: Literal[
        "md5", "sha1", "sha256", "sha512", "hmac-md5", "hmac-sha1", "hmac-sha256", "hmac-sha512"
    ]
    over: TemplateText
    key: TemplateText | None = None
    """Of the hmac algorithms."""
    output: Literal["hex", "base64", "base64url"] = "hex"
    padded: bool = True
    """Whether base64 ends with its equals signs."""
    upper: bool = False
    """Whether hex has capital letters."""


class RequestPart(Part):
    """A request. At most one of `form`, `json` and `text` is its body."""

    method: Literal["GET", "POST", "PUT"]
    path: TemplateText = ""
    """Follows the dealer's `base_url`; what is put in is quoted."""
    query: Parameters = Field(default_factory=dict)
    headers: Annotated[dict[HeaderName, TemplateText], Field(max_length=20)] = Field(
        default_factory=dict
    )
    form: Parameters | None = None
    json_body: JsonValue = Field(default=None, alias="json")
    """Its texts are templates; `{"$number": "{{ … }}"}` becomes a whole number."""
    text: TemplateText | None = None
    content_type: ContentType | None = None
    """Of `text`; where it is XML, what is put in is escaped."""
    omit_empty: bool = False
    """Whether parameters of `query` and `form` that come out empty are left out."""


class FieldPart(Part):
    """How one field is found: at a path, by a pattern, or by a pattern in what a path finds."""

    path: PathText | None = None
    """JMESPath in JSON, a parameter's name in a query or a form."""
    pattern: PatternText | None = None
    """The first group is the field, or the whole match where there is none."""
    of: Name | None = None
    """Another field, named before, in which the pattern is searched instead of the whole text."""
    once: bool = False
    """Whether the field is absent where the pattern fits more than once."""


class Shape(Part):
    """How an answer or a callback is taken apart into named fields."""

    format: Literal["text", "json", "query", "form"]
    http_status: Annotated[list[Annotated[int, Field(ge=200, le=499)]], Field(min_length=1)] = [200]
    longest: Annotated[int, Field(ge=1, le=20_000)] = 2_000
    """Characters of a text, and of any field."""
    pattern: PatternText | None = None
    """Must fit the whole text; its named groups are fields."""
    inside: ParameterName | None = None
    """The parameter of a query or form that holds JSON, in which the fields are then found."""
    one_of: PathText | None = None
    """JMESPath to a list of which the one record that names our reference is read."""
    fields: Annotated[dict[Name, FieldPart], Field(max_length=40)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, given: object) -> object:
        """A field that is a text alone is a pattern in a text, a path in anything else."""
        if not isinstance(given, dict):
            return given
        stated = cast(dict[str, Any], given)
        fields = stated.get("fields")
        if not isinstance(fields, dict):
            return stated
        way = "pattern" if stated.get("format") == "text" else "path"
        spelt = {
            name: {way: field} if isinstance(field, str) else field
            for name, field in cast(dict[str, Any], fields).items()
        }
        return {**stated, "fields": spelt}


Words = Annotated[list[Line], BeforeValidator(_as_words), Field(min_length=1, max_length=100)]
Conditions = Annotated[dict[Name, bool | Words], Field(max_length=20)]
"""A field to the words it may be, or to whether it is there."""


class Meaning(Part):
    """What it means when all conditions hold."""

    when: Conditions = Field(default_factory=dict)
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    reversal: bool = False
    not_found: bool = False
    code: Line | None = None
    """Instead of the field `code`."""
    without_reference: bool = False
    """Whether an answer that names no reference may say so."""


class ReadPart(Part):
    """How something is read: its shape, and groups of meanings, of which the first that fits."""

    shape: Name
    meanings: Annotated[list[Name], Field(min_length=1, max_length=20)]


def _as_list(value: object) -> object:
    return cast(list[object], value) if isinstance(value, list) else [value]


Reads = Annotated[list[ReadPart], BeforeValidator(_as_list), Field(min_length=1, max_length=5)]
"""In the order in which they are tried: what has another shape goes on to the next."""


class PurchasePart(Part):
    """The purchase."""

    request: RequestPart
    read: Reads


class StatusPart(Part):
    """The status check; without a request of its own it is the purchase sent again."""

    request: RequestPart | None = None
    read: Reads


class BalancePart(Part):
    """The balance: the field `balance` of the shape, where the conditions hold."""

    request: RequestPart
    shape: Name
    when: Conditions = Field(default_factory=dict)


class PricesPart(Part):
    """The price list, in JSON."""

    request: RequestPart
    http_status: Annotated[list[Annotated[int, Field(ge=200, le=299)]], Field(min_length=1)] = [200]
    items: PathText
    """JMESPath to the list."""
    sku: PathText
    name: PathText | None = None
    price: PathText
    fields: Annotated[dict[Name, PathText], Field(max_length=10)] = Field(default_factory=dict)
    available: Conditions = Field(default_factory=dict)
    """On `fields`; a line is on sale where all hold."""


class Given(Part):
    """Where a callback carries its signature."""

    header: HeaderName | None = None
    field: Name | None = None
    prefix: Annotated[str, StringConstraints(max_length=20)] = ""


class CallbackSignature(Recipe):
    """What a callback is signed with. `over` knows `body`, `fields` and `credentials`."""

    given_in: Given


class Acknowledgement(Part):
    """What the dealer expects as the answer to its callback."""

    content_type: ContentType = "text/plain"
    text: TemplateText = "OK"


class CallbackPart(Part):
    """Callbacks: only a checked signature over what decides makes one more than a hint."""

    read: Reads
    signature: CallbackSignature | None = None
    acknowledge: Acknowledgement = Acknowledgement()


class Description(Part):
    """A dealer, as data."""

    name: Line
    source: Annotated[str, StringConstraints(max_length=500)] = ""
    """Where the dealer says all this."""
    amounts: Literal["10150", "10.150,00", "10,150.00"] = "10150"
    """How amounts are written, by an example; decimals must be zeros."""
    credentials: Settings
    options: Settings = Field(default_factory=dict)
    capabilities: CapabilitiesPart
    signatures: Annotated[dict[Name, Recipe], Field(max_length=10)] = Field(default_factory=dict)
    shapes: Annotated[dict[Name, Shape], Field(min_length=1, max_length=10)]
    meanings: Annotated[
        dict[Name, Annotated[list[Meaning], Field(max_length=60)]],
        Field(min_length=1, max_length=20),
    ]
    purchase: PurchasePart
    status: StatusPart | None = None
    balance: BalancePart | None = None
    prices: PricesPart | None = None
    callback: CallbackPart | None = None


def parse(text: str) -> Description:
    """Read a description's JSON text. Raises DescriptionRefused."""
    if len(text) > LONGEST_DESCRIPTION:
        told = f"description: has {len(text)} characters; at most {LONGEST_DESCRIPTION} may be"
        raise DescriptionRefused([told])
    try:
        return Description.model_validate_json(text)
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False, include_context=False, include_input=False)
        told = dict.fromkeys(f"{_place(error['loc'])}: {error['msg']}" for error in errors)
        raise DescriptionRefused(list(told)) from None


def _place(path: tuple[int | str, ...]) -> str:
    """A place as people write it: `meanings.states[2].outcome`."""
    place = ""
    for step in path:
        if isinstance(step, int):
            place += f"[{step}]"
        elif step != "[key]" and not step.startswith(("function-", "list[", "bool")):
            place += f".{step}"
    return place.lstrip(".") or "description"
