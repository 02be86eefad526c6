"""What operators send and see under `/admin/v1`."""

from schemas.admin.catalogue import PriceLines, ProductLines
from schemas.admin.dealers import DealerEdit, ForgetClusters, Mute, NewDealer
from schemas.admin.floats import AcceptBalance, DealerDeposit, LiftRise, RecordedBalance
from schemas.admin.operators import NewOperator, Resume
from schemas.admin.resellers import (
    KeyRotation,
    NewAdjustment,
    NewDeposit,
    NewKey,
    NewReseller,
    OutletLines,
    RatesEdit,
    ResellerEdit,
)
from schemas.admin.routes import NewPolicy, PricesPull, Question, Rollback
from schemas.admin.shapes import Because

OPERATORS_BODIES = (
    AcceptBalance,
    Because,
    DealerDeposit,
    DealerEdit,
    ForgetClusters,
    KeyRotation,
    LiftRise,
    Mute,
    NewAdjustment,
    NewDealer,
    NewDeposit,
    NewKey,
    NewOperator,
    NewPolicy,
    NewReseller,
    OutletLines,
    PriceLines,
    PricesPull,
    ProductLines,
    RecordedBalance,
    ResellerEdit,
    Resume,
    Question,
    RatesEdit,
    Rollback,
)
"""Everything that is sent, for the documentation."""
