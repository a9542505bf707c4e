"""Runs attention calls: the dense reference, the block-wise engine, GPU and TPU kernels, and the
public `attention` and `plan`."""
