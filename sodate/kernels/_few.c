/* Products of very few rows, and of weights that are kept in 4 or 8 bits, for CPUs.
 *
 * One row is short of memory bandwidth alone: the weight is read once, along its rows, and no lane of a register is kept
 * for rows that are not there (_rows.c keeps 16). A weight that was published in 4 bits fits them exactly: read as blocks
 * of 32 numbers d · q + m, as GGUF lays them out, it is a sixth of the bytes and the same numbers.
 *
 *     few(x (K, L), weight, out (N, L), count)      W x for the first `count` of L rows side by side; the rest is zero
 *
 * weight is float32 or bfloat16 (N, K), for at most 4 rows, which a bfloat16 weight meets rounded to bfloat16 as the products
 * of _rows.c do; or bytes (N, K / 32 · size) in blocks of `size`
 *     20: d and m float16, then 32 numbers of 4 bits: the low halves of 16 bytes, then the high ones         (Q4_1)
 *     34: d float16, then 32 signed bytes                                                                     (Q8_0)
 * d · q is exact in float32, so that one rounding gives the number that was published.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_compiled.h"

enum { LANES = 16, MOST = 64, FEW = 4, BLOCK = 32, B16 = 2, Q4 = 20, Q8 = 34, TOGETHER = 8 /* rows of a weight a thread takes */ };

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define BYTES(size) ((size) == B16 ? 2 * BLOCK : (size) ? (size) : 4 * BLOCK) /* of a block */
#define OWN __attribute__((target("avx2,fma,f16c")))
#define INSIDE OWN static inline __attribute__((always_inline))

int few_works(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

INSIDE __m256 half(const uint8_t *at)
{
    uint16_t bits;
    memcpy(&bits, at, 2);
    return _mm256_set1_ps(_cvtsh_ss(bits));
}

INSIDE float number(const uint8_t *row, Py_ssize_t i, const int size)
{
    uint32_t bits;
    if (size != B16)
        return ((const float *)row)[i];
    bits = (uint32_t)((const uint16_t *)row)[i] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* The 32 numbers of block `b` of a row of the weight; `size` says how they are kept, 0 as they are. */
INSIDE void widen(const uint8_t *row, Py_ssize_t b, const int size, __m256 to[4])
{
    if (size == Q4) {
        const uint8_t *block = row + b * Q4;
        const __m256 d = half(block), m = half(block + 2);
        const __m128i both = _mm_loadu_si128((const __m128i *)(block + 4)), low = _mm_set1_epi8(15);
        const __m128i q[2] = {_mm_and_si128(both, low), _mm_and_si128(_mm_srli_epi16(both, 4), low)};
        for (int i = 0; i < 4; i++) {
            const __m128i eight = i & 1 ? _mm_srli_si128(q[i / 2], 8) : q[i / 2];
            to[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight)), d, m);
        }
    } else if (size == Q8) {
        const uint8_t *block = row + b * Q8;
        const __m256 d = half(block);
        for (int i = 0; i < 4; i++) {
            const __m128i eight = _mm_loadl_epi64((const __m128i *)(block + 2 + 8 * i));
            to[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)), d);
        }
    } else if (size == B16) {
        for (int i = 0; i < 4; i++) {
            const __m128i eight = _mm_loadu_si128((const __m128i *)((const uint16_t *)row + b * BLOCK + 8 * i));
            to[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
        }
    } else {
        for (int i = 0; i < 4; i++)
            to[i] = _mm256_loadu_ps((const float *)row + b * BLOCK + 8 * i);
    }
}

INSIDE float total(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* One row of the weight with `rows` rows of x (rows, k), which lie one behind the other. */
INSIDE void dot(const uint8_t *row, const float *x, float *out, Py_ssize_t k, const int size, const int rows)
{
    __m256 sum[FEW][2];
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (Py_ssize_t b = 0; b < k / BLOCK; b++) {
        __m256 w[4];
        _mm_prefetch((const char *)(row + (b + 16) * BYTES(size)), _MM_HINT_T0);
        widen(row, b, size, w);
        for (int i = 0; i < 4; i++)
            for (int r = 0; r < rows; r++)
                sum[r][i & 1] = _mm256_fmadd_ps(w[i], _mm256_loadu_ps(x + r * k + b * BLOCK + 8 * i), sum[r][i & 1]);
    }
    for (int r = 0; r < rows; r++) {
        out[r] = total(_mm256_add_ps(sum[r][0], sum[r][1]));
        for (Py_ssize_t i = k - k % BLOCK; i < k; i++) /* none where blocks are kept */
            out[r] += number(row, i, size) * x[r * k + i];
    }
}

#define DOTS(name, target, size)                                                                                       \
    target static void dots_##name##_##size(const uint8_t *row, const float *x, float *out, Py_ssize_t k, Py_ssize_t rows) \
    {                                                                                                                  \
        switch (rows) {                                                                                                \
        case 1: name(row, x, out, k, size, 1); break;                                                                  \
        case 2: name(row, x, out, k, size, 2); break;                                                                  \
        case 3: name(row, x, out, k, size, 3); break;                                                                  \
        default: name(row, x, out, k, size, 4);                                                                        \
        }                                                                                                              \
    }
DOTS(dot, OWN, 0)
DOTS(dot, OWN, 2)
DOTS(dot, OWN, 20)
DOTS(dot, OWN, 34)

/* `rows` rows of the weight as float32. */
#define WIDE(size)                                                                                                     \
    OWN static void wide_##size(const uint8_t *weight, float *to, Py_ssize_t rows, Py_ssize_t k)                       \
    {                                                                                                                  \
        for (Py_ssize_t j = 0; j < rows; j++)                                                                          \
            for (Py_ssize_t b = 0; b < k / BLOCK; b++) {                                                               \
                __m256 w[4];                                                                                           \
                widen(weight + j * (k / BLOCK) * size, b, size, w);                                                    \
                for (int i = 0; i < 4; i++)                                                                            \
                    _mm256_storeu_ps(to + j * k + b * BLOCK + 8 * i, w[i]);                                            \
            }                                                                                                          \
    }
WIDE(20)
WIDE(34)

/* The same with registers of 16 numbers, which hold all values that a block of 4 bits can have: they are looked up. */
#define OWN512 __attribute__((target("avx512f,avx2,fma,f16c")))
#define INSIDE512 OWN512 static inline __attribute__((always_inline))

static int has_512(void) { return few_works() && __builtin_cpu_supports("avx512f"); }

INSIDE512 void widen512(const uint8_t *row, Py_ssize_t b, const int size, __m512 to[2])
{
    if (size == Q4) {
        const uint8_t *block = row + b * Q4;
        const __m512 q = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        uint16_t d, m;
        memcpy(&d, block, 2);
        memcpy(&m, block + 2, 2);
        const __m512 value = _mm512_fmadd_ps(q, _mm512_set1_ps(_cvtsh_ss(d)), _mm512_set1_ps(_cvtsh_ss(m)));
        const __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(block + 4)));
        to[0] = _mm512_permutexvar_ps(both, value); /* of an index its lowest 4 bits count */
        to[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), value);
    } else if (size == Q8) {
        const uint8_t *block = row + b * Q8;
        uint16_t d;
        memcpy(&d, block, 2);
        for (int i = 0; i < 2; i++) {
            const __m512i q = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(block + 2 + 16 * i)));
            to[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(_cvtsh_ss(d)));
        }
    } else if (size == B16) {
        for (int i = 0; i < 2; i++) {
            const __m256i some = _mm256_loadu_si256((const __m256i *)((const uint16_t *)row + b * BLOCK + 16 * i));
            to[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(some), 16));
        }
    } else {
        for (int i = 0; i < 2; i++)
            to[i] = _mm512_loadu_ps((const float *)row + b * BLOCK + 16 * i);
    }
}

INSIDE512 void dot512(const uint8_t *row, const float *x, float *out, Py_ssize_t k, const int size, const int rows)
{
    __m512 sum[FEW][2];
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (Py_ssize_t b = 0; b < k / BLOCK; b++) {
        __m512 w[2];
        _mm_prefetch((const char *)(row + (b + 16) * BYTES(size)), _MM_HINT_T0);
        widen512(row, b, size, w);
        for (int i = 0; i < 2; i++)
            for (int r = 0; r < rows; r++)
                sum[r][i] = _mm512_fmadd_ps(w[i], _mm512_loadu_ps(x + r * k + b * BLOCK + 16 * i), sum[r][i]);
    }
    for (int r = 0; r < rows; r++) {
        out[r] = _mm512_reduce_add_ps(_mm512_add_ps(sum[r][0], sum[r][1]));
        for (Py_ssize_t i = k - k % BLOCK; i < k; i++) /* none where blocks are kept */
            out[r] += number(row, i, size) * x[r * k + i];
    }
}
DOTS(dot512, OWN512, 0)
DOTS(dot512, OWN512, 2)
DOTS(dot512, OWN512, 20)
DOTS(dot512, OWN512, 34)
#else
int few_works(void) { return 0; }
static int has_512(void) { return 0; }
#define NONE(name) static void name(const uint8_t *row, const float *x, float *out, Py_ssize_t k, Py_ssize_t rows) {}
NONE(dots_dot_0)
NONE(dots_dot_2)
NONE(dots_dot_20)
NONE(dots_dot_34)
NONE(dots_dot512_0)
NONE(dots_dot512_2)
NONE(dots_dot512_20)
NONE(dots_dot512_34)
static void wide_20(const uint8_t *weight, float *to, Py_ssize_t rows, Py_ssize_t k) {}
static void wide_34(const uint8_t *weight, float *to, Py_ssize_t rows, Py_ssize_t k) {}
#endif

typedef void (*Dots)(const uint8_t *, const float *, float *, Py_ssize_t, Py_ssize_t);

/* What multiplies a row of a weight kept so, on this processor. */
static Dots dots(int size)
{
    const int wide = has_512();
    switch (size) {
    case Q4: return wide ? dots_dot512_20 : dots_dot_20;
    case Q8: return wide ? dots_dot512_34 : dots_dot_34;
    case B16: return wide ? dots_dot512_2 : dots_dot_2;
    default: return wide ? dots_dot512_0 : dots_dot_0;
    }
}

/* The nearest number of bfloat16, to even; what is not a number stays so. */
static float rounded(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffff) <= 0x7f800000)
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&value, &bits, 4);
    return value;
}

/* Whether there was memory enough. */
static int multiply(const float *x, const Py_buffer *weight, float *out, Py_ssize_t k, Py_ssize_t lanes, Py_ssize_t count, int size)
{
    const Py_ssize_t rows = weight->shape[0], bytes = weight->shape[1] * weight->itemsize;
    const uint8_t *w = weight->buf;
    const Dots multiply_row = dots(size);
    float *x_rows = NULL;
    int enough = 1;

    if (count <= FEW) {
        x_rows = malloc(count * k * sizeof(float));
        if (x_rows == NULL)
            return 0;
        for (Py_ssize_t r = 0; r < count; r++)
            for (Py_ssize_t i = 0; i < k; i++)
                x_rows[r * k + i] = size == B16 ? rounded(x[i * lanes + r]) : x[i * lanes + r];
    }
#pragma omp parallel
    {
        float *buffer = count > FEW ? malloc(TOGETHER * k * sizeof(float)) : x_rows;
        if (buffer == NULL)
#pragma omp atomic write
            enough = 0;
#pragma omp for schedule(dynamic, 2)
        for (Py_ssize_t at = 0; at < rows; at += TOGETHER) {
            const Py_ssize_t some = rows - at < TOGETHER ? rows - at : TOGETHER;
            if (buffer == NULL)
                continue;
            if (count > FEW) {
                (size == Q4 ? wide_20 : wide_34)(w + at * bytes, buffer, some, k);
                product_float32(buffer, x, out + at * lanes, some, k, lanes);
                continue;
            }
            for (Py_ssize_t j = at; j < at + some; j++) {
                float found[FEW];
                multiply_row(w + j * bytes, x_rows, found, k, count);
                memset(out + j * lanes, 0, lanes * sizeof(float));
                memcpy(out + j * lanes, found, count * sizeof(float));
            }
        }
        if (count > FEW)
            free(buffer);
    }
    free(x_rows);
    return enough;
}

enum { ARRAYS = 3 };

static PyObject *few(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *given[ARRAYS];
    Py_buffer a[ARRAYS];
    Py_ssize_t count;
    int taken = 0, enough = 0;

    if (!PyArg_ParseTuple(args, "OOOn", &given[0], &given[1], &given[2], &count))
        return NULL;
    while (taken < ARRAYS) { /* PyBUF_ND: what does not lie densely is refused */
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_ND | PyBUF_FORMAT | (taken == 2 ? PyBUF_WRITABLE : 0)))
            break;
        taken++;
    }
    if (taken == ARRAYS) {
        const int bytes = a[1].format[0] == 'B', halves = a[1].format[0] == 'h';
        const int typed = a[0].format[0] == 'f' && a[2].format[0] == 'f' && (bytes || halves || a[1].format[0] == 'f');
        const int flat = a[0].ndim == 2 && a[1].ndim == 2 && a[2].ndim == 2;
        const Py_ssize_t k = flat ? a[0].shape[0] : 0, lanes = flat ? a[0].shape[1] : 0, blocks = k / BLOCK;
        const int whole = flat && bytes && k % BLOCK == 0;
        const int size = whole && a[1].shape[1] == blocks * Q4 ? Q4 : whole && a[1].shape[1] == blocks * Q8 ? Q8 : halves ? B16 : 0;
        const int fits = few_works() && flat && typed && k > 0 && 0 < lanes && lanes <= MOST && lanes % LANES == 0 && 0 < count &&
                         count <= lanes && (bytes ? size != 0 : a[1].shape[1] == k && count <= FEW) &&
                         a[2].shape[0] == a[1].shape[0] && a[2].shape[1] == lanes;
        if (!fits)
            PyErr_SetString(PyExc_ValueError, "few(x, weight, out, count): the arrays don't fit together");
        else {
            Py_BEGIN_ALLOW_THREADS
            enough = multiply(a[0].buf, &a[1], a[2].buf, k, lanes, count, size);
            Py_END_ALLOW_THREADS
            if (!enough)
                PyErr_NoMemory();
        }
    }
    while (taken > 0)
        PyBuffer_Release(&a[--taken]);
    if (!enough)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef FEW_METHODS[] = {{"few", few, METH_VARARGS, "W x for very few rows, or of a weight in 4 or 8 bits."}, {NULL, NULL, 0, NULL}};
