/* Attention over a packed trie for training on CPUs with AVX-512: every query sees the tokens of its segment's ancestors
 * and, causally, its own, if they are less than `window` behind (0: any). Scores never exist but for 16 queries at once.
 *
 *     forward(trie, q, k, v, out, lse, scale, window)
 *     backward(trie, q, k, v, out, lse, dout, dq, dk, dv, scale, window)
 *
 * `trie` is a tuple of int64 arrays: starts and ends (S,) of the segments; path_at (S + 1,) and path: the ancestors of
 * segment s are path[path_at[s]:path_at[s + 1]], root first; positions (N,). All else is float32: q, out, dout, dq
 * (N, H, D), k, v, dk, dv (N, K, D), K dividing H and 16 dividing D, lse (H, N): log Σ exp of a query's scores. The
 * numbers of one head lie densely, and gradients and outputs wholly.
 *
 * With S = scale · q kᵀ and P = softmax(S): dv = Pᵀ do, dS = P ∘ (do vᵀ - Σ do ∘ o), dq = scale · dS k, dk = scale · dSᵀ q
 * (arXiv 2205.14135, appendix B). 16 queries lie side by side in a register, so that softmax is plain passes; the five
 * products are all `tile`. Sums are made in the same order for the same number of threads.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define OWN __attribute__((target("avx512f")))
#define INSIDE inline __attribute__((always_inline))
static int able(void) { return __builtin_cpu_supports("avx512f") != 0; }
#else
#error "for processors with AVX-512 only; without this module torch computes the same"
#endif

enum { LANES = 16, TOGETHER = 8 };
typedef Py_ssize_t Size;
static const float HIDDEN = -1e30f; /* the score of a key that a query does not see */

/* out[j, c] (+)= Σ_i w[j · row + i · column] x[i · x_row + c] for `rows` j and 16 · wide c, i < k. */
OWN static INSIDE void tile(const float *w, Size row, Size column, const float *x, Size x_row, float *out, Size out_row,
                            Size k, int add, const int rows, const int wide)
{
    __m512 sum[TOGETHER][2];
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < wide; c++)
            sum[j][c] = add ? _mm512_loadu_ps(out + j * out_row + c * LANES) : _mm512_setzero_ps();
    for (Size i = 0; i < k; i++) {
        __m512 one[2];
        for (int c = 0; c < wide; c++)
            one[c] = _mm512_loadu_ps(x + i * x_row + c * LANES);
#pragma GCC unroll 8
        for (int j = 0; j < rows; j++) {
            const __m512 factor = _mm512_set1_ps(w[j * row + i * column]);
            for (int c = 0; c < wide; c++)
                sum[j][c] = _mm512_fmadd_ps(factor, one[c], sum[j][c]);
        }
    }
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < wide; c++)
            _mm512_storeu_ps(out + j * out_row + c * LANES, sum[j][c]);
}

/* The same for any number of rows and any width of whole registers. */
OWN static void product(const float *w, Size row, Size column, const float *x, Size x_row, float *out, Size out_row, Size k,
                        int add, Size rows, Size width)
{
    for (Size c = 0; c < width;) {
        const int two = width - c >= 2 * LANES;
        Size j = 0;
        for (; j + TOGETHER <= rows; j += TOGETHER)
            if (two)
                tile(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, TOGETHER, 2);
            else
                tile(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, TOGETHER, 1);
        for (; j < rows; j++)
            if (two)
                tile(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, 1, 2);
            else
                tile(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, 1, 1);
        c += two ? 2 * LANES : LANES;
    }
}

typedef struct {
    const int64_t *starts, *ends, *path_at, *path, *positions;
    Size segments, tokens, longest; /* longest: tokens on the longest path */
    Size window;
} Trie;

typedef struct { const float *at; Size token, head; } Rows; /* numbers from one token, one head to the next */

static const float *rows_of(Rows r, Size token, Size head) { return r.at + token * r.token + head * r.head; }

/* 16 queries or fewer of one segment: packed tokens [first, first + count), and the keys they see, range by range. */
typedef struct { Size segment, first, count; } Block;
typedef struct { Size from, to; } Range;

/* Ranges of keys that some query of the block sees; returns how many. */
static Size ranges_of(const Trie *t, Block b, Range *ranges)
{
    Size count = 0;
    const Size lowest = t->window ? t->positions[b.first] - t->window + 1 : 0;
    for (int64_t at = t->path_at[b.segment]; at <= t->path_at[b.segment + 1]; at++) {
        const int own = at == t->path_at[b.segment + 1];
        const Size s = own ? b.segment : t->path[at], to = own ? b.first + b.count : t->ends[s];
        const Size hidden = lowest - t->positions[t->starts[s]];
        const Size from = t->starts[s] + (hidden > 0 ? hidden : 0);
        if (from < to)
            ranges[count++] = (Range){from, to};
    }
    return count;
}

/* e^x to 2 units in the last place, 0 where it is too small: 2^n · e^r, |r| <= ln 2 / 2, ln 2 in two parts. */
OWN static INSIDE __m512 exponentials(__m512 x)
{
    static const float TERMS[] = {1.3888889e-3f, 8.3333333e-3f, 4.16666667e-2f, 1.66666667e-1f, 0.5f, 1, 1}; /* 1 / i! */
    x = _mm512_max_ps(x, _mm512_set1_ps(-200));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x), e = _mm512_set1_ps(TERMS[0]);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    for (int i = 1; i < 7; i++)
        e = _mm512_fmadd_ps(e, r, _mm512_set1_ps(TERMS[i]));
    return _mm512_scalef_ps(e, n);
}

/* Weights (keys, 16) of a block's scaled queries `turned` (D, 16): e^(score - lse), 0 where a key is hidden. With `known`
 * lse is read, otherwise it is found here. Lanes without a query hold numbers that nobody reads. */
OWN static void weights_of(const Trie *t, Block b, const Range *ranges, Size count, Rows k, Size head, const float *turned,
                           Size dim, float *weights, float *lse, int known)
{
    const __mmask16 queries = (__mmask16)((1u << b.count) - 1);
    __m512 top = known ? _mm512_maskz_loadu_ps(queries, lse) : _mm512_set1_ps(HIDDEN), sum = _mm512_setzero_ps();
    Size keys = 0;
    for (Size i = 0; i < count; keys += ranges[i].to - ranges[i].from, i++) {
        float *scores = weights + keys * LANES;
        product(rows_of(k, ranges[i].from, head), k.token, 1, turned, LANES, scores, LANES, dim, 0, ranges[i].to - ranges[i].from, LANES);
        for (Size key = ranges[i].from; key < ranges[i].to; key++, scores += LANES) {
            const Size behind = t->positions[b.first] - t->positions[key]; /* of the first query */
            if (behind < 0 || (t->window && behind + LANES > t->window))
                for (Size r = 0; r < LANES; r++)
                    scores[r] = behind + r < 0 || (t->window && behind + r >= t->window) ? HIDDEN : scores[r];
            if (!known)
                top = _mm512_max_ps(top, _mm512_loadu_ps(scores));
        }
    }
    for (Size key = 0; key < keys; key++) {
        const __m512 p = exponentials(_mm512_sub_ps(_mm512_loadu_ps(weights + key * LANES), top));
        _mm512_storeu_ps(weights + key * LANES, p);
        sum = _mm512_add_ps(sum, p);
    }
    if (known)
        return;
    float sums[LANES], tops[LANES];
    _mm512_storeu_ps(sums, sum);
    _mm512_storeu_ps(tops, top);
    for (Size r = 0; r < b.count; r++)
        lse[r] = tops[r] + logf(sums[r]);
    sum = _mm512_div_ps(_mm512_set1_ps(1), sum);
    for (Size key = 0; key < keys; key++)
        _mm512_storeu_ps(weights + key * LANES, _mm512_mul_ps(_mm512_loadu_ps(weights + key * LANES), sum));
}

/* (D, 16) of a block's rows (count, D), times a factor; lanes without a row are 0. */
OWN static void turn(Rows from, Block b, Size head, Size dim, float factor, float *to)
{
    memset(to, 0, dim * LANES * sizeof(float));
    for (Size r = 0; r < b.count; r++) {
        const float *row = rows_of(from, b.first + r, head);
        for (Size d = 0; d < dim; d++)
            to[d * LANES + r] = factor * row[d];
    }
}

typedef struct {
    Trie trie;
    Rows q, k, v, out, dout;
    float *o, *lse, *dq, *dk, *dv; /* dense */
    Size heads, key_heads, dim, blocks;
    float scale;
    const Block *block;
} Task;

/* Room of one thread, in floats: weights and their gradients, turned rows, plain rows. */
static Size room_of(const Task *a) { return (2 * (a->trie.longest + LANES) + 3 * a->dim) * LANES; }

OWN static void forward_block(const Task *a, Block b, Size head, Range *ranges, float *room)
{
    const Size shared = head / (a->heads / a->key_heads), width = a->heads * a->dim;
    float *weights = room, *turned = room + (a->trie.longest + LANES) * LANES;
    const Size count = ranges_of(&a->trie, b, ranges);
    Size at = 0;
    turn(a->q, b, head, a->dim, a->scale, turned);
    weights_of(&a->trie, b, ranges, count, a->k, shared, turned, a->dim, weights, a->lse + head * a->trie.tokens + b.first, 0);
    for (Size i = 0; i < count; at += ranges[i].to - ranges[i].from, i++)
        product(weights + at * LANES, 1, LANES, rows_of(a->v, ranges[i].from, shared), a->v.token,
                a->o + b.first * width + head * a->dim, width, ranges[i].to - ranges[i].from, i > 0, b.count, a->dim);
}

/* dk and dv (K, N, D) are the thread's own, and added to. */
OWN static void backward_block(const Task *a, Block b, Size head, Range *ranges, float *room, float *dk, float *dv)
{
    const Size dim = a->dim, shared = head / (a->heads / a->key_heads), width = a->heads * dim;
    float *weights = room, *grads = weights + (a->trie.longest + LANES) * LANES;
    float *turned = grads + (a->trie.longest + LANES) * LANES, *rows = turned + dim * LANES;
    float whole[LANES] = {0};
    const Size count = ranges_of(&a->trie, b, ranges);
    Size at = 0;
    turn(a->q, b, head, dim, a->scale, turned);
    weights_of(&a->trie, b, ranges, count, a->k, shared, turned, dim, weights, a->lse + head * a->trie.tokens + b.first, 1);
    turn(a->dout, b, head, dim, 1, turned);
    for (Size r = 0; r < b.count; r++) {
        const float *o = rows_of(a->out, b.first + r, head), *d = rows_of(a->dout, b.first + r, head), *q = rows_of(a->q, b.first + r, head);
        for (Size i = 0; i < dim; i++) {
            whole[r] += o[i] * d[i];
            rows[r * dim + i] = a->scale * q[i];
        }
    }
    const __m512 all = _mm512_loadu_ps(whole);
    for (Size i = 0; i < count; at += ranges[i].to - ranges[i].from, i++) {
        const Size from = ranges[i].from, size = ranges[i].to - from, key_row = (shared * a->trie.tokens + from) * dim;
        float *p = weights + at * LANES, *g = grads + at * LANES;
        product(rows_of(a->v, from, shared), a->v.token, 1, turned, LANES, g, LANES, dim, 0, size, LANES);
        for (Size n = 0; n < size * LANES; n += LANES)
            _mm512_storeu_ps(g + n, _mm512_mul_ps(_mm512_loadu_ps(p + n), _mm512_sub_ps(_mm512_loadu_ps(g + n), all)));
        product(p, LANES, 1, rows_of(a->dout, b.first, head), a->dout.token, dv + key_row, dim, b.count, 1, size, dim);
        product(g, LANES, 1, rows, dim, dk + key_row, dim, b.count, 1, size, dim);
        product(g, 1, LANES, rows_of(a->k, from, shared), a->k.token, a->dq + b.first * width + head * dim, width, size, i > 0,
                b.count, dim);
    }
    for (Size r = 0; r < b.count; r++)
        for (Size i = 0; i < dim; i++)
            a->dq[(b.first + r) * width + head * dim + i] *= a->scale;
}

/* Every block of every head, in equal shares of keys for each thread; whether there was memory enough. Backward, each
 * thread sums dk and dv for itself, and these are added in the threads' order. */
static int run(const Task *a, int back)
{
    const Size size = a->key_heads * a->trie.tokens * a->dim;
    double *cost = malloc((a->blocks + 1) * sizeof(double)); /* of the blocks before */
    float **sums = calloc(omp_get_max_threads(), sizeof(float *));
    int enough = cost != NULL && sums != NULL, threads = 1;

    if (enough) {
        cost[0] = 0;
        for (Size i = 0; i < a->blocks; i++)
            cost[i + 1] = cost[i] + LANES + a->trie.positions[a->block[i].first];
    }
#pragma omp parallel if (enough)
    {
        const int mine = omp_get_thread_num();
        float *room = enough ? malloc(room_of(a) * sizeof(float)) : NULL;
        Range *ranges = enough ? malloc((a->trie.segments + 1) * sizeof(Range)) : NULL;
        float *sum = enough && back ? calloc(2 * size, sizeof(float)) : NULL;
        if (room == NULL || ranges == NULL || (back && sum == NULL)) {
#pragma omp atomic write
            enough = 0;
        }
#pragma omp single
        threads = omp_get_num_threads();
#pragma omp barrier
        if (enough) {
            const double total = cost[a->blocks] * a->heads;
            for (Size head = 0; head < a->heads; head++)
                for (Size i = 0; i < a->blocks; i++) {
                    const double before = head * cost[a->blocks] + (cost[i] + cost[i + 1]) / 2; /* its middle decides */
                    if ((int)(before / total * threads) != mine)
                        continue;
                    if (back)
                        backward_block(a, a->block[i], head, ranges, room, sum, sum + size);
                    else
                        forward_block(a, a->block[i], head, ranges, room);
                }
        }
        if (back) {
            sums[mine] = sum;
#pragma omp barrier
#pragma omp for schedule(static)
            for (Size n = 0; n < a->trie.tokens; n++)
                for (Size h = 0; h < a->key_heads && enough; h++)
                    for (Size d = 0; d < a->dim; d++) {
                        float dk = 0, dv = 0;
                        for (int i = 0; i < threads; i++) {
                            dk += sums[i][(h * a->trie.tokens + n) * a->dim + d];
                            dv += sums[i][size + (h * a->trie.tokens + n) * a->dim + d];
                        }
                        a->dk[(n * a->key_heads + h) * a->dim + d] = dk;
                        a->dv[(n * a->key_heads + h) * a->dim + d] = dv;
                    }
        }
        free(room);
        free(ranges);
        free(sum);
    }
    free(cost);
    free(sums);
    return enough;
}

/* ---- called from Python: take the arrays, check them, run without the interpreter's lock ---- */

enum { STARTS, ENDS, PATH_AT, PATH, POSITIONS, Q, K, V, OUT, LSE, DOUT, DQ, DK, DV, ARRAYS };
static const char *const NAMES[ARRAYS] = {"starts", "ends", "path_at", "path", "positions", "q", "k", "v", "out", "lse",
                                          "dout", "dq", "dk", "dv"};

static int of_kind(const Py_buffer *a, int i, int back)
{
    const int plan = i <= POSITIONS, dense = plan || i == LSE || i >= DQ || (i == OUT && !back);
    const int right = a->ndim == (plan ? 1 : i == LSE ? 2 : 3) && a->format[0] == (plan ? 'l' : 'f') &&
                      a->itemsize == (plan ? 8 : 4) && (dense ? PyBuffer_IsContiguous(a, 'C') : a->strides[2] == 4);
    if (!right)
        PyErr_Format(PyExc_ValueError, "%s has another type, number of dimensions or layout", NAMES[i]);
    return right;
}

/* Whether the segments are those of a trie in depth-first order, so that no index leads outside. */
static int is_trie(const Py_buffer *a)
{
    const int64_t *starts = a[STARTS].buf, *ends = a[ENDS].buf, *path_at = a[PATH_AT].buf, *path = a[PATH].buf, *positions = a[POSITIONS].buf;
    const Size segments = a[STARTS].shape[0], tokens = a[POSITIONS].shape[0];
    if (a[ENDS].shape[0] != segments || a[PATH_AT].shape[0] != segments + 1 || path_at[0] != 0 || path_at[segments] != a[PATH].shape[0])
        return 0;
    for (Size s = 0, at = 0; s < segments; at = ends[s++]) {
        int64_t depth = 0;
        if (starts[s] != at || ends[s] <= at || ends[s] > tokens || path_at[s + 1] < path_at[s] || path_at[s + 1] > a[PATH].shape[0])
            return 0;
        for (int64_t i = path_at[s]; i < path_at[s + 1]; i++) {
            if (path[i] < 0 || path[i] >= s)
                return 0;
            depth += ends[path[i]] - starts[path[i]];
        }
        for (int64_t n = starts[s]; n < ends[s]; n++)
            if (positions[n] != depth + n - starts[s])
                return 0;
    }
    return segments > 0 && ends[segments - 1] == tokens;
}

static int shapes_fit(const Py_buffer *a, int back)
{
    const Size tokens = a[POSITIONS].shape[0], heads = a[Q].shape[1], shared = a[K].shape[1], dim = a[Q].shape[2];
    int fit = shared > 0 && heads % shared == 0 && dim > 0 && dim % LANES == 0 && a[LSE].shape[0] == heads && a[LSE].shape[1] == tokens;
    for (int i = Q; i <= (back ? DV : OUT); i++)
        if (i != LSE) {
            const int of_keys = i == K || i == V || i == DK || i == DV;
            fit = fit && a[i].shape[0] == tokens && a[i].shape[1] == (of_keys ? shared : heads) && a[i].shape[2] == dim;
        }
    return fit;
}

static Rows strided(const Py_buffer *a) { return (Rows){a->buf, a->strides[0] / 4, a->strides[1] / 4}; }

/* Whether there was memory enough. */
static int started(const Py_buffer *a, float scale, Size window, int back)
{
    Task task = {.trie = {a[STARTS].buf, a[ENDS].buf, a[PATH_AT].buf, a[PATH].buf, a[POSITIONS].buf, a[STARTS].shape[0],
                          a[POSITIONS].shape[0], 0, window},
                 .q = strided(&a[Q]), .k = strided(&a[K]), .v = strided(&a[V]), .out = strided(&a[OUT]), .o = a[OUT].buf,
                 .lse = a[LSE].buf, .heads = a[Q].shape[1], .key_heads = a[K].shape[1], .dim = a[Q].shape[2], .scale = scale};
    if (back) {
        task.dout = strided(&a[DOUT]);
        task.dq = a[DQ].buf, task.dk = a[DK].buf, task.dv = a[DV].buf;
    }
    Block *blocks = malloc((task.trie.tokens + 1) * sizeof(Block));
    if (blocks == NULL)
        return 0;
    for (Size s = 0; s < task.trie.segments; s++)
        for (Size at = task.trie.starts[s]; at < task.trie.ends[s]; at += LANES) {
            const Size left = task.trie.ends[s] - at;
            blocks[task.blocks++] = (Block){s, at, left < LANES ? left : LANES};
        }
    for (Size n = 0; n < task.trie.tokens; n++)
        task.trie.longest = task.trie.positions[n] + 1 > task.trie.longest ? task.trie.positions[n] + 1 : task.trie.longest;
    task.block = blocks;
    const int enough = run(&task, back);
    free(blocks);
    return enough;
}

static PyObject *called(PyObject *args, int back)
{
    PyObject *given[ARRAYS];
    Py_buffer a[ARRAYS];
    double scale;
    Py_ssize_t window;
    int taken = 0, enough = 0;
    const int count = back ? ARRAYS : LSE + 1;
    const int parsed = back ? PyArg_ParseTuple(args, "(OOOOO)OOOOOOOOOdn", given, given + 1, given + 2, given + 3, given + 4,
                                               given + Q, given + K, given + V, given + OUT, given + LSE, given + DOUT,
                                               given + DQ, given + DK, given + DV, &scale, &window)
                            : PyArg_ParseTuple(args, "(OOOOO)OOOOOdn", given, given + 1, given + 2, given + 3, given + 4,
                                               given + Q, given + K, given + V, given + OUT, given + LSE, &scale, &window);
    if (!parsed)
        return NULL;
    for (; taken < count; taken++) {
        const int written = taken >= DQ || (!back && (taken == OUT || taken == LSE));
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_STRIDES | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
            break;
        if (!of_kind(&a[taken], taken, back)) {
            PyBuffer_Release(&a[taken]);
            break;
        }
    }
    if (taken == count) {
        if (window < 0 || !able() || !shapes_fit(a, back) || !is_trie(a))
            PyErr_SetString(PyExc_ValueError, "the shapes don't fit together, or the segments are no trie");
        else {
            Py_BEGIN_ALLOW_THREADS
            enough = started(a, (float)scale, window, back);
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

static PyObject *forward(PyObject *Py_UNUSED(self), PyObject *args) { return called(args, 0); }
static PyObject *backward(PyObject *Py_UNUSED(self), PyObject *args) { return called(args, 1); }

static PyMethodDef METHODS[] = {{"forward", forward, METH_VARARGS, "Attention over a trie."},
                                {"backward", backward, METH_VARARGS, "Its gradients."},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_trie", NULL, -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__trie(void)
{
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && PyModule_AddIntConstant(module, "FLOAT32", able()))
        Py_CLEAR(module);
    return module;
}
