"""Denoising diffusion: noise schedules, forward noising and samplers, on diffusers' schedulers.

Shared by the diffusion methods; networks and losses are theirs. The arithmetic of every step is
that of diffusers, which always gets the betas computed here.

Source: Ho et al. 2020, arXiv:2006.11239 (ddpm); Song et al. 2021, arXiv:2010.02502 (ddim); Lu et
al. 2022, arXiv:2211.01095 (DPM-Solver++), with the noise levels of Karras et al. 2022,
arXiv:2206.00364; cosine schedule: Nichol and Dhariwal 2021, arXiv:2102.09672; v: Salimans and Ho
2022, arXiv:2202.00512.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, get_args

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from pydantic import Field
from torch import Tensor

from cerebench.methods.base import BadConfig, randn

Sampler = Literal["ddpm", "ddim", "dpmpp"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
Prediction = Literal["noise", "x0", "v"]
DiffusionLoss = Literal["l1", "l2"]
_NAMES = {"noise": "epsilon", "x0": "sample", "v": "v_prediction"}  # as diffusers calls them
# Below, float32 cannot tell the noise of a single step from none, and samples would be NaN.
BetaCap = Annotated[float, Field(ge=1e-3, lt=1)]
_TABLES = torch.device("cpu")  # where the schedulers keep their tables, whatever the default is


def cosine_betas(steps: int, cap: float) -> Tensor:
    """Return the cosine schedule: (steps,) float64 on the CPU, each beta at most ``cap``.

    beta_t = min(1 - f(t + 1) / f(t), cap) with f(i) = cos^2(pi / 2 (i / steps + s) / (1 + s)) and
    s = 0.008.

    Args:
        steps: Diffusion steps T.
        cap: Largest beta, < 1; it keeps the last step finite.

    Source: Nichol and Dhariwal 2021, equation 17.
    """
    u = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - f[1:] / f[:-1]).clamp(0, cap)


def sampler_steps(sampler: str, setting: int, steps: int) -> int:
    """Return how many network evaluations a sampler makes; a ``setting`` of 0 takes its default.

    ddpm visits all diffusion steps. ddim takes a divisor of them, the largest up to 50 by
    default. dpmpp takes any number up to them, 25 by default.

    Args:
        sampler: ``ddpm``, ``ddim`` or ``dpmpp``.
        setting: The value of ``sampler_steps``.
        steps: Diffusion steps T.

    Raises:
        BadConfig: If the sampler is unknown or cannot take that many steps.
    """
    if sampler not in SAMPLERS:
        raise BadConfig(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}.")
    divisor = max(d for d in range(1, min(steps, 50) + 1) if steps % d == 0)
    evaluations = setting or min({"ddpm": steps, "ddim": divisor, "dpmpp": 25}[sampler], steps)
    possible = {
        "ddpm": evaluations == steps,
        "ddim": evaluations > 0 and steps % evaluations == 0,
        "dpmpp": 1 <= evaluations <= steps,
    }
    if not possible[sampler]:
        rule = {
            "ddpm": f"ddpm visits all {steps} diffusion steps",
            "ddim": f"the steps of ddim must divide the {steps} diffusion steps",
            "dpmpp": f"dpmpp takes 1 to {steps} steps",
        }[sampler]
        raise BadConfig(
            f"sampler_steps = {setting} does not fit: {rule}. Set it to 0 for the "
            f"default of the sampler, or choose another of {', '.join(SAMPLERS)}."
        )
    return evaluations


def error(predicted: Tensor, target: Tensor, loss: DiffusionLoss) -> Tensor:
    """Return the mean of the absolute (l1) or squared (l2) differences, float32."""
    difference = predicted.float() - target
    return difference.abs().mean() if loss == "l1" else difference.square().mean()


class Diffusion:
    """A diffusion process over T steps whose network predicts the noise, or what stands for it.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, with abar_t the product of 1 - beta up to t,
    t = 0 ... T - 1. Every estimate of x_0 is clipped while sampling: at the last steps of a
    cosine schedule one made of a noise estimate is the network's error amplified by thousands.

    Args:
        betas: (T,) float64 on the CPU, for example of ``cosine_betas``.
        clip: Estimates of x_0 are clipped to [-clip, clip].
        prediction: What the network predicts: ``noise``; ``x0``; or ``v``, which is
            sqrt(abar_t) noise - sqrt(1 - abar_t) x_0.
    """

    def __init__(
        self, betas: Tensor, *, clip: float = 1.0, prediction: Prediction = "noise"
    ) -> None:
        self.steps, self._clip, self._prediction = len(betas), clip, prediction
        self._betas = betas.tolist()
        self._forward = self._scheduler("ddpm", self.steps)

    def times(self, numbers: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into uniform steps 0 ... T - 1, int64, same shape."""
        return (numbers * self.steps).long()

    def noised(self, volumes: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return x_t: volumes (B, ...) mixed with noise of the same shape at steps (B,)."""
        # Annotated as the legacy class of int32 on the CPU; it only indexes a table.
        return self._forward.add_noise(volumes, noise, times)  # pyright: ignore[reportArgumentType]

    def target(self, volumes: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return what the network shall predict from ``noised(volumes, noise, times)``."""
        if self._prediction == "noise":
            return noise
        if self._prediction == "x0":
            return volumes
        return self._forward.get_velocity(volumes, noise, times)  # pyright: ignore[reportArgumentType]

    def draw(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        rngs: Sequence[torch.Generator],
        shape: Sequence[int],
        *,
        sampler: str = "ddpm",
        steps: int = 0,
    ) -> Tensor:
        """Sample from noise.

        Args:
            predict: Maps (x_t (N, *shape) float32, t (N,) int64) to the prediction.
            rngs: One CPU generator per sample; the noise of all steps of a sample comes from it.
            shape: Shape of one sample.
            sampler: ``ddpm`` (ancestral), ``ddim`` (eta = 0) or ``dpmpp`` (second-order
                DPM-Solver++ on Karras noise levels).
            steps: Evaluations of ``predict`` as of ``sampler_steps``; 0 for its default.

        Returns:
            (N, *shape) float32 in [-clip, clip], on torch's default device.

        Raises:
            BadConfig: If the sampler is unknown or cannot take that many steps.
        """
        scheduler = self._scheduler(sampler, sampler_steps(sampler, steps, self.steps))
        streams, x = list(rngs), randn(rngs, *shape)
        for t in scheduler.timesteps.tolist():
            predicted = predict(x, torch.full((len(x),), t, device=x.device)).float()
            if x.is_meta:
                continue  # operations are only counted: those of the networks
            with _TABLES:  # a list of generators is annotated for some schedulers only
                x = scheduler.step(predicted, t, x, generator=streams, return_dict=False)[0]  # pyright: ignore[reportArgumentType]
        return x

    def _scheduler(
        self, sampler: str, steps: int
    ) -> DDPMScheduler | DDIMScheduler | DPMSolverMultistepScheduler:
        """Return a fresh scheduler with its steps set."""
        shared = {
            "num_train_timesteps": self.steps,
            "trained_betas": self._betas,
            "prediction_type": _NAMES[self._prediction],
        }
        clipped = {**shared, "clip_sample": True, "clip_sample_range": self._clip}
        with _TABLES:
            if sampler == "ddpm":
                scheduler = DDPMScheduler(**clipped, variance_type="fixed_small")
            elif sampler == "ddim":
                # Trailing: the default spacing never visits the last, noisiest step.
                scheduler = DDIMScheduler(
                    **clipped, set_alpha_to_one=True, timestep_spacing="trailing"
                )
            else:
                scheduler = _ClippedDPMSolver(
                    **shared,
                    algorithm_type="dpmsolver++",
                    solver_order=2,
                    use_karras_sigmas=True,
                    final_sigmas_type="zero",
                    thresholding=True,
                    sample_max_value=self._clip,
                )
            scheduler.set_timesteps(steps)
        if sampler == "dpmpp":
            # Karras levels may round to the same step twice, which has no index of its own.
            scheduler.set_begin_index(0)
        return scheduler


class _ClippedDPMSolver(DPMSolverMultistepScheduler):
    """DPM-Solver++ whose threshold is a plain clip.

    With ``sample_max_value=1`` it is one already, at the price of sorting all voxels of every
    step; with other values diffusers would divide by the threshold.
    """

    def _threshold_sample(self, sample: Tensor) -> Tensor:
        """Clip an estimate of x_0."""
        limit = self.config["sample_max_value"]
        return sample.clamp(-limit, limit)
