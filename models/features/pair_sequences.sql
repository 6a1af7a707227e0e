-- What happened in each of the shopper's last 24 orders before the target, for models that read the
-- orders of a pair one by one. Every column has one bit for each order; the lowest bit is the last
-- order. 24 bits are exact in a 32-bit float. Numbers come as thermometers: with gaps of at least 2
-- and 4 days, but not 7, an order came 4 to 6 days after the one before.
-- A view, because only these models pay for it: reading `examples` does not compute it.
{{ config(materialized='view') }}

with

past_items as (
    select * from {{ ref('past_items') }}
),

pairs as (
    select
        cutoff,
        user_id,
        product_id,
        min(aisle_id) as aisle_id,
        (1 << least(max(orders_ago), 24)) - 1 as since_first,
        {{ order_bits('true') }} as bought,
        {{ order_bits('3 * cart_position <= order_item_count') }} as early
    from past_items
    group by cutoff, user_id, product_id
),

aisles as (
    select
        cutoff,
        user_id,
        aisle_id,
        {{ order_bits('true') }} as bought
    from past_items
    group by cutoff, user_id, aisle_id
),

users as (
    select
        cutoff,
        user_id,
        {{ order_bits('days_since_prior_order >= 2') }} as gap_2,
        {{ order_bits('days_since_prior_order >= 4') }} as gap_4,
        {{ order_bits('days_since_prior_order >= 7') }} as gap_7,
        {{ order_bits('days_since_prior_order >= 10') }} as gap_10,
        {{ order_bits('days_since_prior_order >= 14') }} as gap_14,
        {{ order_bits('days_since_prior_order >= 21') }} as gap_21,
        {{ order_bits('days_since_prior_order >= 30') }} as gap_30,
        {{ order_bits('order_item_count >= 4') }} as size_4,
        {{ order_bits('order_item_count >= 8') }} as size_8,
        {{ order_bits('order_item_count >= 16') }} as size_16,
        {{ order_bits('order_item_count >= 32') }} as size_32,
        {{ order_bits('is_same_dow = 1') }} as same_dow,
        {{ order_bits('is_near_hour = 1') }} as near_hour
    from past_items
    group by cutoff, user_id
),

final as (
    select
        pairs.cutoff,
        pairs.user_id,
        pairs.product_id,
        cast(pairs.since_first as integer) as pair_since_first_bits,
        pairs.bought as pair_bought_bits,
        pairs.early as pair_early_in_cart_bits,
        aisles.bought as aisle_bought_bits,
        users.same_dow as user_same_dow_bits,
        users.near_hour as user_near_hour_bits,
        users.gap_2 as user_gap_2_days_bits,
        users.gap_4 as user_gap_4_days_bits,
        users.gap_7 as user_gap_7_days_bits,
        users.gap_10 as user_gap_10_days_bits,
        users.gap_14 as user_gap_14_days_bits,
        users.gap_21 as user_gap_21_days_bits,
        users.gap_30 as user_gap_30_days_bits,
        users.size_4 as user_size_4_bits,
        users.size_8 as user_size_8_bits,
        users.size_16 as user_size_16_bits,
        users.size_32 as user_size_32_bits
    from pairs
    inner join aisles
        on
            pairs.cutoff = aisles.cutoff
            and pairs.user_id = aisles.user_id
            and pairs.aisle_id = aisles.aisle_id
    inner join users on pairs.cutoff = users.cutoff and pairs.user_id = users.user_id
)

select * from final
