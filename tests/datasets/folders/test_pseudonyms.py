"""Names of patients leave the store as slow salted hashes that another lab can check."""

import hashlib
import time

import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders.derivative import Training, read_training_cases, training_cases
from cerebench.datasets.folders.pseudonyms import pseudonyms, salt_of

ROWS = (("scan-1", "Jane Doe", "HGG"), ("scan-2", "Jane Doe", "HGG"), ("scan-3", "Max", "LGG"))
SALT = salt_of("ab12")


def write(folder, data):
    (folder / "training_cases.tsv").write_bytes(data)
    return read_training_cases(folder)


def test_no_name_is_in_the_list_and_each_can_be_found_by_who_knows_it(tmp_path):
    data = training_cases(ROWS, SALT)
    for row in ROWS:
        assert not any(word.encode() in data for name in row[:2] for word in name.split())
    told = write(tmp_path, data)
    known = ["Jane Doe", "scan-3", "somebody else"]
    assert "Jane Doe" in {patient for _, patient in told.named(known)}
    assert {case for case, _ in told.named(known)} & {"scan-1", "scan-3"} == {"scan-3"}
    assert "somebody else" not in {name for row in told.named(known) for name in row}


def test_the_head_of_the_list_is_all_that_another_lab_needs(tmp_path):
    head, columns, *rows = training_cases(ROWS, SALT).decode().splitlines()
    words = dict(word.split("=") for word in head.removeprefix("# scrypt ").split())
    n, r, p, length = (int(words[k]) for k in ("n", "r", "p", "bytes"))
    salt = bytes.fromhex(words["salt"])
    hashed = hashlib.scrypt(b"Max", salt=salt, n=n, r=r, p=p, dklen=length).hex()
    assert columns.split("\t") == ["case_id", "patient_id", "class"]
    assert sum(row.split("\t")[1] == hashed for row in rows) == 1


def test_the_order_of_the_list_tells_nothing():
    assert training_cases(ROWS, SALT) == training_cases(ROWS[::-1], SALT)


def test_another_data_set_has_another_salt_and_the_same_always_the_same():
    assert salt_of("ab12") == SALT != salt_of("ab13")
    assert pseudonyms(["Max"], SALT) != pseudonyms(["Max"], salt_of("ab13"))


def test_a_name_is_slow_to_guess_and_hashed_once_a_process():
    began = time.perf_counter()
    pseudonyms(["only here"], SALT)
    first = time.perf_counter() - began
    began = time.perf_counter()
    pseudonyms(["only here"] * 100, SALT)
    assert first > 5e-3
    assert time.perf_counter() - began < first


def test_an_unknown_patient_stays_unknown(tmp_path):
    told = write(tmp_path, training_cases((("scan-1", "", "HGG"),), SALT))
    assert told.named(["scan-1"]) == (("scan-1", ""),)


def test_lists_in_clear_text_are_read_as_before(tmp_path):
    told = write(tmp_path, training_cases(ROWS))
    assert told == Training(tuple(row[:2] for row in ROWS))
    assert told.named(["Max"]) == told.cases
    assert write(tmp_path, b"case_id\na\n").cases == (("a", ""),)


def test_names_hashed_in_another_way_are_refused(tmp_path):
    data = training_cases(ROWS, SALT).replace(b"n=16384", b"n=1073741824")
    with pytest.raises(DatasetError, match=r"training_cases.tsv has names hashed by 'scrypt n=107"):
        write(tmp_path, data)
