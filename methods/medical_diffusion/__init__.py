"""Medical Diffusion and Medical Diffusion-C: diffusion in the latent space of a 3D VQ-GAN."""
