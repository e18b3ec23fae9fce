"""The training loop: network, losses, optimizer, devices and processes."""
