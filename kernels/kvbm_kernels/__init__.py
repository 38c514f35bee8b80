"""CUDA kernels and the same functions on the CPU. Empty until the device tier arrives; see kernels/README.md."""
