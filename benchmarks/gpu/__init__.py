"""The GPU kit: what this project claims of a GPU, measured on whatever GPU is there. ``make gpu`` runs it."""
