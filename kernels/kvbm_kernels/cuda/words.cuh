// What every kernel here is written in: words of fixed width, and how they are loaded and stored, on a GPU and on the CPU.
#pragma once
#ifdef KVBM_CPU
#include "cpu_shim.h"
#else
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef uint4 u128;
#define UNROLLED _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#endif

template <typename V>
__device__ __forceinline__ V load(u64 from) {
    return *reinterpret_cast<const V*>(from);
}

template <typename V>
__device__ __forceinline__ void store(u64 to, V value) {
    *reinterpret_cast<V*>(to) = value;
}

#ifndef KVBM_CPU
// Every byte is touched once: the engine's own data should stay in the first-level cache.
template <>
__device__ __forceinline__ u128 load<u128>(u64 from) {
    u128 v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

template <>
__device__ __forceinline__ void store<u128>(u64 to, u128 v) {
    asm volatile("st.global.L1::no_allocate.v4.u32 [%0],{%1,%2,%3,%4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}
#endif
