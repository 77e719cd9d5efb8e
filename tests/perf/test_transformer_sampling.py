"""Sampling with kept keys and values beside running the whole prefix again for every token.

512 tokens; a middle-sized network (256 codes, width 256, 3 layers, 8 heads). The plain loop is
timed at every 64th length of the prefix and summed up by the trapezoidal rule. Prints the ratios;
times decide nothing. Each part is timed once: the ratios mean something only on a machine
with as many free cores as threads. Run with ``pytest tests/perf -s``.
"""

import time

import torch

from cerebench.methods.layers.vq.transformer import Transformer, class_tokens, draw

CODES, LENGTH, STRIDE, BATCH = 256, 512, 64, 64


def _plain(net, start, uniforms):
    sequence = start.unsqueeze(1)
    for i in range(uniforms.shape[1]):
        token = draw(net(sequence)[:, -1, :CODES], uniforms[:, i])
        sequence = torch.cat((sequence, token.unsqueeze(1)), dim=1)
    return sequence[:, 1:]


def _seconds(function, *arguments, **settings):
    began = time.perf_counter()
    function(*arguments, **settings)
    return time.perf_counter() - began


def _plain_seconds(net):
    """Estimate of ``_plain`` for one whole sequence."""
    lengths = [1, *range(STRIDE, LENGTH + 1, STRIDE)]
    prefixes = [torch.zeros(1, n, dtype=torch.int64) for n in lengths]
    steps = [_seconds(net, prefix) for prefix in prefixes]
    return torch.trapezoid(torch.tensor(steps), torch.tensor(lengths)).item() + steps[0]


@torch.inference_mode()
def test_cached_sampling_beside_the_plain_loop(benchmark):
    torch.manual_seed(0)
    net = Transformer(CODES + 3, LENGTH, 256, 3, 8).eval()
    start, uniforms = class_tokens(torch.arange(BATCH) % 2, CODES), torch.rand(BATCH, LENGTH)
    net(torch.zeros(1, LENGTH, dtype=torch.int64))
    plain = _plain_seconds(net)
    settings = {"codes": CODES}
    one = _seconds(net.generate, start[:1], uniforms[:1], **settings)
    many = benchmark.pedantic(_seconds, (net.generate, start, uniforms), settings, rounds=1)
    benchmark.extra_info.update(plain_over_cached=plain / one, throughput=BATCH * plain / many)
    print(  # noqa: T201
        f"\n{LENGTH} tokens, width 256, 3 layers, {torch.get_num_threads()} threads; plain loop "
        f"integrated over every {STRIDE}th prefix: {plain:.1f} s a sample"
        f"\nbatch 1: plain / cached = {plain / one:.1f}"
        f"\nsamples per second: cached at batch {BATCH} / plain at batch 1 = "
        f"{BATCH * plain / many:.0f} (target: 20 or more)"
    )
    short = uniforms[:2, :12]
    assert torch.equal(net.generate(start[:2], short, codes=CODES), _plain(net, start[:2], short))
