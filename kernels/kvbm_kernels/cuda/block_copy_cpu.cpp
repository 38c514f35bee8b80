// block_copy.cuh as a shared library: every thread of the grid, one after the other. Compile it with hidden visibility: a
// `copy_blocks` that something else in the process exports must not be taken for this one.
#define KVBM_CPU
#include "block_copy.cuh"

extern "C" __attribute__((visibility("default"))) void copy_blocks_cpu(unsigned grid, unsigned threads, const Box* boxes,
                                                                       unsigned box_count, const Blocks* blocks,
                                                                       unsigned block_count, unsigned to_pool) {
    gridDim.x = grid;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++) {
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {
            copy_blocks(boxes, box_count, *blocks, block_count, to_pool);
        }
    }
}
