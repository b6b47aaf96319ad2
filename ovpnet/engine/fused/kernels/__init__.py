"""The Triton kernels of `ovpnet.engine.fused.cuda`; they import triton, which not every environment has."""
