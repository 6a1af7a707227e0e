"""Simulated order histories of Instacart's shape, with the true probability of every purchase.

`simulate` writes the six csv files of the Instacart data, same names, columns and formats, and
``true_probabilities.parquet`` (parquet, since it is the longest table and a csv would round it):
`user_id, product_id, probability, bought` for every product that the shopper bought before. That
is the chance that it is in the shopper's next order, and what the process then did. The next order
is the open one (`eval_set` test), and for other shoppers the one after their last; as nobody knows
when that comes, its probability is the mean over its context.

**The process.** Order k of a shopper brings ``basket * k ** -familiarity`` new products on average,
popular ones first. Each pair born so is a renewal process in orders: the gap G from one purchase to
the next has a log-logistic survival function, defective because some pairs never return:

    S(g) = P(G > g) = 1 - r + r / (1 + (g / period) ** rhythm)

The chance of return r comes from product, aisle, popularity, shopper and the pair itself. A trip
that is early for its shopper is a small one: what is due then gets bought with probability
attention = min(1, 0.5 + q), q being the quantile of the trip's gap in days among the shopper's own.
So given the past, in which the pair was last bought in order l,

    P(bought in order k) = attention(k) * (1 - S(k - l) / S(k - l - 1))

exactly: gaps are drawn by inverting S, and passed over by thinning (Lewis and Shedler 1979,
Simulation of nonhomogeneous Poisson processes by thinning, Naval Research Logistics 26).

**Determinism.** A draw is no state but a hash of the seed, of what is drawn and for whom. The same
seed, size and DuckDB version give the same bytes, whatever the number of threads.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import duckdb

from ml.errors import SettingsError, StorageError

FULL_CATALOGUE = 49_688
MIN_CATALOGUE, MAX_CATALOGUE = 1_000, 50_000
BLOCK_SHOPPERS = 20_000

# Department: its aisles. A product is named after its aisle, a brand and a style.
DEPARTMENTS = """
bakery: bread, rolls, bagels, muffins, cakes, croissants
produce: apples, berries, citrus fruit, salad greens, tomatoes, root vegetables, mushrooms, herbs
dairy: milk, yogurt, butter, cream, hard cheese, soft cheese, eggs
meat: chicken, beef, pork, lamb, sausages, bacon
fish: salmon, white fish, shellfish, smoked fish
deli: ham, salami, olives, hummus, potato salad, ready meals
frozen: ice cream, pizza, frozen vegetables, frozen fruit, fries, dumplings, sorbet
breakfast: cereal, granola, oatmeal, pancake mix, jam, honey
pasta and grains: spaghetti, noodles, rice, quinoa, couscous, lentils
cans and jars: beans, corn, tuna, soup, pickles, tomato sauce, applesauce
pantry: flour, sugar, salt, spices, vinegar, olive oil, baking powder, yeast
world food: salsa, tortillas, curry paste, soy sauce, coconut milk, tahini
snacks: chips, crackers, popcorn, pretzels, nuts, dried fruit, cereal bars
sweets: chocolate, gummies, mints, caramels, cookies
drinks: coffee, tea, juice, soda, sparkling water, still water, lemonade, cocoa
alcohol: lager, ale, red wine, white wine, cider
babies: diapers, baby wipes, baby food, formula, baby lotion
personal care: shampoo, soap, toothpaste, deodorant, razors, skin cream, vitamins, sun cream
household: paper towels, toilet paper, dish soap, laundry powder, bin bags, sponges, candles
pets: dog food, cat food, dog treats, cat litter, bird seed
plant based: tofu, oat milk, vegan burgers, tempeh, vegan cheese, soy yogurt, seitan
"""
BRANDS = """
Alder Hill, Blue Heron, Cedar Lane, Daybreak, Elm Street, Fern Valley, Golden Acre, Harbour,
Ivy House, Juniper, Kite & Co, Larkspur, Maple Row, North Quay, Orchard Gate, Pine Ridge,
Quiet Mill, Red Barn, Stonebridge, Thistle
"""
STYLES = """
Classic, Organic, Family Size, Light, Original, Small Batch, Extra, Unsweetened, Farmhouse,
Everyday, Gourmet, Mild, Bold, Low Salt, Traditional, Seasonal, Premium, Simple, Fine, Wild
"""
# Of a thousand orders, how many come in each hour; of a thousand shoppers, how many have each
# weekday for their usual one.
HOURS = [6, 3, 2, 1, 2, 2, 9, 25, 52, 81, 91, 83, 80, 79, 85, 84, 78, 67, 51, 42, 30, 21, 16, 10]
WEEKDAYS = [240, 248, 129, 92, 86, 121, 84]

MACROS = """
    -- In [0, 1). Hashed twice, because the last argument of DuckDB's hash is hardly mixed: draws
    -- for one pair in successive orders have a correlation of 0.998 under a single hash.
    create macro uniform(purpose, a, b := 0, c := 0) as (
        hash(hash(getvariable('seed'), purpose, a::bigint, b::bigint, c::bigint)) >> 11
    ) / 9007199254740992.0;
    -- a symmetric bell around 0 with variance pi^2 / 3
    create macro logistic(u) as ln((u + 1e-16) / (1 - u));
    -- Maps 0 .. total - 1 one to one onto 1 .. total, neighbours far apart; the factor is prime.
    create macro scatter(i, total) as (i * 2654435761 % total + 1)::integer;
    create macro pick(list, u) as list[1 + floor(u * len(list))::integer];

    create macro gap_quantile(user_id, order_number) as uniform('gap', user_id, order_number);
    create macro attention(user_id, order_number) as
        least(1, 0.5 + gap_quantile(user_id, order_number));
    create macro mean_attention() as 0.875;

    create macro survival(gap, return_chance, period, rhythm) as
        1 - return_chance + return_chance / (1 + (gap / period) ** rhythm);
    create macro gap_at(level, return_chance, period, rhythm) as
        case when level > 1 - return_chance
            then period * (return_chance / (level - 1 + return_chance) - 1) ** (1 / rhythm)
            else 'infinity'::double
        end;
"""

PRODUCTS = """
    select
        range as product_id,
        $brands[1 + nth % 20] || ' ' || $aisles[aisle_id] || ', '
            || $styles[1 + (nth + nth // 20) % 20] as product_name,
        aisle_id,
        $departments[aisle_id] as department_id
    from (
        select *, (range - 1) % 134 + 1 as aisle_id, (range - 1) // 134 as nth
        from range(1, getvariable('products') + 1)
    )
    order by product_id
"""

# 4 orders at least and a long (Lomax) tail, cut at 100 as in the real data. The more orders in the
# year, the shorter the gaps. closed_count is the number of orders whose products are known.
SHOPPERS = """
    create table shoppers as
    with drawn as (
        select
            range::integer as user_id,
            least(100, 4 + floor(20 * ((1 - uniform('orders', range)) ** (-1 / 2.4) - 1)))::integer
                as order_count,
            uniform('open', range) < 0.65 as is_open,
            12.1 * (-ln(1 - uniform('basket', range))) ** 0.6 as basket,
            uniform('loyalty', range) as loyalty,
            pick($weekdays, uniform('weekday', range)) as usual_weekday,
            exp(0.2 * logistic(uniform('pace', range))) as pace
        from range(1, $shoppers + 1)
    )

    select
        *,
        order_count - is_open::integer as closed_count,
        closed_count + 1 as next_order,
        380 / (order_count + 10) * pace as mean_gap_days,
        sum(order_count) over (order by user_id) - order_count as orders_before,
        sum(order_count) over () as orders_total
    from drawn
"""

# Gaps are Rayleigh, in days not yet capped, so that weekdays agree with gaps under 30 as they do in
# the real file. Some trips move to the shopper's usual weekday: hence the peaks at 7, 14, 21.
ORDERS = """
    with planned as (
        select
            *,
            floor(sum(
                case when order_number = 1
                    then 7 + 7 * uniform('start', user_id)
                    else mean_gap_days * sqrt(-ln(1 - gap_quantile(user_id, order_number))) / 0.886
                end
            ) over so_far)::integer as planned_day
        from (select *, unnest(range(1, order_count + 1)) as order_number from shoppers)
        window so_far as (partition by user_id order by order_number)
    ),

    placed as (
        select
            *,
            max(
                case when uniform('habit', user_id, order_number) < 0.3
                    then planned_day + 3 - (planned_day + 3 - usual_weekday) % 7
                    else planned_day
                end
            ) over (partition by user_id order by order_number) as placed_day
        from planned
    )

    select
        scatter(orders_before + order_number - 1, orders_total) as order_id,
        user_id,
        case
            when order_number < order_count then 'prior' when is_open then 'test' else 'train'
        end as eval_set,
        order_number,
        placed_day % 7 as order_dow,
        pick($hours, uniform('hour', user_id, order_number)) as order_hour_of_day,
        case when order_number > 1
            then least(30.0, placed_day - lag(placed_day) over (
                partition by user_id order by order_number
            ))
        end as days_since_prior_order
    from placed
    order by user_id, order_number
"""

# What a shopper finds for the first time, and in which order. The share of the product of rank i is
# log-uniform, about 1 / (i + 10).
DISCOVERIES = """
    with slots as (
        select
            user_id,
            order_number,
            basket * order_number ** -(0.15 + 0.65 * loyalty)
                * attention(user_id, order_number) / mean_attention() as expected,
            unnest(range(floor(
                2 * expected * uniform('novelty', user_id, order_number)
                + uniform('rounding', user_id, order_number)
            )::integer)) as slot
        from (select *, unnest(range(1, closed_count + 1)) as order_number from block)
    ),

    drawn as (
        select
            *,
            floor(
                10 * (getvariable('products') / 10 + 1)
                ** uniform('discovery', user_id, order_number, slot) - 10
            )::integer as popularity_rank
        from slots
    )

    select user_id, popularity_rank, min(order_number) as order_number
    from drawn
    group by user_id, popularity_rank
"""

# An order that got nothing takes something, popular or not, that its shopper never had. Two orders
# of one shopper may want the same: the later one has to try again.
FALLBACKS = """
    with empty_orders as (
        select user_id, order_number
        from (select user_id, unnest(range(1, closed_count + 1)) as order_number from block)
        anti join purchases using (user_id, order_number)
    ),

    tried as (
        select
            *,
            floor(getvariable('products') * uniform('fallback', user_id, order_number, range))
                ::integer as popularity_rank
        from empty_orders, range(20)
    ),

    chosen as (
        select user_id, order_number, min_by(popularity_rank, range) as popularity_rank
        from tried anti join pairs using (user_id, popularity_rank)
        group by user_id, order_number
    )

    select user_id, popularity_rank, min(order_number) as order_number
    from chosen
    group by user_id, popularity_rank
"""

# How a pair will go on after its first purchase.
PAIRS = """
    insert into pairs
    with discoveries as ({discoveries})

    select
        user_id,
        scatter(popularity_rank, getvariable('products')) as product_id,
        popularity_rank,
        {wave} as wave,
        order_number,
        next_order,
        1 / (1 + exp(
            -3.2
            - 3.5 * (loyalty - 0.5)
            + 0.3 * ln(popularity_rank + 1)
            + 0.5 * logistic(uniform('aisle', (product_id - 1) % 134))
            + 0.5 * logistic(uniform('product', product_id))
            + 2.0 * logistic(uniform('pair', user_id, product_id))
        )) as return_chance,
        2.5 * exp(0.75 * logistic(uniform('period', user_id, product_id))) as period,
        1 + 2 * uniform('rhythm', user_id, product_id) as rhythm
    from discoveries join block using (user_id)
"""

# Each round takes every pair to the next order in which it is due, and buys it there or passes over
# it. A pair that was passed over is due again after a gap that is longer than the one so far.
PURCHASES = """
    insert into purchases
    with recursive visits as (
        select
            user_id, product_id, order_number, order_number as last_bought, true as is_bought,
            false as is_repeat, next_order, return_chance, period, rhythm
        from pairs
        where wave = $wave
        union all
        select
            user_id, product_id, due_order::integer,
            case when is_attended then due_order else last_bought end::integer, is_attended,
            true, next_order, return_chance, period, rhythm
        from (
            select
                *,
                survival(order_number - last_bought, return_chance, period, rhythm)
                    * uniform('due', user_id, product_id, order_number) as level,
                last_bought + ceil(gap_at(level, return_chance, period, rhythm)) as inverse,
                -- later than this order even where rounding says otherwise
                greatest(order_number + 1, inverse) as due_order,
                uniform('attend', user_id, product_id, due_order)
                    < attention(user_id, due_order) as is_attended
            from visits
        )
        where due_order <= next_order
    )

    select user_id, product_id, order_number, is_repeat, order_number = next_order as is_next
    from visits
    where is_bought
"""

LINES = """
    insert into lines
    with carts as (
        select
            scatter(orders_before + order_number - 1, orders_total) as order_id,
            product_id,
            is_repeat,
            order_number = order_count as is_train,
            -- what is bought again tends to come first
            (uniform('cart', user_id, product_id, order_number)
                + case when is_repeat then 0 else 0.15 end)::real as cart_key
        from purchases join block using (user_id)
        where not is_next
    )

    select
        order_id,
        row_number() over (partition by order_id order by cart_key, product_id)
            as add_to_cart_order,
        product_id,
        is_repeat,
        is_train
    from carts
"""

TRUTH = """
    insert into truth
    with seen as (
        select
            user_id, product_id, bool_or(is_next) as bought,
            max(order_number) filter (where not is_next) as last_bought
        from purchases
        group by user_id, product_id
    )

    select
        user_id,
        product_id,
        case when is_open then attention(user_id, next_order) else mean_attention() end * (
            1 - survival(next_order - last_bought, return_chance, period, rhythm)
            / survival(next_order - last_bought - 1, return_chance, period, rhythm)
        ) as probability,
        bought
    from seen join pairs using (user_id, product_id) join block using (user_id, next_order)
"""

TABLES = """
    create table lines (
        order_id integer, add_to_cart_order smallint, product_id integer, reordered boolean,
        is_train boolean
    );
    create table truth (
        user_id integer, product_id integer, probability double, bought boolean
    );
"""
BLOCK = """
    create or replace temp table block as
    from shoppers where user_id between {first} and {first} + {size} - 1;
    create or replace temp table pairs (
        user_id integer, product_id integer, popularity_rank integer, wave integer,
        order_number integer, next_order integer, return_chance double, period double,
        rhythm double
    );
    create or replace temp table purchases (
        user_id integer, product_id integer, order_number integer, is_repeat boolean,
        is_next boolean
    );
"""


@dataclass(frozen=True)
class Simulation:
    """What `simulate` wrote: its folder, the rows of each file by name, and the seconds it took."""

    folder: Path
    rows: dict[str, int]
    seconds: float


def simulate(
    out_dir: Path,
    shoppers: int,
    seed: int = 0,
    products: int | None = None,
    *,
    threads: int | None = None,
    memory_limit: str = "3GB",
    progress: Callable[[int], object] = lambda shoppers_done: None,
) -> Simulation:
    """Write a simulated data set of Instacart's shape, and its truth, into a new folder.

    The folder appears complete or not at all.

    Args:
        out_dir: where to, a folder that is empty or does not exist.
        shoppers: how many of them; Instacart has 206,209.
        seed: another seed gives other shoppers and other orders.
        products: size of the catalogue. By default ten per shopper and a thousand more, so that
            few shoppers still share products, up to Instacart's 49,688.
        threads: how many DuckDB may use, by default one per core.
        memory_limit: how much DuckDB may use, as it writes it: "3GB".
        progress: is called with the number of shoppers done so far, block by block.

    Raises:
        SettingsError: if the folder has something in it, or a size is out of range.
        StorageError: if the disk is full or the folder cannot be written.
    """
    started = time.perf_counter()
    if products is None:
        products = min(FULL_CATALOGUE, 1_000 + 10 * shoppers)
    if shoppers < 1:
        raise SettingsError(f"{shoppers} shoppers cannot be simulated. Ask for at least 1.")
    if not MIN_CATALOGUE <= products <= MAX_CATALOGUE:
        raise SettingsError(
            f"A catalogue of {products} products cannot be simulated. "
            f"Ask for {MIN_CATALOGUE} to {MAX_CATALOGUE}."
        )
    out_dir = out_dir.resolve()
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise SettingsError(f"{out_dir} is not an empty folder. Name a new one, or empty it first.")
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
            files = Path(scratch, "files")
            files.mkdir()
            config: dict[str, str | int] = {"memory_limit": memory_limit}
            if threads:
                config["threads"] = threads
            with duckdb.connect(str(Path(scratch, "work.duckdb")), config=config) as con:
                con.execute(f"set variable seed = {seed}; set variable products = {products}")
                rows = _write(con, files, shoppers, progress)
            files.replace(out_dir)
    except (OSError, duckdb.IOException) as error:
        raise StorageError(
            f"{out_dir} cannot be written: {error}. Free some space or name another folder."
        ) from error
    return Simulation(out_dir, rows, time.perf_counter() - started)


def _write(
    con: duckdb.DuckDBPyConnection, files: Path, shoppers: int, progress: Callable[[int], object]
) -> dict[str, int]:
    """Run the process and write its files; the number of rows of each."""
    rows: dict[str, int] = {}

    def copy(query: str, name: str, **parameters: object) -> None:
        result = con.execute(f"copy ({query}) to $path", {"path": str(files / name), **parameters})
        rows[name] = result.fetchall()[0][0]

    departments = [line.split(": ") for line in DEPARTMENTS.strip().splitlines()]
    aisles = [(aisle, i) for i, (_, names) in enumerate(departments, 1) for aisle in _words(names)]
    con.execute(MACROS)
    con.execute(TABLES)
    con.execute(SHOPPERS, {"shoppers": shoppers, "weekdays": _urn(WEEKDAYS)})
    numbered = "select unnest(range(1, len($names) + 1)) as {0}_id, unnest($names) as {0}"
    copy(numbered.format("department"), "departments.csv", names=[name for name, _ in departments])
    copy(numbered.format("aisle"), "aisles.csv", names=[name for name, _ in aisles])
    copy(
        PRODUCTS,
        "products.csv",
        aisles=[name.title() for name, _ in aisles],
        departments=[department for _, department in aisles],
        brands=_words(BRANDS),
        styles=_words(STYLES),
    )
    copy(ORDERS, "orders.csv", hours=_urn(HOURS))
    for first in range(1, shoppers + 1, BLOCK_SHOPPERS):
        con.execute(BLOCK.format(first=first, size=BLOCK_SHOPPERS))
        discoveries = DISCOVERIES
        for wave in count():
            found = con.execute(PAIRS.format(discoveries=discoveries, wave=wave)).fetchall()[0][0]
            if not found and wave:
                break
            con.execute(PURCHASES, {"wave": wave})
            discoveries = FALLBACKS
        con.execute(LINES)
        con.execute(TRUTH)
        progress(min(first + BLOCK_SHOPPERS - 1, shoppers))
    for eval_set in ("prior", "train"):
        copy(
            f"""
            select order_id, product_id, add_to_cart_order, reordered::integer as reordered
            from lines where is_train = {eval_set == "train"}
            order by order_id, add_to_cart_order
            """,
            f"order_products__{eval_set}.csv",
        )
    copy("from truth order by user_id, product_id", "true_probabilities.parquet")
    return rows


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _urn(counts: list[int]) -> list[int]:
    """As many of each index as its count says: to draw from it is to draw by weight."""
    return [index for index, times in enumerate(counts) for _ in range(times)]
