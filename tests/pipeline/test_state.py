"""Stage files: whole or not there, the same rows give the same bytes, on a disk and on an object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.model import Detection, PhotoResult
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import CellMemo, State


@pytest.fixture(params=["file", "memory"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    return State(tmp_path.as_uri() if request.param == "file" else f"memory://{tmp_path.name}-{id(request)}")


def test_rows_come_back_as_they_were(state: State) -> None:
    rows = [
        PhotoResult("1", "ok", None, 3),
        PhotoResult("2", "failed", "bad-photo: truncated"),
        PhotoResult("3", "gone", "æøå\nline"),
    ]
    state.write_rows("work/rows.jsonl.gz", PhotoResult, rows)
    assert state.read_rows("work/rows.jsonl.gz", PhotoResult) == rows


def test_the_same_rows_give_the_same_bytes(state: State) -> None:
    row = Detection("1", "m@1", 0, "regulatory--stop--g1", 0.9123, (1.5, 2.25, 3.0, 4.0))
    names = [state.write_rows(f"{n}.jsonl.gz", Detection, [row]) for n in (1, 2)]
    assert state.read_bytes(names[0]) == state.read_bytes(names[1])


def test_a_file_is_whole_or_not_there_and_leaves_no_other(state: State) -> None:
    def broken():
        yield PhotoResult("1", "ok")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        state.write_rows("folder/rows.jsonl.gz", PhotoResult, broken())
    assert not state.has("folder/rows.jsonl.gz")
    state.write_json("folder/one.json", {"a": 1})
    state.write_json("folder/one.json", {"a": 2})
    assert state.names("folder") == ["folder/one.json"]
    assert state.read_json("folder/one.json") == {"a": 2}


def test_no_rows_are_no_rows(state: State) -> None:
    state.write_rows("none.jsonl.gz", PhotoResult, [])
    assert state.read_rows("none.jsonl.gz", PhotoResult) == []
    assert state.names("nowhere") == []


@given(st.lists(st.text()), st.lists(st.text()))
def test_different_inputs_have_different_names(one: list[str], other: list[str]) -> None:
    if "\x1f" not in "".join(one + other) and one != other and (len(one) > 0 and len(other) > 0):
        assert short_hash(one) != short_hash(other)


def test_a_cell_is_remembered_until_it_is_no_longer_asked_for(state: State) -> None:
    found = {"label": np.array([0, -1, 1]), "lon": np.array([10.4, np.nan])}
    CellMemo(state, "cells/9901").put("a", found)
    CellMemo(state, "cells/9901").put("b", found)
    memo = CellMemo(state, "cells/9901")
    known = memo.get("a")
    assert known is not None
    assert known.keys() == found.keys()
    assert all(np.array_equal(known[name], found[name], equal_nan=True) for name in found)
    memo.forget_others()
    assert state.names("cells/9901") == ["cells/9901/a.npz"]


def test_a_cell_that_cannot_be_read_is_worked_out_again(state: State) -> None:
    memo = CellMemo(state, "cells/9901")
    assert memo.get("never") is None
    state.write_bytes("cells/9901/cut.npz", b"PK\x03\x04 cut")
    assert memo.get("cut") is None
