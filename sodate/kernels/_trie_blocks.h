/* 16 queries against the keys they see, for one instruction set. _trie.c includes this once for each: WIDE is 16 (AVX-512)
 * or 8 (AVX2), the floats of a register, and part of each function's name. */
#define PASTE(name, wide) name##_##wide
#define NAMED(name, wide) PASTE(name, wide)
#define IN(name) NAMED(name, WIDE)

#if WIDE == 16
#define OWN __attribute__((target("avx512f")))
#define Vec __m512
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define ALL _mm512_set1_ps
#define ADD _mm512_add_ps
#define SUBTRACT _mm512_sub_ps
#define MULTIPLY _mm512_mul_ps
#define MULTIPLY_ADD _mm512_fmadd_ps
#define LARGER _mm512_max_ps
#define ROUNDED(x) _mm512_roundscale_ps(x, 0)
#define TIMES_POWER_OF_2(x, n) _mm512_scalef_ps(x, n)
#define LOWEST -200 /* where e^x is 0 */
#define TOGETHER 8 /* 16 of the 32 registers hold sums */
#else
#define OWN __attribute__((target("avx2,fma")))
#define Vec __m256
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define ALL _mm256_set1_ps
#define ADD _mm256_add_ps
#define SUBTRACT _mm256_sub_ps
#define MULTIPLY _mm256_mul_ps
#define MULTIPLY_ADD _mm256_fmadd_ps
#define LARGER _mm256_max_ps
#define ROUNDED(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define TIMES_POWER_OF_2(x, n) \
    _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)))
#define LOWEST -88 /* 2^-127 is made as 0 */
#define TOGETHER 4 /* 8 of the 16 registers hold sums, as many as two units with a latency of 4 keep busy */
#endif

/* out[j, c] (+)= Σ_i w[j · row + i · column] x[i · x_row + c] for `rows` j and `wide` registers of c, i < k. */
OWN static INSIDE void IN(tile)(const float *w, Size row, Size column, const float *x, Size x_row, float *out, Size out_row,
                                Size k, int add, const int rows, const int wide)
{
    Vec sum[TOGETHER][2];
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < wide; c++)
            sum[j][c] = add ? LOAD(out + j * out_row + c * WIDE) : ALL(0);
    for (Size i = 0; i < k; i++) {
        Vec one[2];
        for (int c = 0; c < wide; c++)
            one[c] = LOAD(x + i * x_row + c * WIDE);
#pragma GCC unroll 8
        for (int j = 0; j < rows; j++) {
            const Vec factor = ALL(w[j * row + i * column]);
            for (int c = 0; c < wide; c++)
                sum[j][c] = MULTIPLY_ADD(factor, one[c], sum[j][c]);
        }
    }
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < wide; c++)
            STORE(out + j * out_row + c * WIDE, sum[j][c]);
}

/* The same for any number of rows and any width of whole registers. */
OWN static void IN(product)(const float *w, Size row, Size column, const float *x, Size x_row, float *out, Size out_row,
                            Size k, int add, Size rows, Size width)
{
    for (Size c = 0; c < width;) {
        const int two = width - c >= 2 * WIDE;
        Size j = 0;
        for (; j + TOGETHER <= rows; j += TOGETHER)
            if (two)
                IN(tile)(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, TOGETHER, 2);
            else
                IN(tile)(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, TOGETHER, 1);
        for (; j < rows; j++)
            if (two)
                IN(tile)(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, 1, 2);
            else
                IN(tile)(w + j * row, row, column, x + c, x_row, out + j * out_row + c, out_row, k, add, 1, 1);
        c += two ? 2 * WIDE : WIDE;
    }
}

/* e^x for x <= 0 to 2 units in the last place, 0 where it is too small: 2^n · e^r, |r| <= ln 2 / 2, ln 2 in two parts. */
OWN static INSIDE Vec IN(exponentials)(Vec x)
{
    static const float TERMS[] = {1.3888889e-3f, 8.3333333e-3f, 4.16666667e-2f, 1.66666667e-1f, 0.5f, 1, 1}; /* 1 / i! */
    x = LARGER(x, ALL(LOWEST));
    const Vec n = ROUNDED(MULTIPLY(x, ALL(1.44269504f)));
    Vec r = MULTIPLY_ADD(n, ALL(-0.693359375f), x), e = ALL(TERMS[0]);
    r = MULTIPLY_ADD(n, ALL(2.12194440e-4f), r);
    for (int i = 1; i < 7; i++)
        e = MULTIPLY_ADD(e, r, ALL(TERMS[i]));
    return TIMES_POWER_OF_2(e, n);
}

/* Weights (keys, 16) of a block's scaled queries `turned` (D, 16): e^(score - lse), 0 where a key is hidden. With `known`
 * lse is read, otherwise it is found here. Lanes without a query hold numbers that nobody reads. */
OWN static void IN(weights_of)(const Trie *t, Block b, const Range *ranges, Size count, Rows k, Size head,
                               const float *turned, Size dim, float *weights, float *lse, int known)
{
    float tops[LANES] = {0}, sums[LANES];
    Vec top[LANES / WIDE], sum[LANES / WIDE];
    Size keys = 0;
    if (known)
        memcpy(tops, lse, b.count * sizeof(float));
    for (int c = 0; c < LANES / WIDE; c++) {
        top[c] = known ? LOAD(tops + c * WIDE) : ALL(HIDDEN);
        sum[c] = ALL(0);
    }
    for (Size i = 0; i < count; keys += ranges[i].to - ranges[i].from, i++) {
        float *scores = weights + keys * LANES;
        IN(product)(rows_of(k, ranges[i].from, head), k.token, 1, turned, LANES, scores, LANES, dim, 0, ranges[i].to - ranges[i].from, LANES);
        for (Size key = ranges[i].from; key < ranges[i].to; key++, scores += LANES) {
            const Size behind = t->positions[b.first] - t->positions[key]; /* of the first query */
            if (behind < 0 || (t->window && behind + LANES > t->window))
                for (Size r = 0; r < LANES; r++)
                    scores[r] = behind + r < 0 || (t->window && behind + r >= t->window) ? HIDDEN : scores[r];
            for (int c = 0; c < LANES / WIDE && !known; c++)
                top[c] = LARGER(top[c], LOAD(scores + c * WIDE));
        }
    }
    for (Size key = 0; key < keys; key++)
        for (int c = 0; c < LANES / WIDE; c++) {
            float *at = weights + key * LANES + c * WIDE;
            const Vec p = IN(exponentials)(SUBTRACT(LOAD(at), top[c]));
            STORE(at, p);
            sum[c] = ADD(sum[c], p);
        }
    if (known)
        return;
    for (int c = 0; c < LANES / WIDE; c++) {
        STORE(sums + c * WIDE, sum[c]);
        STORE(tops + c * WIDE, top[c]);
    }
    for (Size r = 0; r < LANES; r++) {
        if (r < b.count)
            lse[r] = tops[r] + logf(sums[r]);
        sums[r] = 1 / sums[r];
    }
    for (Size key = 0; key < keys; key++)
        for (int c = 0; c < LANES / WIDE; c++) {
            float *at = weights + key * LANES + c * WIDE;
            STORE(at, MULTIPLY(LOAD(at), LOAD(sums + c * WIDE)));
        }
}

OWN static void IN(forward_block)(const Task *a, Block b, Size head, Range *ranges, float *room)
{
    const Size shared = head / (a->heads / a->key_heads), width = a->heads * a->dim;
    float *weights = room, *turned = room + (a->trie.longest + LANES) * LANES;
    const Size count = ranges_of(&a->trie, b, ranges);
    Size at = 0;
    turn(a->q, b, head, a->dim, a->scale, turned);
    IN(weights_of)(&a->trie, b, ranges, count, a->k, shared, turned, a->dim, weights, a->lse + head * a->trie.tokens + b.first, 0);
    for (Size i = 0; i < count; at += ranges[i].to - ranges[i].from, i++)
        IN(product)(weights + at * LANES, 1, LANES, rows_of(a->v, ranges[i].from, shared), a->v.token,
                    a->o + b.first * width + head * a->dim, width, ranges[i].to - ranges[i].from, i > 0, b.count, a->dim);
}

/* dk and dv (N, D) are those of the query head, and added to. */
OWN static void IN(backward_block)(const Task *a, Block b, Size head, Range *ranges, float *room, float *dk, float *dv)
{
    const Size dim = a->dim, shared = head / (a->heads / a->key_heads), width = a->heads * dim;
    float *weights = room, *grads = weights + (a->trie.longest + LANES) * LANES;
    float *turned = grads + (a->trie.longest + LANES) * LANES, *rows = turned + dim * LANES;
    float whole[LANES] = {0};
    const Size count = ranges_of(&a->trie, b, ranges);
    Size at = 0;
    turn(a->q, b, head, dim, a->scale, turned);
    IN(weights_of)(&a->trie, b, ranges, count, a->k, shared, turned, dim, weights, a->lse + head * a->trie.tokens + b.first, 1);
    turn(a->dout, b, head, dim, 1, turned);
    for (Size r = 0; r < b.count; r++) {
        const float *o = rows_of(a->out, b.first + r, head), *d = rows_of(a->dout, b.first + r, head), *q = rows_of(a->q, b.first + r, head);
        for (Size i = 0; i < dim; i++) {
            whole[r] += o[i] * d[i];
            rows[r * dim + i] = a->scale * q[i];
        }
    }
    for (Size i = 0; i < count; at += ranges[i].to - ranges[i].from, i++) {
        const Size from = ranges[i].from, size = ranges[i].to - from, key_row = from * dim;
        float *p = weights + at * LANES, *g = grads + at * LANES;
        IN(product)(rows_of(a->v, from, shared), a->v.token, 1, turned, LANES, g, LANES, dim, 0, size, LANES);
        for (Size n = 0; n < size * LANES; n += LANES)
            for (int c = 0; c < LANES; c += WIDE)
                STORE(g + n + c, MULTIPLY(LOAD(p + n + c), SUBTRACT(LOAD(g + n + c), LOAD(whole + c))));
        IN(product)(p, LANES, 1, rows_of(a->dout, b.first, head), a->dout.token, dv + key_row, dim, b.count, 1, size, dim);
        IN(product)(g, LANES, 1, rows, dim, dk + key_row, dim, b.count, 1, size, dim);
        IN(product)(g, 1, LANES, rows_of(a->k, from, shared), a->k.token, a->dq + b.first * width + head * dim, width, size,
                    i > 0, b.count, dim);
    }
    for (Size r = 0; r < b.count; r++)
        for (Size i = 0; i < dim; i++)
            a->dq[(b.first + r) * width + head * dim + i] *= a->scale;
}

#undef PASTE
#undef NAMED
#undef IN
#undef OWN
#undef Vec
#undef LOAD
#undef STORE
#undef ALL
#undef ADD
#undef SUBTRACT
#undef MULTIPLY
#undef MULTIPLY_ADD
#undef LARGER
#undef ROUNDED
#undef TIMES_POWER_OF_2
#undef LOWEST
#undef TOGETHER
