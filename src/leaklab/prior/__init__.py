"""What an attacker knows of images before it sees an update: a small diffusion model of them."""
