// SGD of two-layer nets with one output, f(x) = <a, relu(W x + b)>: all steps of a chunk of one member after another.
//
// A vector register holds one weight of LANES neurons, so that sums across its lanes are needed once a step only. Neurons
// depend on each other through the residuals alone: one pass over them takes the gradient of a step at each, moves its
// weights, and adds its activations on the next step's minibatch to the outputs. Weights and velocity are thus read and
// written once a step, however many neurons there are.
//
// Bit for bit the same for any number of threads: neurons are cut into slabs by their number alone, and the sums of the
// slabs are added in order.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "losses.h"
#include "threads.h"

namespace {

enum Trained { HIDDEN, FROZEN, LAST };  // FROZEN: the signs of W0 x + b0 instead of W x + b (NTK)

constexpr int64_t SLAB = 1024;  // neurons whose outputs are summed before they meet those of others
constexpr int64_t SLABS_A_THREAD = 4;  // at least, for a barrier a step to be worth it
constexpr int TILE = 4;                // samples at a time
constexpr int MOST_COLUMNS = 6;        // of a gradient at a time

// GROUP: vectors of neurons at a time; TILE * GROUP of them, or MOST_COLUMNS * GROUP, are sums in registers.
#if defined(__AVX512F__)
constexpr int BYTES = 64, GROUP = 4;
#elif defined(__AVX__)
constexpr int BYTES = 32, GROUP = 2;
#else
constexpr int BYTES = 16, GROUP = 2;
#endif

template <class T>
struct Simd {
    static constexpr int64_t LANES = BYTES / sizeof(T);
    typedef T Vector __attribute__((vector_size(BYTES)));
};

// Which neurons are active, 1[z >= 0] (and where z is no number, so that it is not lost): a bit each where the processor
// has registers for that, small enough to be kept from the outputs to the gradient; else they are made again.
#ifdef __AVX512F__
constexpr bool SIGNS_ARE_BITS = true;
inline __mmask16 active(__m512 z) { return _mm512_cmp_ps_mask(z, __m512{}, _CMP_NLT_UQ); }
inline __mmask16 active(__m512d z) { return _mm512_cmp_pd_mask(z, __m512d{}, _CMP_NLT_UQ); }
inline __m512 add_where(__mmask16 signs, __m512 sum, __m512 z) { return _mm512_mask_add_ps(sum, signs, sum, z); }
inline __m512d add_where(__mmask16 signs, __m512d sum, __m512d z) {
    return _mm512_mask_add_pd(sum, __mmask8(signs), sum, z);
}
inline __m512 add_product_where(__mmask16 signs, __m512 sum, __m512 a, __m512 z) {
    return _mm512_mask3_fmadd_ps(a, z, sum, signs);
}
inline __m512d add_product_where(__mmask16 signs, __m512d sum, __m512d a, __m512d z) {
    return _mm512_mask3_fmadd_pd(a, z, sum, __mmask8(signs));
}
#else
constexpr bool SIGNS_ARE_BITS = false;
template <class Vector>
auto active(Vector z) { return ~(z < Vector{}); }
template <class Signs, class Vector>
Vector add_where(Signs signs, Vector sum, Vector z) { return sum + (signs ? z : Vector{}); }
template <class Signs, class Vector>
Vector add_product_where(Signs signs, Vector sum, Vector a, Vector z) { return sum + a * (signs ? z : Vector{}); }
#endif

// Zeros that vectors may be loaded from.
template <class Element>
class Buffer {
  public:
    explicit Buffer(int64_t size = 0) : storage(size) {}
    Element* data() { return &storage.data()->value; }

  private:
    struct Held {
        Element value{};
    };
    std::vector<Held> storage;
};

// Its halves, then theirs, and so on.
template <class T, int64_t LANES, class Vector>
T sum_of_lanes(Vector vector) {
    if constexpr (LANES == 1)
        return vector[0];
    else {
        constexpr int64_t SIZE = LANES / 2 * sizeof(T);
        typedef T Half __attribute__((vector_size(SIZE)));
        Half low, high;
        std::memcpy(&low, &vector, SIZE);
        std::memcpy(&high, reinterpret_cast<const char*>(&vector) + SIZE, SIZE);
        return sum_of_lanes<T, LANES / 2>(low + high);
    }
}

// A chunk of steps of all members, as torch has it; a pointer that does not apply is null.
template <class T>
struct Chunk {
    const T *x, *y;                      // [E, N, d], [E, N]
    const int64_t* index;                // [E, S, B]
    const T* lr;                         // [E, S]
    T *W, *b, *a;                        // [E, m, d], [E, m], [E, m]
    T *W_velocity, *b_velocity, *a_velocity;  // of what is trained
    const T *W0, *b0, *a0;               // at initialization
    const T *momentum, *W_decay, *rest_decay;  // [E]
    T* losses;                           // [E, S]
    int64_t E, N, d, m, S, B;
    Trained trained;
    Loss loss;
    Penalty W_penalty, rest_penalty;
    bool of_increments;
};

// The minibatch of a step, and once its outputs are known, what its gradient needs; samples of a column side by side.
template <class T>
struct Minibatch {
    std::vector<T> x, y, loss, slope_x;  // [d, B], [B], [B], [d + 1, B]: the last row are the slopes

    void take(const Chunk<T>& chunk, int64_t e, int64_t step) {
        const int64_t B = chunk.B, d = chunk.d;
        x.resize(d * B);
        y.resize(B);
        loss.resize(B);
        slope_x.resize((d + 1) * B);
        const int64_t* index = chunk.index + (e * chunk.S + step) * B;
        const T *all_x = chunk.x + e * chunk.N * d, *all_y = chunk.y + e * chunk.N;
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < B; j++) x[i * B + j] = all_x[index[j] * d + i];
        for (int64_t j = 0; j < B; j++) y[j] = all_y[index[j]];
    }

    const T* slopes(const Chunk<T>& chunk) const { return slope_x.data() + chunk.d * chunk.B; }

    // Mean loss at the outputs, which the slopes are taken at.
    T judge(const Chunk<T>& chunk, const T* output) {
        const int64_t B = chunk.B;
        switch (chunk.loss) {
            case L2: judge_by<L2>(B, chunk.d, output); break;
            case HUBER: judge_by<HUBER>(B, chunk.d, output); break;
            case LOGISTIC: judge_by<LOGISTIC>(B, chunk.d, output); break;
        }
        T total = 0;
        for (int64_t j = 0; j < B; j++) total += loss[j];
        return total / B;
    }

  private:
    template <Loss LOSS>
    void judge_by(int64_t B, int64_t d, const T* output) {
        T* slope = slope_x.data() + d * B;
        for (int64_t j = 0; j < B; j++) {
            loss[j] = loss_value(LOSS, output[j], y[j]);
            slope[j] = loss_slope(LOSS, output[j], y[j]) / B;
        }
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < B; j++) slope_x[i * B + j] = slope[j] * x[i * B + j];
    }
};

// What a step does with a weight: v <- momentum v + gradient + penalty's gradient;  w <- w - lr v.
template <class T>
struct Update {
    typedef typename Simd<T>::Vector Vector;
    Penalty penalty;
    T decay, momentum, lr;

    // `square`: squared norm of the point's row.
    void apply(Vector& weight, Vector& velocity, Vector gradient, Vector point, Vector square) const {
        if (penalty == FROBENIUS) gradient += decay * point;
        if (penalty == ROW_24) gradient += 4 * decay * square * point;
        velocity = momentum * velocity + gradient;
        weight -= lr * velocity;
    }
};

template <int SIZE>
struct Size {
    static constexpr int value = SIZE;
};

// Calls work(Size<n>()) for a number n of 1 to MOST.
template <int MOST, class Work>
void with_size(int64_t n, Work work) {
    if (n == MOST) return work(Size<MOST>());
    if constexpr (MOST > 1) with_size<MOST - 1>(n, work);
}

// A slab of a member's neurons in vectors: weight i of the neurons of vector v is W[v * d + i].
template <class T, Trained TRAINED>
class Slab {
  public:
    typedef typename Simd<T>::Vector Vector;
    typedef decltype(active(Vector{})) Signs;
    static constexpr int64_t LANES = Simd<T>::LANES;

    void load(const Chunk<T>& chunk, int64_t e, int64_t first, int64_t neurons) {
        this->chunk = &chunk;
        d = chunk.d;
        B = chunk.B;
        vectors = (neurons + GROUP * LANES - 1) / (GROUP * LANES) * GROUP;
        at = e * chunk.m + first;
        this->neurons = neurons;
        pack(W, chunk.W, d);
        pack(b, chunk.b, 1);
        pack(a, chunk.a, 1);
        pack(W_velocity, chunk.W_velocity, d);
        pack(b_velocity, chunk.b_velocity, 1);
        pack(a_velocity, chunk.a_velocity, 1);
        pack(W0, chunk.W0, d);
        pack(b0, chunk.b0, 1);
        pack(a0, chunk.a0, 1);
        outputs = Buffer<Vector>(B);
        gradients = Buffer<Vector>((d + 1) * GROUP);
        signs = Buffer<Signs>((SIGNS_ARE_BITS ? vectors : GROUP) * B);
    }

    void store() {
        unpack(W_velocity, chunk->W_velocity, d);
        unpack(b_velocity, chunk->b_velocity, 1);
        unpack(a_velocity, chunk->a_velocity, 1);
        if (chunk->W_velocity) unpack(W, chunk->W, d);
        if (chunk->b_velocity) unpack(b, chunk->b, 1);
        if (chunk->a_velocity) unpack(a, chunk->a, 1);
    }

    // Take the step whose minibatch is `done`, if any, then add the slab's outputs [B] on `next`, if any.
    void pass(const Minibatch<T>* done, const Minibatch<T>* next, const Update<T>& of_W, const Update<T>& of_rest,
              T* output) {
        std::fill(outputs.data(), outputs.data() + B, Vector{});
        for (int64_t v = 0; v < vectors; v += GROUP) {
            if (done) TRAINED == LAST ? step_last(v, *done, of_rest) : step_hidden(v, *done, of_W, of_rest);
            if (next) forward(v, *next);
        }
        if (next)
            for (int64_t j = 0; j < B; j++) output[j] = sum_of_lanes<T, LANES>(outputs.data()[j]);
    }

  private:
    const Chunk<T>* chunk = nullptr;
    int64_t d = 0, B = 0, vectors = 0, at = 0, neurons = 0;
    Buffer<Vector> W, b, a, W_velocity, b_velocity, a_velocity, W0, b0, a0;
    Buffer<Vector> outputs, gradients;  // [B], [d + 1, GROUP]
    Buffer<Signs> signs;                // [vectors or GROUP, B]

    Signs* signs_of(int64_t v) { return signs.data() + (SIGNS_ARE_BITS ? v * B : 0); }

    // Calls work(j, Size) for tiles of samples that begin at j.
    template <class Work>
    void for_tiles(Work work) const {
        int64_t j = 0;
        for (; j + TILE <= B; j += TILE) work(j, Size<TILE>());
        with_size<TILE>(B - j, [&](auto samples) { work(j, samples); });
    }

    // z [SAMPLES, GROUP] = W x + b at the samples from j on, for a group of vectors.
    template <int SAMPLES>
    void preactivations(Buffer<Vector>& W_of, Buffer<Vector>& b_of, int64_t v, const T* x,
                        Vector (&z)[SAMPLES][GROUP]) const {
        const Vector *weights = W_of.data() + v * d, *bias = b_of.data() + v;
        const int64_t d = this->d, B = this->B;
        for (int s = 0; s < SAMPLES; s++)
            for (int r = 0; r < GROUP; r++) z[s][r] = bias[r];
        for (int64_t i = 0; i < d; i++)
            for (int s = 0; s < SAMPLES; s++)
                for (int r = 0; r < GROUP; r++) z[s][r] += weights[r * d + i] * x[i * B + s];
    }

    // The signs of a group of vectors on a minibatch.
    void judge_signs(int64_t v, const Minibatch<T>& batch) {
        Signs* to = signs_of(v);
        for_tiles([&](int64_t j, auto samples) {
            Vector z[samples.value][GROUP];
            preactivations(TRAINED == FROZEN ? W0 : W, TRAINED == FROZEN ? b0 : b, v, batch.x.data() + j, z);
            for (int s = 0; s < samples.value; s++)
                for (int r = 0; r < GROUP; r++) to[r * B + j + s] = active(z[s][r]);
        });
    }

    void forward(int64_t v, const Minibatch<T>& next) {
        if (TRAINED == FROZEN) judge_signs(v, next);
        Signs* kept = signs_of(v);
        Vector* sums = outputs.data();
        Vector out[GROUP];
        for (int r = 0; r < GROUP; r++) out[r] = a.data()[v + r];
        const int64_t B = this->B;
        for_tiles([&](int64_t j, auto samples) {
            Vector z[samples.value][GROUP];
            preactivations(W, b, v, next.x.data() + j, z);
            for (int s = 0; s < samples.value; s++) {
                Vector sum = sums[j + s];
                for (int r = 0; r < GROUP; r++) {
                    const Signs on = TRAINED == FROZEN ? kept[r * B + j + s] : active(z[s][r]);
                    if (TRAINED == HIDDEN && SIGNS_ARE_BITS) kept[r * B + j + s] = on;
                    sum = add_product_where(on, sum, out[r], z[s][r]);
                }
                sums[j + s] = sum;
            }
        });
    }

    void step_hidden(int64_t v, const Minibatch<T>& done, const Update<T>& of_W, const Update<T>& of_rest) {
        if (!SIGNS_ARE_BITS) judge_signs(v, done);
        const int64_t columns = d + (chunk->b_velocity ? 1 : 0);
        const int64_t blocks = (columns + MOST_COLUMNS - 1) / MOST_COLUMNS, most = (columns + blocks - 1) / blocks;
        for (int64_t i = 0; i < columns; i += most)
            with_size<MOST_COLUMNS>(std::min(most, columns - i), [&](auto size) { gradient(v, i, size, done); });
        for (int r = 0; r < GROUP; r++) {
            const Vector out = a.data()[v + r], *slope = gradients.data() + r;
            Vector *row = W.data() + (v + r) * d, *start = W0.data() + (v + r) * d;
            Vector* velocity = W_velocity.data() + (v + r) * d;
            auto point = [&](int64_t i) { return chunk->of_increments ? row[i] - start[i] : row[i]; };
            Vector square = {};
            if (of_W.penalty == ROW_24)
                for (int64_t i = 0; i < d; i++) square += point(i) * point(i);
            for (int64_t i = 0; i < d; i++) of_W.apply(row[i], velocity[i], out * slope[i * GROUP], point(i), square);
            if (chunk->b_velocity) move(b, b_velocity, b0, v + r, out * slope[d * GROUP], of_rest);
        }
    }

    // Columns of the gradient of a group of vectors, from column i on: sums of the slopes where a neuron is active.
    template <int COLUMNS>
    void gradient(int64_t v, int64_t i, Size<COLUMNS>, const Minibatch<T>& done) {
        const Signs* on = signs_of(v);
        const int64_t B = this->B;
        const T* slope_x = done.slope_x.data() + i * B;
        Vector sum[COLUMNS][GROUP] = {};
        for (int64_t j = 0; j < B; j++)
            for (int c = 0; c < COLUMNS; c++)
                for (int r = 0; r < GROUP; r++)
                    sum[c][r] = add_where(on[r * B + j], sum[c][r], slope_x[c * B + j] - Vector{});
        for (int c = 0; c < COLUMNS; c++)
            for (int r = 0; r < GROUP; r++) gradients.data()[(i + c) * GROUP + r] = sum[c][r];
    }

    void step_last(int64_t v, const Minibatch<T>& done, const Update<T>& of_rest) {
        Vector gradient[GROUP] = {};
        const T* slope = done.slopes(*chunk);
        for_tiles([&](int64_t j, auto samples) {
            Vector z[samples.value][GROUP];
            preactivations(W, b, v, done.x.data() + j, z);
            for (int s = 0; s < samples.value; s++)
                for (int r = 0; r < GROUP; r++)
                    gradient[r] = add_product_where(active(z[s][r]), gradient[r], slope[j + s] - Vector{}, z[s][r]);
        });
        for (int r = 0; r < GROUP; r++) move(a, a_velocity, a0, v + r, gradient[r], of_rest);
    }

    // A weight that is a row of its own.
    void move(Buffer<Vector>& weight, Buffer<Vector>& velocity, Buffer<Vector>& initial, int64_t v, Vector gradient,
              const Update<T>& update) {
        Vector point = weight.data()[v];
        if (chunk->of_increments) point -= initial.data()[v];
        update.apply(weight.data()[v], velocity.data()[v], gradient, point, point * point);
    }

    void pack(Buffer<Vector>& to, const T* from, int64_t columns) {
        if (!from) return;
        to = Buffer<Vector>(vectors * columns);
        for (int64_t n = 0; n < neurons; n++)
            for (int64_t i = 0; i < columns; i++)
                to.data()[n / LANES * columns + i][n % LANES] = from[(at + n) * columns + i];
    }

    void unpack(Buffer<Vector>& from, T* to, int64_t columns) {
        if (!to) return;
        for (int64_t n = 0; n < neurons; n++)
            for (int64_t i = 0; i < columns; i++)
                to[(at + n) * columns + i] = from.data()[n / LANES * columns + i][n % LANES];
    }
};

// All of a member's steps, by a team of threads that share its slabs.
template <class T, Trained TRAINED>
void train_member(const Chunk<T>& chunk, int64_t e, int64_t threads, std::vector<Slab<T, TRAINED>>& slabs) {
    const int64_t count = slabs.size();
    // Outputs of the slabs, of two successive steps: a thread that is ahead does not overwrite what another still adds.
    std::vector<T> parts[2] = {std::vector<T>(count * chunk.B), std::vector<T>(count * chunk.B)};
    as_team(threads, [&](int64_t rank, auto wait) {
        std::vector<T> output(chunk.B);
        Minibatch<T> batches[2];
        for (int64_t slab = rank; slab < count; slab += threads)
            slabs[slab].load(chunk, e, slab * SLAB, std::min(SLAB, chunk.m - slab * SLAB));
        for (int64_t step = 0; step <= chunk.S; step++) {
            const Minibatch<T>* done = step > 0 ? &batches[(step - 1) % 2] : nullptr;
            Minibatch<T>* next = step < chunk.S ? &batches[step % 2] : nullptr;
            const T lr = done ? chunk.lr[e * chunk.S + step - 1] : T(0), momentum = chunk.momentum[e];
            const Update<T> of_W{chunk.W_penalty, chunk.W_decay[e], momentum, lr};
            const Update<T> of_rest{chunk.rest_penalty, chunk.rest_decay[e], momentum, lr};
            if (next) next->take(chunk, e, step);
            T* part = parts[step % 2].data();
            for (int64_t slab = rank; slab < count; slab += threads)
                slabs[slab].pass(done, next, of_W, of_rest, part + slab * chunk.B);
            if (!next) break;
            wait();
            std::fill(output.begin(), output.end(), T(0));
            for (int64_t slab = 0; slab < count; slab++)
                for (int64_t j = 0; j < chunk.B; j++) output[j] += part[slab * chunk.B + j];
            const T loss = next->judge(chunk, output.data());
            if (rank == 0) chunk.losses[e * chunk.S + step] = loss;
        }
        for (int64_t slab = rank; slab < count; slab += threads) slabs[slab].store();
    });
}

template <class T, Trained TRAINED>
void train(const Chunk<T>& chunk, int64_t threads) {
    const int64_t slabs = (chunk.m + SLAB - 1) / SLAB;
    // More threads than members make teams, where a member has enough for them to do.
    const int64_t team = std::max<int64_t>(1, std::min(threads / chunk.E, slabs / SLABS_A_THREAD));
    on_threads(chunk.E, threads / team, [&] {
        return [&, own = std::vector<Slab<T, TRAINED>>(slabs)](int64_t e) mutable {
            train_member<T, TRAINED>(chunk, e, team, own);
        };
    });
}

template <class T>
void for_trained(const Chunk<T>& chunk, int64_t threads) {
    switch (chunk.trained) {
        case HIDDEN: return train<T, HIDDEN>(chunk, threads);
        case FROZEN: return train<T, FROZEN>(chunk, threads);
        case LAST: return train<T, LAST>(chunk, threads);
    }
}

}  // namespace

#define TWO_LAYER(NAME, T)                                                                                             \
    extern "C" void NAME(const T* x, const T* y, const int64_t* index, const T* lr, T* W, T* b, T* a, T* W_velocity,   \
                         T* b_velocity, T* a_velocity, const T* W0, const T* b0, const T* a0, const T* momentum,       \
                         const T* W_decay, const T* rest_decay, T* losses, int64_t E, int64_t N, int64_t d, int64_t m, \
                         int64_t S, int64_t B, int64_t trained, int64_t loss, int64_t W_penalty, int64_t rest_penalty, \
                         int64_t of_increments, int64_t threads) {                                                    \
        for_trained<T>({x, y, index, lr, W, b, a, W_velocity, b_velocity, a_velocity, W0, b0, a0, momentum, W_decay,    \
                        rest_decay, losses, E, N, d, m, S, B, Trained(trained), Loss(loss), Penalty(W_penalty),        \
                        Penalty(rest_penalty), of_increments != 0}, threads);                                          \
    }

TWO_LAYER(two_layer_float32, float)
TWO_LAYER(two_layer_float64, double)
