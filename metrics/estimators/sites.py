"""Can the features tell where a case was scanned, and how well beside its class?

Where site is read better than class, a distance in these features is mostly one of sites: a
generator is then judged by whose scans it was trained on. Real training cases alone are asked, by
the probe of ``metrics/probes/probe.py`` in five-fold cross-validation.

Source: [ours]; that scanners are told apart better than diagnoses: Glocker et al. 2019,
arXiv:1910.04597.
"""

from __future__ import annotations

import numpy as np

from cerebench.core.facts import CLASS_AUC, SITE_AUC, SITES, Fact
from cerebench.metrics.estimators import jackknife
from cerebench.metrics.probes.probe import FOLDS, LEAST, Classes, auc, out_of_fold


def read_sites(every: Classes) -> dict[str, Fact]:
    """Return the AUC of sites and of classes, means over each against all others.

    Args:
        every: The sets of all classes; their training volumes carry sites where they are known.

    Returns:
        Facts by the names in ``cerebench.core.facts``; nothing where fewer than two sites have ten
        cases, or a case has no site.
    """
    trains = [own.train for own in every.sets.classes.values()]
    if not all(len(volumes.sites) == len(volumes) for volumes in trains):
        return {}
    groups = every.groups("train")
    features = np.concatenate(groups)
    sites = np.array([site for volumes in trains for site in volumes.sites])
    ids = np.array([name for volumes in trains for name in volumes.ids])
    names = [s for s in sorted({*sites} - {""}) if np.sum(sites == s) >= 2 * LEAST]
    if len(names) < 2:
        return {}
    rows = [np.flatnonzero(sites == name) for name in names]
    folds = [jackknife.groups(ids[own].tolist(), every.sets.seed, FOLDS) for own in rows]
    by_site = out_of_fold([features[own] for own in rows], folds)
    by_class = out_of_fold(groups, every.folds("train"))
    return {SITE_AUC: auc(by_site), CLASS_AUC: auc(by_class), SITES: len(names)}
