"""TensorRT: the backend, which library is installed, building a plan, the engine info beside it, what it computes in.

What was run: TensorRT-RTX 1.7 parses and builds, without a GPU; on an H200 it refuses to load what it built. What was
looked up: every name that is used, in the bindings of TensorRT 10.3, 10.16 and 11.4. What was never run on a GPU by its
authors, but for a stand-in of CUDA and TensorRT: loading and running a plan, CUDA graphs, the timing cache, the
inspector.
"""
