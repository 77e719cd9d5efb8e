"""The downstream protocols of an experiment, read once for all of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from cerebench.core.settings import BELOW_PAPER, BY_USER
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.formatting import plain
from cerebench.reports.statistics.comparison import CLAIM, Verdict, check_test, compare
from cerebench.reports.statistics.generators import leader
from cerebench.reports.statistics.results import Result
from cerebench.reports.values.downstream import DEFAULT_TEST, ProtocolResults, read_protocols
from cerebench.reports.values.marks import marked_label, marks
from cerebench.reports.values.tidy import values


@dataclass(frozen=True, eq=False)
class Study:
    """The protocols of an experiment.

    Attributes:
        test: The test beside that of generators, one of ``comparison.TESTS``.
        marks: Name of a row to why image metrics mark it, as in ``cerebench.reports.values.marks``.
    """

    experiment: RecordedExperiment
    blocks: list[ProtocolResults]
    test: str
    marks: Mapping[str, Mapping[str, Sequence[str]]]
    _verdicts: dict[tuple[ProtocolResults, str, str], dict[Result, Verdict]] = field(
        default_factory=dict, init=False, repr=False
    )  # those that were asked for before: tables share them, and a bootstrap is slow

    def marked(self, block: ProtocolResults, result: Result) -> dict[str, Sequence[str]]:
        """Return the marks of a row; a row with one is never called best."""
        other = unequal(self, block).get(result)
        odd = {} if other is None else {"unequal data": [f"stage 1 trained on {other}"]}
        return {**self.marks.get(result.name, {}), **odd}

    def label(self, block: ProtocolResults, result: Result) -> str:
        """Return the label of a row with its marks behind it."""
        return marked_label(result.label, self.marked(block, result))

    @property
    def experiments(self) -> list[ProtocolResults]:
        """Protocols that compare generators."""
        return [b for b in self.blocks if b.needs_samples and b.role == "experiment"]

    @property
    def others(self) -> list[tuple[ProtocolResults, Result]]:
        """Rows of all other protocols."""
        blocks = [b for b in self.blocks if b not in self.experiments]
        return [(block, result) for block in blocks for result in block.results]

    @property
    def banner(self) -> str:
        """Why nothing is bold in any table; empty where something may be."""
        warnings = (self.experiment.contents.banner or "", classifier(self.blocks))
        return plain("; ".join(filter(None, warnings)))

    def reference(self, block: ProtocolResults) -> Result | None:
        """Return the row of a protocol that tests compare with."""
        return block.find(self.experiment.contents.reference)

    def families(self, block: ProtocolResults) -> tuple[list[Result], list[Result]]:
        """Return what is compared with the reference: other generators, and rows without one."""
        methods = [row for row in block.results if row is not self.reference(block)]
        return methods, [row for b, row in self.others if not b.needs_samples]

    def verdicts(
        self, block: ProtocolResults, metric: str, test: str = CLAIM
    ) -> dict[Result, Verdict]:
        """Test both families of a protocol against its reference."""
        place = (block, metric, test)
        if place not in self._verdicts:
            verdicts: dict[Result, Verdict] = {}
            for family in self.families(block):
                verdicts |= compare(family, self.reference(block), metric, test)
            self._verdicts[place] = verdicts
        return self._verdicts[place]

    def best(
        self, rows: Sequence[tuple[ProtocolResults, Result]], metric: str
    ) -> tuple[Result | None, ...]:
        """Return the row that may be called best, and the second best by its mean.

        Rows with a mark, and those with a run that predicts one class, do not compete; nothing is
        best under a banner.
        """
        able = {
            row: fmean(row.values(metric))
            for block, row in rows
            if row.runs and not row.one_class and not self.marked(block, row)
        }
        if self.banner or len(able) < 2:
            return None, None
        means = sorted(able.values(), reverse=True)
        second = [row for row, mean in able.items() if mean == means[1]]
        return leader(able, metric), second[0] if len(second) == 1 else None


def read_study(experiment: RecordedExperiment, test: str = DEFAULT_TEST) -> Study | None:
    """Read the protocols of an experiment; None if it has none.

    Raises:
        ReportError: If the test is unknown, or as in ``downstream.read_protocols``.
    """
    check_test(test)
    blocks = read_protocols(experiment)
    if not any(block.results for block in blocks):
        return None
    rows = experiment.contents.rows
    marked = marks(experiment.contents, values(experiment))
    return Study(experiment, blocks, test, {rows[row].name: why for row, why in marked.items()})


def unequal(protocols: Study, block: ProtocolResults) -> dict[Result, str]:
    """Return the rows whose stage 1 trained on other data than the reference's, and on what.

    Without a result of the reference, the first row that has one takes its place.
    """
    made = [result for result in block.results if result.data]
    reference = protocols.reference(block)
    usual = reference if reference in made else next(iter(made), None)
    return {row: row.data for row in made if usual is not None and row.data != usual.data}


def classifier(blocks: Sequence[ProtocolResults]) -> str:
    """Return the warning above every table of a small classifier, or an empty string.

    One is small by its preset, or where a setting of the user made it smaller than the paper's.
    """
    for block in blocks:
        config = block.config
        if (block.preset in BELOW_PAPER or _smaller(block)) and "depth" in config:
            stages = (config[k] for k in ("pretrain_epochs", "finetune_epochs") if k in config)
            epochs = " + ".join(map(str, stages))
            network = config.get("network", "resnet")  # 0.1.0 knew no other
            network += str(config["depth"]) * (network == "resnet")
            name = f"changed {block.preset}" if _smaller(block) else block.preset
            return f"{name} classifier: {network}, few epochs ({epochs})"
    return ""


def _smaller(block: ProtocolResults) -> bool:
    """Tell whether a user chose a smaller network or fewer epochs than the paper's."""
    return any(
        d.setting == "network"
        or (
            d.setting in ("depth", "pretrain_epochs", "finetune_epochs")
            and isinstance(d.value, int)
            and isinstance(d.paper, int)
            and d.value < d.paper
        )
        for d in block.differences
        if d.source == BY_USER
    )
