"""The learning curve: how much more data would teach."""
