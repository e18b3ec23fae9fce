"""What edgeclf does on an NVIDIA GPU: each module runs its checks there and writes what it saw, passed or failed."""
