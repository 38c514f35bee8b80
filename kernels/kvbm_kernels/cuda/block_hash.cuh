// xxh3-64 of blocks where they lie, seed 0 and the default secret, bit for bit what the host's library says. Blocks of 241
// bytes and more: shorter ones are hashed in another way, and there are none.
//
// XXH3 keeps eight sums for a block. Each stripe of 64 bytes adds to all of them, and what sum i gets depends on words i and
// i^1 of the stripe alone. So a sum is a lane: it reads both words itself, and needs nothing of the other seven: no shuffle, no
// barrier, no shared memory. Within a KiB the stripes' shares are added up, so that their loads do not wait for one another;
// after each KiB a lane mixes its sum. Eight sums a block are what is left, and `hashing.py` makes the checksum of them.
//
// Any grid, any number of threads, any alignment. Written after the specification of xxHash.
#pragma once
#include "words.cuh"

constexpr u32 HASH_THREADS_MAX = 128;
constexpr u32 HASHED_MAX = 256;  // blocks of a launch; they travel as an argument
constexpr u32 LANES = 8, WORD_BYTES = 8, STRIPE_BYTES = LANES * WORD_BYTES, STRIPES = 16, STEP_BYTES = STRIPES * STRIPE_BYTES;
constexpr u32 LAST_SECRET = 15;  // the last stripe's secret begins a byte behind this word
constexpr u64 PRIME32_1 = 0x9E3779B1, PRIME32_2 = 0x85EBCA77, PRIME32_3 = 0xC2B2AE3D;
constexpr u64 PRIME64_1 = 0x9E3779B185EBCA87, PRIME64_2 = 0xC2B2AE3D27D4EB4F, PRIME64_3 = 0x165667B19E3779F9,
              PRIME64_4 = 0x85EBCA77C2B2AE63, PRIME64_5 = 0x27D4EB2F165667C5;

// The 192 bytes of the default secret, eight a word. Each stripe of a KiB is mixed with eight words, and the next one with those
// that begin a word further on.
static __device__ const u64 SECRET[24] = {
    0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072, 0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82,
    0x8e2443f7744608b8, 0x4c263a81e69035e0, 0xcb00c391bb52283c, 0xa32e531b8b65d088, 0x4ef90da297486471, 0xd8acdea946ef1938,
    0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a, 0x647378d9c97e9fc8, 0xc3ebd33483acc5ea, 0xeb6313faffa081c5,
    0x49daf0b751dd0d17, 0x9e68d429265516d3, 0xfca1477d58be162b, 0xce31d07ad1b8f88f, 0x280416958f3acb45, 0x7e404bbbcafbd7af};

static __device__ const u64 START[LANES] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};

struct Hashed {
    u64 blocks[HASHED_MAX];
};

// Words 2n and 2n+1, of which a lane wants one as its own and one as its neighbour's.
struct Pair {
    u64 even, odd;
};

template <typename V>
__device__ __forceinline__ Pair load_pair(u64 from);

#ifdef KVBM_CPU
template <>
__device__ __forceinline__ Pair load_pair<u128>(u64 from) {
    const u128 v = load<u128>(from);
    return {v.low, v.high};
}
#else
template <>
__device__ __forceinline__ Pair load_pair<u128>(u64 from) {
    const u128 v = load<u128>(from);
    return {static_cast<u64>(v.y) << 32 | v.x, static_cast<u64>(v.w) << 32 | v.z};
}
#endif

// Memory that is at no boundary.
template <>
__device__ __forceinline__ Pair load_pair<u8>(u64 from) {
    Pair pair = {0, 0};
    ROLLED
    for (u32 i = 0; i < WORD_BYTES; i++) {
        pair.even |= static_cast<u64>(load<u8>(from + i)) << 8 * i;
        pair.odd |= static_cast<u64>(load<u8>(from + WORD_BYTES + i)) << 8 * i;
    }
    return pair;
}

// What a stripe adds to the sum of a lane.
__device__ __forceinline__ u64 share(Pair pair, u32 lane, u64 secret) {
    const u64 mixed = (lane & 1 ? pair.odd : pair.even) ^ secret;
    return (lane & 1 ? pair.even : pair.odd) + (mixed & 0xffffffff) * (mixed >> 32);
}

// The sum of one lane over a block of `size` bytes. `V` is how wide it may be read.
template <typename V>
__device__ __forceinline__ u64 sum_of(u64 block, u64 size, u32 lane) {
    const u64 steps = (size - 1) / STEP_BYTES, mine = (lane & ~1u) * WORD_BYTES;
    u64 sum = START[lane], from = block + mine;
    ROLLED
    for (u64 step = 0; step < steps; step++, from += STEP_BYTES) {
        Pair held[STRIPES];
        UNROLLED
        for (u32 i = 0; i < STRIPES; i++) held[i] = load_pair<V>(from + i * STRIPE_BYTES);
        UNROLLED
        for (u32 i = 0; i < STRIPES; i++) sum += share(held[i], lane, SECRET[i + lane]);
        sum = (sum ^ sum >> 47 ^ SECRET[STRIPES + lane]) * PRIME32_1;
    }
    const u32 left = static_cast<u32>((size - 1 - steps * STEP_BYTES) / STRIPE_BYTES);
    ROLLED
    for (u32 i = 0; i < left; i++) sum += share(load_pair<V>(from + i * STRIPE_BYTES), lane, SECRET[i + lane]);
    // The last 64 bytes once more, or for the first time: they end where the block does, at whatever boundary that is.
    const u64 secret = SECRET[LAST_SECRET + lane] >> 8 | SECRET[LAST_SECRET + 1 + lane] << 56;
    return sum + share(load_pair<u8>(block + size - STRIPE_BYTES + mine), lane, secret);
}

// Work item: one lane of one block; eight threads side by side read whole stripes together.
extern "C" __global__ void __launch_bounds__(HASH_THREADS_MAX) hash_blocks(const __grid_constant__ Hashed hashed, u32 block_count,
                                                                           u64 size, u64* __restrict__ sums) {
    const u32 threads = gridDim.x * blockDim.x;
    for (u32 item = blockIdx.x * blockDim.x + threadIdx.x; item < block_count * LANES; item += threads) {
        const u64 block = hashed.blocks[item / LANES];
        const u32 lane = item % LANES;
        sums[item] = block & 15 ? sum_of<u8>(block, size, lane) : sum_of<u128>(block, size, lane);
    }
}
