# edgeclf's runtime on a CPU: predict, verify, bench and serve, with ONNX Runtime; no torch.
#
#   docker build -t edgeclf .
#   docker run --rm -v "$PWD":/data edgeclf predict bundles/cats-onnx-fp32 photos/
#   docker run --rm -v "$PWD":/data -p 8000:8000 edgeclf serve bundles/cats-onnx-fp32 --host 0.0.0.0
#
# NEVER BUILT: there was no Docker at hand. What was tried: hadolint, and that what it copies builds the whole wheel
# (tests/test_dockerfile.py). For a Jetson take Dockerfile.jetson.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
RUN python -m venv /opt/edgeclf
COPY pyproject.toml README.md LICENSE /source/
COPY edgeclf /source/edgeclf
COPY runtime /source/runtime
COPY export /source/export
COPY benchmarks /source/benchmarks
# Another engine, or more: --build-arg EXTRAS=openvino,serve
ARG EXTRAS=onnx,serve
RUN /opt/edgeclf/bin/python -m pip install --no-cache-dir "/source[${EXTRAS}]"

FROM ${BASE}
# 1000 is the first user of most machines, so that what is written into a mounted folder is theirs.
ARG USER_ID=1000
RUN useradd --uid "${USER_ID}" --create-home edgeclf \
    && install --directory --owner=edgeclf --group=edgeclf /data
COPY --from=build /opt/edgeclf /opt/edgeclf
ENV PATH=/opt/edgeclf/bin:${PATH}
USER ${USER_ID}
WORKDIR /data
EXPOSE 8000
ENTRYPOINT ["edgeclf"]
CMD ["--help"]
