/* Products of very few rows, and of weights that are kept in 4 or 8 bits, for CPUs.
 *
 * One row is short of memory bandwidth alone: the weight is read once, along its rows, and no lane of a register is kept
 * for rows that are not there (_rows.c keeps 16). A weight that was published in 4 bits fits them exactly: read as blocks
 * of 32 numbers d · q + m it is a sixth of the bytes and the same numbers. Threads call for what they read 2 kB before they do.
 *
 *     few(x (K, L), weight, out (N, L), count)      W x for the first `count` of L rows side by side; the rest is zero
 *     few_behind(x (n, K), weight, out (n, N))       the same for at most 16 rows, one behind the other
 *
 * weight is float32 or bfloat16 (N, K), for at most 4 rows, which bfloat16 as int16 meets rounded to bfloat16 as the products
 * of _rows.c do, and as uint16 as they are; or bytes, panels of 16 rows (_panels.c): (N / 16 rounded up, K / 32 · 320) of 4 bits
 * or (…, K / 32 · 544) of 8.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_compiled.h"

enum { LANES = 16, MOST = 64, FEW = 4, BLOCK = 32, B16 = 2, LINE = 64, AHEAD = 2048 /* bytes */ };

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define BYTES(size) ((size) == B16 ? 2 * BLOCK : 4 * BLOCK) /* of a block */
#define OWN __attribute__((target("avx2,fma,f16c")))
#define INSIDE OWN static inline __attribute__((always_inline))

int few_works(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
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
    if (size == B16) {
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
        for (int line = 0; line < BYTES(size); line += LINE)
            _mm_prefetch((const char *)(row + b * BYTES(size) + AHEAD + line), _MM_HINT_T0);
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

/* The same with registers of 16 numbers. */
#define OWN512 __attribute__((target("avx512f,avx2,fma,f16c")))
#define INSIDE512 OWN512 static inline __attribute__((always_inline))

static int has_512(void) { return few_works() && __builtin_cpu_supports("avx512f"); }

INSIDE512 void widen512(const uint8_t *row, Py_ssize_t b, const int size, __m512 to[2])
{
    if (size == B16) {
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
        for (int line = 0; line < BYTES(size); line += LINE)
            _mm_prefetch((const char *)(row + b * BYTES(size) + AHEAD + line), _MM_HINT_T0);
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
#else
int few_works(void) { return 0; }
static int has_512(void) { return 0; }
#define NONE(name) static void name(const uint8_t *row, const float *x, float *out, Py_ssize_t k, Py_ssize_t rows) {}
NONE(dots_dot_0)
NONE(dots_dot_2)
NONE(dots_dot512_0)
NONE(dots_dot512_2)
#endif

typedef void (*Dots)(const uint8_t *row, const float *x, float *out, Py_ssize_t k, Py_ssize_t rows);

/* What multiplies a row of a weight kept so, on this processor. */
static Dots dots(int size)
{
    const int wide = has_512();
    switch (size) {
    case B16: return wide ? dots_dot512_2 : dots_dot_2;
    default: return wide ? dots_dot512_0 : dots_dot_0;
    }
}

int weight_of(const Py_buffer *array, Py_ssize_t k, Py_ssize_t rows, Weight *to)
{
    const char type = array->format[0];
    const Py_ssize_t columns = array->ndim == 2 ? array->shape[1] : 0, given = array->ndim == 2 ? array->shape[0] : 0;
    const Weight found = {0, rows, k, columns * array->itemsize, array->buf};
    *to = found;
    if (!few_works() || k < 1 || rows < 1)
        return 0;
    if (type == 'f' || type == 'h' || type == 'H') {
        to->size = type == 'f' ? 0 : B16;
        return columns == k && given == rows;
    }
    if (type != 'B' || k % BLOCK)
        return 0;
    to->size = columns == k / BLOCK * PANEL8 ? PANEL8 : PANEL4;
    return columns == k / BLOCK * to->size && given == (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
}

static int in_panels(const Weight *w) { return w->size == PANEL4 || w->size == PANEL8; }

/* A panel with more rows of x than FEW, side by side in rows of `lanes`: out (rows, ROWS_AT_ONCE), and room for up to 16. */
static void panel(const Weight *w, Py_ssize_t at, const float *x, Py_ssize_t lanes, Py_ssize_t rows, float *out)
{
    const Py_ssize_t taken = rows <= FEW ? FEW + 1 : rows < LANES ? rows : LANES; /* few would be one behind the other */
    panel_rows(w->at + at / ROWS_AT_ONCE * w->bytes, x, lanes, out, w->k, taken, w->size);
}

/* ROWS_AT_ONCE rows of a weight, or as many as there are, with more rows of x than FEW, as they lie: out (…, lanes) of these. */
static void many(const Weight *w, Py_ssize_t at, const float *x, float *out, Py_ssize_t lanes, Py_ssize_t count)
{
    const Py_ssize_t some = w->rows - at < ROWS_AT_ONCE ? w->rows - at : ROWS_AT_ONCE;
    for (Py_ssize_t c = 0; c < lanes; c += LANES) {
        float found[LANES * ROWS_AT_ONCE] = {0};
        if (c < count)
            panel(w, at, x + c, lanes, count - c, found);
        for (Py_ssize_t j = 0; j < some; j++)
            for (Py_ssize_t r = 0; r < LANES; r++)
                out[j * lanes + c + r] = found[r * ROWS_AT_ONCE + j];
    }
}

void weight_rows(const Weight *weight, Py_ssize_t at, const float *x, Py_ssize_t rows, float *out)
{
    if (in_panels(weight)) {
        if (rows > FEW) {
            float found[LANES * ROWS_AT_ONCE];
            panel(weight, at, x, LANES, rows, found);
            memcpy(out, found, rows * ROWS_AT_ONCE * sizeof(float));
        } else
            panel_rows(weight->at + at / ROWS_AT_ONCE * weight->bytes, x, weight->k, out, weight->k, rows, weight->size);
        return;
    }
    const Py_ssize_t some = weight->rows - at < ROWS_AT_ONCE ? weight->rows - at : ROWS_AT_ONCE;
    float found[ROWS_AT_ONCE * LANES];
    if (rows > FEW)
        product_float32((const float *)weight->at + at * weight->k, x, found, some, weight->k, LANES);
    else
        for (Py_ssize_t j = 0; j < some; j++)
            dots(weight->size)(weight->at + (at + j) * weight->bytes, x, found + j * LANES, weight->k, rows);
    for (Py_ssize_t r = 0; r < rows; r++)
        for (Py_ssize_t j = 0; j < some; j++)
            out[r * ROWS_AT_ONCE + j] = found[j * LANES + r];
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

void side_by_side(const float *x, Py_ssize_t rows, Py_ssize_t k, Py_ssize_t from, Py_ssize_t to, float *side)
{
    Py_ssize_t done = from;
#if defined(__x86_64__) && defined(__GNUC__)
    for (; done + 4 <= to; done += 4) /* squares of 4 rows and 4 columns */
        for (Py_ssize_t r = 0; r < LANES; r += 4) {
            __m128 a[4];
            for (int i = 0; i < 4; i++)
                a[i] = r + i < rows ? _mm_loadu_ps(x + (r + i) * k + done) : _mm_setzero_ps();
            _MM_TRANSPOSE4_PS(a[0], a[1], a[2], a[3]);
            for (int i = 0; i < 4; i++)
                _mm_storeu_ps(side + (done + i) * LANES + r, a[i]);
        }
#endif
    for (Py_ssize_t i = done; i < to; i++)
        for (Py_ssize_t r = 0; r < LANES; r++)
            side[i * LANES + r] = r < rows ? x[r * k + i] : 0;
}

/* out (rows, N) of x (rows, K). Whether there was memory enough. */
static int multiply_behind(const float *x, const Weight *w, float *out, Py_ssize_t rows)
{
    float *side = NULL;
    if (rows > FEW) {
        if ((side = malloc(w->k * LANES * sizeof(float))) == NULL)
            return 0;
        side_by_side(x, rows, w->k, 0, w->k, side);
    }
#pragma omp parallel for schedule(guided)
    for (Py_ssize_t at = 0; at < w->rows; at += ROWS_AT_ONCE) {
        const Py_ssize_t some = w->rows - at < ROWS_AT_ONCE ? w->rows - at : ROWS_AT_ONCE;
        float found[LANES * ROWS_AT_ONCE];
        weight_rows(w, at, side == NULL ? x : side, rows, found);
        for (Py_ssize_t r = 0; r < rows; r++)
            memcpy(out + r * w->rows + at, found + r * ROWS_AT_ONCE, some * sizeof(float));
    }
    free(side);
    return 1;
}

/* Whether there was memory enough. */
static int multiply(const float *x, const Weight *w, float *out, Py_ssize_t lanes, Py_ssize_t count, int rounds)
{
    const Py_ssize_t k = w->k;
    float *x_rows = NULL;

    if (count <= FEW) {
        x_rows = malloc(count * k * sizeof(float));
        if (x_rows == NULL)
            return 0;
        for (Py_ssize_t r = 0; r < count; r++)
            for (Py_ssize_t i = 0; i < k; i++)
                x_rows[r * k + i] = rounds ? rounded(x[i * lanes + r]) : x[i * lanes + r];
    }
#pragma omp parallel for schedule(guided)
    for (Py_ssize_t at = 0; at < w->rows; at += ROWS_AT_ONCE) {
        float found[FEW * ROWS_AT_ONCE];
        if (count > FEW) {
            many(w, at, x, out + at * lanes, lanes, count);
            continue;
        }
        weight_rows(w, at, x_rows, count, found);
        for (Py_ssize_t j = 0; j < ROWS_AT_ONCE && at + j < w->rows; j++) {
            memset(out + (at + j) * lanes, 0, lanes * sizeof(float));
            for (Py_ssize_t r = 0; r < count; r++)
                out[(at + j) * lanes + r] = found[r * ROWS_AT_ONCE + j];
        }
    }
    free(x_rows);
    return 1;
}

enum { ARRAYS = 3 };

/* What both functions are given: x, weight, out, and `few` a count. */
static PyObject *called(PyObject *args, int behind)
{
    PyObject *given[ARRAYS];
    Py_buffer a[ARRAYS];
    Py_ssize_t count = 0;
    int taken = 0, enough = 0;

    if (!PyArg_ParseTuple(args, behind ? "OOO" : "OOOn", &given[0], &given[1], &given[2], &count))
        return NULL;
    while (taken < ARRAYS) { /* PyBUF_ND: what does not lie densely is refused */
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_ND | PyBUF_FORMAT | (taken == 2 ? PyBUF_WRITABLE : 0)))
            break;
        taken++;
    }
    if (taken == ARRAYS) {
        const int flat = a[0].ndim == 2 && a[2].ndim == 2 && a[0].format[0] == 'f' && a[2].format[0] == 'f';
        const Py_ssize_t k = flat ? a[0].shape[behind] : 0, rows = flat ? a[0].shape[!behind] : 0;
        Weight weight;
        int fits = flat && a[2].shape[!behind] == rows && weight_of(&a[1], k, a[2].shape[behind], &weight);
        if (behind)
            fits = fits && 0 < rows && rows <= LANES && (rows <= FEW || weight.size != B16) && a[1].format[0] != 'h';
        else
            fits = fits && 0 < rows && rows <= MOST && rows % LANES == 0 && 0 < count && count <= rows &&
                   (count <= FEW || in_panels(&weight));
        if (!fits)
            PyErr_SetString(PyExc_ValueError, "few(x, weight, out, count), few_behind(x, weight, out): the arrays don't fit together");
        else {
            Py_BEGIN_ALLOW_THREADS
            enough = behind ? multiply_behind(a[0].buf, &weight, a[2].buf, rows)
                            : multiply(a[0].buf, &weight, a[2].buf, rows, count, a[1].format[0] == 'h');
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

static PyObject *few(PyObject *Py_UNUSED(self), PyObject *args) { return called(args, 0); }
static PyObject *few_behind(PyObject *Py_UNUSED(self), PyObject *args) { return called(args, 1); }

PyMethodDef FEW_METHODS[] = {{"few", few, METH_VARARGS, "W x for few rows side by side, or of a weight in 4 or 8 bits."},
                             {"few_behind", few_behind, METH_VARARGS, "W x for few rows one behind the other."},
                             {NULL, NULL, 0, NULL}};
