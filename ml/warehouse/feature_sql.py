"""The SQL of a version's features: one statement, compiled from the dbt models, for given shoppers.

The statement reads the orders of these shoppers from ``given.orders`` and ``given.order_items``,
which have the columns of `fct_orders` and `fct_order_items`, and the population of the version from
the schema ``population``. Promotions, with the columns of `fct_promotions`, come from
``given.promotions``. It returns the features and the reason of each pair, as a build of all
shoppers with this population does. Its parameters ``$as_of`` and ``$as_of_days`` set the day of
cutoff 0, or are null, as in `macros/as_of.sql`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ml.settings import Settings
from ml.warehouse import dbt, population
from ml.warehouse.feature_list import SEQUENCES, Feature, sequences

_PROMOTIONS = "fct_promotions"
_MODELS = (
    *("--select", "+examples", SEQUENCES, "pair_reasons"),
    *("--exclude", "path:models/staging", "tag:population", population.CATALOGUE, _PROMOTIONS),
    *("--vars", "{label_cutoffs: 0, as_of_parameters: true}"),
)
# Every pair in place of the likeliest ones, so that each has a reason.
_EVERY_PAIR = """
select
    user_id,
    product_id,
    cast(null as float) as reorder_probability,
    cast(null as integer) as rank_in_user,
    true as in_basket,
    cast(null as varchar) as batch_id
from model_pair_totals
where cutoff = 0
"""
# In place of the promotions, for a version whose shop had none: planning takes time.
_NO_PROMOTIONS = """
select
    cutoff,
    user_id,
    product_id,
    cast(null as integer) as context_promotion_count,
    cast(null as integer) as context_mailer_count,
    cast(null as integer) as context_display_count
from model_pair_totals
where false
"""


def statement(settings: Settings, features: Sequence[Feature]) -> str:
    """Return the statement that selects ``user_id``, ``product_id``, features and ``reason``."""
    # dbt opens the warehouse for writing, and readers may have the real one open.
    with TemporaryDirectory() as folder:
        elsewhere = replace(settings, warehouse=Path(folder) / settings.warehouse.name)
        models = dbt.compile(elsewhere, *_MODELS)
    names = {model.relation: f"model_{model.name}" for model in models}
    for model in models:
        for name, relation in model.reads.items():
            names.setdefault(relation, _name(name))
    parts = {"model_fct_predictions": _EVERY_PAIR}
    simpler: dict[str, str] = {}
    if not any(feature.of == "promotions" for feature in features):
        simpler = {"feat_promotions": _NO_PROMOTIONS, "running_promotions": ""}
    joined = "model_examples\ninner join model_pair_reasons using (user_id, product_id)"
    if sequences(features):
        joined += f"\ninner join model_{SEQUENCES} using (user_id, product_id)"
    else:
        simpler[SEQUENCES] = ""
    for model in models:
        sql = simpler.get(model.name, model.sql)
        for relation, name in names.items():
            sql = sql.replace(relation, name)
        parts[names[model.relation]] = sql
    # The pairs come after the model that they read, and before the one that reads them.
    last = ("model_fct_predictions", "model_pair_reasons")
    ordered = [name for name in parts if parts[name] and name not in last] + list(last)
    tables = ",\n\n".join(f"{name} as (\n{parts[name].strip()}\n)" for name in ordered)
    selected = ("user_id", "product_id", *(feature.name for feature in features), "reason")
    columns = ",\n    ".join(selected)
    return (
        f"with\n\n{tables}\n\nselect\n    {columns}\nfrom {joined}\norder by user_id, product_id\n"
    )


def _name(model: str) -> str:
    """Return the name, in the statement, of a model that is not compiled into it."""
    if model in population.FILES:
        return f"population.{model}"
    if model == _PROMOTIONS:
        return "given.promotions"
    if model.startswith("stg_"):
        return f"given.{model.rpartition('__')[2]}"
    # Inside a model, a common table expression may have the name of another model.
    return f"model_{model}"
