"""One file a target, named like the backend's in the runtime, ending with its `Target`; `registry.py` lists them."""
