"""Images: formats, decoding within bounds, and the pixel contract that turns them into arrays."""
