-- What the figures rest on, in words that fit into a sentence.
select
    strftime(summary.scored_at, '%-d %B %Y') || ' from ' || coalesce(
        'orders up to ' || strftime(summary.newest_ordered_at, '%-d %B %Y'),
        'orders that have no dates'
    ) as scored,
    'the last order of ' || coalesce(format('{:,}', tested.shopper_count), 'no') || ' test shoppers'
    || coalesce(
        ', placed ' || strftime(tested.first_ordered_at, '%-d %B %Y')
        || ' to ' || strftime(tested.last_ordered_at, '%-d %B %Y'),
        ''
    ) as tested
from ${summary} as summary
cross join ${tested} as tested
