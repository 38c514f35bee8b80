// Blocks between an engine's pool and packed memory, in either direction. One source: NVRTC compiles it for a GPU, and a
// C++ compiler, with KVBM_CPU defined, for the CPU.
//
// A block is a list of boxes. A box is `rows` runs of `row_bytes`, with a stride of its own on each side. Its first byte
// lies at `base + slot * slot_stride` in the pool and at `place` in the packed block. So one kernel knows every layout:
// paged or contiguous, NHD or HND, K and V or one latent, several groups, and the change of order of a universal block.
//
// Any grid, any number of threads, any sizes, any alignment. Nothing is shared between threads, and none waits for another.
#pragma once
#include "words.cuh"

constexpr u32 BLOCKS_MAX = 256;  // a launch: they travel as an argument (4 KiB at most), and no table must be uploaded
constexpr u32 THREADS_MAX = 512;
constexpr u32 IN_FLIGHT = 4;    // loads that a thread has under way at once

struct Box {
    u64 base, slot_stride, place;
    u32 rows, row_bytes, pool_stride, packed_stride;
};

struct Blocks {
    u64 packed[BLOCKS_MAX];
    u32 slots[BLOCKS_MAX];
};

// Where a thread is in a box of `steps` a row. The jump from one of its steps to the next is the same all the way, so
// that it costs one division a box, and none a step.
struct Cursor {
    u32 row, column, row_jump, column_jump, steps;

    __device__ __forceinline__ Cursor(u32 steps, u32 thread, u32 threads)
        : row(thread / steps), column(thread % steps), row_jump(threads / steps), column_jump(threads % steps), steps(steps) {}

    __device__ __forceinline__ void advance() {
        row += row_jump;
        column += column_jump;
        if (column >= steps) {
            column -= steps;
            row++;
        }
    }

    template <typename V>
    __device__ __forceinline__ u64 offset(u32 stride) const {
        return static_cast<u64>(row) * stride + column * static_cast<u32>(sizeof(V));
    }
};

// All rows in steps of V. What stands before the first boundary of V and behind the last goes byte by byte; with several
// rows there is no such rest, or V would be narrower.
template <typename V>
__device__ __forceinline__ void copy_rows(u64 to, u64 from, u32 rows, u32 row_bytes, u32 to_stride, u32 from_stride) {
    const u32 thread = threadIdx.x, threads = blockDim.x, width = sizeof(V);
    u32 head = static_cast<u32>(-from & (width - 1));
    if (head > row_bytes) head = row_bytes;
    const u32 steps = (row_bytes - head) / width, total = rows * steps;
    ROLLED
    for (u32 i = thread; i < head; i += threads) store<u8>(to + i, load<u8>(from + i));
    ROLLED
    for (u32 i = head + steps * width + thread; i < row_bytes; i += threads) store<u8>(to + i, load<u8>(from + i));
    if (total == 0) return;

    to += head;
    from += head;
    Cursor here(steps, thread, threads);
    u32 i = thread;
    ROLLED
    for (; i + (IN_FLIGHT - 1) * threads < total; i += IN_FLIGHT * threads) {
        V held[IN_FLIGHT];
        Cursor there = here;
        UNROLLED
        for (u32 k = 0; k < IN_FLIGHT; k++, here.advance()) held[k] = load<V>(from + here.offset<V>(from_stride));
        UNROLLED
        for (u32 k = 0; k < IN_FLIGHT; k++, there.advance()) store<V>(to + there.offset<V>(to_stride), held[k]);
    }
    ROLLED
    for (; i < total; i += threads, here.advance()) {
        store<V>(to + here.offset<V>(to_stride), load<V>(from + here.offset<V>(from_stride)));
    }
}

// The widest step that both sides allow. A single row needs them to be equally far from a boundary, no more.
__device__ __forceinline__ void copy_box(u64 to, u64 from, u32 rows, u32 row_bytes, u32 to_stride, u32 from_stride) {
    const u64 odd = rows == 1 ? to ^ from : to | from | row_bytes | to_stride | from_stride;
    if ((odd & 15) == 0) {
        copy_rows<u128>(to, from, rows, row_bytes, to_stride, from_stride);
    } else if ((odd & 7) == 0) {
        copy_rows<u64>(to, from, rows, row_bytes, to_stride, from_stride);
    } else if ((odd & 3) == 0) {
        copy_rows<u32>(to, from, rows, row_bytes, to_stride, from_stride);
    } else if ((odd & 1) == 0) {
        copy_rows<u16>(to, from, rows, row_bytes, to_stride, from_stride);
    } else {
        copy_rows<u8>(to, from, rows, row_bytes, to_stride, from_stride);
    }
}

// Work item: one box of one block, all threads of a CTA together.
extern "C" __global__ void __launch_bounds__(THREADS_MAX) copy_blocks(const Box* __restrict__ boxes, u32 box_count, const __grid_constant__ Blocks blocks,
                                       u32 block_count, u32 to_pool) {
    for (u32 item = blockIdx.x; item < box_count * block_count; item += gridDim.x) {
        const Box box = boxes[item % box_count];
        const u32 block = item / box_count;
        const u64 pool = box.base + blocks.slots[block] * box.slot_stride;
        const u64 packed = blocks.packed[block] + box.place;
        copy_box(to_pool ? pool : packed, to_pool ? packed : pool, box.rows, box.row_bytes,
                 to_pool ? box.pool_stride : box.packed_stride, to_pool ? box.packed_stride : box.pool_stride);
    }
}
