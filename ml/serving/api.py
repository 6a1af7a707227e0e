"""The REST API: look-ups in the index of the published release, and live scores."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest

from ml.errors import RestockError
from ml.serving import answers, live, naming, reference, schema
from ml.serving.index import Index
from ml.serving.middleware import Watch
from ml.serving.published import OverloadedError, Published
from ml.settings import Settings

Json = dict[str, Any]
Documented = dict[int | str, Json]
UserId = Annotated[str, Path(max_length=200, description="ID of the shopper.")]
ProductId = Annotated[str, Path(max_length=200, description="ID of the product.")]
Limit = Annotated[int, Query(ge=1, le=answers.MOST_ROWS, description="Most products.")]
_DESCRIPTION = (
    "What each shopper will buy again or for the first time, and who will buy next. "
    "Every answer is of one scoring run, and names it."
)
_PROBLEM = {"application/problem+json": {"schema": schema.Problem.model_json_schema()}}


def _problems(*statuses: int) -> Documented:
    """Return the documentation of answers with problem details."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
        for status in statuses
    }


_LOOK_UP: Json = {
    "responses": {
        304: {"description": "The answer with this ETag still holds."},
        **_problems(404, 422, 503),
    },
    # Read from the request: a declared header takes longer than the look-up.
    "openapi_extra": {
        "parameters": [
            {
                "name": "if-none-match",
                "in": "header",
                "schema": {"type": "string"},
                "description": "ETag of an earlier answer.",
            }
        ]
    },
}
"""What is documented of every look-up."""


def create(settings: Settings) -> FastAPI:
    """Return the application for the release that the settings name.

    With ``settings.api_key``, every request needs it but those for /health, /ready and the
    documentation.
    """
    published = Published(settings)
    registry = _registry(published)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        published.look()
        tasks = [
            asyncio.create_task(task) for task in (published.follow(), published.answer_waiting())
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        published.close()

    app = FastAPI(
        title="Restock",
        version=version("restock"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Watch, registry=registry)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(RestockError, _of_restock)
    data = APIRouter(
        dependencies=[Depends(_key_check(settings.api_key))] if settings.api_key else [],
        responses=_problems(401) if settings.api_key else {},
    )

    def current() -> Index:
        if published.index is None:
            raise RestockError("No release with an index is published yet. Run `restock run`.")
        return published.index

    @data.get(
        "/shoppers/{user_id:path}/basket",
        response_model=schema.Predictions,
        **_LOOK_UP,
    )
    async def basket(user_id: UserId, request: HTTPRequest, response: Response) -> Any:
        """Return the predicted basket of a shopper."""
        index = current()
        shopper = _shopper(index, user_id)
        return _unchanged(index, request, response) or answers.of_shopper(
            index, shopper, index.basket(shopper)
        )

    @data.get(
        "/shoppers/{user_id:path}/predictions",
        response_model=schema.Predictions,
        **_LOOK_UP,
    )
    async def predictions(
        user_id: UserId, request: HTTPRequest, response: Response, limit: Limit = 20
    ) -> Any:
        """Return the likeliest products of a shopper, by rank."""
        index = current()
        shopper = _shopper(index, user_id)
        return _unchanged(index, request, response) or answers.of_shopper(
            index, shopper, index.predictions(shopper, limit)
        )

    @data.get(
        "/shoppers/{user_id:path}/discoveries",
        response_model=schema.Discoveries,
        **_LOOK_UP,
    )
    async def discoveries(user_id: UserId, request: HTTPRequest, response: Response) -> Any:
        """Return the likeliest products that a shopper has never bought, by rank."""
        index = current()
        shopper = _shopper(index, user_id)
        return _unchanged(index, request, response) or answers.discoveries(index, shopper)

    @data.get(
        "/shoppers/{user_id:path}/propensity",
        response_model=schema.Propensity,
        **_LOOK_UP,
    )
    async def propensity(user_id: UserId, request: HTTPRequest, response: Response) -> Any:
        """Return the chance that a shopper buys in the next 24 hours, and in the next 7 days."""
        index = current()
        shopper = _shopper(index, user_id)
        return _unchanged(index, request, response) or answers.propensity(index, shopper)

    @data.get(
        "/products/{product_id:path}/demand",
        response_model=schema.Demand,
        **_LOOK_UP,
    )
    async def demand(product_id: ProductId, request: HTTPRequest, response: Response) -> Any:
        """Return how many shoppers are expected to buy a product next, and the week's demand."""
        index = current()
        product = index.product(product_id)
        if product is None:
            raise HTTPException(
                404, f"The catalogue has no product {product_id}. Check the ID in dim_products."
            )
        return _unchanged(index, request, response) or answers.demand(index, product)

    @data.post(
        "/predict",
        response_model=schema.LivePredictions,
        responses=_problems(400, 404, 408, 413, 422, 503),
    )
    async def predict(body: schema.PredictRequest) -> Any:
        """Score a shopper now, with newer orders or with orders alone, and say why."""
        index = current()
        request, unknown = naming.request(index, _request(body, settings.reading.timezone))
        scored = await published.score(index, request)
        return {
            **answers.batch(index),
            "user_id": body.user_id,
            "is_live": True,
            "as_of": scored.day[0],
            "as_of_days": scored.day[1],
            "known_order_count": scored.known_order_count,
            "new_order_count": len(request.orders),
            "unknown_product_ids": unknown,
            "left_out_product_ids": body.cart,
            "predictions": naming.rows(index, scored, without=body.cart, limit=body.limit),
        }

    @data.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Return the metrics of this server, in the format of Prometheus."""
        return PlainTextResponse(generate_latest(registry))

    @app.get("/health", response_model=schema.State)
    async def health() -> Json:
        """Say that the process answers."""
        return {"status": "ok"}

    @app.get("/ready", response_model=schema.Ready, responses=_problems(503))
    async def ready() -> Json:
        """Name the batch that answers are of; 503 if nothing is published yet."""
        return {"status": "ready", **answers.batch(current())}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference.page(app.openapi()))

    app.include_router(data)
    return app


def _registry(published: Published) -> CollectorRegistry:
    """Return a registry with the metrics of the process and of the release."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    age = Gauge("restock_batch_age_seconds", "Age of the published scores.", registry=registry)
    age.set_function(lambda: _age_seconds(published.index))
    swaps = Gauge("restock_index_swaps", "Times that another index was opened.", registry=registry)
    swaps.set_function(lambda: published.swaps)
    return registry


def _age_seconds(index: Index | None) -> float:
    if index is None:
        return float("nan")
    scored_at = datetime.fromisoformat(answers.batch(index)["scored_at"])
    return (datetime.now(UTC) - scored_at).total_seconds()


def _key_check(key: str) -> Callable[..., None]:
    """Return a dependency that requires a key."""
    bearer = HTTPBearer(auto_error=False, description="The value of RESTOCK_API_KEY.")

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        # In constant time, so that the time tells nothing about the key.
        if not given or not hmac.compare_digest(given.credentials.encode(), key.encode()):
            raise HTTPException(
                401,
                "Send the key of the server: Authorization: Bearer KEY (RESTOCK_API_KEY).",
                {"www-authenticate": "Bearer"},
            )

    return check


def _shopper(index: Index, user_id: str) -> int:
    shopper = index.shopper(user_id)
    if shopper is None:
        raise HTTPException(
            404,
            f"The release has no scores of shopper {user_id}. Check the ID, or send their orders "
            "to POST /predict.",
        )
    return shopper


def _unchanged(index: Index, request: HTTPRequest, response: Response) -> Response | None:
    """Return the answer 304 if a client has the batches of an index; set the headers otherwise."""
    headers = {"etag": f'"{answers.batches(index)}"', "cache-control": "private, no-cache"}
    known = [
        tag.strip().removeprefix("W/")
        for tag in request.headers.get("if-none-match", "").split(",")
    ]
    if headers["etag"] in known or "*" in known:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return None


def _request(body: schema.PredictRequest, timezone: str) -> live.Request:
    """Return the request of a body.

    Raises:
        RequestError: an order has no plausible time.
    """
    orders = [
        live.Order(
            product_ids=order.product_ids,
            ordered_at=_local(order.ordered_at, timezone),
            is_timed=isinstance(order.ordered_at, datetime),
            order_dow=order.order_dow,
            order_hour=order.order_hour,
            days_since_prior_order=order.days_since_prior_order,
        )
        for order in body.orders
    ]
    return live.Request(body.user_id, orders, (body.as_of, body.as_of_days))


def _local(at: datetime | date | None, timezone: str) -> datetime | None:
    """Return a time in the time zone of the shop, as the intake has it.

    Raises:
        RequestError: the year is not plausible.
    """
    if at and not 1900 <= at.year <= 2999:
        raise live.RequestError(f"an order of {at.isoformat()}: use a day from 1900 to 2999.")
    if isinstance(at, datetime) and at.tzinfo:
        return at.astimezone(ZoneInfo(timezone or "UTC")).replace(tzinfo=None)
    return at if at is None or isinstance(at, datetime) else datetime(at.year, at.month, at.day)


def _problem(status: int, detail: str, headers: Any = None) -> JSONResponse:
    phrase = HTTPStatus(status).phrase
    body = schema.Problem(type="about:blank", title=phrase, status=status, detail=detail)
    return JSONResponse(
        body.model_dump(), status, headers=headers, media_type="application/problem+json"
    )


async def _of_http(request: HTTPRequest, error: Any) -> Response:
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:  # of the framework, which says no more
        detail = f"{detail}: {request.method} {request.url.path}. See /docs for what there is."
    return _problem(error.status_code, detail, error.headers)


async def _of_validation(request: HTTPRequest, error: Any) -> Response:
    # Without the input, which may be large, or no text that can be sent.
    found = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    ]
    more = f", and {len(found) - 5} more" if len(found) > 5 else ""
    return _problem(422, f"{'; '.join(found[:5])}{more}. See /docs.")


async def _of_restock(request: HTTPRequest, error: Any) -> Response:
    if isinstance(error, live.UnknownShopperError):
        return _problem(404, str(error))
    if isinstance(error, live.RequestError):
        return _problem(422, str(error))
    wait = "1" if isinstance(error, OverloadedError) else "5"
    return _problem(503, str(error), {"retry-after": wait})
