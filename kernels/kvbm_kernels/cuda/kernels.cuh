// All kernels, as one program for NVRTC.
#include "block_copy.cuh"
#include "block_hash.cuh"
