import numpy as np

from cerebench.reports import drawing


def test_front_is_up_and_the_right_of_the_patient_is_left():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert drawing.radiological(image).tolist() == [[5, 4, 3], [2, 1, 0]]


def test_files_of_the_same_figure_are_the_same(tmp_path):
    from matplotlib.figure import Figure

    one, other = ([p.read_bytes() for p in drawing.save(Figure(), tmp_path, n)] for n in "ab")
    assert one == other
    assert one[0].startswith(b"%PDF")
    assert one[1].startswith(b"\x89PNG")
