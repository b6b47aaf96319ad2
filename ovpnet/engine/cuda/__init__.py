"""The Triton kernels of `ovpnet.engine.fused_cuda`; they import triton, which not every environment has."""
