/* A decoding step's attention of one layer, for CPUs: new tokens of several replies against the keys that each reply holds.
 *
 * The step is short of memory bandwidth and of nothing else, so keys and values are read once, where they lie; as torch
 * operations it is ten calls a layer, and batched products of three rows that reach a third of the bandwidth
 * (docs/lab/decoding.md). sodate.generate.paged_attention computes the same without this module.
 *
 *     attend(query (H, n, D), key (K, n, D), value (K, n, D), keys (blocks, K, S, D), values (blocks, K, S, D),
 *            table (replies, most) int64, owner (n,) int64, held (n,) int64, out (n, H, D), scale, window)
 *
 * A reply's tokens lie in blocks of S, named in order by its row of `table`. Row i is token number held[i] - 1 of reply
 * owner[i]. All rows' keys and values are put in their places; then row i of `out` is softmax(scale · q kᵀ) v of the last
 * `window` of its reply's first held[i] tokens (of all, if 0). Arrays of floats are float32; keys, values, out and the
 * integers lie densely. H / K query heads share a key head.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_compiled.h"
#include "_vector.h"

/* Tokens taken at once: each query or output row is then loaded a quarter as often. And how many of the next block are
 * asked for ahead: the processor can't guess where it lies. */
enum { TOGETHER = 4, AHEAD = 16, LANES = 16, ROWS_TOGETHER = 4 };

#if defined(__GNUC__)
#define SOON(address) __builtin_prefetch(address)
#else
#define SOON(address)
#endif

/* ---- a block of tokens with all queries: weights (all, stride), scaled (all, dim) ---- */

FOR_EVERY_CPU
static void score(const float *scaled, const float *keys, float *weights, Py_ssize_t all, Py_ssize_t stride, Py_ssize_t dim,
                  Py_ssize_t count)
{
    const Py_ssize_t whole = count - count % TOGETHER;
    for (Py_ssize_t t = 0; t < count; t += t < whole ? TOGETHER : 1) {
        const float *k = keys + t * dim;
        for (Py_ssize_t h = 0; h < all; h++) {
            const float *row = scaled + h * dim;
            float *w = weights + h * stride + t, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            if (t < whole) {
                for (Py_ssize_t d = 0; d < dim; d++) {
                    s0 += row[d] * k[d];
                    s1 += row[d] * k[dim + d];
                    s2 += row[d] * k[2 * dim + d];
                    s3 += row[d] * k[3 * dim + d];
                }
                w[0] = s0, w[1] = s1, w[2] = s2, w[3] = s3;
            } else {
                for (Py_ssize_t d = 0; d < dim; d++)
                    s0 += row[d] * k[d];
                w[0] = s0;
            }
        }
    }
}

/* out (all, dim) += weights · values */
FOR_EVERY_CPU
static void add_up(const float *weights, const float *values, float *out, Py_ssize_t all, Py_ssize_t stride, Py_ssize_t dim,
                   Py_ssize_t count)
{
    const Py_ssize_t whole = count - count % TOGETHER;
    for (Py_ssize_t t = 0; t < count; t += t < whole ? TOGETHER : 1) {
        const float *v = values + t * dim;
        for (Py_ssize_t h = 0; h < all; h++) {
            const float *w = weights + h * stride + t;
            float *row = out + h * dim;
            if (t < whole) {
                for (Py_ssize_t d = 0; d < dim; d++)
                    row[d] += w[0] * v[d] + w[1] * v[dim + d] + w[2] * v[2 * dim + d] + w[3] * v[3 * dim + d];
            } else {
                for (Py_ssize_t d = 0; d < dim; d++)
                    row[d] += w[0] * v[d];
            }
        }
    }
}

/* The same for blocks of 16 tokens and dim a multiple of 16: sums stay in registers. Scores of tokens that are not there yet are
 * made of what lies there, and not looked at. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define OWN512 __attribute__((target("avx512f")))

static int wide(Py_ssize_t size, Py_ssize_t dim)
{
    return size == LANES && dim % LANES == 0 && __builtin_cpu_supports("avx512f");
}

/* The sums of 16 registers, in one. */
OWN512 static inline __attribute__((always_inline)) __m512 sums(__m512 p[LANES])
{
    __m512 four[4];
    for (int i = 0; i < 4; i++) {
        const __m512 a = p[4 * i], b = p[4 * i + 1], c = p[4 * i + 2], d = p[4 * i + 3];
        const __m512d ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
        const __m512d cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
        four[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    }
    const __m512 first = _mm512_add_ps(_mm512_shuffle_f32x4(four[0], four[1], 0x88), _mm512_shuffle_f32x4(four[0], four[1], 0xdd));
    const __m512 second = _mm512_add_ps(_mm512_shuffle_f32x4(four[2], four[3], 0x88), _mm512_shuffle_f32x4(four[2], four[3], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x88), _mm512_shuffle_f32x4(first, second, 0xdd));
}

OWN512 static void score_wide(const float *scaled, const float *keys, float *weights, Py_ssize_t all, Py_ssize_t stride, Py_ssize_t dim)
{
    for (Py_ssize_t h = 0; h < all; h++) {
        __m512 p[LANES];
        for (int t = 0; t < LANES; t++)
            p[t] = _mm512_setzero_ps();
        for (Py_ssize_t d = 0; d < dim; d += LANES) {
            const __m512 q = _mm512_loadu_ps(scaled + h * dim + d);
            _Pragma("GCC unroll 16") for (int t = 0; t < LANES; t++)
                p[t] = _mm512_fmadd_ps(q, _mm512_loadu_ps(keys + t * dim + d), p[t]);
        }
        _mm512_storeu_ps(weights + h * stride, sums(p));
    }
}

/* `wide` registers of one output row. */
OWN512 static inline __attribute__((always_inline)) void add_part(const float *weights, const float *values, float *out, Py_ssize_t dim,
                                                                  Py_ssize_t count, const int wide)
{
    __m512 even[4], odd[4]; /* of tokens: one sum would wait for itself */
    Py_ssize_t t = 0;
    for (int i = 0; i < wide; i++)
        even[i] = _mm512_loadu_ps(out + i * LANES), odd[i] = _mm512_setzero_ps();
    for (; t + 1 < count; t += 2) {
        const __m512 first = _mm512_set1_ps(weights[t]), second = _mm512_set1_ps(weights[t + 1]);
        _Pragma("GCC unroll 4") for (int i = 0; i < wide; i++) {
            even[i] = _mm512_fmadd_ps(first, _mm512_loadu_ps(values + t * dim + i * LANES), even[i]);
            odd[i] = _mm512_fmadd_ps(second, _mm512_loadu_ps(values + (t + 1) * dim + i * LANES), odd[i]);
        }
    }
    for (int i = 0; i < wide; i++) {
        if (t < count)
            even[i] = _mm512_fmadd_ps(_mm512_set1_ps(weights[t]), _mm512_loadu_ps(values + t * dim + i * LANES), even[i]);
        _mm512_storeu_ps(out + i * LANES, _mm512_add_ps(even[i], odd[i]));
    }
}

OWN512 static void add_up_wide(const float *weights, const float *values, float *out, Py_ssize_t all, Py_ssize_t stride,
                               Py_ssize_t dim, Py_ssize_t count)
{
    for (Py_ssize_t h = 0; h < all; h++) {
        Py_ssize_t d = 0;
        for (; d + 4 * LANES <= dim; d += 4 * LANES)
            add_part(weights + h * stride, values + d, out + h * dim + d, dim, count, 4);
        for (; d < dim; d += LANES)
            add_part(weights + h * stride, values + d, out + h * dim + d, dim, count, 1);
    }
}
#else
static int wide(Py_ssize_t size, Py_ssize_t dim) { return 0; }
static void score_wide(const float *scaled, const float *keys, float *weights, Py_ssize_t all, Py_ssize_t stride, Py_ssize_t dim) {}
static void add_up_wide(const float *weights, const float *values, float *out, Py_ssize_t all, Py_ssize_t stride, Py_ssize_t dim, Py_ssize_t count) {}
#endif

/* Weights (…) of a row, of whose tokens it sees [first, last): their softmax, and zero for the others. */
FOR_EVERY_CPU
static void soften(float *row, Py_ssize_t first, Py_ssize_t last, Py_ssize_t stride)
{
    float highest = row[first], sum = 0;
    for (Py_ssize_t t = first; t < last; t++)
        highest = row[t] > highest ? row[t] : highest;
    for (Py_ssize_t t = first; t < last; t++) {
        row[t] = either(is_nan(row[t]), row[t], exponential(row[t] - highest));
        sum += row[t];
    }
    for (Py_ssize_t t = first; t < last; t++)
        row[t] /= sum;
    memset(row, 0, first * sizeof(float));
    memset(row + last, 0, (stride - last) * sizeof(float));
}

static void ask_for(const float *next, Py_ssize_t dim)
{
    for (Py_ssize_t d = 0; d < AHEAD * dim; d += LANES)
        SOON(next + d);
}

/* Tokens in whole blocks of which the rows see some: [*begin, end), the end is returned. */
static Py_ssize_t span(const int64_t *seen, Py_ssize_t rows, Py_ssize_t window, Py_ssize_t size, Py_ssize_t *begin)
{
    Py_ssize_t from = seen[0], to = 0;
    for (Py_ssize_t r = 0; r < rows; r++) {
        const Py_ssize_t first = window && seen[r] > window ? seen[r] - window : 0;
        from = first < from ? first : from;
        to = seen[r] > to ? seen[r] : to;
    }
    *begin = from - from % size;
    return to;
}

Py_ssize_t attend_room(Py_ssize_t rows, Py_ssize_t group, Py_ssize_t dim, const int64_t *seen, Py_ssize_t size)
{
    Py_ssize_t begin;
    const Py_ssize_t to = span(seen, rows, 0, size, &begin), all = rows * group;
    return (all < LANES ? LANES : all) * (2 * dim + to + size);
}

void attend_together(const Queries *query, const Held *held, float *out, Py_ssize_t out_row, float *room, Py_ssize_t rows,
                     Py_ssize_t group, Py_ssize_t dim, const int64_t *seen, Py_ssize_t window, float scale)
{
    const Py_ssize_t all = rows * group, size = held->size;
    Py_ssize_t begin;
    const Py_ssize_t to = span(seen, rows, window, size, &begin), stride = (to - begin + size - 1) / size * size;
    const int fast = wide(size, dim);
    if (attends_in_lanes(all, size, dim)) {
        attend_lanes(query, held, out, out_row, room, rows, group, dim, seen, window, scale, begin, to);
        return;
    }
    float *scaled = room, *made = scaled + all * dim, *weights = made + all * dim;

    for (Py_ssize_t h = 0; h < all; h++) {
        const float *own = query->at + h / group * query->row + h % group * query->head;
        for (Py_ssize_t d = 0; d < dim; d++)
            scaled[h * dim + d] = scale * own[d * query->column];
    }
    for (Py_ssize_t at = begin; at < to; at += size) {
        const int64_t *block = held->blocks + at / size;
        const float *keys = held->keys + block[0] * held->stride;
        if (at + size < to)
            ask_for(held->keys + block[1] * held->stride, dim);
        if (fast)
            score_wide(scaled, keys, weights + at - begin, all, stride, dim);
        else
            score(scaled, keys, weights + at - begin, all, stride, dim, to - at < size ? to - at : size);
    }
    for (Py_ssize_t h = 0; h < all; h++) {
        const Py_ssize_t last = seen[h / group] - begin, first = window && seen[h / group] > window ? last - window : 0;
        soften(weights + h * stride, first, last, stride);
    }
    memset(made, 0, all * dim * sizeof(float));
    for (Py_ssize_t at = begin; at < to; at += size) {
        const int64_t *block = held->blocks + at / size;
        const float *values = held->values + block[0] * held->stride;
        const Py_ssize_t count = to - at < size ? to - at : size;
        if (at + size < to)
            ask_for(held->values + block[1] * held->stride, dim);
        (fast ? add_up_wide : add_up)(weights + at - begin, values, made, all, stride, dim, count);
    }
    for (Py_ssize_t r = 0; r < rows; r++)
        memcpy(out + r * out_row, made + r * group * dim, group * dim * sizeof(float));
}

Py_ssize_t same_reply(const int64_t *owner, Py_ssize_t rows, Py_ssize_t group, Py_ssize_t size, Py_ssize_t dim, Py_ssize_t *first)
{
    const Py_ssize_t lanes = LANES / group, most = attends_in_lanes(lanes * group, size, dim) ? lanes : ROWS_TOGETHER;
    Py_ssize_t count = 0;
    for (Py_ssize_t r = 0; r < rows; r++)
        if (r == 0 || owner[r] != owner[r - 1] || r - first[count - 1] == most)
            first[count++] = r;
    first[count] = rows;
    return count;
}

enum { QUERY, KEY, VALUE, KEYS, VALUES, TABLE, OWNER, HELD, OUT, ARRAYS };
static const int DIMENSIONS[ARRAYS] = {3, 3, 3, 4, 4, 2, 1, 1, 3};
static const char *const NAMES[ARRAYS] = {"query", "key", "value", "keys", "values", "table", "owner", "held", "out"};

/* Whether the arrays fit together; sets ValueError otherwise. */
static int fits(const Py_buffer *a, Py_ssize_t window)
{
    for (int i = 0; i < ARRAYS; i++) {
        const int integer = i == TABLE || i == OWNER || i == HELD;
        if (a[i].ndim != DIMENSIONS[i] || a[i].format == NULL || a[i].format[0] != (integer ? 'l' : 'f') ||
            a[i].itemsize != (integer ? 8 : 4)) {
            PyErr_Format(PyExc_ValueError, "%s has another type or number of dimensions", NAMES[i]);
            return 0;
        }
        if (i >= KEYS && !PyBuffer_IsContiguous(&a[i], 'C')) {
            PyErr_Format(PyExc_ValueError, "%s does not lie densely", NAMES[i]);
            return 0;
        }
    }
    const Py_ssize_t *q = a[QUERY].shape, *k = a[KEY].shape, *v = a[VALUE].shape, *c = a[KEYS].shape;
    const Py_ssize_t *d = a[VALUES].shape, *t = a[TABLE].shape, *o = a[OUT].shape, n = q[1], dim = q[2];
    const int same = k[0] > 0 && q[0] > 0 && q[0] % k[0] == 0 && k[1] == n && k[2] == dim && v[0] == k[0] && v[1] == n &&
                     v[2] == dim && c[1] == k[0] && c[2] > 0 && c[3] == dim && d[0] == c[0] && d[1] == c[1] &&
                     d[2] == c[2] && d[3] == dim && a[OWNER].shape[0] == n && a[HELD].shape[0] == n && o[0] == n &&
                     o[1] == q[0] && o[2] == dim;
    if (!same || window < 0) {
        PyErr_SetString(PyExc_ValueError, "the shapes don't fit together");
        return 0;
    }
    const int64_t *table = a[TABLE].buf, *owner = a[OWNER].buf, *held = a[HELD].buf;
    for (Py_ssize_t i = 0; i < t[0] * t[1]; i++)
        if (table[i] < 0 || table[i] >= c[0]) {
            PyErr_SetString(PyExc_ValueError, "the table names a block that is not there");
            return 0;
        }
    for (Py_ssize_t i = 0; i < n; i++)
        if (owner[i] < 0 || owner[i] >= t[0] || held[i] < 1 || held[i] > t[1] * c[2]) {
            PyErr_SetString(PyExc_ValueError, "a row holds no tokens, more than its blocks do, or is nobody's");
            return 0;
        }
    return 1;
}

/* Whether there was memory enough. */
static int step(const Py_buffer *a, float scale, Py_ssize_t window)
{
    const Py_ssize_t rows = a[QUERY].shape[1], heads = a[KEY].shape[0], dim = a[QUERY].shape[2];
    const Py_ssize_t group = a[QUERY].shape[0] / heads, size = a[KEYS].shape[2], most = a[TABLE].shape[1];
    const Py_ssize_t *qs = a[QUERY].strides, float_size = sizeof(float), stride = heads * size * dim;
    const int64_t *table = a[TABLE].buf, *owner = a[OWNER].buf, *held = a[HELD].buf;
    int enough = 1;
    Py_ssize_t *first = malloc((rows + 1) * sizeof(Py_ssize_t));
    if (first == NULL)
        return 0;
    const Py_ssize_t runs = same_reply(owner, rows, group, size, dim, first);

#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (Py_ssize_t job = 0; job < rows * heads; job++) { /* every key and value first: rows of one reply see each other's */
            const Py_ssize_t row = job / heads, head = job % heads, last = held[row] - 1;
            const Py_ssize_t place = table[owner[row] * most + last / size] * stride + (head * size + last % size) * dim;
            for (int i = 0; i < 2; i++) {
                const Py_buffer *new = &a[KEY + i];
                const char *from = (const char *)new->buf + head * new->strides[0] + row * new->strides[1];
                for (Py_ssize_t d = 0; d < dim; d++)
                    ((float *)a[KEYS + i].buf)[place + d] = *(const float *)(from + d * new->strides[2]);
            }
        }
#pragma omp for schedule(dynamic)
        for (Py_ssize_t job = 0; job < runs * heads; job++) {
            const Py_ssize_t row = first[job / heads], own = first[job / heads + 1] - row, head = job % heads;
            const Held where = {(const float *)a[KEYS].buf + head * size * dim, (const float *)a[VALUES].buf + head * size * dim,
                                table + owner[row] * most, stride, size};
            const Queries query = {(const float *)((const char *)a[QUERY].buf + head * group * qs[0] + row * qs[1]),
                                   qs[1] / float_size, qs[0] / float_size, qs[2] / float_size};
            float *room = malloc(attend_room(own, group, dim, held + row, size) * sizeof(float));
            if (room == NULL) {
#pragma omp atomic write
                enough = 0;
                continue;
            }
            attend_together(&query, &where, (float *)a[OUT].buf + (row * heads + head) * group * dim, heads * group * dim, room, own,
                            group, dim, held + row, window, scale);
            free(room);
        }
    }
    free(first);
    return enough;
}

static PyObject *attend(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *given[ARRAYS];
    Py_buffer a[ARRAYS];
    double scale;
    Py_ssize_t window;
    int taken = 0, enough = 0;

    if (!PyArg_ParseTuple(args, "OOOOOOOOOdn", &given[QUERY], &given[KEY], &given[VALUE], &given[KEYS], &given[VALUES],
                          &given[TABLE], &given[OWNER], &given[HELD], &given[OUT], &scale, &window))
        return NULL;
    while (taken < ARRAYS) {
        const int written = taken == KEYS || taken == VALUES || taken == OUT;
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_STRIDES | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
            break;
        taken++;
    }
    if (taken == ARRAYS && fits(a, window)) {
        Py_BEGIN_ALLOW_THREADS
        enough = step(a, (float)scale, window);
        Py_END_ALLOW_THREADS
        if (!enough)
            PyErr_NoMemory();
    }
    while (taken > 0)
        PyBuffer_Release(&a[--taken]);
    if (!enough)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef ATTEND_METHODS[] = {{"attend", attend, METH_VARARGS, "A decoding step's attention of one layer."}, {NULL, NULL, 0, NULL}};
