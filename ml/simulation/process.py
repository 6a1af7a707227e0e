"""The random process behind the simulated orders, in SQL.

Order k of a shopper adds ``basket * k ** -familiarity`` new products on average, mostly popular
ones. From then on, each pair is a renewal process counted in orders. The gap G between purchases
has a log-logistic survival function, which is defective because some products never return:

    S(g) = P(G > g) = 1 - r + r / (1 + (g / period) ** rhythm)

The chance of return r depends on the product, its aisle, its popularity, the shopper and the pair.
Trips range from a quick stop to the weekly shop, and nothing in the past tells which comes next. A
trip that is early for its shopper is smaller. A product that is due in order k is bought with
probability

    attention(k) = (0.25 + 0.75 * u) * min(1, 0.75 + q / 2)

where u is uniform, a draw of its own for each order, and q is the quantile of the trip's gap in
days among the shopper's gaps. The number of new products is in proportion to the attention. Given
that the pair was last bought in order l, the true probability is

    P(bought in order k) = attention(k) * taste(k) * (1 - S(k - l) / S(k - l - 1))

where the taste is 1, unless the shop changes (`growth.py`). The true probability knows the draw u,
so given the true probabilities of an order, its products are independent.

The formula is exact: gaps are drawn by inverting S, and purchases are skipped by thinning (Lewis
and Shedler 1979, Simulation of nonhomogeneous Poisson processes by thinning, Naval Research
Logistics 26).
"""

# Of 1,000 orders, the number placed in each hour; of 1,000 shoppers, the number whose usual weekday
# is each day. Both are close to the real data.
HOURS = [6, 3, 2, 1, 2, 2, 9, 25, 52, 81, 91, 83, 80, 79, 85, 84, 78, 67, 51, 42, 30, 21, 16, 10]
WEEKDAYS = [240, 248, 129, 92, 86, 121, 84]

MACROS = """
    -- Uniform in [0, 1). Two rounds of hashing, because DuckDB's hash hardly mixes its last
    -- argument: after one, draws for a pair in successive orders have a correlation of 0.998.
    create macro uniform(purpose, a, b := 0, c := 0) as (
        hash(hash(getvariable('seed'), purpose, a::bigint, b::bigint, c::bigint)) >> 11
    ) / 9007199254740992.0;
    create macro logistic(u) as ln((u + 1e-16) / (1 - u));  -- bell-shaped around 0
    create macro pick(list, u) as list[1 + floor(u * len(list))::integer];
    -- Maps 0 .. total - 1 one to one onto 1 .. total, neighbours far apart; the factor is prime.
    create macro scatter(i, total) as (i * 2654435761 % total + 1)::integer;

    create macro gap_quantile(user_id, order_number) as uniform('gap', user_id, order_number);
    create macro attention(user_id, order_number) as
        (0.25 + 0.75 * uniform('trip', user_id, order_number))
            * least(1, 0.75 + gap_quantile(user_id, order_number) / 2);
    create macro mean_attention() as 0.625 * 0.9375;
    -- Half of the aisles are in favour; after a change, the other half. Null if nothing changes.
    create macro taste(product_id, is_changed) as
        case when is_changed is null or (product_id % 134 % 2 = 0) = is_changed then 1.0::double
        else 0.4::double end;
    create macro survival(gap, return_chance, period, rhythm) as
        1 - return_chance + return_chance / (1 + (gap / period) ** rhythm);
    create macro gap_at(level, return_chance, period, rhythm) as  -- inverse of survival
        case when level > 1 - return_chance
            then period * (return_chance / (level - 1 + return_chance) - 1) ** (1 / rhythm)
            else 'infinity'::double
        end;
"""

# Shoppers have at least 4 orders, with a long (Lomax) tail capped at 100 as in the real data.
# Shoppers with more orders have shorter gaps. A closed order is one whose products are known.
SHOPPERS = """
    create table shoppers as
    with drawn as (
        select
            range::integer as user_id,
            least(100, 4 + floor(20 * ((1 - uniform('orders', range)) ** (-1 / 2.4) - 1)))::integer
                as order_count,
            uniform('open', range) < 0.65 as is_open,
            12 * (-ln(1 - uniform('basket', range))) ** 0.6 as basket,
            uniform('loyalty', range) as loyalty,
            pick($weekdays, uniform('weekday', range)) as usual_weekday,
            370 / (order_count + 10) * exp(0.2 * logistic(uniform('pace', range))) as mean_gap_days
        from range(1, $shoppers + 1)
    )

    select
        *,
        order_count - is_open::integer as closed_count,
        closed_count + 1 as next_order,
        0 as joined,
        null::integer as changes_at,
        sum(order_count) over (order by user_id) - order_count as orders_before,
        sum(order_count) over () as orders_total
    from drawn
"""

# Gaps follow a Rayleigh distribution in days, before the cap, so that weekdays agree with gaps
# under 30 as in the real data. Some trips move to the shopper's usual weekday, which makes the
# peaks at 7, 14 and 21 days. Days are counted from the first one of the shop.
DAYS = """
    create table days as
    with planned as (
        select
            *,
            floor(sum(
                case when order_number = 1 then joined + 7 + 7 * uniform('start', user_id)
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

    select user_id, order_number, day from placed
"""

ORDERS = """
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
    from days join shoppers using (user_id)
    order by user_id, order_number
"""

# The order in which each pair is first bought, and the parameters of its renewal process. Product
# ranks are log-uniform: the product of rank i has a share of about 1 / (i + 10).
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
        changes_at,
        1 / (1 + exp(
            0.3 * ln(rank + 1) - 3.5 * (loyalty - 0.5) - 5
            + 0.5 * logistic(uniform('appeal of aisle', product_id % 134))
            + 0.5 * logistic(uniform('appeal of product', product_id))
            + 2.0 * logistic(uniform('appeal to shopper', user_id, product_id))
        )) as return_chance,
        exp(0.75 * logistic(uniform('period', user_id, product_id))) as period,
        1 + 2 * uniform('rhythm', user_id, product_id) as rhythm
    from discoveries join block using (user_id)
"""

# Each round moves every pair to the next order in which it is due, and buys or skips it there. A
# skipped pair is due again after a gap longer than the current one.
PURCHASES = """
    create or replace temp table purchases as
    with recursive visits as (
        select
            user_id, product_id, order_number, order_number as last_bought, true as is_bought,
            false as is_repeat, next_order, changes_at, return_chance, period, rhythm
        from pairs
        union all
        select
            user_id, product_id, due_order::integer,
            case when is_attended then due_order else last_bought end::integer, is_attended,
            true, next_order, changes_at, return_chance, period, rhythm
        from (
            select
                *,
                survival(order_number - last_bought, return_chance, period, rhythm)
                    * uniform('due', user_id, product_id, order_number) as level,
                greatest(  -- later than this order, whatever the rounding
                    order_number + 1,
                    last_bought + ceil(gap_at(level, return_chance, period, rhythm))
                ) as due_order,
                uniform('attend', user_id, product_id, due_order)
                    < attention(user_id, due_order) * taste(product_id, due_order >= changes_at)
                    as is_attended
            from visits
        )
        where due_order <= next_order
    )

    select user_id, product_id, order_number, is_repeat, order_number = next_order as is_next
    from visits
    where is_bought
"""

# Every order has products. An order that would be empty gets a product that its shopper never buys
# again, a different one each time.
ONE_OFF_PURCHASES = """
    insert into purchases
    select
        user_id, getvariable('products') + 1 + (user_id + order_number) % $one_offs, order_number,
        false, false
    from (select user_id, unnest(range(1, closed_count + 1)) as order_number from block)
    anti join purchases using (user_id, order_number)
"""

# Products bought again tend to come first in the cart.
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
        attention(user_id, next_order) * taste(product_id, next_order >= changes_at)
            * coalesce(1 - survival(next_order - last_bought, return_chance, period, rhythm)
            / survival(next_order - last_bought - 1, return_chance, period, rhythm), 0)
            as probability,
        bought
    from seen
    left join (select user_id, product_id, return_chance, period, rhythm from pairs)
        using (user_id, product_id)
    join block using (user_id)
"""
