"""Restock predicts what each shopper will buy again, from a retailer's own order history.

Notebooks import `evaluate`, `examples`, `features`, `fit` and `why` from here; see `ml.library`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml.library import evaluate, examples, features, fit, why

__all__ = ["evaluate", "examples", "features", "fit", "why"]


def __getattr__(name: str) -> Any:
    """Import the library on first use: `import ml` takes no time, and the command needs little."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ml import library

    return getattr(library, name)
