"""The commands of ``bench``, one file each. Heavy imports happen inside them."""
