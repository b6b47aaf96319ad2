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
#include <vector>

#include "losses.h"
#include "threads.h"

namespace {

enum Trained { HIDDEN, FROZEN, LAST };  // FROZEN: the signs of W0 x + b0 instead of W x + b (NTK)

constexpr int64_t MOST_INPUTS = 256;
constexpr int64_t SLAB = 8192;  // neurons, enough to be worth a barrier

template <class T>
struct Simd {
    static constexpr int64_t LANES = 64 / sizeof(T);
    typedef T Vector __attribute__((vector_size(64)));
};

// Memory that vectors may be loaded from.
template <class T>
class Buffer {
  public:
    typedef typename Simd<T>::Vector Vector;
    explicit Buffer(int64_t vectors = 0) : storage(vectors + 1) {}
    Vector* data() { return reinterpret_cast<Vector*>((reinterpret_cast<uintptr_t>(storage.data()) + 63) & ~uintptr_t(63)); }

  private:
    struct Bytes {
        T value[Simd<T>::LANES] = {};
    };
    std::vector<Bytes> storage;
};

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

// The minibatch of a step, and once its outputs are known, what its gradient needs.
template <class T>
struct Minibatch {
    std::vector<T> x, y, slope, slope_x;  // [B, d], [B], [B], [B, d]

    void take(const Chunk<T>& chunk, int64_t e, int64_t step) {
        x.resize(chunk.B * chunk.d);
        y.resize(chunk.B);
        slope.resize(chunk.B);
        slope_x.resize(chunk.B * chunk.d);
        const int64_t* index = chunk.index + (e * chunk.S + step) * chunk.B;
        for (int64_t j = 0; j < chunk.B; j++) {
            const T* from = chunk.x + (e * chunk.N + index[j]) * chunk.d;
            std::copy(from, from + chunk.d, x.data() + j * chunk.d);
            y[j] = chunk.y[e * chunk.N + index[j]];
        }
    }

    // Mean loss at the outputs, which the slopes are taken at.
    T judge(const Chunk<T>& chunk, const T* output) {
        T total = 0;
        for (int64_t j = 0; j < chunk.B; j++) {
            total += loss_value(chunk.loss, output[j], y[j]);
            slope[j] = loss_slope(chunk.loss, output[j], y[j]) / chunk.B;
            for (int64_t i = 0; i < chunk.d; i++) slope_x[j * chunk.d + i] = slope[j] * x[j * chunk.d + i];
        }
        return total / chunk.B;
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

// A slab of a member's neurons in vectors: weight i of the neurons of vector v is W[v * d + i].
template <class T, int D, Trained TRAINED>
class Slab {
  public:
    typedef typename Simd<T>::Vector Vector;
    static constexpr int64_t LANES = Simd<T>::LANES;
    // Vectors at a time: each number of a minibatch is loaded once for all of them.
    static constexpr int GROUP = 2;
    static constexpr int MOST = D ? D : MOST_INPUTS;

    void load(const Chunk<T>& chunk, int64_t e, int64_t first, int64_t neurons) {
        this->chunk = &chunk;
        d = chunk.d;
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
        outputs = Buffer<T>(chunk.B);
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
        Vector* sums = outputs.data();
        std::fill(sums, sums + chunk->B, Vector{});
        for (int64_t v = 0; v < vectors; v += GROUP) {
            if (done) TRAINED == LAST ? step_last(v, *done, of_rest) : step_hidden(v, *done, of_W, of_rest);
            if (next) forward(v, *next, sums);
        }
        if (next)
            for (int64_t j = 0; j < chunk->B; j++) {
                output[j] = 0;
                for (int64_t lane = 0; lane < LANES; lane++) output[j] += sums[j][lane];
            }
    }

  private:
    const Chunk<T>* chunk = nullptr;
    int64_t d = 0, vectors = 0, at = 0, neurons = 0;
    Buffer<T> W, b, a, W_velocity, b_velocity, a_velocity, W0, b0, a0, outputs;

    int64_t inputs() const { return D ? D : d; }

    // Weights of the hidden layer of a group of vectors, in registers where D is known.
    struct Hidden {
        Vector W[MOST][GROUP], b[GROUP];

        Hidden(Buffer<T>& W_from, Buffer<T>& b_from, int64_t v, int64_t d) {
            for (int r = 0; r < GROUP; r++) {
                b[r] = b_from.data()[v + r];
                for (int64_t i = 0; i < d; i++) W[i][r] = W_from.data()[(v + r) * d + i];
            }
        }

        void preactivations(const T* x, int64_t d, Vector* z) const {
            for (int r = 0; r < GROUP; r++) z[r] = b[r];
            for (int64_t i = 0; i < d; i++)
                for (int r = 0; r < GROUP; r++) z[r] += W[i][r] * x[i];
        }
    };

    void forward(int64_t v, const Minibatch<T>& next, Vector* sums) {
        const Hidden hidden(W, b, v, inputs());
        const Hidden frozen = TRAINED == FROZEN ? Hidden(W0, b0, v, inputs()) : hidden;
        const Vector* out = a.data() + v;
        for (int64_t j = 0; j < chunk->B; j++) {
            Vector z[GROUP], sign[GROUP], sum = sums[j];
            hidden.preactivations(next.x.data() + j * inputs(), inputs(), z);
            if (TRAINED == FROZEN) frozen.preactivations(next.x.data() + j * inputs(), inputs(), sign);
            for (int r = 0; r < GROUP; r++)
                sum += out[r] * ((TRAINED == FROZEN ? sign[r] : z[r]) < 0 ? Vector{} : z[r]);  // nan stays nan
            sums[j] = sum;
        }
    }

    void step_hidden(int64_t v, const Minibatch<T>& done, const Update<T>& of_W, const Update<T>& of_rest) {
        const Hidden signs(TRAINED == FROZEN ? W0 : W, TRAINED == FROZEN ? b0 : b, v, inputs());
        Vector W_gradient[MOST][GROUP], b_gradient[GROUP] = {};
        for (int64_t i = 0; i < inputs(); i++)
            for (int r = 0; r < GROUP; r++) W_gradient[i][r] = Vector{};
        for (int64_t j = 0; j < chunk->B; j++) {
            Vector z[GROUP];
            signs.preactivations(done.x.data() + j * inputs(), inputs(), z);
            for (int r = 0; r < GROUP; r++) z[r] = z[r] >= 0 ? Vector{} + 1 : Vector{};
            for (int64_t i = 0; i < inputs(); i++)
                for (int r = 0; r < GROUP; r++) W_gradient[i][r] += z[r] * done.slope_x[j * inputs() + i];
            for (int r = 0; r < GROUP; r++) b_gradient[r] += z[r] * done.slope[j];
        }
        for (int r = 0; r < GROUP; r++) {
            const Vector out = a.data()[v + r];
            Vector *row = W.data() + (v + r) * inputs(), *start = W0.data() + (v + r) * inputs();
            Vector point[MOST], square = {};
            for (int64_t i = 0; i < inputs(); i++) {
                point[i] = chunk->of_increments ? row[i] - start[i] : row[i];
                square += point[i] * point[i];
            }
            for (int64_t i = 0; i < inputs(); i++)
                of_W.apply(row[i], W_velocity.data()[(v + r) * inputs() + i], out * W_gradient[i][r], point[i], square);
            if (chunk->b_velocity) move(b, b_velocity, b0, v + r, out * b_gradient[r], of_rest);
        }
    }

    void step_last(int64_t v, const Minibatch<T>& done, const Update<T>& of_rest) {
        const Hidden hidden(W, b, v, inputs());
        Vector gradient[GROUP] = {};
        for (int64_t j = 0; j < chunk->B; j++) {
            Vector z[GROUP];
            hidden.preactivations(done.x.data() + j * inputs(), inputs(), z);
            for (int r = 0; r < GROUP; r++) gradient[r] += (z[r] >= 0 ? z[r] : Vector{}) * done.slope[j];
        }
        for (int r = 0; r < GROUP; r++) move(a, a_velocity, a0, v + r, gradient[r], of_rest);
    }

    // A weight that is a row of its own.
    void move(Buffer<T>& weight, Buffer<T>& velocity, Buffer<T>& initial, int64_t v, Vector gradient,
              const Update<T>& update) {
        Vector point = weight.data()[v];
        if (chunk->of_increments) point -= initial.data()[v];
        update.apply(weight.data()[v], velocity.data()[v], gradient, point, point * point);
    }

    void pack(Buffer<T>& to, const T* from, int64_t columns) {
        if (!from) return;
        to = Buffer<T>(vectors * columns);
        for (int64_t n = 0; n < neurons; n++)
            for (int64_t i = 0; i < columns; i++)
                to.data()[n / LANES * columns + i][n % LANES] = from[(at + n) * columns + i];
    }

    void unpack(Buffer<T>& from, T* to, int64_t columns) {
        if (!to) return;
        for (int64_t n = 0; n < neurons; n++)
            for (int64_t i = 0; i < columns; i++)
                to[(at + n) * columns + i] = from.data()[n / LANES * columns + i][n % LANES];
    }
};

// All of a member's steps, by a team of threads that share its slabs.
template <class T, int D, Trained TRAINED>
void train_member(const Chunk<T>& chunk, int64_t e, int64_t threads, std::vector<Slab<T, D, TRAINED>>& slabs) {
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

template <class T, int D, Trained TRAINED>
void train(const Chunk<T>& chunk, int64_t threads) {
    const int64_t slabs = (chunk.m + SLAB - 1) / SLAB;
    if (chunk.E < threads && slabs > 1) {
        std::vector<Slab<T, D, TRAINED>> own(slabs);
        for (int64_t e = 0; e < chunk.E; e++) train_member<T, D, TRAINED>(chunk, e, std::min(threads, slabs), own);
        return;
    }
    on_threads(chunk.E, threads, [&] {
        return [&chunk, own = std::vector<Slab<T, D, TRAINED>>(slabs)](int64_t e) mutable {
            train_member<T, D, TRAINED>(chunk, e, 1, own);
        };
    });
}

// Weights stay in registers where the number of inputs is known when this is compiled.
template <class T, Trained TRAINED>
void for_inputs(const Chunk<T>& chunk, int64_t threads) {
    if (chunk.d == 4) return train<T, 4, TRAINED>(chunk, threads);
    if constexpr (TRAINED == HIDDEN) switch (chunk.d) {
            case 2: return train<T, 2, TRAINED>(chunk, threads);
            case 3: return train<T, 3, TRAINED>(chunk, threads);
            case 6: return train<T, 6, TRAINED>(chunk, threads);
            case 8: return train<T, 8, TRAINED>(chunk, threads);
        }
    train<T, 0, TRAINED>(chunk, threads);
}

template <class T>
void for_trained(const Chunk<T>& chunk, int64_t threads) {
    switch (chunk.trained) {
        case HIDDEN: return for_inputs<T, HIDDEN>(chunk, threads);
        case FROZEN: return for_inputs<T, FROZEN>(chunk, threads);
        case LAST: return for_inputs<T, LAST>(chunk, threads);
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
