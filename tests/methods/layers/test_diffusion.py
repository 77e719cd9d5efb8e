"""Diffusion core: schedules and steps against golden values, samplers against an exact network."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from cerebench.methods.base import BadConfig
from cerebench.methods.layers.diffusion import (
    SAMPLERS,
    Diffusion,
    cosine_betas,
    error,
    sampler_steps,
)

BETAS = {
    "cos250": cosine_betas(250, 0.999),
    "cos300": cosine_betas(300, 0.9999),
    "lin1000": torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64),
}
# schedule, t, beta, abar, posterior variance, its coefficients on x_0 and x_t
SCHEDULES = [
    ("cos250", 0, 1.942687973e-4, 0.9998057312, 0, 1, 0),
    ("cos250", 1, 2.719868843e-4, 0.9995337972, 1.133381439e-4, 0.5833522206, 0.4166477728),
    ("cos250", 49, 4.136806898e-3, 0.8987059206, 3.984343934e-3, 0.03879628562, 0.9611505349),
    ("cos250", 125, 1.262172352e-2, 0.4876104332, 1.246818177e-2, 0.01731063883, 0.9815812334),
    ("cos250", 199, 3.756470085e-2, 0.09404561268, 3.741249879e-2, 0.01296155481, 0.9770629669),
    ("cos250", 249, 0.999, 3.885979868e-8, 0.9989612179, 6.227529281e-3, 0.03162154898),
    ("cos300", 0, 1.564962796e-4, 0.9998435037, 0, 1, 0),
    ("cos300", 150, 1.051832243e-2, 0.4886491843, 1.041147516e-2, 0.01445513784, 0.9846222966),
    ("cos300", 249, 3.795366213e-2, 0.06596240454, 3.78479211e-2, 0.01063994968, 0.9781069347),
    ("cos300", 299, 0.9999, 2.69860781e-9, 0.9998730193, 5.194293147e-3, 9.999730166e-3),
    ("lin1000", 99, 2.072072072e-3, 0.8970181457, 2.034596259e-3, 0.01907634532, 0.9808960213),
    ("lin1000", 999, 2e-2, 4.035829765e-5, 1.999998353e-2, 1.283514872e-4, 0.9899486783),
]
# schedule, t -> mean and standard deviation of the step from x_t = 0.5 with predicted noise 0.3
STEPS = [
    ("cos250", 125, 0.4978621098, 0.1116610128),
    ("cos250", 249, 0.02203830377, 0.9994804739),
    ("cos300", 150, 0.4982143770, 0.1020366364),
    ("cos300", 299, 0.01019415823, 0.9999365076),
    ("lin1000", 500, 0.4993754890, 0.1002563503),
    ("lin1000", 999, 0.4951026907, 0.1414212980),
]


def _posterior(betas):
    """Return abar, variance and coefficients of q(x_{t-1} | x_t, x_0), all float64."""
    abar = torch.cumprod(1 - betas, 0)
    before = torch.cat((torch.ones(1, dtype=torch.float64), abar[:-1]))
    variance = betas * (1 - before) / (1 - abar)
    c1 = before.sqrt() * betas / (1 - abar)
    return abar, variance, c1, (1 - betas).sqrt() * (1 - before) / (1 - abar)


def _streams(count, first=0):
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


@pytest.mark.parametrize(("name", "t", "beta", "abar", "variance", "c1", "c2"), SCHEDULES)
def test_schedules_have_the_golden_values(name, t, beta, abar, variance, c1, c2):
    betas = BETAS[name]
    found = [betas[t].item(), *(table[t].item() for table in _posterior(betas))]
    assert found == pytest.approx([beta, abar, variance, c1, c2], rel=1e-9, abs=1e-16)


@pytest.mark.parametrize("name", BETAS)
def test_betas_reach_the_schedulers_unchanged_and_abar_falls(name):
    process = Diffusion(BETAS[name])
    for sampler in SAMPLERS:
        scheduler = process._scheduler(sampler, sampler_steps(sampler, 0, process.steps))
        assert (scheduler.betas - BETAS[name]).abs().max() < 1e-7
        assert (scheduler.alphas_cumprod.diff() < 0).all()


@pytest.mark.parametrize(("name", "t", "mean", "sd"), STEPS)
def test_ancestral_step_has_the_golden_mean_and_spread(name, t, mean, sd):
    scheduler = Diffusion(BETAS[name])._scheduler("ddpm", len(BETAS[name]))
    x = torch.full((1, 20), 0.5)
    z = torch.randn(1, 20, generator=_streams(1)[0])
    after = scheduler.step(torch.full_like(x, 0.3), t, x, generator=_streams(1)).prev_sample
    assert torch.allclose(after, mean + sd * z, atol=1e-5)


def test_ancestral_steps_agree_with_the_closed_form_for_any_input():
    # Before step 20 betas are so small that 1 - abar_t / abar_{t-1} has 3 digits in float32.
    betas = BETAS["cos250"]
    abar, variance, c1, c2 = _posterior(betas)
    scheduler = Diffusion(betas)._scheduler("ddpm", 250)
    source = torch.Generator().manual_seed(1)
    for t in torch.randint(20, 240, (20,), generator=source).tolist():
        x, noise = torch.randn(2, 1, 50, generator=source)
        z = torch.randn(1, 50, generator=_streams(1, t)[0])
        after = scheduler.step(noise, t, x, generator=_streams(1, t)).prev_sample
        x0 = ((x - (1 - abar[t]).sqrt() * noise) / abar[t].sqrt()).clamp(-1, 1)
        expected = c1[t] * x0 + c2[t] * x + variance[t].sqrt() * z
        assert torch.allclose(after, expected.float(), atol=1e-5)


def test_last_step_adds_no_noise():
    scheduler = Diffusion(BETAS["cos250"])._scheduler("ddpm", 250)
    x = torch.linspace(-0.9, 0.9, 10).view(1, 10)
    one, two = (
        scheduler.step(torch.zeros(1, 10), 0, x, generator=_streams(1, seed)).prev_sample
        for seed in (1, 2)
    )
    assert torch.equal(one, two)
    assert torch.allclose(one, x / BETAS["cos250"][0].neg().add(1).sqrt().float(), atol=1e-6)


@pytest.mark.parametrize("t", [0, 60, 125, 249])
def test_noised_volumes_have_the_mean_and_variance_of_their_step(t):
    process, abar = Diffusion(BETAS["cos250"]), _posterior(BETAS["cos250"])[0][t].item()
    noise = torch.randn(2, 1, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    noisy = process.noised(torch.full_like(noise, 0.7), noise, torch.tensor([t, 10]))
    assert noisy[0].mean().item() == pytest.approx(0.7 * abar**0.5, abs=0.015)
    assert noisy[0].var().item() == pytest.approx(1 - abar, rel=0.02)
    exact = abar**0.5 * 0.7 + (1 - abar) ** 0.5 * noise[0]
    assert torch.allclose(noisy[0], exact, atol=1e-5)


def test_times_are_uniform_over_all_steps():
    process = Diffusion(cosine_betas(5, 0.999))
    numbers = torch.tensor([0.0, 0.199, 0.2, 0.5, 0.799, 0.8, 1 - 2**-24])
    assert process.times(numbers).tolist() == [0, 0, 1, 2, 3, 4, 4]
    for steps in (250, 257, 300, 1000):
        largest = torch.tensor([1 - 2**-24])
        assert Diffusion(cosine_betas(steps, 0.999)).times(largest).tolist() == [steps - 1]


def _exact(betas, mean=-0.6, sd=0.1):
    """Return the noise that an ideal network predicts for data N(mean, sd^2)."""
    abar = torch.cumprod(1 - betas, 0)

    def predict(x, times):
        a = abar[times[0]].item()
        gain = a**0.5 * sd**2 / (a * sd**2 + 1 - a)
        x0 = mean + gain * (x - a**0.5 * mean)
        return (x - a**0.5 * x0) / (1 - a) ** 0.5

    return predict


# schedule, sampler, steps (0: default) -> standard deviation of samples of N(-0.6, 0.1^2)
ORACLE = [
    ("cos250", "ddpm", 0, 0.0935),
    ("cos300", "ddpm", 0, 0.0945),
    ("lin1000", "ddpm", 0, 0.0965),
    ("cos250", "ddim", 0, 0.0864),
    ("cos300", "ddim", 50, 0.0864),
    ("lin1000", "ddim", 50, 0.0743),
    ("cos250", "ddim", 25, 0.0748),
    ("cos300", "ddim", 100, 0.0930),
    ("lin1000", "ddim", 25, 0.0555),
    ("cos250", "dpmpp", 0, 0.1003),
    ("cos300", "dpmpp", 25, 0.0971),
    ("lin1000", "dpmpp", 25, 0.1028),
    ("cos250", "dpmpp", 50, 0.1018),
    ("cos300", "dpmpp", 50, 0.1022),
    ("lin1000", "dpmpp", 50, 0.1006),
]


@pytest.mark.parametrize(("name", "sampler", "steps", "sd"), ORACLE)
def test_samplers_of_an_exact_network_have_the_mean_and_spread_of_the_table(
    name, sampler, steps, sd
):
    betas = BETAS[name]
    x = Diffusion(betas).draw(_exact(betas), _streams(4), (10_000,), sampler=sampler, steps=steps)
    assert x.mean().item() == pytest.approx(-0.6, abs=0.003)
    assert x.std().item() == pytest.approx(sd, abs=0.0015)


def _predicting(betas, prediction, mean=-0.6, sd=0.1):
    """Return what an ideal network says of data N(mean, sd^2): x0 or v."""
    abar = torch.cumprod(1 - betas, 0)

    def predict(x, times):
        a = abar[times[0]].item()
        gain = a**0.5 * sd**2 / (a * sd**2 + 1 - a)
        x0 = mean + gain * (x - a**0.5 * mean)
        return x0 if prediction == "x0" else (a**0.5 * x - x0) / (1 - a) ** 0.5

    return predict


@pytest.mark.parametrize(("name", "sampler", "steps", "sd"), ORACLE)
def test_other_predictions_of_an_exact_network_draw_the_same_samples(name, sampler, steps, sd):
    betas = BETAS[name]
    x0, v = (
        Diffusion(betas, prediction=prediction).draw(
            _predicting(betas, prediction), _streams(4), (10_000,), sampler=sampler, steps=steps
        )
        for prediction in ("x0", "v")
    )
    if sampler == "dpmpp":  # its noise levels lie between the steps that the network is told
        sd = 0.1
    else:
        assert torch.allclose(x0, v, atol=1e-3)
    for x in (x0, v):
        assert x.mean().item() == pytest.approx(-0.6, abs=0.003)
        assert x.std().item() == pytest.approx(sd, abs=0.004 if sampler == "dpmpp" else 0.0015)


@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
def test_what_is_to_be_predicted_leads_back_to_the_volume(prediction):
    betas = BETAS["cos250"]
    process, abar = Diffusion(betas, prediction=prediction), torch.cumprod(1 - betas, 0).float()
    volumes, noise = torch.randn(2, 5, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0, 60, 125, 200, 240])
    noisy, target = process.noised(volumes, noise, times), process.target(volumes, noise, times)
    a = abar[times].view(5, 1, 1, 1, 1)
    x0 = {
        "noise": (noisy - (1 - a).sqrt() * target) / a.sqrt(),
        "x0": target,
        "v": a.sqrt() * noisy - (1 - a).sqrt() * target,
    }[prediction]
    assert torch.allclose(x0, volumes, atol=1e-3)


def test_the_error_is_the_mean_of_absolute_or_squared_differences():
    predicted, target = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.0, 1.0, 0.5])
    assert error(predicted, target, "l1").item() == pytest.approx(4.5 / 3)
    assert error(predicted, target, "l2").item() == pytest.approx(10.25 / 3)
    assert error(predicted.bfloat16(), target, "l2").dtype == torch.float32


def test_ddim_steps_that_do_not_divide_are_refused_when_drawing():
    with pytest.raises(BadConfig, match="must divide the 250"):
        Diffusion(BETAS["cos250"]).draw(_exact, _streams(1), (1,), sampler="ddim", steps=100)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("clip", [1.0, 3.0])
def test_estimates_are_clipped_whatever_the_network_says(sampler, clip):
    process = Diffusion(cosine_betas(20, 0.999), clip=clip)
    for wrong in (0.0, 50.0, -1e4):
        x = process.draw(
            lambda x, times, noise=wrong: torch.full_like(x, noise),
            _streams(2),
            (100,),
            sampler=sampler,
        )
        assert x.abs().max() <= clip
        assert wrong == 0 or x.abs().max() > clip - 1e-3


def test_the_clip_of_dpmpp_is_the_threshold_of_diffusers(monkeypatch):
    process = Diffusion(BETAS["cos250"])
    ours = process.draw(lambda x, times: 0.3 * x, _streams(2), (1, 4, 4, 4), sampler="dpmpp")
    monkeypatch.setattr(
        "cerebench.methods.layers.diffusion._ClippedDPMSolver", DPMSolverMultistepScheduler
    )
    theirs = process.draw(lambda x, times: 0.3 * x, _streams(2), (1, 4, 4, 4), sampler="dpmpp")
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_depends_on_its_own_generator_alone(sampler):
    process, before = Diffusion(cosine_betas(10, 0.999)), torch.get_rng_state()

    def draw(seeds):
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        return process.draw(lambda x, times: 0.9 * x, streams, (1, 4, 4, 4), sampler=sampler)

    together = draw((1, 2, 3))
    assert torch.equal(together[1:2], draw((2,)))
    assert torch.equal(together[[2, 0]], draw((3, 1)))
    assert not torch.equal(together[0], together[1])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_networks_see_every_step_that_the_sampler_promises(sampler):
    process, seen = Diffusion(cosine_betas(40, 0.999)), []

    def predict(x, times):
        assert times.shape == (3,)
        assert times.dtype == torch.int64
        assert x.dtype == torch.float32
        seen.append(times[0].item())
        return x

    process.draw(predict, _streams(3), (2,), sampler=sampler)
    assert len(seen) == sampler_steps(sampler, 0, 40)
    assert seen[0] == 39
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_drawing_can_be_traced_without_data(sampler):
    process = Diffusion(cosine_betas(10, 0.999))
    with torch.device("meta"):
        x = process.draw(lambda x, times: x, _streams(2), (1, 4, 4, 4), sampler=sampler)
        noisy = process.noised(x, x, process.times(torch.zeros(2)))
    assert x.is_meta
    assert noisy.shape == x.shape == (2, 1, 4, 4, 4)


@pytest.mark.parametrize(
    ("sampler", "asked", "steps", "taken"),
    [
        ("ddpm", 0, 250, 250),
        ("ddpm", 250, 250, 250),
        ("ddim", 0, 250, 50),
        ("ddim", 0, 300, 50),
        ("ddim", 0, 4, 4),
        ("ddim", 25, 250, 25),
        ("dpmpp", 0, 250, 25),
        ("dpmpp", 0, 4, 4),
        ("dpmpp", 51, 250, 51),
    ],
)
def test_sampler_steps_are_those_asked_for_or_the_default(sampler, asked, steps, taken):
    assert sampler_steps(sampler, asked, steps) == taken


@pytest.mark.parametrize(
    ("sampler", "asked", "message"),
    [
        ("ddim", 100, "must divide the 250"),
        ("ddim", -5, "must divide the 250"),
        ("ddpm", 50, "visits all 250"),
        ("dpmpp", 251, "takes 1 to 250"),
        ("plms", 0, "one of ddpm, ddim, dpmpp, got 'plms'"),
    ],
)
def test_steps_that_a_sampler_cannot_take_are_refused(sampler, asked, message):
    with pytest.raises(BadConfig, match=message):
        sampler_steps(sampler, asked, 250)
