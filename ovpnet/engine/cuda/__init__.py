"""The Triton kernels of `ovpnet.engine.steppers.fused_cuda`; they import triton, which not every environment has."""
