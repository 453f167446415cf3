"""docs/database.md says what the database's comments say."""

from __future__ import annotations

import pytest

from kryss.store.connect import make_engine, parse_url
from kryss.store.dictionary import PAGE, describe, with_dictionary


@pytest.fixture
def described(database_url):
    def run() -> str:
        with make_engine(parse_url(database_url)).connect() as connection:
            return describe(connection)

    return run


def test_the_data_dictionary_is_not_stale(described):
    page = PAGE.read_text("utf-8")
    assert page == with_dictionary(page, described()), "stale: kryss.store.dictionary says how to write it anew"


def test_a_new_comment_makes_it_stale(described, sql):
    before = described()
    sql("COMMENT ON COLUMN kryss.release.url IS 'Somewhere | else.'")
    assert described() != before
    assert "| url | text | Somewhere \\| else. |" in described()


def test_what_is_not_explained_is_refused(described, sql):
    sql("ALTER TABLE kryss.release ADD COLUMN mystery text")
    with pytest.raises(ValueError, match="has no comment"):
        described()


def test_what_stands_above_the_marker_is_kept():
    page = PAGE.read_text("utf-8")
    assert with_dictionary(page, "new\n").startswith("# The database\n")
    with pytest.raises(ValueError, match="has lost the line"):
        with_dictionary("# Another page\n", "new\n")
