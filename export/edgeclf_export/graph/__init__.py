"""The ONNX graph between source and target: conversion, casts, layers and their MACs."""
