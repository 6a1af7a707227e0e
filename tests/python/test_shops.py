"""Exports of shops and public data sets are read through the real command line, with restock.toml.

The files are made up; their columns are those of the programs and data sets they are named after.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Place

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Shop:
    """An export: its files, its restock.toml, and the order lines that a careful reader reads."""

    files: dict[str, str]
    toml: str
    lines: list[tuple[Any, ...]]
    """Shopper, order, time, product."""
    names: dict[Any, str | None]
    encoding: str = "utf-8"


SHOPS = {
    "Shopify": Shop(
        {
            "orders_export_1.csv": """\
        Name,Email,Financial Status,Paid at,Created at,Lineitem quantity,Lineitem name,\
Lineitem price,Lineitem sku,Billing Name,Id
        #1002,ann@example.com,paid,2023-03-06 09:00:01 -0500,2023-03-06 08:59:58 -0500,1,\
Green tea,4.00,TEA-1,Ann,5001
        #1002,,,,,2,"Jam, plum",3.50,JAM-7,,
        #1001,bo@example.com,paid,2023-03-05 23:10:00 -0500,2023-03-05 23:09:00 -0500,1,\
Green tea,4.00,TEA-1,Bo,5000
        """
        },
        """
        [reading]
        order_lines = "orders_export*.csv"
        [columns]
        user_id = "email"
        order_id = "Name"
        ordered_at = "Created at"
        product_id = "Lineitem sku"
        product_name = "Lineitem name"
        """,
        [
            ("ann@example.com", "#1002", "2023-03-06 08:59:58", "TEA-1"),
            ("ann@example.com", "#1002", "2023-03-06 08:59:58", "JAM-7"),
            ("bo@example.com", "#1001", "2023-03-05 23:09:00", "TEA-1"),
        ],
        {"TEA-1": "Green tea", "JAM-7": "Jam, plum"},
    ),
    "WooCommerce": Shop(
        {
            "orders-2023-03-05.csv": """\
        \ufeffOrder Number;Order Status;Order Date;Customer User ID;Email (Billing);SKU;Item #;\
Item Name;Quantity
        718;Completed;2023-03-05 10:11;17;ann@example.com;0663;1;Tea;1
        718;Completed;2023-03-05 10:11;17;ann@example.com;0664;2;Jam;2
        719;Completed;2023-03-06 18:20;18;bo@example.com;0663;1;Tea;1
        """
        },
        """
        [reading]
        order_lines = "orders-*.csv"
        delimiter = ";"
        decimal = ","
        [columns]
        user_id = "Customer User ID"
        order_id = "Order Number"
        ordered_at = "Order Date"
        product_id = "SKU"
        cart_position = "Item #"
        product_name = "Item Name"
        """,
        [
            (17, 718, "2023-03-05 10:11:00", "0663"),
            (17, 718, "2023-03-05 10:11:00", "0664"),
            (18, 719, "2023-03-06 18:20:00", "0663"),
        ],
        {"0663": "Tea", "0664": "Jam"},
    ),
    "Square": Shop(
        {
            "items-2023-03-01-2023-04-01.csv": """\
        Date,Time,Time Zone,Category,Item,Qty,Price Point Name,SKU,Net Sales,Transaction ID,\
Customer ID,Customer Name
        3/5/23,1:05:09 PM,Eastern Time (US & Canada),Hot,Tea,1.0,Regular,,$4.00,t8Zx,C1,Ann
        3/5/23,1:05:09 PM,Eastern Time (US & Canada),Cold,Cola,1.0,Regular,,$3.00,t8Zx,C1,Ann
        12/31/23,12:15:00 AM,Eastern Time (US & Canada),Hot,Tea,2.0,Regular,,$8.00,q7,C2,Bo
        """
        },
        """
        [reading]
        order_lines = "items-*.csv"
        [columns]
        user_id = "Customer ID"
        order_id = "Transaction ID"
        ordered_at = { name = ["Date", "Time"], format = "%m/%d/%y %I:%M:%S %p" }
        product_id = "Item"
        product_name = "Item"
        aisle = "Category"
        """,
        [
            ("C1", "t8Zx", "2023-03-05 13:05:09", "Tea"),
            ("C1", "t8Zx", "2023-03-05 13:05:09", "Cola"),
            ("C2", "q7", "2023-12-31 00:15:00", "Tea"),
        ],
        {"Tea": "Tea", "Cola": "Cola"},
    ),
    "Online Retail": Shop(
        {
            "data.csv": """\
        InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
        536365,85123A,WHITE HANGING T-LIGHT £ HOLDER,6,12/1/2010 8:26,2.55,17850.0,United Kingdom
        536365,71053,WHITE METAL LANTERN,6,12/1/2010 8:26,3.39,17850.0,United Kingdom
        536370,22728,ALARM CLOCK,24,12/13/2010 8:45,3.75,12583.0,France
        """
        },
        """
        [reading]
        order_lines = "data.csv"
        encoding = "latin-1"
        [columns]
        user_id = "CustomerID"
        order_id = "InvoiceNo"
        ordered_at = { name = "InvoiceDate", format = "%m/%d/%Y %H:%M" }
        product_id = "StockCode"
        product_name = "Description"
        """,
        [
            (17850, 536365, "2010-12-01 08:26:00", "85123A"),
            (17850, 536365, "2010-12-01 08:26:00", "71053"),
            (12583, 536370, "2010-12-13 08:45:00", "22728"),
        ],
        {
            "85123A": "WHITE HANGING T-LIGHT £ HOLDER",
            "71053": "WHITE METAL LANTERN",
            "22728": "ALARM CLOCK",
        },
        encoding="latin-1",
    ),
    "Ta-Feng": Shop(
        {
            "ta_feng_all_months_merged.csv": """\
        "TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS",\
"PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"
        "11/1/2000","01104905","45-49","115","110411","4710199010372","2","24","30"
        "11/1/2000","01104905","45-49","115","110411","4710008120046","1","20","25"
        "11/13/2000","00418683","45-49","115","120107","4710199010372","1","36","30"
        """
        },
        """
        [reading]
        order_lines = "ta_feng_all_months_merged.csv"
        [columns]
        user_id = "CUSTOMER_ID"
        order_id = ["CUSTOMER_ID", "TRANSACTION_DT"]
        ordered_at = { name = "TRANSACTION_DT", format = "%m/%d/%Y" }
        product_id = "PRODUCT_ID"
        aisle = "PRODUCT_SUBCLASS"
        """,
        [
            ("01104905", "01104905|11/1/2000", "2000-11-01", 4710199010372),
            ("01104905", "01104905|11/1/2000", "2000-11-01", 4710008120046),
            ("00418683", "00418683|11/13/2000", "2000-11-13", 4710199010372),
        ],
        {4710199010372: None, 4710008120046: None},
    ),
    "Dunnhumby": Shop(
        {
            "transaction_data.csv": """\
        household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,RETAIL_DISC,\
TRANS_TIME,WEEK_NO,COUPON_DISC,COUPON_MATCH_DISC
        2375,26984851472,1,1004906,1,1.39,364,-0.6,1631,1,0,0
        2375,26984851472,1,1033142,1,0.82,364,0,1631,1,0,0
        1364,26984896261,31,1004906,1,1.39,31742,-0.6,5,5,0,0
        """,
            "product.csv": """\
        PRODUCT_ID,MANUFACTURER,DEPARTMENT,BRAND,COMMODITY_DESC,SUB_COMMODITY_DESC,\
CURR_SIZE_OF_PRODUCT
        1004906,69,PRODUCE,Private,POTATOES,POTATOES RUSSET (BULK&BAG),5 LB
        1033142,2,PRODUCE,National,ONIONS,ONIONS SWEET (BULK&BAG),40 LB
        """,
        },
        """
        [reading]
        order_lines = "transaction_data.csv"
        products = "product.csv"
        [columns]
        user_id = "household_key"
        order_id = "BASKET_ID"
        ordered_at = { name = ["DAY", "TRANS_TIME"], day_1 = "2016-01-01", format = "%H%M" }
        product_id = "PRODUCT_ID"
        product_name = "SUB_COMMODITY_DESC"
        aisle = "COMMODITY_DESC"
        department = "DEPARTMENT"
        """,
        [
            (2375, 26984851472, "2016-01-01 16:31:00", 1004906),
            (2375, 26984851472, "2016-01-01 16:31:00", 1033142),
            (1364, 26984896261, "2016-01-31 00:05:00", 1004906),
        ],
        {1004906: "POTATOES RUSSET (BULK&BAG)", 1033142: "ONIONS SWEET (BULK&BAG)"},
    ),
    "Groceries": Shop(
        {
            "Groceries_dataset.csv": """\
        Member_number,Date,itemDescription
        1808,21-07-2015,tropical fruit
        1808,21-07-2015,whole milk
        2552,05-01-2015,whole milk
        """
        },
        """
        [reading]
        order_lines = "Groceries_dataset.csv"
        [columns]
        user_id = "Member_number"
        order_id = ["Member_number", "Date"]
        ordered_at = { name = "Date", format = "%d-%m-%Y" }
        product_id = "itemDescription"
        product_name = "itemDescription"
        """,
        [
            (1808, "1808|21-07-2015", "2015-07-21", "tropical fruit"),
            (1808, "1808|21-07-2015", "2015-07-21", "whole milk"),
            (2552, "2552|05-01-2015", "2015-01-05", "whole milk"),
        ],
        {"tropical fruit": "tropical fruit", "whole milk": "whole milk"},
    ),
    "a till that counts seconds since 1970": Shop(
        {
            "till.csv": """\
        card|receipt|seconds|article
        A|1|1678010400|x
        B|2|1678096800.5|y
        """
        },
        """
        [reading]
        order_lines = "till.csv"
        delimiter = "|"
        [columns]
        user_id = "card"
        order_id = "receipt"
        ordered_at = { name = "seconds", format = "epoch" }
        product_id = "article"
        """,
        [("A", 1, "2023-03-05 10:00:00", "x"), ("B", 2, "2023-03-06 10:00:00.500000", "y")],
        {},
    ),
}


@pytest.mark.parametrize("name", SHOPS)
def test_reads_an_export_with_a_mapping(name: str, place: Place) -> None:
    shop = SHOPS[name]
    raw = place.folder / "raw"
    raw.mkdir()
    for file, text in shop.files.items():
        (raw / file).write_text(textwrap.dedent(text), encoding=shop.encoding)
    (place.folder / "restock.toml").write_text(textwrap.dedent(shop.toml))
    home = {"RESTOCK_HOME": str(place.folder)}
    place.restock("fetch", "--source", "order_log", "--raw-dir", raw, **home)

    landing = Path(f"{place.warehouse}.landing")
    rows = pq.read_table(landing / "order_lines.parquet").to_pylist()
    columns = ("user_id", "order_id", "ordered_at", "product_id")
    found = [
        tuple(str(v) if c == "ordered_at" else v for c, v in row.items() if c in columns)
        for row in rows
    ]
    timed = any(":" in at for _, _, at, _ in shop.lines)
    expected = [(u, o, at if timed else f"{at} 00:00:00", p) for u, o, at, p in shop.lines]
    assert found == expected
    assert all(row["is_timed"] == timed for row in rows)
    products = pq.read_table(landing / "products.parquet").to_pylist()
    assert {row["product_id"]: row["product_name"] for row in products} == shop.names
