"""Simulated order histories of Instacart's shape, with the true probability of every purchase.

`simulate` writes the six csv files of the Instacart data, same names, columns and formats, and
``true_probabilities.parquet`` (parquet, since it has most values and a csv would round them):
`user_id, product_id, probability, bought` for every product that a shopper bought before. That is
the chance that it is in the shopper's next order, and whether the process then put it there. The
next order is the open one (`eval_set` test), and for other shoppers the one after their last; as
nobody knows when that comes, its probability is the mean over its context.

**The process.** Order k of a shopper brings ``basket * k ** -familiarity`` new products on average,
mostly popular ones. Each is from then on a renewal process in orders: the gap G from one purchase
to the next has a log-logistic survival function, defective because some never return,

    S(g) = P(G > g) = 1 - r + r / (1 + (g / period) ** rhythm)

where the chance of return r comes from product, aisle, popularity, shopper and the pair itself. A
trip that is early for its shopper is a small one: what is due gets bought with probability
attention = min(1, 0.5 + q), q being the quantile of the trip's gap in days among the shopper's own.
So given the past, in which the pair was last bought in order l,

    P(bought in order k) = attention(k) * (1 - S(k - l) / S(k - l - 1))

exactly: gaps are drawn by inverting S, and passed over by thinning (Lewis and Shedler 1979,
Simulation of nonhomogeneous Poisson processes by thinning, Naval Research Logistics 26).

**Determinism.** There is no state: a draw is a hash of the seed, of what is drawn and for whom. The
same seed, size and DuckDB version give the same bytes, whatever the number of threads.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml.errors import SettingsError, StorageError

FULL_CATALOGUE = 49_688
MIN_CATALOGUE, MAX_CATALOGUE = 1_000, 50_000  # above it, names run out
ONE_OFFS = 100  # as many as a shopper has orders, at most
BLOCK_SHOPPERS = 20_000  # bounds the memory

# Department: its aisles. A product is named after its brand, aisle and style.
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
BRANDS = """Alder Hill, Blue Heron, Cedar Lane, Daybreak, Elm Street, Fern Valley, Golden Acre,
Harbour, Ivy House, Juniper, Kite & Co, Larkspur, Maple Row, North Quay, Orchard Gate, Pine Ridge,
Quiet Mill, Red Barn, Stonebridge, Thistle"""
STYLES = """Classic, Organic, Family Size, Light, Original, Small Batch, Extra, Unsweetened, Mild,
Farmhouse, Everyday, Gourmet, Bold, Low Salt, Traditional, Seasonal, Premium, Simple, Fine, Wild"""
# Of a thousand orders, how many come in each hour; of a thousand shoppers, how many usually come
# on each weekday. Both are close to the real profile.
HOURS = [6, 3, 2, 1, 2, 2, 9, 25, 52, 81, 91, 83, 80, 79, 85, 84, 78, 67, 51, 42, 30, 21, 16, 10]
WEEKDAYS = [240, 248, 129, 92, 86, 121, 84]

MACROS = """
    -- In [0, 1). Hashed twice, because DuckDB's hash hardly mixes its last argument: with one hash,
    -- the draws for a pair in successive orders have a correlation of 0.998.
    create macro uniform(purpose, a, b := 0, c := 0) as (
        hash(hash(getvariable('seed'), purpose, a::bigint, b::bigint, c::bigint)) >> 11
    ) / 9007199254740992.0;
    create macro logistic(u) as ln((u + 1e-16) / (1 - u));  -- a bell around 0
    create macro pick(list, u) as list[1 + floor(u * len(list))::integer];
    -- 0 .. total - 1 onto 1 .. total, one to one, neighbours far apart; the factor is prime
    create macro scatter(i, total) as (i * 2654435761 % total + 1)::integer;

    create macro gap_quantile(user_id, order_number) as uniform('gap', user_id, order_number);
    create macro attention(user_id, order_number) as
        least(1, 0.5 + gap_quantile(user_id, order_number));
    create macro mean_attention() as 0.875;
    create macro survival(gap, return_chance, period, rhythm) as
        1 - return_chance + return_chance / (1 + (gap / period) ** rhythm);
    create macro gap_at(level, return_chance, period, rhythm) as  -- the inverse
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
    from (select range, 1 + range % 134 as aisle_id, range // 134 as nth from range(1, $total + 1))
    order by product_id
"""

# 4 orders at least and a long (Lomax) tail, cut at 100 as in the real data; the more orders, the
# shorter the gaps. The products of closed orders are known.
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
            370 / (order_count + 10) * exp(0.2 * logistic(uniform('pace', range))) as mean_gap_days
        from range(1, $shoppers + 1)
    )

    select
        *,
        order_count - is_open::integer as closed_count,
        closed_count + 1 as next_order,
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
                case when order_number = 1 then 7 + 7 * uniform('start', user_id)
                else mean_gap_days * sqrt(-ln(1 - gap_quantile(user_id, order_number))) / 0.886 end
            ) over (partition by user_id order by order_number))::integer as planned_day
        from (select *, unnest(range(1, order_count + 1)) as order_number from shoppers)
    ),

    placed as (
        select
            *,
            max(
                case when uniform('habit', user_id, order_number) < 0.3
                then planned_day + 3 - (planned_day + 3 - usual_weekday) % 7 else planned_day end
            ) over (partition by user_id order by order_number) as day
        from planned
    )

    select
        scatter(orders_before + order_number - 1, orders_total) as order_id,
        user_id,
        case when order_number < order_count then 'prior' when is_open then 'test' else 'train' end
            as eval_set,
        order_number,
        day % 7 as order_dow,
        printf('%02d', pick($hours, uniform('hour', user_id, order_number))) as order_hour_of_day,
        case when order_number > 1
        then least(30.0, day - lag(day) over (partition by user_id order by order_number)) end
            as days_since_prior_order
    from placed
    order by user_id, order_number
"""

# What shoppers find for the first time, in which order, and how they will go on with it. The share
# of the product of rank i is log-uniform, about 1 / (i + 10).
PAIRS = """
    create or replace temp table pairs as
    with slots as (
        select
            user_id,
            order_number,
            basket * order_number ** -(0.15 + 0.65 * loyalty)
                * attention(user_id, order_number) / mean_attention() as expected,
            2 * expected * uniform('novelty', user_id, order_number)
                + uniform('rounding', user_id, order_number) as drawn,
            unnest(range(floor(drawn)::integer)) as slot
        from (select *, unnest(range(1, closed_count + 1)) as order_number from block)
    ),

    ranks as (
        select
            *,
            floor(10 * (getvariable('products') / 10 + 1)
                ** uniform('product', user_id, order_number, slot) - 10)::integer as rank
        from slots
    ),

    discoveries as (
        select user_id, rank, min(order_number)::integer as order_number
        from ranks
        group by user_id, rank
    )

    select
        user_id,
        scatter(rank, getvariable('products')) as product_id,
        order_number,
        next_order,
        1 / (1 + exp(
            0.3 * ln(rank + 1) - 3.5 * (loyalty - 0.5) - 3.3
            + 0.5 * logistic(uniform('appeal of aisle', product_id % 134))
            + 0.5 * logistic(uniform('appeal of product', product_id))
            + 2.0 * logistic(uniform('appeal to shopper', user_id, product_id))
        )) as return_chance,
        2.5 * exp(0.75 * logistic(uniform('period', user_id, product_id))) as period,
        1 + 2 * uniform('rhythm', user_id, product_id) as rhythm
    from discoveries join block using (user_id)
"""

# Each round takes every pair to the next order in which it is due, and buys it there or passes over
# it. A pair that was passed over is due again after a gap longer than the one so far.
PURCHASES = """
    create or replace temp table purchases as
    with recursive visits as (
        select
            user_id, product_id, order_number, order_number as last_bought, true as is_bought,
            false as is_repeat, next_order, return_chance, period, rhythm
        from pairs
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
                greatest(  -- later than this order even where rounding says otherwise
                    order_number + 1,
                    last_bought + ceil(gap_at(level, return_chance, period, rhythm))
                ) as due_order,
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

# No order is without products: one that would be takes a product that is bought once and never
# again, another one each time.
ONE_OFF_PURCHASES = """
    insert into purchases
    select
        user_id, getvariable('products') + 1 + (user_id + order_number) % $one_offs, order_number,
        false, false
    from (select user_id, unnest(range(1, closed_count + 1)) as order_number from block)
    anti join purchases using (user_id, order_number)
"""

# What is bought again tends to come first in the cart.
LINES = """
    with carts as (
        select
            scatter(orders_before + order_number - 1, orders_total) as order_id,
            product_id,
            is_repeat,
            order_number = order_count as is_train,
            (uniform('cart', user_id, product_id, order_number)
                + case when is_repeat then 0 else 0.15 end)::real as cart_key
        from purchases join block using (user_id)
        where not is_next
    )

    select
        order_id,
        product_id,
        row_number() over (partition by order_id order by cart_key, product_id)::smallint
            as add_to_cart_order,
        is_repeat,
        is_train
    from carts
"""

TRUTH = """
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
        case when is_open then attention(user_id, next_order) else mean_attention() end
            * coalesce(1 - survival(next_order - last_bought, return_chance, period, rhythm)
            / survival(next_order - last_bought - 1, return_chance, period, rhythm), 0)
            as probability,
        bought
    from seen
    left join (from pairs select * exclude (order_number, next_order)) using (user_id, product_id)
    join block using (user_id)
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
    """Write a data set of Instacart's shape, and its truth, into a folder: all of it or nothing.

    Args:
        out_dir: where to; a folder that is empty or does not exist.
        shoppers: how many; Instacart has 206,209.
        seed: another seed gives other shoppers and orders.
        products: size of the catalogue. By default ten per shopper and a thousand more, so that
            few shoppers still share products, up to Instacart's 49,688.
        threads: how many DuckDB may use; by default one per core.
        memory_limit: how much DuckDB may use, as DuckDB writes it.
        progress: called with the number of shoppers done, block by block.

    Raises:
        SettingsError: if the folder is not empty, or a size is out of range.
        StorageError: if the disk is full or the folder cannot be written.
    """
    started = time.perf_counter()
    out_dir = out_dir.resolve()
    if shoppers < 1:
        raise SettingsError(f"Cannot simulate {shoppers} shoppers. Ask for at least 1.")
    if products is None:
        products = min(FULL_CATALOGUE, 1_000 + 10 * shoppers)
    if not MIN_CATALOGUE <= products <= MAX_CATALOGUE:
        limits = f"{MIN_CATALOGUE:,} to {MAX_CATALOGUE:,}"
        raise SettingsError(f"Cannot simulate {products:,} products. Ask for {limits}.")
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise SettingsError(f"{out_dir} is not an empty folder. Empty it, or name a new one.")
    config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory_limit}
    if threads:
        config["threads"] = threads
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
            files = Path(scratch, "files")
            files.mkdir()
            with duckdb.connect(str(Path(scratch, "work.duckdb")), config=config) as con:
                con.execute(f"set variable seed = {seed}")
                rows = _write(con, files, shoppers, products, progress)
            files.replace(out_dir)
    except (OSError, duckdb.IOException) as error:
        advice = "Free some space, or name another folder."
        raise StorageError(f"{out_dir} cannot be written: {error}. {advice}") from error
    return Simulation(out_dir, rows, time.perf_counter() - started)


def _write(
    con: duckdb.DuckDBPyConnection,
    files: Path,
    shoppers: int,
    products: int,
    progress: Callable[[int], object],
) -> dict[str, int]:
    """Run the process and write every file; returns the rows of each by name."""
    rows: dict[str, int] = {}

    def write(name: str, query: str, **parameters: object) -> None:
        con.execute(f"copy ({query}) to $path", {"path": str(files / name), **parameters})
        rows[name] = con.fetchall()[0][0]

    departments = dict(line.split(": ") for line in DEPARTMENTS.strip().splitlines())
    aisles = {a: i for i, names in enumerate(departments.values(), 1) for a in names.split(", ")}
    numbered = "select unnest(range(1, len($names) + 1)) as {0}_id, unnest($names) as {0}"
    write("departments.csv", numbered.format("department"), names=list(departments))
    write("aisles.csv", numbered.format("aisle"), names=list(aisles))
    write(
        "products.csv",
        PRODUCTS,
        total=products,
        aisles=[name.title() for name in aisles],
        departments=list(aisles.values()),
        brands=BRANDS.replace("\n", " ").split(", "),
        styles=STYLES.replace("\n", " ").split(", "),
    )

    con.execute(MACROS)
    con.execute(f"set variable products = {products - ONE_OFFS}")
    con.execute(SHOPPERS, {"shoppers": shoppers, "weekdays": _urn(WEEKDAYS)})
    write("orders.csv", ORDERS, hours=_urn(HOURS))
    for first in range(1, shoppers + 1, BLOCK_SHOPPERS):
        last = min(first + BLOCK_SHOPPERS - 1, shoppers)
        con.execute(
            "create or replace temp table block as"
            f" from shoppers where user_id between {first} and {last}"
        )
        con.execute(PAIRS)
        con.execute(PURCHASES)
        con.execute(ONE_OFF_PURCHASES, {"one_offs": ONE_OFFS})
        for table, query in (("lines", LINES), ("truth", TRUTH)):
            con.execute(f"create table if not exists {table} as from ({query}) limit 0")
            con.execute(f"insert into {table} {query}")
        progress(last)

    for eval_set in ("prior", "train"):
        write(
            f"order_products__{eval_set}.csv",
            f"""
            select order_id, product_id, add_to_cart_order, is_repeat::integer as reordered
            from lines where is_train = {eval_set == "train"}
            order by order_id, add_to_cart_order
            """,
        )
    write("true_probabilities.parquet", "from truth order by user_id, product_id")
    return rows


def _urn(counts: list[int]) -> list[int]:
    """Each index as often as its count says: to draw from it is to draw by weight."""
    return [index for index, times in enumerate(counts) for _ in range(times)]
