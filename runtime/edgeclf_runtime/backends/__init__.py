"""One file per engine; each offers `open_engine(bundle, options)`. The table of them is in `session.py`."""
