/* What the C files here share. */
#ifndef SODATE_VECTOR_H
#define SODATE_VECTOR_H
#include <stdint.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EVERY_CPU __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define FOR_EVERY_CPU
#endif

/* Whether x is not a number, told by its bits: the compiler takes numbers for finite. */
static inline int is_nan(float x)
{
    union { float value; uint32_t bits; } own = {x};
    return (own.bits & 0x7fffffff) > 0x7f800000;
}

/* `yes` or `no`, chosen by bits: a branch would keep a loop from being made of vectors. */
static inline float either(int which, float yes, float no)
{
    union { float value; uint32_t bits; } a = {yes}, b = {no};
    const uint32_t keep = -(uint32_t)(which != 0);
    a.bits = (a.bits & keep) | (b.bits & ~keep);
    return a.value;
}

/* e^x for x <= 0, to 2 units in the last place, in operations that compilers make vectors of: 2^n · e^r, |r| <= ln 2 / 2. */
static inline float exponential(float x)
{
    x = x < -87.0f ? -87.0f : x; /* which may make a number of what is none: the caller sees to that */
    const float n = (float)(int32_t)(x * 1.44269504f - 0.5f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    const float e = 1 + r * (1 + r * (0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.3333333e-3f + r * 1.3888889e-3f)))));
    union { int32_t bits; float value; } power = {((int32_t)n + 127) << 23};
    return e * power.value;
}
#endif
