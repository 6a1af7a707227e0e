"""The simulated catalogue: departments, aisles, brands and styles."""

# Each line is a department and its aisles. A product's name is its brand, aisle and style.
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
