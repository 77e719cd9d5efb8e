"""Preprocessing procedures by name, with their options and the recipe that records them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cerebench.datasets.base import BadOption, DatasetError, Loaded, Recipe
from cerebench.datasets.scans import brain, roi

WIDE = ("crop", "shrink", "reject")


@dataclass(frozen=True)
class Procedure(ABC):
    """A recipe with its options; equal options make equal recipes and equal bits.

    Attributes:
        crop: Edge length of the cube that becomes the volume, voxels of 1 mm.
        percentile: Intensities above this percentile are clipped to it; None leaves them.
    """

    crop: int
    percentile: float | None

    name: ClassVar[str]
    needs_mask: ClassVar[bool]

    def __post_init__(self) -> None:
        if not _whole(self.crop) or not 16 <= self.crop <= 256:
            raise BadOption(
                f"The option crop is {self.crop!r}; expected a whole number of voxels of 1 mm from "
                "16 to 256."
            )
        if self.percentile is not None and not (
            isinstance(self.percentile, int | float) and 50 <= self.percentile <= 100
        ):
            raise BadOption(
                f"The option percentile is {self.percentile!r}; expected a number from 50 to 100, "
                "or none."
            )

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The record of what is done."""

    @property
    def id(self) -> str:
        """Name, version, the points a paper leaves open, and the first digits of the hash."""
        points = ",".join(f"{f.name}={_plain(getattr(self, f.name))}" for f in fields(self))
        return f"{self.name}-v{self.recipe.version}({points})@{self.recipe.sha256[:8]}"

    @abstractmethod
    def apply(
        self,
        images: NDArray[np.float32],
        mask: NDArray | None,
        spacing: tuple[float, float, float],
        size: int,
    ) -> Loaded:
        """Preprocess one case: images (C, D, H, W), mask (D, H, W) with tumour > 0."""


@dataclass(frozen=True)
class Roi(Procedure):
    """The tumour region of MIDL 2024; see ``roi.py``.

    Attributes:
        wide: What becomes of a tumour wider than the crop: ``crop``, ``shrink`` or ``reject``.
    """

    crop: int = roi.CROP
    percentile: float | None = None
    wide: str = "crop"

    name = "roi"
    needs_mask = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wide not in WIDE:
            raise BadOption(f"The option wide is '{self.wide}'; expected one of {', '.join(WIDE)}.")

    @property
    def recipe(self) -> Recipe:
        """The recipe of the paper with the options that differ from it."""
        changed: dict[str, Any] = {}
        if self.crop != roi.CROP:
            changed["crop"] = self.crop
        if self.percentile is not None:
            changed["percentile_clipping"] = f"of the tumour, to {float(self.percentile)} %"
        if self.wide == "shrink":
            changed["wider_than_crop"] = "a cube as wide as the tumour is averaged"
        elif self.wide == "reject":
            changed["wider_than_crop"] = "refused"
        return Recipe(roi.RECIPE.name, roi.RECIPE.version, {**roi.RECIPE.settings, **changed})

    @property
    def id(self) -> str:
        """As of every procedure, with the order of the steps."""
        return super().id.replace("(", "(order=crop-average-scale,", 1)

    def apply(
        self,
        images: NDArray[np.float32],
        mask: NDArray | None,
        spacing: tuple[float, float, float],
        size: int,
    ) -> Loaded:
        """Cut the tumour out; a case without a mask is refused."""
        if mask is None:
            raise DatasetError("the case has no mask. Add one, or use recipe=brain.")
        return roi.extract_roi(
            images, mask, spacing, size, self.crop, percentile=self.percentile, wide=self.wide
        )


@dataclass(frozen=True)
class Brain(Procedure):
    """The whole brain; see ``brain.py``."""

    crop: int = brain.CROP
    percentile: float | None = brain.PERCENTILE

    name = "brain"
    needs_mask = False

    @property
    def recipe(self) -> Recipe:
        """The recipe with its options."""
        clipped = None if self.percentile is None else float(self.percentile)
        return Recipe(
            name="brain",
            version=1,
            settings={
                "axes": "z, y, x of the RAS+ array",
                "voxel_mm": 1.0,
                "brain": "any channel > 0",
                "negatives": "set to 0",
                "crop": self.crop,
                "placement": "one box from the whole brain, n voxels long, starts at "
                "(crop - n) // 2",
                "wider_than_crop": "centre-cropped, starts at (n - crop) // 2 of the box",
                "percentile_clipping": clipped,
                "order": "clip, crop, average, normalise",
                "resize": "area average of the crop",
                "normalise": "minimum to -1 and maximum to 1 per channel; a constant one to -1",
                "mask_at_size": "area average of the tumour >= 0.5",
            },
        )

    def apply(
        self,
        images: NDArray[np.float32],
        mask: NDArray | None,
        spacing: tuple[float, float, float],
        size: int,
    ) -> Loaded:
        """Cut the brain out; the mask goes along where there is one."""
        return brain.extract_brain(images, mask, spacing, size, self.crop, self.percentile)


PROCEDURES: Mapping[str, type[Procedure]] = {"roi": Roi, "brain": Brain}
OPTIONS = ("crop", "percentile", "wide")


def procedure(options: Mapping[str, Any]) -> Procedure:
    """Return the procedure that options describe; ``recipe`` names it, ``roi`` by default.

    Raises:
        DatasetError: If there is no such recipe, or it does not have an option, or a value cannot
            be used.
    """
    name = options.get("recipe", "roi")
    if not isinstance(name, str) or name not in PROCEDURES:
        raise BadOption(f"There is no recipe '{name}'. Known: {', '.join(PROCEDURES)}.")
    cls = PROCEDURES[name]
    known = [f.name for f in fields(cls)]
    chosen = {k: _value(v) for k, v in options.items() if k in OPTIONS}
    for option in chosen:
        if option not in known:
            raise BadOption(
                f"The recipe {name} has no option '{option}'. Options: {', '.join(known)}."
            )
    return cls(**chosen)


def _value(value: Any) -> Any:
    return None if value == "none" else value


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
