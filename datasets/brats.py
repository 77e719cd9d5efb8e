"""BraTS training sets of 2015 to 2024, whichever is in the folder.

Source: Menze et al. 2015 (IEEE TMI), Bakas et al. 2017 (Scientific Data 4:170117), Bakas et al.
2018 (arXiv:1811.02629).
"""

from __future__ import annotations

from dataclasses import replace

from cerebench.datasets.scans.dataset import Scans


class BraTS(Scans):
    """The dataset ``scans`` under the name that experiments with BraTS use."""

    info = replace(
        Scans.info,
        name="brats",
        label="BraTS tumour ROIs",
        source="Menze et al. 2015; Bakas et al. 2017, 2018",
        licence="data use terms of the BraTS challenge; TCIA parts CC BY 3.0",
    )
