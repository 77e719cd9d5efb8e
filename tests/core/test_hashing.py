"""Keys are the same everywhere, and follow every value."""

import hashlib
import math

import pytest

from cerebench.core.hashing import key_of, sha256_bytes, sha256_file


def test_keys_match_the_published_vectors():
    first = key_of({"a": 1, "b": [1, 2.5]})
    assert first == "07ac8340cb8a1f1a4c2cc05b1f6e885b0d7239278fdf513db654864fcb9ec9e3"
    second = key_of(
        {"kind": "train", "method": "wgan_gp", "params": {"batch": 3, "lr": 0.0001}, "seed": 0}
    )
    assert second == "1f1a8cec26f68dec694a291525ac882bf25ccaaaeddf7e236d3b25bf145e7acf"


def test_keys_do_not_depend_on_order_but_on_every_value():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 1.0})
    assert key_of(["x", "y"]) != key_of(["y", "x"])


def test_keys_refuse_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"a": math.nan})


def test_files_and_bytes_have_the_hash_of_their_content(tmp_path):
    (tmp_path / "x").write_bytes(b"volume")
    expected = hashlib.sha256(b"volume").hexdigest()
    assert sha256_file(tmp_path / "x") == sha256_bytes(b"volume") == expected
