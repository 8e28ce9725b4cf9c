"""A checkpoint as a whole: its class, its towers, its noise, and all that its folder holds."""
