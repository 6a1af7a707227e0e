"""The simulated catalogue: departments, aisles, brands and styles."""

from ml.errors import SettingsError

FULL_CATALOGUE = 49_688
MIN_CATALOGUE, MAX_CATALOGUE = 1_000, 50_000  # product names run out above the maximum

# Each line is a department and its aisles. A product's name is its brand, aisle and style.
_DEPARTMENTS = """
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
_BRANDS = """Alder Hill, Blue Heron, Cedar Lane, Daybreak, Elm Street, Fern Valley, Golden Acre,
Harbour, Ivy House, Juniper, Kite & Co, Larkspur, Maple Row, North Quay, Orchard Gate, Pine Ridge,
Quiet Mill, Red Barn, Stonebridge, Thistle"""
_STYLES = """Classic, Organic, Family Size, Light, Original, Small Batch, Extra, Unsweetened, Mild,
Farmhouse, Everyday, Gourmet, Bold, Low Salt, Traditional, Seasonal, Premium, Simple, Fine, Wild"""

_AISLES_OF = dict(line.split(": ") for line in _DEPARTMENTS.strip().splitlines())
DEPARTMENTS = list(_AISLES_OF)
AISLES = {  # with the number of their department
    aisle: number
    for number, names in enumerate(_AISLES_OF.values(), 1)
    for aisle in names.split(", ")
}

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
PRODUCTS_PARAMETERS = {
    "aisles": [name.title() for name in AISLES],
    "departments": list(AISLES.values()),
    "brands": _BRANDS.replace("\n", " ").split(", "),
    "styles": _STYLES.replace("\n", " ").split(", "),
}
# The same, as one file with names in place of numbers.
CATALOGUE = f"""
    select product_id, product_name, lower($aisles[aisle_id]) as aisle,
        $names[department_id] as department
    from ({PRODUCTS})
"""
CATALOGUE_PARAMETERS = {**PRODUCTS_PARAMETERS, "names": DEPARTMENTS}


def catalogue_size(shoppers: int, products: int | None) -> int:
    """Return the number of products. The default is 1,000 plus 10 per shopper, up to Instacart's.

    Raises:
        SettingsError: if a size is out of range.
    """
    if shoppers < 1:
        raise SettingsError(f"Cannot simulate {shoppers} shoppers. Ask for at least 1.")
    if products is None:
        products = min(FULL_CATALOGUE, 1_000 + 10 * shoppers)
    if not MIN_CATALOGUE <= products <= MAX_CATALOGUE:
        limits = f"{MIN_CATALOGUE:,} to {MAX_CATALOGUE:,}"
        raise SettingsError(f"Cannot simulate {products:,} products. Ask for {limits}.")
    return products
