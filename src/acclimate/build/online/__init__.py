"""Online weights of a run: what they watch, which shares they move, what they measure, and what to know of them."""
