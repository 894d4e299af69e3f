"""A page in the browser that tries a trained detector; needs Flask, the extra `web`."""
