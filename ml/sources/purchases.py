"""Lines of an order log that are no purchases: returns, cancelled orders, lines without a shopper.

These lines are read and checked like all others, then left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.sources.landing import Column, Rule, Table
from ml.sources.raw import SourceError, quoted

AMOUNTS = ("quantity", "price", "sales_value")
"""Optional columns of an order line: units, price of a unit, and value of the line."""

# Words that pandas, R, databases, spreadsheets and JavaScript write for a missing value.
_WORDS = (
    *("null", "none", "nan", "-nan", "nat", "na", "n/a", "nil", "undefined", "\\n", "[null]"),
    *("(null)", "<null>", "<na>", "<n/a>", "#n/a", "#na", "#n/a n/a", "#null!", "#value!"),
    *("#ref!", "#name?", "#num!", "#div/0!", "(blank)", "1.#ind", "-1.#ind", "1.#qnan"),
    *("-1.#qnan", "[object object]"),
)
HOW_TO_SKIP = (
    "Correct the file, or set skip_missing_shoppers = true under [reading] in restock.toml to "
    "leave out lines without a shopper"
)
_NOT_A_NUMBER = "'-99999999999999'::decimal(18, 4)"
_CANCELLED = "(order_id like 'C%' and regexp_full_match(order_id, 'C[0-9]+'))"
_FEW = 0.2

# Purchases that were returned, and what is left of their quantity. A return takes from the latest
# purchase before it. So the purchases are a stack, and a purchase keeps what the running balance
# never falls below again. The balance stays at 0 if more is returned than was bought.
_TAKEN_BACK = """
    with
    moves as (
        select at_row, user_id, product_id, ordered_at, coalesce(quantity, 1) as change
        from landed_lines
        semi join (select user_id, product_id from landed_lines where quantity < 0) as returned
            using (user_id, product_id)
        where not ({cancelled} and coalesce(quantity, 1) > 0)
    ),
    totals as (
        select *, sum(change) over history as total
        from moves
        window history as (
            partition by user_id, product_id order by ordered_at, change < 0, at_row
        )
    ),
    balances as (
        select *, total - least(0, min(total) over history) as balance
        from totals
        window history as (
            partition by user_id, product_id order by ordered_at, change < 0, at_row
        )
    ),
    lowest as (
        select
            *,
            min(balance) over (
                partition by user_id, product_id order by ordered_at, change < 0, at_row
                rows between current row and unbounded following
            ) as low
        from balances
    )
    select at_row, greatest(0, low - (balance - change))::decimal(18, 4) as kept_quantity
    from lowest
    where change > 0 and low < balance
"""


def is_word(column: str) -> str:
    """Return SQL that is true if a text is a word for a missing value, such as `nan` or `#N/A`."""
    return f"lower({column}) in ({texts(_WORDS)})"


def no_word(name: str, keep: Collection[str]) -> Rule:
    """Return a rule that rejects words for a missing value in a text column, except some ids."""
    return Rule(
        name,
        f"{is_word(name)} and {name} not in ({texts(['', *sorted(keep)])})",
        "{value} is a word for a missing value, not an id",
        "Correct the file, or add the word to keep_ids under [reading] in restock.toml if it is "
        "an id",
    )


def named_words(con: duckdb.DuckDBPyConnection, catalogue: str) -> list[str]:
    """Return the products of a catalogue whose id is a word for a missing value, with a name."""
    found = con.execute(
        f"select distinct product_id from ({catalogue}) where {is_word('product_id')} "
        f"and product_name is not null and not {is_word('product_name')}"
    )
    return [product for (product,) in found.fetchall()]


def shopper_or_null(text: str, reading: Reading) -> str:
    """Return SQL for the text of a user_id; NULL for a blank or a word for a missing value."""
    kept = f"{text} in ({texts(['', *reading.keep_ids])})"
    return f"case when trim({text}) <> '' and (not {is_word(text)} or {kept}) then {text} end"


def texts(values: Iterable[str]) -> str:
    """Return a list of SQL strings."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def amounts() -> tuple[Column, ...]:
    """Return the columns `AMOUNTS`, as exact decimals: a sum of them does not depend on order."""
    number = "-?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"
    return tuple(
        Column(
            name,
            f"case when regexp_full_match({name}, '{number}') "
            f"then coalesce(try_cast({name} as decimal(18, 4)), {_NOT_A_NUMBER}) "
            f"when {name} is not null and not {is_word(name)} then {_NOT_A_NUMBER} end",
            "a number such as 2 or 12.50",
            f"{name} > {_NOT_A_NUMBER}",
            required=False,
        )
        for name in AMOUNTS
    )


def leave_out(
    con: duckdb.DuckDBPyConnection, table: Table, reading: Reading, notes: list[str]
) -> Table:
    """Reduce the view `order_lines` to purchases; return the table with the lines left out.

    A return also takes back what it returns: the shopper's latest purchase of the product before
    it, in full or in part.

    Raises:
        SourceError: no line is a purchase.
    """
    cancelled = _cancelled(con, reading, notes)
    skipped = "false"
    if reading.skip_shoppers:
        skipped = f"user_id::varchar in ({texts(reading.skip_shoppers)})"
    suspects = f"coalesce(quantity <= 0, false) or user_id is null or {skipped} or {cancelled}"
    if con.execute(f"select true from order_lines where {suspects} limit 1").fetchone() is None:
        return table
    con.execute("alter view order_lines rename to landed_lines")
    con.execute(f"create temp table taken_back as {_TAKEN_BACK.format(cancelled=cancelled)}")
    con.execute(
        f"""
        create temp view judged_lines as
        select
            landed_lines.*,
            kept_quantity,
            case
                when user_id is null then 'without a shopper'
                when {skipped} then 'of a skipped shopper'
                when {cancelled} then 'in a cancelled order'
                when quantity < 0 then 'with a quantity below 0'
                when quantity = 0 then 'with a quantity of 0'
                when kept_quantity = 0 then 'returned later'
            end as reason
        from landed_lines
        left join taken_back using (at_row)
        """
    )
    con.execute(
        """
        create temp view order_lines as
        select * exclude (kept_quantity, reason) replace (
            coalesce(kept_quantity, quantity) as quantity,
            case
                when kept_quantity < quantity
                    then (sales_value * (kept_quantity / quantity))::decimal(18, 4)
                else sales_value
            end as sales_value
        )
        from judged_lines
        where reason is null
        """
    )
    part = "part" if len(table.parts) > 1 else "0"
    counts = con.execute(
        f"select {part}, reason, count(*) from judged_lines where reason is not null "
        "group by all order by all"
    ).fetchall()
    _tell(table, counts, notes)
    return replace(table, left_out=tuple(counts))


def keep(con: duckdb.DuckDBPyConnection, table: Table, scratch: Path) -> None:
    """Reduce the landed file to the view `order_lines`, once all checks are done."""
    if table.left_out:
        kept = scratch / "purchases.parquet"
        con.execute(f"copy (select * exclude (at_row) from order_lines) to {quoted(kept)}")
        kept.replace(table.path)


def _cancelled(con: duckdb.DuckDBPyConnection, reading: Reading, notes: list[str]) -> str:
    """Return SQL that is true for a line of a cancelled order."""
    if reading.cancelled_prefix:
        return f"starts_with(order_id::varchar, {texts([reading.cancelled_prefix])})"
    types = dict(
        con.execute("select column_name, column_type from (describe order_lines)").fetchall()
    )
    if types["order_id"] != "VARCHAR":
        return "false"
    marked, reversed_ = con.execute(
        f"select count(*), coalesce(count_if(quantity <= 0), 0) from order_lines where {_CANCELLED}"
    ).fetchall()[0]
    if reversed_ * 2 > marked:
        return _CANCELLED
    if marked:
        example, orders, all_orders, others = con.execute(
            f"""
            select
                min(case when {_CANCELLED} then order_id end),
                count(distinct case when {_CANCELLED} then order_id end),
                count(distinct order_id),
                count_if(not {_CANCELLED} and not regexp_full_match(order_id, '[0-9]+'))
            from order_lines
            """
        ).fetchall()[0]
        if not others and orders < _FEW * all_orders:
            notes.append(
                f"{orders:,} order ids are a C and digits, such as {example}, and all others are "
                'digits. If these orders were cancelled, set cancelled_prefix = "C" under '
                "[reading] in restock.toml to leave them out."
            )
    return "false"


def _tell(table: Table, counts: list[tuple[int, str, int]], notes: list[str]) -> None:
    by_reason = Counter[str]()
    for _, reason, lines in counts:
        by_reason[reason] += lines
    total = sum(rows for _, rows in table.parts)
    if by_reason.total() == total:
        raise SourceError(
            f"none of the {total:,} lines is a purchase: each is {', '.join(by_reason)}",
            "Check the columns quantity and user_id",
            file=table.parts[0][0].name,
        )
    reasons = ", ".join(f"{lines:,} {reason}" for reason, lines in by_reason.most_common())
    notes.append(f"Left out {by_reason.total():,} of {total:,} order lines: {reasons}.")
