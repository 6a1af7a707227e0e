"""The script that Streamlit runs: asks for the key, and shows the page that was chosen."""

import hmac
from collections.abc import Callable
from functools import partial

import duckdb
import streamlit as st

from ml.app import quality, scored_file, shopper, tomorrow
from ml.app.current import Current, current
from ml.errors import RestockError
from ml.settings import Settings

LOOK_EVERY_SECONDS = 2
PAGES = {
    "One shopper": shopper.show,
    "A file": scored_file.show,
    "Tomorrow": tomorrow.show,
    "How it is going": quality.show,
}


def main() -> None:
    """Show the page that was chosen, to visitors with the key if there is one."""
    st.set_page_config(page_title="Restock", layout="wide")
    settings = Settings.load()
    if settings.api_key and not _has_key(settings.api_key):
        return
    pages = [
        st.Page(
            partial(show_page, settings, show),
            title=title,
            url_path=title.lower().replace(" ", "-"),
        )
        for title, show in PAGES.items()
    ]
    st.navigation(pages, position="top").run()


def show_page(settings: Settings, show: Callable[[Current], None]) -> None:
    """Show a page of the published release, and its batch, or what went wrong."""
    try:
        now = current(settings)
        show(now)
    except (RestockError, duckdb.Error) as error:
        st.error(str(error))
        return
    st.caption(f"Batch {now.batch.batch_id}, {now.batch.model_version}, {now.batch.scored_at}")
    _follow(now)


def _has_key(key: str) -> bool:
    """Ask for the key until it was given once; return whether it was."""
    if not st.session_state.get("has_key"):
        given = st.text_input("Key", type="password", help="The value of RESTOCK_API_KEY.")
        # In constant time, so that the time tells nothing about the key.
        if not hmac.compare_digest(given.encode(), key.encode()):
            if given:
                st.error("This is not the key of the server (RESTOCK_API_KEY).")
            return False
        st.session_state["has_key"] = True
        st.rerun()
    return True


@st.fragment(run_every=LOOK_EVERY_SECONDS)
def _follow(now: Current) -> None:
    """Show the page again once another release is published."""
    if now.is_outdated():
        st.rerun()


if __name__ == "__main__":
    main()
