"""3D-alpha-WGAN: an autoencoder and a Wasserstein GAN that share their generator.

Source: Kwon, Han and Kim 2019, "Generation of 3D Brain MRI Using Auto-Encoding Generative
Adversarial Networks", arXiv:1908.02498, and their code (MIT licence), written anew from a
description; networks at 128^3 as in the baselines of HA-GAN, spectral normalisation as in Ferreira
et al. 2022 (alpha-WGAN-SigmaRat). The paper of this suite's comparison (Zhou and Khalvati, MIDL
2024) uses the method as a baseline and gives no hyper-parameters for it: the values are Kwon's.

Departures: see ``DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam

from cerebench.methods.base import (
    BadConfig,
    Batches,
    Conditions,
    Count,
    CountOrZero,
    Decay,
    Fraction,
    Method,
    MethodInfo,
    NonNegative,
    Positive,
    Precision,
    Preset,
    Run,
    Step,
    randn,
    setting,
)
from cerebench.methods.layers.adversarial import (
    check_size,
    critic,
    critic_widths,
    generator,
    generator_widths,
    gradient_penalty,
    settle_statistics,
)
from cerebench.methods.layers.collapse import Watch
from cerebench.methods.layers.learning_rate import linear, set_lr

DEPARTURES = (
    "Zhou and Khalvati (MIDL 2024), whose table holds this method, give no hyper-parameters and "
    "no code for it: all values are those of Kwon's code, at 128^3 with one more level outside "
    "the critic and encoder and one more inside the generator, as in the baselines of HA-GAN.",
    "From Kwon's code, in every preset but reference: the code critic scores the codes of the "
    "encoder while it trains. The code re-uses a score computed while the code critic was frozen, "
    "which carries no gradient to it, so that it only ever sees codes of the prior and a penalty.",
    "reference: Kwon's loop cannot run with today's PyTorch, because that re-used score runs "
    "backward through an encoder that was updated since. Its gradients went nowhere, so leaving "
    "the term out stands in for it. The widths are Kwon's at 64^3.",
    "From Kwon's code, in all presets: sampling uses running batch statistics, re-estimated "
    "from prior noise after training. The code never leaves training mode, so that a sample "
    "depends on its neighbours in the batch, which the suite does not allow.",
    "From Kwon's code, in all presets: no flips, no intensity augmentation; the suite's volumes "
    "are used as they are. No 1e-15 is added to every element inside the norm of the penalty.",
    "As in Kwon's code, every preset but sn keeps batch normalisation in both critics: the "
    "penalty of a volume then also depends on its neighbours in the batch.",
    "sn takes from Ferreira et al. the normalisations, the slope of the generator's activations "
    "and the length of the code; not their squared-error and gradient-difference terms (the second "
    "has no gradient in their code), their AdamW or their weights of losses.",
)


@dataclass(frozen=True)
class Config:
    """Settings of 3D-alpha-WGAN; the defaults are the ``paper`` preset."""

    steps: Count = setting(
        12_000, "rounds of updates", "[code: Kwon, iterations run on ADNI; 21,000 on BraTS]"
    )
    generator_updates: Count = setting(
        2, "generator updates per round, all with one gradient", "[code: Kwon, training notebook]"
    )
    reconstruction: NonNegative = setting(10.0, "weight of the L1 distance", "[paper: lambda1]")
    penalty: NonNegative = setting(10.0, "weight of every gradient penalty", "[paper: lambda2]")
    code_critic: Literal["both", "prior"] = setting(
        "both",
        "codes that it scores in its own loss: both, or those of the prior alone",
        "[ours: the intended loss; the code loses one term]",
    )
    norm: Literal["batch", "spectral"] = setting(
        "batch",
        "batch norm everywhere, or spectral norm in the critics and instance norm elsewhere",
        "[code: Kwon, Model_alphaWGAN]",
    )
    lr: Positive = setting(2e-4, "Adam step size, all networks", "[code: Kwon, training notebook]")
    lr_end: Fraction = setting(
        1.0, "fraction of lr at the end of a linear decay", "[code: Kwon, constant]"
    )
    beta1: Decay = setting(0.9, "Adam decay of the mean", "[code: Kwon, PyTorch's default]")
    beta2: Decay = setting(0.999, "Adam decay of the square", "[code: Kwon, PyTorch's default]")
    batch: Count = setting(4, "volumes per update; two draws a round", "[code: Kwon]")
    latent: Count = setting(1000, "length of codes and of z ~ N(0, I)", "[code: Kwon]")
    generator_channels: Count = setting(
        64, "outermost generator channels; doubled at each coarser level", "[code: Kwon]"
    )
    critic_channels: Count = setting(
        64,
        "critic and encoder channels at half resolution; the widest level has at most 8 x",
        "[code: Kwon]",
    )
    code_units: Count = setting(4096, "width of the code critic", "[code: Kwon, num_units]")
    statistics: CountOrZero = setting(
        100,
        "noise batches that re-estimate the generator's batch statistics; 0: as training left them",
        "[ours: a sample must not depend on its batch]",
    )
    watch_pairs: Count = setting(
        32,
        "pairs whose MS-SSIM tells a collapse",
        "[ours: cheap, and steady enough to tell a collapse]",
    )
    watch_every: Count = setting(
        500, "rounds between measurements of it", "[ours: Kwon's interval of checkpoints]"
    )
    precision: Precision = setting("bf16", "autocast; the penalties stay fp32", "[ours: speed]")

    def for_size(self, size: int) -> Config:
        """Check the edge length; the networks derive their levels and widths from it.

        Raises:
            BadConfig: If the size is no power of two from 16 on, or settings do not go together.
        """
        check_size(size, self.critic_channels)
        if self.batch < 2 and self.norm == "batch":  # of the code critic, which sees no voxels
            raise BadConfig(
                f"batch = {self.batch} leaves batch norm nothing to compare. Set it to 2 or more, "
                "or norm to spectral."
            )
        return self


PAPER = Preset(Config(), size=128)
REFERENCE = PAPER.override(
    size=64,
    code_critic=("prior", "[code: Kwon, the encoder's term comes from a frozen code critic]"),
    precision=("fp32", "[code: Kwon]"),
)
SN = PAPER.override(
    norm=("spectral", "[code: Ferreira et al., alpha-WGAN-SigmaRat]"),
    latent=(500, "[code: Ferreira et al., alpha-WGAN-SigmaRat]"),
    precision=("fp32", "[ours: the singular values are found in fp32]"),
)
QUICK = PAPER.override(
    size=32,
    steps=(300, "[ours: both classes in about two minutes on two cores]"),
    lr=(1e-3, "[ours: few steps]"),
    lr_end=(0.0, "[ours: settles the oscillation of so few steps]"),
    beta1=(0.0, "[ours: few steps; as in wgan-gp]"),
    beta2=(0.9, "[ours: few steps; as in wgan-gp]"),
    batch=(8, "[ours: steadier than twice the steps with 4]"),
    latent=(64, "[ours: ample for 100 cases]"),
    generator_channels=(24, "[ours: speed]"),
    critic_channels=(16, "[ours: speed]"),
    code_units=(256, "[ours: speed]"),
    watch_every=(50, "[ours: few steps]"),
)
LITE = QUICK.override(
    size=64,
    steps=(900, "[ours: both classes in about an hour on two cores]"),
    lr=(5e-4, "[ours: half of quick's, for three times the steps]"),
    latent=(128, "[ours: as quick]"),
    generator_channels=(32, "[ours: an hour on two cores]"),
    code_units=(512, "[ours: as generator_channels]"),
    watch_every=(100, "[ours: few steps]"),
)
SMOKE = PAPER.override(
    size=16,
    steps=(2, "[ours: test]"),
    batch=(2, "[ours: test]"),
    latent=(8, "[ours: test]"),
    generator_channels=(4, "[ours: test]"),
    critic_channels=(4, "[ours: test]"),
    code_units=(8, "[ours: test]"),
    statistics=(2, "[ours: test]"),
    watch_pairs=(2, "[ours: test]"),
    precision=("fp32", "[ours: exactness]"),
)


class AlphaWGAN(Method):
    """Encoder E, generator G, critic D of volumes and critic C of codes; one instance per class.

    Logged scalars: ``reconstruction`` mean |G(E(x)) - x|; ``generator_loss`` the loss of encoder
    and generator; ``critic_gap`` mean D(G(E(x))) + mean D(G(z)) - 2 mean D(x); ``penalty`` the sum
    of the two penalties of D before their weight; ``code_gap`` mean C(E(x)) - mean C(z);
    ``code_penalty`` the penalty of C before its weight; ``ms_ssim`` and ``ms_ssim_real`` mean
    similarity of pairs of samples and of real volumes, see ``layers/collapse.py``.
    """

    info = MethodInfo(
        name="alpha-wgan",
        version=1,
        source="arXiv:1908.02498",
        conditioning="none",
        label="3D-alpha-WGAN",
    )
    Config = Config
    config: Config
    presets = {
        "paper": PAPER,
        "reference": REFERENCE,
        "sn": SN,
        "lite": LITE,
        "quick": QUICK,
        "smoke": SMOKE,
    }
    departures = DEPARTURES

    def build(self) -> dict[str, nn.Module]:
        """Return encoder, generator, critic of volumes and critic of codes."""
        c = self.config
        widths = critic_widths(c.critic_channels, self.size)
        return {
            "encoder": encoder(widths, self.channels, c.latent, c.norm),
            "generator": decoder(
                c.latent, generator_widths(c.generator_channels, self.size), self.channels, c.norm
            ),
            "critic": critic(widths, self.channels, c.norm),
            "code_critic": code_critic(c.latent, c.code_units, c.norm),
        }

    def train(self, data: Batches, run: Run) -> None:
        """Update encoder and generator together, then each critic, for a number of rounds."""
        c = self.config
        E, G, D, C = (self.nets[n] for n in ("encoder", "generator", "critic", "code_critic"))
        opt_e, opt_g, opt_d, opt_c = (
            Adam(net.parameters(), lr=c.lr, betas=(c.beta1, c.beta2), fused=True)
            for net in (E, G, D, C)
        )
        phase = run.phase(
            "adversarial", encoder=opt_e, generator=opt_g, critic=opt_d, code_critic=opt_c
        )
        watch = Watch(phase, [data], pairs=c.watch_pairs, every=c.watch_every, total=c.steps)
        for step in phase.steps(c.steps):
            set_lr((opt_e, opt_g, opt_d, opt_c), linear(step.progress, c.lr, c.lr_end))

            x = step.batch(data, c.batch).images  # (B, C, D, H, W) in [-1, 1]
            code = E(x)  # (B, latent)
            rebuilt, fresh = G(code), G(step.randn(c.batch, c.latent))
            reconstruction = (rebuilt - x).abs().mean()
            scores = C(code).mean() + D(rebuilt).mean() + D(fresh).mean()
            loss_g = c.reconstruction * reconstruction - scores
            step.descend([opt_e] + [opt_g] * c.generator_updates, loss_g)

            x, z = step.batch(data, c.batch).images, step.randn(c.batch, c.latent)
            with torch.no_grad():
                code = E(x).float()
                rebuilt, fresh = G(code), G(z)
            gap = D(rebuilt).mean() + D(fresh).mean() - 2 * D(x).mean()
            penalty = gradient_penalty(D, x, fresh, step.rand(c.batch))
            penalty = penalty + gradient_penalty(D, x, rebuilt, step.rand(c.batch))
            step.descend(opt_d, gap + c.penalty * penalty)

            code_gap = -C(z).mean()
            if c.code_critic == "both":
                code_gap = code_gap + C(code).mean()
            code_penalty = gradient_penalty(C, code, z, step.rand(c.batch))
            step.descend(opt_c, code_gap + c.penalty * code_penalty)

            phase.log(
                reconstruction=reconstruction,
                generator_loss=loss_g,
                critic_gap=gap,
                penalty=penalty,
                code_gap=code_gap,
                code_penalty=code_penalty,
            )
            watch.look(step, partial(self._generate, step))
        settle_statistics(run, G, self._generate, c.statistics)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Return what the generator makes of one code per sample."""
        return self.nets["generator"](randn(rngs, self.config.latent)).float()  # (N, C, D, H, W)

    def _generate(self, step: Step) -> Tensor:
        """Generate a batch from noise of this step."""
        return self.nets["generator"](step.randn(self.config.batch, self.config.latent))


def encoder(widths: Sequence[int], channels: int, latent: int, norm: str) -> nn.Sequential:
    """Return the network that maps volumes to codes (B, latent): a critic with as many scores."""
    trunk = critic(widths, channels, "instance" if norm == "spectral" else norm, scores=latent)
    return nn.Sequential(*trunk, nn.Flatten())


def decoder(latent: int, widths: Sequence[int], channels: int, norm: str) -> nn.Sequential:
    """Return the generator, started as the transposed convolution that its first layer stands for.

    A transposed convolution of one voxel is a linear layer; only its default range differs.
    """
    if norm == "spectral":
        activation = partial(nn.LeakyReLU, 0.01)
        net = generator(
            latent, widths, channels, stem_bias=False, norm="instance", activation=activation
        )
    else:
        net = generator(latent, widths, channels, stem_bias=False)
    bound = (widths[0] * 4**3) ** -0.5
    stem = net[0]
    assert isinstance(stem, nn.Linear)
    nn.init.uniform_(stem.weight, -bound, bound)
    return net


def code_critic(inputs: int, units: int, norm: str) -> nn.Sequential:
    """Return the network that maps codes (B, inputs) to scores (B, 1)."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise((inputs, units, units)):
        layers.append(nn.Linear(fan_in, fan_out))
        layers += [nn.BatchNorm1d(fan_out)] if norm == "batch" else []
        layers.append(nn.LeakyReLU(0.2))
    layers.append(nn.Linear(units, 1))
    if norm == "spectral":
        layers = [spectral_norm(m) if isinstance(m, nn.Linear) else m for m in layers]
    return nn.Sequential(*layers)
