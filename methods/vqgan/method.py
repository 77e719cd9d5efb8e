"""3D-VQGAN: an unconditional VQGAN, then a causal transformer over its tokens.

Source: Zhou, Wagner, Tabori, Hawkins, Ertl-Wagner and Khalvati 2023, arXiv:2310.01251, of which
only the abstract could be read, and their code (Brain_MRI_Vector_Quantization, which carries no
licence), written anew from a description of it. The predecessor of 3D-VQGAN-cond, and a baseline
of its paper (Zhou and Khalvati, MIDL 2024), which trains it for each class on its own.

Departures: see ``config.DEPARTURES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW

from cerebench.methods.base import (
    Batches,
    Conditions,
    Diagnostic,
    Method,
    MethodInfo,
    Run,
    Step,
    full_precision,
    network,
    rand,
)
from cerebench.methods.layers.learning_rate import cosine, set_lr
from cerebench.methods.layers.perceptual import VGG16, perceptual_network, slice_depths, slice_loss
from cerebench.methods.layers.vq.autoencoder import final_convolution
from cerebench.methods.layers.vq.codes import active_codes, count_codes, perplexity
from cerebench.methods.layers.vq.losses import (
    adaptive_weight,
    feature_matching,
    gradient_loss,
    hinge,
    total,
)
from cerebench.methods.layers.vq.tokens import chunks, diagnose_tokens
from cerebench.methods.layers.vq.transformer import Transformer, decay_groups, start_with
from cerebench.methods.vqgan.autoencoder import decoder, discriminator, encoder
from cerebench.methods.vqgan.codebook import Codebook
from cerebench.methods.vqgan.config import DEPARTURES, LITE, PAPER, QUICK, SMOKE, Config


class VQGAN(Method):
    """Generator in two stages, one instance per class.

    Logged scalars of phase ``autoencoder``: ``pixel`` mean |x - y|; ``gradient``, ``matching``,
    ``commitment``, ``perceptual`` the other terms before their weights; ``balance`` the adaptive
    weight of the adversarial term (0 before it starts); ``discriminator`` the hinge loss;
    ``perplexity`` and ``active_codes`` of the batch's tokens. Phase ``transformer``:
    ``cross_entropy`` per token, nats.
    """

    info = MethodInfo(
        name="vqgan",
        version=1,
        source="arXiv:2310.01251",
        conditioning="none",
        label="3D-VQGAN",
    )
    Config = Config
    config: Config
    presets = {"paper": PAPER, "lite": LITE, "quick": QUICK, "smoke": SMOKE}
    departures = DEPARTURES

    @classmethod
    def weights(cls, config: Config) -> Sequence[str]:
        """Name the weights of the perceptual term where there is one."""
        return (VGG16,) if config.perceptual == "lpips-vgg" else ()

    @classmethod
    def without_weights(cls) -> dict[str, str]:
        """Return the setting that leaves the perceptual term out."""
        return {"perceptual": "none"}

    def build(self) -> dict[str, nn.Module]:
        """Return the networks of the autoencoder, its discriminator and the transformer."""
        c = self.config
        vocabulary = c.codes + 1  # the last id starts a sequence
        return {
            "encoder": encoder(self.channels, c.channels, c.bottleneck),
            "to_code": nn.Conv3d(c.bottleneck, c.bottleneck, 1),
            "codebook": Codebook(c.codes, c.bottleneck, c.code_decay),
            "from_code": nn.Conv3d(c.bottleneck, c.bottleneck, 1),
            "decoder": decoder(self.channels, c.channels, c.bottleneck),
            "discriminator": discriminator(self.channels, c.discriminator_channels, self.size),
            "transformer": Transformer(vocabulary, c.latent_size**3, c.width, c.layers, c.heads),
        }

    def train(self, data: Batches, run: Run) -> None:
        """Train the autoencoder, freeze it, then train the transformer on its tokens."""
        self._train_autoencoder(data, run)
        for name, net in self.nets.items():
            net.train(name == "transformer")  # batch norms of stage 1 keep their statistics
        self._train_transformer(data, run)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Draw tokens one by one and decode them."""
        return self._decode(self._draw(rngs))  # (N, C, D, H, W)

    def diagnose(
        self,
        train: Batches,
        test: Batches,
        conditions: Conditions,
        rngs: Sequence[torch.Generator],
    ) -> Sequence[Diagnostic]:
        """Return reconstruction error, use of the codebook and token and voxel memorisation."""
        return diagnose_tokens(
            train,
            test,
            self._draw(rngs),
            encode=self._encode,
            decode=self._decode,
            codes=self.config.codes,
        )

    def _train_autoencoder(self, data: Batches, run: Run) -> None:
        """Stage 1: reconstruct volumes through the codebook."""
        c, D = self.config, self.nets["discriminator"]
        codebook = network(self.nets, "codebook", Codebook)
        decoder = network(self.nets, "decoder", nn.Sequential)
        generator = [
            parameter
            for name in ("encoder", "to_code", "from_code", "decoder")
            for parameter in self.nets[name].parameters()
        ]
        adam = {"lr": c.lr, "betas": (c.beta1, c.beta2), "fused": True}
        opt_g, opt_d = Adam(generator, **adam), Adam(D.parameters(), **adam)
        lpips = perceptual_network(run, c.perceptual)
        phase = run.phase("autoencoder", opt_g=opt_g, opt_d=opt_d)
        for step in phase.steps(round(c.stop_at * c.autoencoder_steps)):
            progress = step.index / c.autoencoder_steps
            set_lr((opt_g, opt_d), cosine(progress, c.lr, c.lr_end))
            x = step.batch(data, c.batch).images  # (B, C, D, H, W) in [-1, 1]
            z = self.nets["to_code"](self.nets["encoder"](x))
            if step.index == 0:
                codebook.initialise(z)
            quantised = codebook(z)
            y = decoder(self.nets["from_code"](quantised.vectors)).float()

            adversarial = progress >= c.discriminator_start
            with torch.set_grad_enabled(adversarial):  # the graph of D(x) serves D's own update
                real_logits, real_features = D(x)
            logits, features = D(y)
            terms = {
                "pixel": (y - x).abs().mean(),
                "gradient": gradient_loss(x, y),
                "matching": feature_matching(real_features, features),
                "commitment": quantised.commitment,
            }
            if lpips is not None:
                depths = slice_depths(step.rand(c.perceptual_slices, len(x)), self.size)
                terms["perceptual"] = slice_loss(lpips, x, y, depths)
            loss = self._weigh(terms)
            balance = torch.zeros(())
            if adversarial:
                fooled = -logits.float().mean()
                last = final_convolution(decoder)
                balance = adaptive_weight(terms["pixel"], fooled, last.weight)
                loss = loss + balance * fooled
            step.descend(opt_g, loss, clip=c.clip)
            codebook.update(z.detach(), quantised.indices, c.restart_after)
            if adversarial:
                terms["discriminator"] = hinge(real_logits, D(y.detach())[0])
                step.descend(opt_d, terms["discriminator"], clip=c.clip)
            counts = count_codes(quantised.indices, c.codes)
            phase.log(
                **terms,
                balance=balance,
                perplexity=perplexity(counts),
                active_codes=active_codes(counts),
            )

    def _weigh(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms; the adversarial one is apart."""
        c = self.config
        weights = {
            "pixel": c.pixel_weight,
            "gradient": c.gradient_weight,
            "matching": c.matching_weight,
            "commitment": c.commitment,
            "perceptual": c.perceptual_weight,
        }
        return total(weights[name] * term for name, term in terms.items())

    def _train_transformer(self, data: Batches, run: Run) -> None:
        """Stage 2: predict every token from a corrupted past; stage 1 is frozen."""
        c, T = self.config, self.nets["transformer"]
        optimiser = AdamW(
            decay_groups(T, c.weight_decay), lr=c.transformer_lr, betas=(0.9, 0.95), fused=True
        )
        phase = run.phase("transformer", optimiser=optimiser)
        tokens = Tokens(phase.once("tokens", lambda: self._tokenise(data)))
        for step in phase.steps(c.transformer_steps):
            set_lr((optimiser,), cosine(step.progress, c.transformer_lr, c.transformer_lr_end))
            targets = step.batch(tokens, c.transformer_batch)
            targets = targets.long().to(torch.get_default_device())  # (B, L)
            inputs = start_with(self._starts(len(targets)), corrupt(targets, step, c.keep, c.codes))
            logits = T(inputs).float()  # (B, L, V)
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            step.descend(optimiser, loss)
            phase.log(cross_entropy=loss)

    def _starts(self, count: int) -> Tensor:
        """Return the id that starts a sequence, once per sequence: (count,) int64."""
        return torch.full((count,), self.config.codes)

    def _tokenise(self, data: Batches) -> Tensor:
        """Return tokens of all training volumes, (N, L) int32 in raster order (D, H, W)."""
        return torch.cat([self._encode(batch.images).int() for batch in chunks(data)])

    def _encode(self, volumes: Tensor) -> Tensor:
        """Return the tokens (N, L) int64 of volumes (N, C, D, H, W)."""
        with full_precision(volumes):
            z = self.nets["to_code"](self.nets["encoder"](volumes))
            return self.nets["codebook"](z).indices.flatten(1)

    def _decode(self, tokens: Tensor) -> Tensor:
        """Return the volumes of token sequences (N, L): (N, C, D, H, W) float32 in [-1, 1]."""
        grid = tokens.unflatten(1, (self.config.latent_size,) * 3)
        vectors = network(self.nets, "codebook", Codebook).look_up(grid)
        return self.nets["decoder"](self.nets["from_code"](vectors)).float()

    def _draw(self, rngs: Sequence[torch.Generator]) -> Tensor:
        """Draw token sequences, (N, L) int64."""
        c = self.config
        return network(self.nets, "transformer", Transformer).generate(
            self._starts(len(rngs)),
            rand(rngs, c.latent_size**3),
            codes=c.codes,
            temperature=c.temperature,
            top_p=c.sample_top_p,
        )


@dataclass(frozen=True)
class Tokens:
    """Token sequences of volumes, (N, L) int32 on the CPU."""

    rows: Tensor

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self.rows)

    def take(self, indices: Tensor) -> Tensor:
        """Return the rows at these positions."""
        return self.rows[indices]


def corrupt(tokens: Tensor, step: Step, keep: float, codes: int) -> Tensor:
    """Replace tokens (B, L), each with probability 1 - ``keep``, by random codes in [0, codes)."""
    clean = step.rand(*tokens.shape) < keep
    noise = (codes * step.rand(*tokens.shape)).long()
    return torch.where(clean, tokens, noise)
