/* LSTM and GRU of float32 as ONNX LSTM-22 and GRU-22 define them, step by step.

   A gate's sum starts with the biases of input and recurrence, added; then fma over the inputs, then over the hidden
   state, ascending. Threads share the pairs of direction and batch entry: the steps of one are a chain. */
#ifndef IRC_RECURRENT_H
#define IRC_RECURRENT_H

#include "activation.h"
#include "spmd.h"

enum {
    IRC_RECURRENT_SIGMOID = 0,
    IRC_RECURRENT_TANH = 1,
    IRC_RECURRENT_RELU = 2,
    IRC_RECURRENT_AFFINE = 3,          /* alpha x + beta */
    IRC_RECURRENT_LEAKY_RELU = 4,      /* x < 0: alpha x */
    IRC_RECURRENT_THRESHOLDED_RELU = 5, /* x > alpha: x, else 0 */
    IRC_RECURRENT_SCALED_TANH = 6,     /* alpha tanh(beta x) */
    IRC_RECURRENT_HARD_SIGMOID = 7,    /* alpha x + beta in [0, 1] */
    IRC_RECURRENT_ELU = 8,             /* x < 0: alpha (e^x - 1) */
    IRC_RECURRENT_SOFTSIGN = 9,
    IRC_RECURRENT_SOFTPLUS = 10
};

/* Strides in elements. `hidden` counts the units, `inputs` those of x. Of the weights, gates are one axis of 4 * hidden
   (LSTM: i, o, f, c) or 3 * hidden (GRU: z, r, h) elements, which should be adjacent: w_gate = r_gate = 1. */
typedef struct irc_recurrent {
    int32_t directions, batch, steps, inputs, hidden;
    int32_t reverse;                                   /* the first direction runs backwards; a second always does */
    int64_t x_step, x_batch;                           /* inputs adjacent */
    int64_t y_step, y_direction, y_batch;              /* units adjacent */
    int64_t state_direction, state_batch;              /* of the initial and the last states; units adjacent */
    int64_t w_direction, w_input, w_gate;              /* w : (directions, gates, inputs) of ONNX, in any order */
    int64_t r_direction, r_hidden, r_gate;             /* r : (directions, gates, hidden) */
    const int32_t *activation;                         /* [directions][3], LSTM: f, g, h; [directions][2], GRU: f, g */
    const float *alpha, *beta;                         /* the same shape */
    float clip; /* gates' sums are held in [-clip, clip], the cell's state is not, as in onnxruntime; 0: none is */
    int32_t input_forget;                              /* LSTM: f = 1 - i */
    int32_t linear_before_reset;                       /* GRU */
} irc_recurrent;

static inline float irc_recurrent_activation(float x, int32_t kind, float alpha, float beta)
{
    switch (kind) {
    case IRC_RECURRENT_SIGMOID: return irc_sigmoid(x);
    case IRC_RECURRENT_TANH: return irc_tanh(x);
    case IRC_RECURRENT_RELU: return irc_relu(x);
    case IRC_RECURRENT_AFFINE: return alpha * x + beta;
    case IRC_RECURRENT_LEAKY_RELU: return irc_leaky_relu(x, alpha);
    case IRC_RECURRENT_THRESHOLDED_RELU: return irc_thresholded_relu(x, alpha);
    case IRC_RECURRENT_SCALED_TANH: return alpha * irc_tanh(beta * x);
    case IRC_RECURRENT_HARD_SIGMOID: return irc_hard_sigmoid(x, alpha, beta);
    case IRC_RECURRENT_ELU: return irc_elu(x, alpha);
    case IRC_RECURRENT_SOFTSIGN: return irc_softsign(x);
    default: return irc_softplus(x);
    }
}

/* x = activation(x) for n elements; the usual two in loops that vectorize. */
static inline void irc_activate(const irc_recurrent *p, float *x, int64_t n, int64_t which)
{
    const int32_t kind = p->activation[which];
    if (kind == IRC_RECURRENT_SIGMOID)
        for (int64_t i = 0; i < n; i++)
            x[i] = irc_sigmoid(x[i]);
    else if (kind == IRC_RECURRENT_TANH)
        for (int64_t i = 0; i < n; i++)
            x[i] = irc_tanh(x[i]);
    else
        for (int64_t i = 0; i < n; i++)
            x[i] = irc_recurrent_activation(x[i], kind, p->alpha[which], p->beta[which]);
}

/* The activation of a gate's clipped sums. */
static inline void irc_activate_gate(const irc_recurrent *p, float *x, int64_t n, int64_t which)
{
    if (p->clip > 0.0f)
        for (int64_t i = 0; i < n; i++)
            x[i] = irc_limit(x[i], p->clip);
    irc_activate(p, x, n, which);
}

/* sum[j] = fma(x[k], w[k][j], sum[j]) for k ascending; w has strides w_k and w_j. */
static inline void irc_accumulate(const float *x, int64_t count, const float *w, int64_t w_k, int64_t w_j,
                                  float *restrict sum, int64_t n)
{
    for (int64_t k = 0; k < count; k++) {
        const float *row = w + k * w_k;
        if (w_j == 1)
            for (int64_t j = 0; j < n; j++)
                sum[j] = IRC_FMAF(x[k], row[j], sum[j]);
        else
            for (int64_t j = 0; j < n; j++)
                sum[j] = IRC_FMAF(x[k], row[j * w_j], sum[j]);
    }
}

/* The state at the start: initial, or zeros. */
static inline void irc_initial_state(const irc_recurrent *p, const float *initial, int64_t at, float *state)
{
    for (int32_t j = 0; j < p->hidden; j++)
        state[j] = initial ? initial[at + j] : 0.0f;
}

/* Steps beyond the sequence's length give zeros. */
static inline void irc_clear_steps(const irc_recurrent *p, float *y, int32_t length)
{
    for (int32_t step = length; y && step < p->steps; step++)
        memset(y + step * p->y_step, 0, (size_t)p->hidden * sizeof *y);
}

/* One step: gates (4 * hidden), the cell and hidden states. peephole : i, o, f or NULL. */
static inline void irc_lstm_step(const irc_recurrent *p, int64_t direction, float *gates, const float *peephole,
                                 float *c, float *h)
{
    const int32_t n = p->hidden;
    float *i = gates, *o = gates + n, *f = gates + 2 * n, *g = gates + 3 * n;
    for (int32_t j = 0; peephole && j < n; j++) {
        i[j] = IRC_FMAF(peephole[j], c[j], i[j]);
        f[j] = IRC_FMAF(peephole[2 * n + j], c[j], f[j]);
    }
    irc_activate_gate(p, i, n, 3 * direction);
    irc_activate_gate(p, g, n, 3 * direction + 1);
    if (p->input_forget)
        for (int32_t j = 0; j < n; j++)
            f[j] = 1.0f - i[j];
    else
        irc_activate_gate(p, f, n, 3 * direction);
    for (int32_t j = 0; j < n; j++)
        c[j] = IRC_FMAF(f[j], c[j], i[j] * g[j]);
    for (int32_t j = 0; peephole && j < n; j++)
        o[j] = IRC_FMAF(peephole[n + j], c[j], o[j]);
    irc_activate_gate(p, o, n, 3 * direction);
    memcpy(h, c, (size_t)n * sizeof *h);
    irc_activate(p, h, n, 3 * direction + 2);
    for (int32_t j = 0; j < n; j++)
        h[j] *= o[j];
}

/* bias : (directions, 8 * hidden) or NULL; lengths : (batch) or NULL; peephole : (directions, 3 * hidden) or NULL;
   initial_h, initial_c and the outputs y, y_h, y_c may each be NULL. scratch : 6 * hidden floats of a thread's own. */
static inline void irc_lstm_f32(const irc_recurrent *p, const float *x, const float *w, const float *r,
                                const float *bias, const int32_t *lengths, const float *initial_h,
                                const float *initial_c, const float *peephole, float *scratch, float *y, float *y_h, float *y_c, int thread,
                                int threads)
{
    const int64_t n = p->hidden;
    float *gates = scratch, *h = scratch + 4 * n, *c = scratch + 5 * n;
    int64_t begin, end;
    irc_share((int64_t)p->directions * p->batch, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t direction = index / p->batch, entry = index % p->batch;
        const int64_t state = direction * p->state_direction + entry * p->state_batch;
        const int backwards = p->reverse || direction;
        const int32_t length = lengths ? lengths[entry] : p->steps;
        const float *b = bias ? bias + direction * 8 * n : bias;
        float *out = y ? y + direction * p->y_direction + entry * p->y_batch : y;
        irc_initial_state(p, initial_h, state, h);
        irc_initial_state(p, initial_c, state, c);
        for (int32_t t = 0; t < length; t++) {
            const int64_t step = backwards ? length - 1 - t : t;
            for (int64_t j = 0; j < 4 * n; j++)
                gates[j] = b ? b[j] + b[4 * n + j] : 0.0f;
            irc_accumulate(x + step * p->x_step + entry * p->x_batch, p->inputs, w + direction * p->w_direction,
                           p->w_input, p->w_gate, gates, 4 * n);
            irc_accumulate(h, n, r + direction * p->r_direction, p->r_hidden, p->r_gate, gates, 4 * n);
            irc_lstm_step(p, direction, gates, peephole ? peephole + direction * 3 * n : peephole, c, h);
            if (out)
                memcpy(out + step * p->y_step, h, (size_t)n * sizeof *h);
        }
        irc_clear_steps(p, out, length);
        if (y_h)
            memcpy(y_h + state, h, (size_t)n * sizeof *h);
        if (y_c)
            memcpy(y_c + state, c, (size_t)n * sizeof *c);
    }
}

/* One step from `gates`, whose sums over the inputs are there: z and r with biases of both kinds, h with the input's.
   b : the recurrence's bias of h, or NULL. mixed : hidden floats of scratch. */
static inline void irc_gru_step(const irc_recurrent *p, int64_t direction, const float *r, const float *b, float *gates,
                                float *mixed, float *h)
{
    const int32_t n = p->hidden;
    float *z = gates, *reset = gates + n, *g = gates + 2 * n;
    const float *to_g = r + 2 * n * p->r_gate;
    irc_accumulate(h, n, r, p->r_hidden, p->r_gate, gates, 2 * n);
    irc_activate_gate(p, z, 2 * n, 2 * direction);
    if (p->linear_before_reset) {
        for (int32_t j = 0; j < n; j++)
            mixed[j] = b ? b[j] : 0.0f;
        irc_accumulate(h, n, to_g, p->r_hidden, p->r_gate, mixed, n);
        for (int32_t j = 0; j < n; j++)
            g[j] = IRC_FMAF(reset[j], mixed[j], g[j]);
    } else {
        for (int32_t j = 0; j < n; j++) {
            mixed[j] = reset[j] * h[j];
            g[j] = b ? g[j] + b[j] : g[j];
        }
        irc_accumulate(mixed, n, to_g, p->r_hidden, p->r_gate, g, n);
    }
    irc_activate_gate(p, g, n, 2 * direction + 1);
    for (int32_t j = 0; j < n; j++)
        h[j] = IRC_FMAF(z[j], h[j], (1.0f - z[j]) * g[j]);
}

/* bias : (directions, 6 * hidden) or NULL; lengths, initial_h, y and y_h may be NULL. scratch : 5 * hidden floats. */
static inline void irc_gru_f32(const irc_recurrent *p, const float *x, const float *w, const float *r,
                               const float *bias, const int32_t *lengths, const float *initial_h, float *scratch, float *y,
                               float *y_h, int thread, int threads)
{
    const int64_t n = p->hidden;
    float *gates = scratch, *h = scratch + 3 * n, *mixed = scratch + 4 * n;
    int64_t begin, end;
    irc_share((int64_t)p->directions * p->batch, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t direction = index / p->batch, entry = index % p->batch;
        const int64_t state = direction * p->state_direction + entry * p->state_batch;
        const int backwards = p->reverse || direction;
        const int32_t length = lengths ? lengths[entry] : p->steps;
        const float *b = bias ? bias + direction * 6 * n : bias;
        float *out = y ? y + direction * p->y_direction + entry * p->y_batch : y;
        irc_initial_state(p, initial_h, state, h);
        for (int32_t t = 0; t < length; t++) {
            const int64_t step = backwards ? length - 1 - t : t;
            for (int64_t j = 0; j < 3 * n; j++)
                gates[j] = !b ? 0.0f : j < 2 * n ? b[j] + b[3 * n + j] : b[j];
            irc_accumulate(x + step * p->x_step + entry * p->x_batch, p->inputs, w + direction * p->w_direction,
                           p->w_input, p->w_gate, gates, 3 * n);
            irc_gru_step(p, direction, r + direction * p->r_direction, b ? b + 5 * n : b, gates, mixed, h);
            if (out)
                memcpy(out + step * p->y_step, h, (size_t)n * sizeof *h);
        }
        irc_clear_steps(p, out, length);
        if (y_h)
            memcpy(y_h + state, h, (size_t)n * sizeof *h);
    }
}

#endif
