"""The layouts that are understood, one file each; see ``base.py`` for what a layout is."""
