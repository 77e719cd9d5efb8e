"""3D-VQGAN-cond: VQGAN with importance scores, then a class-conditional causal transformer.

Source: Zhou and Khalvati, "Conditional Generation of 3D Brain Tumor ROIs via VQGAN and
Temporal-Agnostic Masked Transformer", MIDL 2024. Networks and values that the paper leaves open
follow the authors' code (Brain_VQGAN_TATrans, which carries no licence), written anew from a
description of it.

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
from cerebench.methods.layers.vq.autoencoder import (
    Discriminator,
    decoder,
    discriminator_levels,
    encoder,
    final_convolution,
    start_at_mean,
)
from cerebench.methods.layers.vq.codes import active_codes, count_codes, perplexity
from cerebench.methods.layers.vq.losses import (
    adaptive_weight,
    feature_matching,
    gradient_loss,
    hinge,
)
from cerebench.methods.layers.vq.tokens import chunks, diagnose_tokens
from cerebench.methods.layers.vq.transformer import Transformer, class_tokens, decay_groups, shift
from cerebench.methods.vqgan_cond.codebook import Codebook
from cerebench.methods.vqgan_cond.config import (
    DEPARTURES,
    LITE,
    PAPER,
    QUICK,
    REFERENCE_CODE,
    SMOKE,
    Config,
)
from cerebench.methods.vqgan_cond.masking import Masking
from cerebench.methods.vqgan_cond.scoring import Classifier, Scorer, standardise


class VQGANCond(Method):
    """Class-conditional generator in two stages, one instance for all classes.

    Logged scalars of phase ``autoencoder``: ``pixel`` mean |x - y|; ``gradient``, ``matching``,
    ``commitment``, ``perceptual`` the other terms before their weights; ``class`` the class term;
    ``balance`` the adaptive weight of the adversarial term (0 before it starts);
    ``discriminator`` the hinge loss; ``perplexity`` and ``active_codes`` of the batch's tokens.
    Phase ``transformer``: ``cross_entropy`` per token, nats.
    """

    info = MethodInfo(
        name="vqgan-cond",
        version=1,
        source="Zhou and Khalvati, MIDL 2024",
        conditioning="class",
        label="3D-VQGAN-cond",
    )
    Config = Config
    config: Config
    presets = {
        "paper": PAPER,
        "reference-code": REFERENCE_CODE,
        "lite": LITE,
        "quick": QUICK,
        "smoke": SMOKE,
    }
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
        """Return autoencoder, scorer, classifier, discriminator and transformer."""
        c = self.config
        tokens = c.latent_size**3
        return {
            "encoder": encoder(self.channels, c.channels, c.bottleneck),
            "to_code": nn.Conv3d(c.bottleneck, c.code_dim, 1),
            "codebook": Codebook(c.codes, c.code_dim, c.code_decay),
            "from_code": nn.Conv3d(c.code_dim, c.bottleneck, 1),
            "decoder": decoder(self.channels, c.channels, c.bottleneck),
            "scorer": Scorer(c.code_dim),
            "classifier": Classifier(
                c.code_dim * tokens, c.classifier_width, len(self.classes), c.classifier_dropout
            ),
            "discriminator": Discriminator(
                self.channels, c.discriminator_channels, discriminator_levels(self.size)
            ),
            "transformer": Transformer(
                c.codes + 1 + len(self.classes), tokens, c.width, c.layers, c.heads
            ),
        }

    def train(self, data: Batches, run: Run) -> None:
        """Train the autoencoder, freeze it, then train the transformer on its tokens."""
        self._train_autoencoder(data, run)
        for name, net in self.nets.items():
            net.train(name == "transformer")
        self._train_transformer(data, run)

    def sample(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Draw tokens of the labels asked for one by one and decode them."""
        return self._decode(self._draw(conditions, rngs))  # (N, C, D, H, W)

    def explain(self, volumes: Tensor) -> Tensor:
        """Return the importance scores of the latent grid, repeated to the volume's size."""
        _, scores = self._encode(volumes)
        return functional.interpolate(scores, scale_factor=self.size // self.config.latent_size)

    def _train_autoencoder(self, data: Batches, run: Run) -> None:
        """Stage 1: reconstruct volumes through the codebook, and score their regions."""
        c, D = self.config, self.nets["discriminator"]
        codebook = network(self.nets, "codebook", Codebook)
        decoder = network(self.nets, "decoder", nn.Sequential)
        generator = [
            parameter
            for name, net in self.nets.items()
            if name not in ("discriminator", "transformer")
            for parameter in net.parameters()
        ]
        adam = {"lr": c.lr, "betas": (c.beta1, c.beta2), "fused": True}
        opt_g, opt_d = Adam(generator, **adam), Adam(D.parameters(), **adam)
        lpips = perceptual_network(run, c.perceptual)
        phase = run.phase("autoencoder", opt_g=opt_g, opt_d=opt_d)
        for step in phase.steps(round(c.stop_at * c.autoencoder_steps)):
            progress = step.index / c.autoencoder_steps
            set_lr((opt_g, opt_d), cosine(progress, c.lr, c.lr_end))
            batch = step.batch(data, c.batch)
            x = batch.images  # (B, C, D, H, W) in [-1, 1]
            z = self.nets["to_code"](self.nets["encoder"](x))
            if step.index == 0:
                codebook.initialise(z)
                if c.mean_start:
                    start_at_mean(decoder, x)
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
                "commitment": c.commitment * quantised.commitment,
                "class": self._class_loss(z, batch.labels),
            }
            if lpips is not None:
                depths = slice_depths(step.rand(c.perceptual_slices, len(x)), self.size)
                terms["perceptual"] = slice_loss(lpips, x, y, depths)
            loss = self._weigh(terms)
            balance = torch.zeros(())
            if adversarial:
                fooled = -logits.float().mean()
                balance = adaptive_weight(terms["pixel"], fooled, final_convolution(decoder).weight)
                loss = loss + c.generation_share * balance * fooled
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

    def _class_loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the class predicted from latents weighted by their scores."""
        features = standardise(z)
        logits = self.nets["classifier"](features * self.nets["scorer"](features))
        return functional.cross_entropy(
            logits.float(), labels, label_smoothing=self.config.label_smoothing
        )

    def _weigh(self, terms: dict[str, Tensor]) -> Tensor:
        """Return C1 (sum of weighted terms) + C2 class term; the adversarial term is apart."""
        c = self.config
        generation = (
            c.pixel_weight * terms["pixel"]
            + c.matching_weight * terms["matching"]
            + c.gradient_weight * terms["gradient"]
            + c.codebook_weight * terms["commitment"]
        )
        if "perceptual" in terms:
            generation = generation + c.perceptual_weight * terms["perceptual"]
        return c.generation_share * generation + c.class_share * terms["class"]

    def _train_transformer(self, data: Batches, run: Run) -> None:
        """Stage 2: predict every token from the class and a corrupted past; stage 1 is frozen."""
        c, T = self.config, self.nets["transformer"]
        optimiser = AdamW(
            decay_groups(T, c.weight_decay), lr=c.transformer_lr, betas=(0.9, 0.95), fused=True
        )
        phase = run.phase("transformer", optimiser=optimiser)
        sequences = Sequences(**phase.once("sequences", lambda: self._tokenise(data)))
        masking = c.masking()
        for step in phase.steps(c.transformer_steps):
            set_lr((optimiser,), cosine(step.progress, c.transformer_lr, c.transformer_lr_end))
            inputs, targets, weights = self._sentence(step, sequences, masking)
            logits = T(inputs).float()  # (B, L, V)
            losses = functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="none"
            )
            loss = (losses * weights.flatten()).sum() / weights.sum()
            step.descend(optimiser, loss)
            phase.log(cross_entropy=loss)

    def _sentence(
        self, step: Step, sequences: Sequences, masking: Masking
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw sequences: (B, L) inputs, (B, L) clean targets, (B, L) weights of their losses."""
        c, device = self.config, torch.get_default_device()
        rows = step.batch(sequences, c.transformer_batch)
        past, places = masking.corrupt(rows.tokens.numpy(), rows.scores.numpy(), c.codes, step.rng)
        inputs = shift(rows.labels, torch.from_numpy(past), c.codes)
        weights = torch.from_numpy(places) | (c.loss_on == "all")
        return inputs.to(device), rows.tokens.long().to(device), weights.float().to(device)

    def _tokenise(self, data: Batches) -> dict[str, Tensor]:
        """Return tokens, scores and labels of all training volumes, in raster order (D, H, W)."""
        parts = []
        for batch in chunks(data):
            indices, scores = self._encode(batch.images)
            parts.append((indices.flatten(1).int(), scores.flatten(1), batch.labels))
        tokens, scores, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        return {"tokens": tokens, "scores": scores, "labels": labels}

    def _encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Return token indices (N, l, l, l) int64 and scores (N, 1, l, l, l) of volumes."""
        with full_precision(volumes):
            z = self.nets["to_code"](self.nets["encoder"](volumes))
            return self.nets["codebook"](z).indices, self.nets["scorer"](standardise(z))

    def _decode(self, tokens: Tensor) -> Tensor:
        """Return the volumes of token sequences (N, L): (N, C, D, H, W) float32 in [-1, 1]."""
        grid = tokens.unflatten(1, (self.config.latent_size,) * 3)
        vectors = network(self.nets, "codebook", Codebook).look_up(grid)
        return self.nets["decoder"](self.nets["from_code"](vectors)).float()

    def _draw(self, conditions: Conditions, rngs: Sequence[torch.Generator]) -> Tensor:
        """Draw token sequences, (N, L) int64."""
        c = self.config
        return network(self.nets, "transformer", Transformer).generate(
            class_tokens(conditions.labels, c.codes),
            rand(rngs, c.latent_size**3),
            codes=c.codes,
            temperature=c.temperature,
            top_k=c.sample_top_k,
            top_p=c.sample_top_p,
        )

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
            self._draw(conditions, rngs),
            encode=lambda volumes: self._encode(volumes)[0].flatten(1),
            decode=self._decode,
            codes=self.config.codes,
        )


@dataclass(frozen=True)
class Sequences:
    """Tokens (N, L) int32, scores (N, L) float32 and labels (N,) of volumes, on the CPU."""

    tokens: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self.tokens)

    def take(self, indices: Tensor) -> Sequences:
        """Return the rows at these positions."""
        return Sequences(self.tokens[indices], self.scores[indices], self.labels[indices])
