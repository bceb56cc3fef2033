/* The few rows of a decoding step through a decoder's block, beside attention (sodate/kernels/_attend.c), for CPUs.
 *
 * Rows lie side by side: arrays are (features, L), L the number of rows rounded up to whole vectors and at most MOST, so
 * that one register (with AVX2, two) holds one feature of 16 rows, and a weight is read once, in order, for all of them.
 * All arrays lie densely and are float32; a weight may be bfloat16 instead, as the int16 of its bits.
 *
 *     product(x (K, L), weight (N, K), out (N, L))      W x; in bfloat16, x is rounded to it and the sum is float32
 *     norm(x (H D, L), weight (D,), out (H D, L), eps)   x / sqrt(mean x² + eps) · w over each D; out may be x
 *     rotate(x (H D, L), cos (D, L), sin (D, L))         rotary embedding of equal halves of each D, in place
 *
 * FLOAT32 and BFLOAT16 say which weights this processor multiplies.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "_compiled.h"
#include "_vector.h"

enum { LANES = 16, MOST = 64, TOGETHER = 8 /* rows of a weight that a thread takes */, LINE = 64, SOON = 3 /* lines */ };

/* ---- product: some rows of the weight at a time, each number of them meeting 16 rows of x in one instruction or two ---- */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define INSIDE inline __attribute__((always_inline))
/* What a kind of product needs: its instructions; the registers that hold 16 rows of x, and how to fill them; how many
 * rows of the weight fit into the other registers; and sum + w x, for one number of the weight. */
#define OWN_F32 __attribute__((target("avx512f")))
#define SUM_F32(sum, w, x) _mm512_fmadd_ps(_mm512_set1_ps(w), _mm512_loadu_ps(x), sum)
#define OWN_BF16 __attribute__((target("avx512f,avx512bf16")))
#define SUM_BF16(sum, w, x) _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(w), (__m512bh)_mm512_loadu_si512(x))
#define OWN_AVX2 __attribute__((target("avx2,fma")))
#define SUM_AVX2(sum, w, x) _mm256_fmadd_ps(_mm256_set1_ps(w), _mm256_loadu_ps(x), sum)

/* `rows` rows of the weight, k numbers each, against 16 rows of x; of bfloat16, k counts pairs. */
#define DOTS(name, own, number, Vec, zero, store, registers, most, fewer, plus)                                        \
    own static INSIDE void name(const number *w, const number *x, float *out, Py_ssize_t k, Py_ssize_t lanes,          \
                                const int rows)                                                                        \
    {                                                                                                                  \
        enum { WIDE = LANES / (registers) };                                                                           \
        Vec sum[most][registers];                                                                                      \
        const Py_ssize_t whole = k - k % LANES;                                                                        \
        for (int j = 0; j < rows; j++)                                                                                 \
            for (int c = 0; c < (registers); c++)                                                                      \
                sum[j][c] = zero();                                                                                    \
        for (Py_ssize_t i = 0; i < whole; i += LANES) {                                                                \
            for (int j = 0; j < rows; j++) /* the processor's own guesses end with every page */                       \
                __builtin_prefetch(w + j * k + i + SOON * LANES);                                                      \
            _Pragma("GCC unroll 16") for (int at = 0; at < LANES; at++)                                                \
                _Pragma("GCC unroll 8") for (int j = 0; j < rows; j++)                                                 \
                    for (int c = 0; c < (registers); c++)                                                              \
                        sum[j][c] = plus(sum[j][c], w[j * k + i + at], x + (i + at) * lanes + c * WIDE);               \
        }                                                                                                              \
        for (Py_ssize_t i = whole; i < k; i++)                                                                         \
            for (int j = 0; j < rows; j++)                                                                             \
                for (int c = 0; c < (registers); c++)                                                                  \
                    sum[j][c] = plus(sum[j][c], w[j * k + i], x + i * lanes + c * WIDE);                               \
        for (int j = 0; j < rows; j++)                                                                                 \
            for (int c = 0; c < (registers); c++)                                                                      \
                store(out + j * lanes + c * WIDE, sum[j][c]);                                                          \
    }                                                                                                                  \
    own static void name##_block(const number *w, const number *x, float *out, Py_ssize_t count, Py_ssize_t k,         \
                                 Py_ssize_t lanes)                                                                     \
    {                                                                                                                  \
        Py_ssize_t j = 0;                                                                                              \
        for (; j + (most) <= count && count - j != 2 * (fewer); j += (most))                                           \
            for (Py_ssize_t c = 0; c < lanes; c += LANES)                                                              \
                name(w + j * k, x + c, out + j * lanes + c, k, lanes, most);                                           \
        for (; j + (fewer) <= count; j += (fewer))                                                                     \
            for (Py_ssize_t c = 0; c < lanes; c += LANES)                                                              \
                name(w + j * k, x + c, out + j * lanes + c, k, lanes, fewer);                                          \
        for (; j < count; j++)                                                                                         \
            for (Py_ssize_t c = 0; c < lanes; c += LANES)                                                              \
                name(w + j * k, x + c, out + j * lanes + c, k, lanes, 1);                                              \
    }
DOTS(dots_f32, OWN_F32, float, __m512, _mm512_setzero_ps, _mm512_storeu_ps, 1, 8, 8, SUM_F32)
DOTS(dots_bf16, OWN_BF16, int32_t, __m512, _mm512_setzero_ps, _mm512_storeu_ps, 1, 8, 8, SUM_BF16)
DOTS(dots_avx2, OWN_AVX2, float, __m256, _mm256_setzero_ps, _mm256_storeu_ps, 2, 6, 4, SUM_AVX2)

static int has_avx512(void) { return __builtin_cpu_supports("avx512f") != 0; }
int product_takes_float32(void) { return has_avx512() || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")); }
int product_takes_bfloat16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16") != 0; }
void product_float32(const float *w, const float *x, float *out, Py_ssize_t count, Py_ssize_t k, Py_ssize_t lanes)
{
    (has_avx512() ? dots_f32_block : dots_avx2_block)(w, x, out, count, k, lanes);
}
#else
int product_takes_float32(void) { return 0; }
int product_takes_bfloat16(void) { return 0; }
void product_float32(const float *w, const float *x, float *out, Py_ssize_t count, Py_ssize_t k, Py_ssize_t lanes) {}
static void dots_bf16_block(const int32_t *w, const int32_t *x, float *out, Py_ssize_t count, Py_ssize_t k, Py_ssize_t lanes) {}
#endif

/* bfloat16 bits of the nearest, ties to even. */
static inline uint32_t narrowed(float value)
{
    union { float value; uint32_t bits; } wide = {value};
    return is_nan(value) ? 0x7fc0 : (wide.bits + 0x7fff + ((wide.bits >> 16) & 1)) >> 16;
}

FOR_EVERY_CPU
static void paired(const float *x, Py_ssize_t lanes, uint32_t *to)
{
    for (Py_ssize_t r = 0; r < lanes; r++)
        to[r] = narrowed(x[r]) | narrowed(x[lanes + r]) << 16;
}

/* Whether there was memory enough. */
static int multiply(const float *x, const Py_buffer *weight, float *out, Py_ssize_t lanes)
{
    const Py_ssize_t count = weight->shape[0], k = weight->shape[1];
    const int narrow = weight->itemsize == 2;
    void *room = NULL;
    if (narrow && posix_memalign(&room, LINE, k * lanes * 2))
        return 0;

#pragma omp parallel
    {
        if (narrow) {
#pragma omp for schedule(static)
            for (Py_ssize_t i = 0; i < k / 2; i++)
                paired(x + 2 * i * lanes, lanes, (uint32_t *)room + i * lanes);
        }
#pragma omp for schedule(dynamic, 2)
        for (Py_ssize_t at = 0; at < count; at += TOGETHER) {
            const Py_ssize_t rows = count - at < TOGETHER ? count - at : TOGETHER;
            if (narrow)
                dots_bf16_block((const int32_t *)weight->buf + at * (k / 2), room, out + at * lanes, rows, k / 2, lanes);
            else
                product_float32((const float *)weight->buf + at * k, x, out + at * lanes, rows, k, lanes);
        }
    }
    free(room);
    return 1;
}

/* ---- the rest: a pass over what the rows hold ---- */

FOR_EVERY_CPU
static void norm_of(const float *x, const float *weight, float *out, Py_ssize_t dim, Py_ssize_t lanes, float eps)
{
    float factor[MOST] = {0};
    for (Py_ssize_t d = 0; d < dim; d++)
        for (Py_ssize_t r = 0; r < lanes; r++)
            factor[r] += x[d * lanes + r] * x[d * lanes + r];
    for (Py_ssize_t r = 0; r < lanes; r++)
        factor[r] = 1 / sqrtf(factor[r] / dim + eps);
    for (Py_ssize_t d = 0; d < dim; d++)
        for (Py_ssize_t r = 0; r < lanes; r++)
            out[d * lanes + r] = x[d * lanes + r] * factor[r] * weight[d];
}

FOR_EVERY_CPU
static void rotate_one(float *x, const float *cos, const float *sin, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) { /* size: all rows of the first half, the second lies behind it */
        const float first = x[i], second = x[size + i];
        x[i] = first * cos[i] - second * sin[i];
        x[size + i] = second * cos[size + i] + first * sin[size + i];
    }
}

/* ---- called from Python: take the arrays, check them, run without the interpreter's lock ---- */

enum { ARRAYS = 3 };
typedef struct { const char *called; int count, dimensions[ARRAYS], written, narrow; } Wanted; /* which is written, which may be bfloat16 */

static int took(const Wanted *wanted, PyObject *const *given, Py_ssize_t count, int others, Py_buffer *a)
{
    int at = 0;
    if (count != wanted->count + others) {
        PyErr_Format(PyExc_TypeError, "expected %s", wanted->called);
        return 0;
    }
    for (; at < wanted->count; at++) {
        if (PyObject_GetBuffer(given[at], &a[at], PyBUF_ND | PyBUF_FORMAT | (at == wanted->written ? PyBUF_WRITABLE : 0)))
            break; /* PyBUF_ND: what does not lie densely is refused */
        const int narrow = at == wanted->narrow && a[at].format[0] == 'h' && a[at].itemsize == 2;
        if (a[at].ndim != wanted->dimensions[at] || !(narrow || (a[at].format[0] == 'f' && a[at].itemsize == 4))) {
            PyErr_Format(PyExc_ValueError, "array %d of %s has another type or number of dimensions", at, wanted->called);
            PyBuffer_Release(&a[at]);
            break;
        }
    }
    if (at == wanted->count)
        return 1;
    while (at > 0)
        PyBuffer_Release(&a[--at]);
    return 0;
}

static PyObject *ended(const Wanted *wanted, Py_buffer *a, int fits, int enough)
{
    for (int i = 0; i < wanted->count; i++)
        PyBuffer_Release(&a[i]);
    if (!fits)
        return PyErr_Format(PyExc_ValueError, "%s: the shapes don't fit together", wanted->called);
    if (!enough)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static int whole(Py_ssize_t lanes) { return 0 < lanes && lanes <= MOST && lanes % LANES == 0; }

static PyObject *product(PyObject *Py_UNUSED(self), PyObject *const *given, Py_ssize_t count)
{
    static const Wanted WANTED = {"product(x, weight, out)", 3, {2, 2, 2}, 2, 1};
    Py_buffer a[ARRAYS];
    if (!took(&WANTED, given, count, 0, a))
        return NULL;
    const Py_ssize_t *x = a[0].shape, *w = a[1].shape, *out = a[2].shape;
    const int able = a[1].itemsize == 2 ? product_takes_bfloat16() && w[1] % 2 == 0 : product_takes_float32();
    const int fits = able && whole(x[1]) && x[0] == w[1] && w[0] == out[0] && x[1] == out[1];
    int enough = 1;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        enough = multiply(a[0].buf, &a[1], a[2].buf, x[1]);
        Py_END_ALLOW_THREADS
    }
    return ended(&WANTED, a, fits, enough);
}

static PyObject *norm(PyObject *Py_UNUSED(self), PyObject *const *given, Py_ssize_t count)
{
    static const Wanted WANTED = {"norm(x, weight, out, eps)", 3, {2, 1, 2}, 2, -1};
    Py_buffer a[ARRAYS];
    if (!took(&WANTED, given, count, 1, a))
        return NULL;
    const double eps = PyFloat_AsDouble(given[3]);
    const Py_ssize_t *x = a[0].shape, dim = a[1].shape[0], *out = a[2].shape;
    const int fits = whole(x[1]) && dim > 0 && x[0] % dim == 0 && x[0] == out[0] && x[1] == out[1];
    if (fits && !(eps == -1 && PyErr_Occurred())) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < x[0]; at += dim)
            norm_of((float *)a[0].buf + at * x[1], a[1].buf, (float *)a[2].buf + at * x[1], dim, x[1], (float)eps);
        Py_END_ALLOW_THREADS
    }
    PyObject *result = ended(&WANTED, a, fits, 1);
    return PyErr_Occurred() ? NULL : result;
}

static PyObject *rotate(PyObject *Py_UNUSED(self), PyObject *const *given, Py_ssize_t count)
{
    static const Wanted WANTED = {"rotate(x, cos, sin)", 3, {2, 2, 2}, 0, -1};
    Py_buffer a[ARRAYS];
    if (!took(&WANTED, given, count, 0, a))
        return NULL;
    const Py_ssize_t *x = a[0].shape, *cos = a[1].shape, *sin = a[2].shape, size = cos[0] * x[1];
    const int fits = cos[0] > 0 && cos[0] % 2 == 0 && x[0] % cos[0] == 0 && cos[0] == sin[0] && x[1] == cos[1] && x[1] == sin[1];
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < x[0] * x[1]; at += size)
            rotate_one((float *)a[0].buf + at, a[1].buf, a[2].buf, size / 2);
        Py_END_ALLOW_THREADS
    }
    return ended(&WANTED, a, fits, 1);
}

PyMethodDef ROWS_METHODS[] = {{"product", (PyCFunction)(void (*)(void))product, METH_FASTCALL, "W x"},
                              {"norm", (PyCFunction)(void (*)(void))norm, METH_FASTCALL, "RMSNorm"},
                              {"rotate", (PyCFunction)(void (*)(void))rotate, METH_FASTCALL, "Rotary embedding"},
                              {NULL, NULL, 0, NULL}};
