"""The script that Streamlit runs: asks for the key, finds the release, and shows a page of it."""

import hmac
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
    """Show the page that was chosen, or why there is none."""
    st.set_page_config(page_title="Restock", layout="wide")
    settings = Settings.load()
    if settings.api_key and not _has_key(settings.api_key):
        return
    try:
        now = current(settings)
        pages = [
            st.Page(partial(show, now), title=title, url_path=title.lower().replace(" ", "-"))
            for title, show in PAGES.items()
        ]
        st.navigation(pages, position="top").run()
    except (RestockError, duckdb.Error) as error:
        st.error(str(error))
        return
    _follow(now)
    batch = now.index.batches["reorder"]
    assert batch  # every release has reorder scores
    st.caption(f"Batch {batch.batch_id}, {batch.model_version}, scored at {batch.scored_at}")


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


main()
