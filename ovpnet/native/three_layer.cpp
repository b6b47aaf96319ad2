// SGD of three-layer nets with one output, f(x) = <a, relu(V relu(W x + b1) + b2)>.
//
// A step is three products of 2 B m^2 flops for a minibatch of B samples: forward (V times the first layer's
// activations), backward (the gradients in these) and the gradient in V. B is small and V large (with its velocity,
// megabytes), so what decides is how often V and its velocity are touched. A step has two halves:
//
//   rows      Forward through V, a slab of its rows after another. V is read once.
//   columns   Backward and update, a slab of V's columns after another. While a block of V is in the cache, it is
//             multiplied by the gradients above it and then takes its step: V's gradient exists only in registers, and
//             V and its velocity are read and written once. The slab's rows of W follow, and what these put out on the
//             next minibatch.
//
// The threads that share a net meet after each half. Every sum has one fixed order of its terms, whichever thread takes
// it, so that results are bit for bit the same for any number of threads.
//
// Matrices are kept in *panels* while training: slabs of PANEL columns, in each of which the rows follow each other.
// Both halves need only two kernels then, whose innermost loops run over a panel's columns in SIMD lanes:
//
//   multiply    out[b, lanes] += sum_k in[b, k] panel[k, lanes]
//   update      panel[r, lanes] takes the step of the gradient sum_b left[b, r] right[b, lanes]
//
// The forward half multiplies by panels of V^T: it transposes V block by block into a buffer. W is kept transposed,
// [d, m], with b1 as one more row: the weights of an input that is always 1.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "losses.h"
#include "threads.h"

namespace {

// A tile of TILE_ROWS x TILE_VECTORS vectors of sums stays in registers, beside what it is made of.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 6, TILE_VECTORS = 4;  // 24 of 32 registers
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 6, TILE_VECTORS = 2;  // 12 of 16
#else
constexpr int VECTOR_BYTES = 16, TILE_ROWS = 4, TILE_VECTORS = 2;  // 8 of 16
#endif

template <class T>
struct Simd {
    typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Integer;
    typedef T Vector __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef Integer Lanes __attribute__((vector_size(VECTOR_BYTES), may_alias));
};
template <class T>
using Vec = typename Simd<T>::Vector;
template <class T>
constexpr int LANES = VECTOR_BYTES / sizeof(T);
template <class T>
constexpr int PANEL = TILE_VECTORS * LANES<T>;

template <class T>
Vec<T>& at(T* p) {
    return *reinterpret_cast<Vec<T>*>(p);
}
template <class T>
const Vec<T>& at(const T* p) {
    return *reinterpret_cast<const Vec<T>*>(p);
}

// As the reference engine has them: 0 is active, nan stays nan.
template <class T>
Vec<T> where_active(Vec<T> z, Vec<T> value) {
    return z >= 0 ? value : Vec<T>{};
}
template <class T>
Vec<T> relu(Vec<T> z) {
    return z < 0 ? Vec<T>{} : z;
}

template <class T>
T sum_of_lanes(Vec<T> v) {
    T sum = 0;
    for (int l = 0; l < LANES<T>; l++) sum += v[l];
    return sum;
}

// ---------------------------------------------------------------------------------------------------------------------
// Kernels

// Calls f with n, at most N, as a number known to the compiler.
template <int N, class F>
void with_size(int64_t n, F f) {
    if constexpr (N > 1)
        if (n < N) return with_size<N - 1>(n, f);
    f(std::integral_constant<int, N>());
}

template <int R, int C, class T>
void multiply_tile(T* out, const T* in, int64_t in_stride, const T* panel, int64_t K) {
    Vec<T> sum[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) sum[r][c] = at(out + r * PANEL<T> + c * LANES<T>);
    for (int64_t k = 0; k < K; k++)
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++)
                sum[r][c] += in[r * in_stride + k] * at(panel + k * PANEL<T> + c * LANES<T>);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) at(out + r * PANEL<T> + c * LANES<T>) = sum[r][c];
}

// out[b, lanes] += sum_k in[b, k] panel[k, lanes] for b < B, k < K and the first vectors of lanes; out is [B, PANEL].
// Meanwhile the block that is wanted next, if any, comes into the cache, a share of it with every tile. (To ask for
// lines beyond a matrix's end does no harm.)
template <class T>
void multiply(T* out, const T* in, int64_t in_stride, const T* panel, int64_t K, int64_t B, int vectors,
              const T* wanted_next = nullptr) {
    constexpr int64_t LINE = 64 / sizeof(T), LINES = PANEL<T> * PANEL<T> / LINE;
    with_size<TILE_VECTORS>(vectors, [&](auto C) {
        for (int64_t b = 0; b < B; b += TILE_ROWS)
            with_size<TILE_ROWS>(std::min<int64_t>(TILE_ROWS, B - b), [&](auto R) {
                if (wanted_next)
                    for (int64_t line = b * LINES / B; line < (b + R) * LINES / B; line++)
                        __builtin_prefetch(wanted_next + line * LINE);
                multiply_tile<R, C>(out + b * PANEL<T>, in + b * in_stride, in_stride, panel, K);
            });
    });
}

// Rows of a panel in training. `initial` is what a penalty's increments are counted from, null if it takes the weights.
template <class T>
struct Trained {
    T *weights, *velocity, *initial;
    Trained operator+(int64_t offset) const {
        return {weights + offset, velocity + offset, initial ? initial + offset : nullptr};
    }
    Vec<T> point(int64_t offset) const {
        return initial ? at(weights + offset) - at(initial + offset) : at(weights + offset);
    }
};

template <class T>
struct Rates {
    T momentum, lr;
};

template <int R, int C, class T, class Decay>
void update_tile(Trained<T> panel, const T* left, int64_t left_stride, const T* right, int64_t right_stride, int64_t B,
                 Rates<T> rates, Decay decay) {
    Vec<T> gradient[R][C] = {};
    for (int64_t b = 0; b < B; b++)
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++)
                gradient[r][c] += left[b * left_stride + r] * at(right + b * right_stride + c * LANES<T>);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            const int64_t offset = r * PANEL<T> + c * LANES<T>;
            Vec<T>& velocity = at(panel.velocity + offset);
            velocity = rates.momentum * velocity + (gradient[r][c] + decay(r, c) * panel.point(offset));
            at(panel.weights + offset) -= rates.lr * velocity;
        }
}

// The step of some rows of a panel. The gradient in row r and vector c of lanes is sum_b left[b, r] right[b, lanes]
// plus the penalty's: decay(r, c) times its point.
template <class T, class Decay>
void update(Trained<T> panel, int64_t rows, const T* left, int64_t left_stride, const T* right, int64_t right_stride,
            int64_t B, int vectors, Rates<T> rates, Decay decay) {
    with_size<TILE_VECTORS>(vectors, [&](auto C) {
        for (int64_t row = 0; row < rows; row += TILE_ROWS)
            with_size<TILE_ROWS>(std::min<int64_t>(TILE_ROWS, rows - row), [&](auto R) {
                update_tile<R, C>(panel + row * PANEL<T>, left + row, left_stride, right, right_stride, B, rates,
                                  [&](int r, int c) { return decay(row + r, c); });
            });
    });
}

// Of two rows of a matrix that are s apart, which lanes (counted through both) make those in which the s x s squares
// beside the diagonal have changed places.
template <class T>
struct Exchange {
    alignas(VECTOR_BYTES) typename Simd<T>::Integer first[LANES<T>] = {}, second[LANES<T>] = {};
    constexpr explicit Exchange(int s) {
        for (int l = 0; l < LANES<T>; l++) {
            first[l] = l & s ? LANES<T> + l - s : l;
            second[l] = l & s ? LANES<T> + l : l + s;
        }
    }
};

template <int S, class T>
void exchange(Vec<T>* row) {
    if constexpr (S < LANES<T>) {
        static constexpr Exchange<T> lanes(S);
        typedef const typename Simd<T>::Lanes Lanes;
#pragma GCC unroll 16
        for (int i = 0; i < LANES<T>; i++)
            if (!(i & S)) {
                const Vec<T> upper = row[i], lower = row[i + S];
                row[i] = __builtin_shuffle(upper, lower, *reinterpret_cast<Lanes*>(lanes.first));
                row[i + S] = __builtin_shuffle(upper, lower, *reinterpret_cast<Lanes*>(lanes.second));
            }
        exchange<2 * S, T>(row);
    }
}

// A square of LANES x LANES entries of one panel, transposed into another.
template <class T>
void transpose(T* to, const T* from) {
    Vec<T> row[LANES<T>];
#pragma GCC unroll 16
    for (int i = 0; i < LANES<T>; i++) row[i] = at(from + i * PANEL<T>);
    exchange<1, T>(row);
#pragma GCC unroll 16
    for (int i = 0; i < LANES<T>; i++) at(to + i * PANEL<T>) = row[i];
}

// ---------------------------------------------------------------------------------------------------------------------
// What is asked for

// QUADRATIC and NTK have the signs of the net at initialization (ovpnet/nets/learners/three_layer.py).
enum Mode { HIDDEN, QUADRATIC, NTK, LAST };

// A matrix or bias of all members [E, ...].
template <class T>
struct Parameter {
    T *weights, *velocity;   // velocity is null where it is not trained
    const T* initial;        // null where there is none
    Penalty penalty;
    const T* coefficient;    // [E], the penalty's
};

template <class T>
struct Chunk {
    const T *x, *y;          // [E, N, d], [E, N]
    const int64_t* index;    // [E, S, B]
    const T *lr, *momentum;  // [E, S], [E]
    T* losses;               // [E, S]
    Parameter<T> W, b1, V, b2, a;
    int64_t E, N, d, m, S, B;
    Mode mode;
    Loss loss;
    bool of_increments;
};

// What the penalty's gradient is its point times: in a row of ||W||_{2,4}^4, also the row's squared norm.
template <class T, class Norms>
Norms decay(const Parameter<T>& parameter, int64_t e, Norms squared_norms) {
    if (parameter.penalty == NONE) return Norms{};
    const T coefficient = parameter.coefficient[e];
    return parameter.penalty == ROW_24 ? 4 * coefficient * squared_norms : Norms{} + coefficient;
}

// ---------------------------------------------------------------------------------------------------------------------
// A net in training

// Memory that begins as zeros, where vectors may lie; null for a size of 0.
template <class T>
class Buffer {
  public:
    explicit Buffer(int64_t size) {
        if (size == 0) return;
        const size_t bytes = (size * sizeof(T) / VECTOR_BYTES + 1) * VECTOR_BYTES;
        data.reset(static_cast<T*>(std::aligned_alloc(VECTOR_BYTES, bytes)));
        if (!data) throw std::bad_alloc();
        std::memset(data.get(), 0, bytes);
    }
    T* get() const { return data.get(); }

  private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T, Free> data;
};

// Member e's net in panels, with all that its steps need. Lanes and rows beyond m begin as zeros and stay so, or become
// nan when the net does.
template <class T>
class Net {
  public:
    Net(const Chunk<T>& chunk, int64_t e)
        : chunk(chunk), e(e), m(chunk.m), d(chunk.d), B(chunk.B), panels((m + P - 1) / P), rows((m + L - 1) / L * L),
          // An odd number of vectors: rows that lie a power of two apart would meet in one set of the cache.
          stride((rows / L | 1) * L), frozen(chunk.mode == QUADRATIC || chunk.mode == NTK),
          W(panels, d + 1, chunk.of_increments, frozen), V(panels, rows, chunk.of_increments, frozen),
          b2(panels, 1, chunk.of_increments, frozen), a(panels, 1, chunk.of_increments, false), x(2 * B * (d + 1)),
          first(B * stride), first0(frozen ? B * stride : 0), second(B * stride), outputs(panels * B), V_decay(rows) {}

    // What thread `rank` of a team does in a chunk of steps.
    template <class Wait>
    void train(int64_t rank, int64_t threads, Wait wait) {
        Own own(B);
        const auto each_panel = [&](auto task) {
            for (int64_t p = panels * rank / threads; p < panels * (rank + 1) / threads; p++) task(p);
            wait();
        };
        if (rank == 0) gather(0);
        each_panel([&](int64_t p) { load(p); });
        each_panel([&](int64_t p) { first_layer(p, 0, own); });
        for (int64_t step = 0; step < chunk.S; step++) {
            if (rank == 0 && step + 1 < chunk.S) gather(step + 1);
            each_panel([&](int64_t p) { forward(p, own); });
            judge(step, rank == 0, own);
            each_panel([&](int64_t p) { backward_and_update(p, step, own); });
        }
        each_panel([&](int64_t p) { store(p); });
    }

  private:
    static constexpr int64_t L = LANES<T>, P = PANEL<T>;

    // A matrix, a panel after another.
    struct Panels {
        Panels(int64_t panels, int64_t rows, bool of_increments, bool frozen)
            : size(rows * P), of_increments(of_increments), weights(panels * size), velocity(panels * size),
              initial(of_increments || frozen ? panels * size : 0) {}
        Trained<T> operator[](int64_t p) const {
            return {weights.get() + p * size, velocity.get() + p * size,
                    of_increments ? initial.get() + p * size : nullptr};
        }
        const int64_t size;
        const bool of_increments;
        const Buffer<T> weights, velocity, initial;
    };

    // A thread's own: a block of V^T, two matrices [B, P], and the gradients [B] of the mean loss in the outputs.
    struct Own {
        explicit Own(int64_t B) : block(P * P), one(B * P), other(B * P), slope(B) {}
        Buffer<T> block, one, other, slope;
    };

    const Chunk<T>& chunk;
    const int64_t e, m, d, B, panels, rows, stride;  // rows is m in whole vectors
    const bool frozen;
    Panels W, V, b2, a;       // of d + 1 rows, the last one b1; of m rows; of one row
    const Buffer<T> x;        // [2, B, d + 1], this step's minibatch and the next one's
    const Buffer<T> first;    // [B, stride], the first layer's activations; of NTK, their increments
    const Buffer<T> first0;   // [B, stride], those of the net at initialization where signs are frozen
    const Buffer<T> second;   // [B, stride], f's gradients in z2, a 1[z2 >= 0]; of LAST, the second layer's activations
    const Buffer<T> outputs;  // [panels, B], what each panel's neurons of the second layer add to f
    const Buffer<T> V_decay;  // [rows], see decay()

    int vectors(int64_t p) const { return std::min(P, rows - p * P) / L; }
    int64_t width(int64_t p) const { return std::min(P, m - p * P); }
    T* minibatch(int64_t step) const { return x.get() + step % 2 * B * (d + 1); }

    // Calls f(b, c, place in [B, P], place in [B, stride]) for the samples b and vectors c of lanes of a panel.
    template <class F>
    void each_vector(int64_t p, F f) const {
        for (int64_t b = 0; b < B; b++)
            for (int c = 0; c < vectors(p); c++) f(b, c, b * P + c * L, b * stride + p * P + c * L);
    }

    // The minibatch of a step, with the input that is always 1.
    void gather(int64_t step) {
        const int64_t* index = chunk.index + (e * chunk.S + step) * B;
        for (int64_t b = 0; b < B; b++) {
            T* to = minibatch(step) + b * (d + 1);
            std::copy_n(chunk.x + (e * chunk.N + index[b]) * d, d, to);
            to[d] = 1;
        }
    }

    // z [B, P] = W x + b1 in the neurons of a panel, of W or of W at initialization.
    void first_layer_input(int64_t p, int64_t step, const Buffer<T>& weights, T* z) const {
        std::memset(z, 0, B * P * sizeof(T));
        multiply(z, minibatch(step), d + 1, weights.get() + p * W.size, d + 1, B, vectors(p));
    }

    void first_layer(int64_t p, int64_t step, Own& own) {
        T *z = own.one.get(), *z0 = own.other.get();
        first_layer_input(p, step, W.weights, z);
        if (frozen) first_layer_input(p, step, W.initial, z0);
        each_vector(p, [&](int64_t, int, int64_t here, int64_t there) {
            Vec<T>& to = at(first.get() + there);
            if (!frozen) {
                to = relu<T>(at(z + here));
                return;
            }
            at(first0.get() + there) = relu<T>(at(z0 + here));
            to = where_active<T>(at(z0 + here), at(z + here));
            if (chunk.mode == NTK) to -= at(first0.get() + there);
        });
    }

    // Forward through rows `p` of V.
    void forward(int64_t p, Own& own) {
        T *z = own.one.get(), *z0 = own.other.get();
        each_vector(p, [&](int64_t, int c, int64_t here, int64_t) {
            at(z + here) = at(b2[p].weights + c * L);
            if (frozen) at(z0 + here) = at(b2.initial.get() + p * P + c * L);
        });
        const auto add_product = [&](T* to, const Buffer<T>& in, int64_t source) {
            const T* next = source + 1 < panels ? V.weights.get() + (source + 1) * V.size + p * P * P : nullptr;
            multiply(to, in.get() + source * P, stride, own.block.get(), width(source), B, vectors(p), next);
        };
        for (int64_t source = 0; source < panels; source++) {
            transpose_block(p, source, V.weights, own);
            add_product(z, chunk.mode == NTK ? first0 : first, source);
            if (!frozen) continue;
            transpose_block(p, source, V.initial, own);
            add_product(z0, first0, source);
            if (chunk.mode == NTK) add_product(z, first, source);
        }
        if (chunk.mode != LAST) measure_rows(p);
        const T *signs = frozen ? z0 : z, *out = a[p].weights;
        for (int64_t b = 0; b < B; b++) {
            Vec<T> output = {};
            for (int c = 0; c < vectors(p); c++) {
                const Vec<T> sign = at(signs + b * P + c * L), input = at(z + b * P + c * L);
                const Vec<T> activation = frozen ? where_active<T>(sign, input) : relu<T>(input);
                output += activation * at(out + c * L);
                at(second.get() + b * stride + p * P + c * L) =
                    chunk.mode == LAST ? activation : where_active<T>(sign, at(out + c * L));
            }
            outputs.get()[p * B + b] = sum_of_lanes<T>(output);
        }
    }

    // The block of V's rows `p` and columns `source`, into own.block: [columns, rows].
    void transpose_block(int64_t p, int64_t source, const Buffer<T>& of_V, Own& own) {
        const T* from = of_V.get() + source * V.size + p * P * P;
        for (int row = 0; row < vectors(p); row++)
            for (int column = 0; column < vectors(source); column++)
                transpose(own.block.get() + column * L * P + row * L, from + row * L * P + column * L);
    }

    // What V's penalty does to rows `p`.
    void measure_rows(int64_t p) {
        for (int64_t i = p * P; i < p * P + width(p); i++) {
            Vec<T> squares = {};
            if (chunk.V.penalty == ROW_24)
                for (int64_t source = 0; source < panels; source++)
                    for (int c = 0; c < vectors(source); c++) {
                        const Vec<T> point = V[source].point(i * P + c * L);
                        squares += point * point;
                    }
            V_decay.get()[i] = decay(chunk.V, e, sum_of_lanes<T>(squares));
        }
    }

    // The mean loss and own.slope. Every thread of a team works them out for itself, which is sooner done than shared.
    void judge(int64_t step, bool record, Own& own) {
        const int64_t* index = chunk.index + (e * chunk.S + step) * B;
        T total = 0;
        for (int64_t b = 0; b < B; b++) {
            T output = 0;
            for (int64_t p = 0; p < panels; p++) output += outputs.get()[p * B + b];
            const T y = chunk.y[e * chunk.N + index[b]];
            total += loss_value(chunk.loss, output, y);
            own.slope.get()[b] = loss_slope(chunk.loss, output, y) / B;
        }
        if (record) chunk.losses[e * chunk.S + step] = total / B;
    }

    // Backward through columns `p` of V and their step, that of rows `p` of the rest, and the next step's first layer.
    void backward_and_update(int64_t p, int64_t step, Own& own) {
        const Rates<T> rates{chunk.momentum[e], chunk.lr[e * chunk.S + step]};
        const T* slope = own.slope.get();
        if (chunk.mode != LAST) {
            backward_and_update_V(p, rates, own);
            T *gradient = own.one.get(), *z = own.other.get();
            // The signs of the first layer's input are sooner computed again than kept.
            first_layer_input(p, step, frozen ? W.initial : W.weights, z);
            each_vector(p, [&](int64_t b, int, int64_t here, int64_t) {
                at(gradient + here) = where_active<T>(at(z + here), slope[b] * at(gradient + here));
            });
            update_W(p, step, rates, gradient);
        }
        if (chunk.b2.velocity) update_vector(b2[p], chunk.b2, p, rates, slope);
        if (chunk.a.velocity) update_vector(a[p], chunk.a, p, rates, slope);
        if (step + 1 < chunk.S) first_layer(p, step + 1, own);
    }

    // Leaves in own.one the output's gradients [B, P] in the first layer's activations, those beyond its signs too.
    void backward_and_update_V(int64_t p, Rates<T> rates, Own& own) {
        const T *slope = own.slope.get(), *decays = V_decay.get();
        T *gradient = own.one.get(), *below = own.other.get();
        // The loss's gradients in z2 are slope[b] second[b]: the factor is put on what they are multiplied by.
        each_vector(p, [&](int64_t b, int, int64_t here, int64_t there) {
            at(gradient + here) = Vec<T>{};
            at(below + here) = slope[b] * at((chunk.mode == NTK ? first0 : first).get() + there);
        });
        const T* backward = chunk.mode == NTK ? V.initial.get() + p * V.size : V[p].weights;
        for (int64_t i = 0; i < m; i += P) {
            const int64_t count = std::min(P, m - i);
            multiply(gradient, second.get() + i, stride, backward + i * P, count, B, vectors(p),
                     V[p].velocity + i * P);
            update(V[p] + i * P, count, second.get() + i, stride, below, P, B, vectors(p), rates,
                   [&](int64_t row, int) { return decays[i + row]; });
        }
    }

    // The step of rows `p` of W and b1 from the gradients [B, P] in W x + b1.
    void update_W(int64_t p, int64_t step, Rates<T> rates, const T* gradient) {
        Vec<T> of_W[TILE_VECTORS], of_b1[TILE_VECTORS];
        for (int c = 0; c < vectors(p); c++) {
            Vec<T> squared_norms = {};
            for (int64_t input = 0; input < d; input++) {
                const Vec<T> point = W[p].point(input * P + c * L);
                squared_norms += point * point;
            }
            const Vec<T> point = W[p].point(d * P + c * L);
            of_W[c] = decay(chunk.W, e, squared_norms);
            of_b1[c] = decay<T, Vec<T>>(chunk.b1, e, point * point);
        }
        update(W[p], chunk.b1.velocity ? d + 1 : d, minibatch(step), d + 1, gradient, P, B, vectors(p), rates,
               [&](int64_t input, int c) { return input < d ? of_W[c] : of_b1[c]; });
    }

    // The step of neurons `p` of b2 or a, whose gradients are the slopes times `second`.
    void update_vector(Trained<T> to, const Parameter<T>& parameter, int64_t p, Rates<T> rates,
                       const T* slope) {
        Vec<T> decays[TILE_VECTORS];
        for (int c = 0; c < vectors(p); c++)
            decays[c] = decay<T, Vec<T>>(parameter, e, to.point(c * L) * to.point(c * L));
        update(to, 1, slope, 1, second.get() + p * P, stride, B, vectors(p), rates,
               [&](int64_t, int c) { return decays[c]; });
    }

    // Calls f(panel's entry, parameter, its entry) for all entries of a panel p.
    template <class F>
    void each_entry(int64_t p, F f) const {
        const auto each = [&](const Panels& of, const Parameter<T>& parameter, int64_t first_row, int64_t count,
                              int64_t start, int64_t row_stride, int64_t lane_stride) {
            for (int64_t row = 0; row < count; row++)
                for (int64_t lane = 0; lane < width(p); lane++)
                    f(of, p * of.size + (first_row + row) * P + lane, parameter,
                      start + row * row_stride + lane * lane_stride);
        };
        const int64_t neuron = e * m + p * P;
        each(W, chunk.W, 0, d, neuron * d, 1, d);
        each(W, chunk.b1, d, 1, neuron, 0, 1);
        each(V, chunk.V, 0, m, e * m * m + p * P, m, 1);
        each(b2, chunk.b2, 0, 1, neuron, 0, 1);
        each(a, chunk.a, 0, 1, neuron, 0, 1);
    }

    void load(int64_t p) {
        each_entry(p, [](const Panels& to, int64_t here, const Parameter<T>& from, int64_t there) {
            to.weights.get()[here] = from.weights[there];
            if (from.velocity) to.velocity.get()[here] = from.velocity[there];
            if (from.initial && to.initial.get()) to.initial.get()[here] = from.initial[there];
        });
    }

    void store(int64_t p) {
        each_entry(p, [](const Panels& from, int64_t here, const Parameter<T>& to, int64_t there) {
            if (!to.velocity) return;
            to.weights[there] = from.weights.get()[here];
            to.velocity[there] = from.velocity.get()[here];
        });
    }
};

// V and its velocity up to here stay in the cache of one core.
constexpr int64_t CORE_CACHE = 1 << 20;

// Small nets are spread over the threads; larger ones take all threads, a net after another.
template <class T>
void train(const Chunk<T>& chunk, int64_t threads) {
    const auto train_member = [&](int64_t e, int64_t team) {
        Net<T> net(chunk, e);
        as_team(team, [&](int64_t rank, auto wait) { net.train(rank, team, wait); });
    };
    if (chunk.E >= threads && 2 * chunk.m * chunk.m * int64_t(sizeof(T)) <= CORE_CACHE)
        on_threads(chunk.E, threads, [&] { return [&](int64_t e) { train_member(e, 1); }; });
    else
        for (int64_t e = 0; e < chunk.E; e++) train_member(e, threads);
}

}  // namespace

#define THREE_LAYER(NAME, T)                                                                                           \
    extern "C" void NAME(const T* x, const T* y, const int64_t* index, const T* lr, T* W, T* b1, T* V, T* b2, T* a,    \
                         T* W_velocity, T* b1_velocity, T* V_velocity, T* b2_velocity, T* a_velocity, const T* W0,     \
                         const T* b1_0, const T* V0, const T* b2_0, const T* a0, const T* momentum, const T* W_decay,  \
                         const T* V_decay, const T* rest_decay, T* losses, int64_t E, int64_t N, int64_t d, int64_t m, \
                         int64_t S, int64_t B, int64_t mode, int64_t loss, int64_t W_penalty, int64_t V_penalty,       \
                         int64_t rest_penalty, int64_t of_increments, int64_t threads) {                               \
        const Penalty of_W = Penalty(W_penalty), of_V = Penalty(V_penalty), of_rest = Penalty(rest_penalty);           \
        train<T>({x, y, index, lr, momentum, losses, {W, W_velocity, W0, of_W, W_decay},                               \
                  {b1, b1_velocity, b1_0, of_rest, rest_decay}, {V, V_velocity, V0, of_V, V_decay},                    \
                  {b2, b2_velocity, b2_0, of_rest, rest_decay}, {a, a_velocity, a0, of_rest, rest_decay},              \
                  E, N, d, m, S, B, Mode(mode), Loss(loss), of_increments != 0}, threads);                             \
    }

THREE_LAYER(three_layer_float32, float)
THREE_LAYER(three_layer_float64, double)
