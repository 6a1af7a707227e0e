"""What the REST API takes and answers. The OpenAPI document is made of these."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from ml.serving.answers import MOST_ROWS

MOST_ORDERS, MOST_PRODUCTS = 200, 500
Id = (
    Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
    | Annotated[StrictStr, Field(min_length=1, max_length=200)]
)


def _day_or_time(value: Any) -> Any:
    """Return a date for text such as 2018-01-02, which pydantic would read as midnight."""
    is_day = isinstance(value, str) and len(value) == len("2018-01-02")
    return date.fromisoformat(value) if is_day else value


class NewOrder(BaseModel):
    """An order that the release does not have."""

    model_config = ConfigDict(extra="forbid")

    product_ids: list[Id] = Field(
        min_length=1, max_length=MOST_PRODUCTS, description="Products in the order of the cart."
    )
    ordered_at: Annotated[datetime | date, BeforeValidator(_day_or_time)] | None = Field(
        None,
        description="Day or time of the order. A time without a zone is one of the shop.",
        examples=["2018-01-02", "2018-01-02T17:30:00"],
    )
    days_since_prior_order: StrictInt | None = Field(
        None, ge=0, le=10_000, description="For shops whose orders have no dates."
    )
    order_dow: StrictInt | None = Field(
        None, ge=0, le=6, description="For shops whose orders have no dates: weekday, 0 for Sunday."
    )
    order_hour: StrictInt | None = Field(
        None, ge=0, le=23, description="For shops whose orders have no dates: hour of the day."
    )


class PredictRequest(BaseModel):
    """A shopper to score now: a known one, newer orders of theirs, or orders alone."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "user_id": 1,
                    "orders": [{"ordered_at": "2018-01-02", "product_ids": [1082185, 965331]}],
                    "cart": [1082185],
                }
            ]
        },
    )

    user_id: Id | None = Field(None, description="A shopper of the release.")
    orders: list[NewOrder] = Field(
        [], max_length=MOST_ORDERS, description="Newer orders, the oldest first."
    )
    as_of: date | None = Field(
        None,
        description="Day to predict for. Default: that of the release, or the day after the newest "
        "order if that is later.",
    )
    as_of_days: StrictInt | None = Field(
        None, ge=0, le=10_000, description="The same in days, for shops without dates."
    )
    cart: list[Id] = Field(
        [],
        max_length=MOST_PRODUCTS,
        description="Products in a cart that is being filled. They are left out of the answer. "
        "They change no probability: a cart is not an order.",
    )
    limit: int = Field(20, ge=1, le=MOST_ROWS, description="Most products in the answer.")


class Batch(BaseModel):
    """The scoring run that an answer is of."""

    batch_id: str = Field(description="ID of the scoring run.")
    model_version: str
    scored_at: str = Field(description="End of the scoring run, UTC.")


class Prediction(BaseModel):
    """A product that the shopper bought before."""

    product_id: int | str
    product_name: str
    reorder_probability: float = Field(
        description="Probability that the next order has the product, 0 to 1."
    )
    rank_in_user: int = Field(description="1 for the likeliest product of the shopper.")
    in_basket: bool = Field(description="Whether the predicted basket has the product.")
    reason: str | None = Field(
        description="Why the shopper may want it; null beyond the recommendations and the basket."
    )


class Predictions(Batch):
    """The likeliest products of a shopper, by rank."""

    user_id: int | str
    is_live: bool = Field(description="False: from the index of the release.")
    predictions: list[Prediction]


class NewProduct(BaseModel):
    """A product that the shopper has never bought."""

    product_id: int | str
    product_name: str
    purchase_probability: float = Field(
        description="Probability that the next order has the product, 0 to 1."
    )
    rank_in_user: int = Field(description="1 for the likeliest of these products.")


class Discoveries(Batch):
    """The likeliest products that a shopper has never bought, by rank: at most ten."""

    user_id: int | str
    discoveries: list[NewProduct]


class LivePredictions(Batch):
    """The likeliest products of a request, by rank, computed for it."""

    user_id: int | str | None
    is_live: bool = Field(description="True: computed with the model of the release.")
    as_of: date | None = Field(description="Day that was predicted for; null without dates.")
    as_of_days: int | None
    known_order_count: int = Field(description="Orders of the shopper in the release.")
    new_order_count: int = Field(description="Orders in the request.")
    unknown_product_ids: list[int | str] = Field(
        description="Products of the orders that the catalogue does not have. They do not count."
    )
    left_out_product_ids: list[int | str] = Field(
        description="Products of the cart, which the answer leaves out."
    )
    predictions: list[Prediction]


class Window(Batch):
    """Whether the shopper buys in a window of time."""

    window_start_at: str = Field(description="In the time zone of the shop.")
    window_end_at: str
    purchase_probability: float = Field(description="Probability of an order, 0 to 1.")
    rank: int = Field(description="1 for the likeliest shopper.")
    decile: int = Field(description="1 for the likeliest tenth of the shoppers.")
    is_targeted: bool = Field(description="Whether the shopper is on the list.")
    is_held_out: bool = Field(description="Whether the shopper is in the control group.")


class Propensity(BaseModel):
    """Whether a shopper buys in the next 24 hours and in the next 7 days."""

    user_id: int | str
    purchase: Window | None = Field(description="24 hours; null if there is no model.")
    purchase_week: Window | None = Field(description="7 days; null if there is no model.")


class Week(Batch):
    """Demand of a week."""

    window_start_at: str = Field(description="In the time zone of the shop.")
    window_end_at: str
    expected_units: float
    low_units: float | None = Field(
        description="Lower end of the 95% interval; null if too few weeks have closed."
    )
    high_units: float | None = Field(description="Upper end of the 95% interval, or null.")


class Demand(Batch):
    """The expected demand for a product."""

    product_id: int | str
    product_name: str
    expected_shoppers: float = Field(
        description="Shoppers whose next order is expected to have the product."
    )
    shopper_count: int = Field(description="Shoppers who bought the product before.")
    basket_count: int = Field(description="Shoppers with the product in their predicted basket.")
    week: Week | None = Field(description="Units of the week to come; null if not forecast.")


class State(BaseModel):
    """Whether the server works."""

    status: str


class Ready(Batch):
    """What the server answers from."""

    status: str


class Problem(BaseModel):
    """Why a request has no answer, and what to do (RFC 9457)."""

    type: str = Field("about:blank", description="Always about:blank: the status says the kind.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do.")
