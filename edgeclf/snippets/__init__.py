"""Short programs that classify an image with a bundle on a phone or board, as `inspect --snippet` prints them."""
