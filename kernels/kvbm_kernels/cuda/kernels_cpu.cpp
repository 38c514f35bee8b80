// The kernels as a shared library: every thread of the grid, one after the other. Compile it with hidden visibility: a
// `copy_blocks` that something else in the process exports must not be taken for this one.
#define KVBM_CPU
#include "kernels.cuh"

#define EXPORTED extern "C" __attribute__((visibility("default")))

template <typename Kernel>
static void run_grid(unsigned grid, unsigned threads, Kernel kernel) {
    gridDim.x = grid;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++) {
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) kernel();
    }
}

EXPORTED void copy_blocks_cpu(unsigned grid, unsigned threads, const Box* boxes, unsigned box_count, const Blocks* blocks,
                              unsigned block_count, unsigned to_pool) {
    run_grid(grid, threads, [=] { copy_blocks(boxes, box_count, *blocks, block_count, to_pool); });
}

EXPORTED void hash_blocks_cpu(unsigned grid, unsigned threads, const Hashed* hashed, unsigned block_count, u64 size, u64* sums) {
    run_grid(grid, threads, [=] { hash_blocks(*hashed, block_count, size, sums); });
}
