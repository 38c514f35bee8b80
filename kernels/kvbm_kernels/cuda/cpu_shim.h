// What the kernels need of CUDA, in plain C++. Good for kernels without shared memory, barriers and warp operations.
#pragma once
#include <cstdint>

typedef uint8_t u8;
// Memory has whatever type its engine gave it.
typedef uint16_t __attribute__((may_alias)) u16;
typedef uint32_t __attribute__((may_alias)) u32;
typedef unsigned long long __attribute__((may_alias)) u64;
struct __attribute__((may_alias, aligned(16))) u128 {
    u64 low, high;
};

struct Dim {
    unsigned x;
};
static thread_local Dim blockIdx, threadIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __launch_bounds__(threads)
#define UNROLLED _Pragma("GCC unroll 4")
#define ROLLED
