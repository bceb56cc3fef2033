/* Attention of up to 16 queries that see the same tokens (rows of one reply, by the heads that share a key head), with AVX-512 or AVX2.
 *
 * Queries lie side by side in a register (with AVX2, two) and a key's or value's number meets all of them in one instruction: nothing is
 * added up across a register, as it must be where a register holds one query's numbers (_attend.c). It pays from 12 queries on.
 */
#include <string.h>

#include "_compiled.h"
#include "_vector.h"

enum { LANES = 16, PART = 16 /* numbers of a value whose sums stay in registers */ };

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define OWN512 __attribute__((target("avx512f")))

int attends_in_lanes(Py_ssize_t queries, Py_ssize_t size, Py_ssize_t dim)
{
    return queries >= 12 && queries <= LANES && size == LANES && dim % PART == 0 && product_takes_float32();
}

/* weights (16 tokens, 16) of a block's keys and side (dim, 16) */
OWN512 static void score512(const float *side, const float *keys, float *weights, Py_ssize_t dim)
{
    __m512 sum[LANES];
    for (int t = 0; t < LANES; t++)
        sum[t] = _mm512_setzero_ps();
    for (Py_ssize_t d = 0; d < dim; d++) {
        const __m512 q = _mm512_loadu_ps(side + d * LANES);
        _Pragma("GCC unroll 16") for (int t = 0; t < LANES; t++)
            sum[t] = _mm512_fmadd_ps(q, _mm512_set1_ps(keys[t * dim + d]), sum[t]);
    }
    for (int t = 0; t < LANES; t++)
        _mm512_storeu_ps(weights + t * LANES, sum[t]);
}

/* made (dim, 16) += values and weights (count, 16) */
OWN512 static void add_up512(const float *weights, const float *values, float *made, Py_ssize_t dim, Py_ssize_t count)
{
    for (Py_ssize_t d = 0; d < dim; d += PART) {
        __m512 sum[PART];
        for (int i = 0; i < PART; i++)
            sum[i] = _mm512_loadu_ps(made + (d + i) * LANES);
        for (Py_ssize_t t = 0; t < count; t++) {
            const __m512 w = _mm512_loadu_ps(weights + t * LANES);
            _Pragma("GCC unroll 16") for (int i = 0; i < PART; i++)
                sum[i] = _mm512_fmadd_ps(w, _mm512_set1_ps(values[t * dim + d + i]), sum[i]);
        }
        for (int i = 0; i < PART; i++)
            _mm512_storeu_ps(made + (d + i) * LANES, sum[i]);
    }
}

static void score(const float *side, const float *keys, float *weights, Py_ssize_t dim)
{
    if (__builtin_cpu_supports("avx512f"))
        score512(side, keys, weights, dim);
    else
        product_float32(keys, side, weights, LANES, dim, LANES);
}

static void add_up(const float *weights, const float *values, float *made, Py_ssize_t dim, Py_ssize_t count)
{
    if (__builtin_cpu_supports("avx512f"))
        add_up512(weights, values, made, dim, count);
    else
        add_products(weights, values, dim, made, count, dim); /* dim is a multiple of 16, which sixes and fours make up */
}
#else
int attends_in_lanes(Py_ssize_t queries, Py_ssize_t size, Py_ssize_t dim) { return 0; }
static void score(const float *side, const float *keys, float *weights, Py_ssize_t dim) {}
static void add_up(const float *weights, const float *values, float *made, Py_ssize_t dim, Py_ssize_t count) {}
#endif

/* Weights (tokens, 16): each lane's softmax over the tokens [first, last) that it sees, and zero for the others. */
FOR_EVERY_CPU
static void soften(float *weights, Py_ssize_t tokens, const int32_t *first, const int32_t *last)
{
    float highest[LANES], sum[LANES] = {0};
    for (int l = 0; l < LANES; l++)
        highest[l] = -3.4e38f;
    for (int32_t t = 0; t < tokens; t++) {
        const float *row = weights + t * LANES;
        _Pragma("omp simd") for (int l = 0; l < LANES; l++) { /* unrolled first, it would not become one of vectors */
            const float score = (t >= first[l]) & (t < last[l]) ? row[l] : -3.4e38f;
            highest[l] = score > highest[l] ? score : highest[l];
        }
    }
    for (int32_t t = 0; t < tokens; t++) {
        float *row = weights + t * LANES;
        _Pragma("omp simd") for (int l = 0; l < LANES; l++) {
            const float made = either(is_nan(row[l]), row[l], exponential(row[l] - highest[l]));
            row[l] = either((t >= first[l]) & (t < last[l]), made, 0);
            sum[l] += row[l];
        }
    }
    for (int32_t t = 0; t < tokens; t++) {
        float *row = weights + t * LANES;
        _Pragma("omp simd") for (int l = 0; l < LANES; l++)
            row[l] /= sum[l]; /* each lane sees some token, an unused one those of the first row */
    }
}

void attend_lanes(const Queries *query, const Held *held, float *out, Py_ssize_t out_row, float *room, Py_ssize_t rows, Py_ssize_t group,
                  Py_ssize_t dim, const int64_t *seen, Py_ssize_t window, float scale, Py_ssize_t begin, Py_ssize_t to)
{
    const Py_ssize_t all = rows * group, size = held->size;
    float *side = room, *made = side + dim * LANES, *weights = made + dim * LANES;
    int32_t first[LANES] = {0}, last[LANES];

    memset(side, 0, 2 * dim * LANES * sizeof(float));
    for (Py_ssize_t l = 0; l < LANES; l++) {
        const Py_ssize_t row = l < all ? l / group : 0;
        last[l] = (int32_t)(seen[row] - begin);
        first[l] = window && seen[row] > window ? last[l] - (int32_t)window : 0;
        for (Py_ssize_t d = 0; l < all && d < dim; d++)
            side[d * LANES + l] = scale * query->at[row * query->row + l % group * query->head + d * query->column];
    }
    for (Py_ssize_t at = begin; at < to; at += size)
        score(side, held->keys + held->blocks[at / size] * held->stride, weights + (at - begin) * LANES, dim);
    soften(weights, to - begin, first, last);
    for (Py_ssize_t at = begin; at < to; at += size)
        add_up(weights + (at - begin) * LANES, held->values + held->blocks[at / size] * held->stride, made, dim,
               to - at < size ? to - at : size);
    for (Py_ssize_t l = 0; l < all; l++)
        for (Py_ssize_t d = 0; d < dim; d++)
            out[l / group * out_row + l % group * dim + d] = made[d * LANES + l];
}
