// Outputs of two-layer nets, f_r(x) = <a_r, relu(W x + b)>, on many samples: no activation is written to memory.
//
// A vector register holds a value of LANES samples, and a tile of TILE vectors passes by all neurons: a weight that is
// loaded serves the whole tile. A sample's output is a sum in the order of the neurons, whatever is computed with it.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "threads.h"

namespace {

// As wide as the processor's registers: the compiler splits wider vectors in a way that is twenty times as slow.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

constexpr int64_t TILE = 4;
constexpr int64_t TILES_A_TASK = 8;
constexpr int64_t MOST_INPUTS = 256;

template <class T>
struct Nets {
    const T *W, *b, *a, *W0, *b0;  // [E, m, d], [E, m], [E, k, m]; the frozen signs' [E, m, d], [E, m], else null
    const T* x;                    // [E, n, d]
    T* outputs;                    // [E, n, k]
    int64_t E, n, d, m, k;
};

template <class T, int D, int K>
class Tile {
  public:
    static constexpr int64_t LANES = VECTOR_BYTES / sizeof(T);
    typedef T Vector __attribute__((vector_size(VECTOR_BYTES)));

    explicit Tile(const Nets<T>& nets) : nets(nets), d(D ? D : nets.d), k(K ? K : nets.k), sums(K ? 0 : k * TILE) {}

    // Outputs of member e on the samples from `first` on, as many as a tile has or there are.
    void outputs(int64_t e, int64_t first) {
        const int64_t count = std::min(TILE * LANES, nets.n - first);
        Vector x[D ? D : MOST_INPUTS][TILE], sum_of_one[TILE] = {}, *sum = K ? sum_of_one : &sums[0].value;
        for (int64_t i = 0; i < d; i++)
            for (int64_t lane = 0; lane < TILE * LANES; lane++)
                x[i][lane / LANES][lane % LANES] = lane < count ? nets.x[(e * nets.n + first + lane) * d + i] : T(0);
        std::fill(sums.begin(), sums.end(), Sum{});
        for (int64_t neuron = e * nets.m; neuron < (e + 1) * nets.m; neuron++) {
            Vector z[TILE], sign[TILE];
            preactivations(nets.W + neuron * d, nets.b[neuron], x, z);
            if (nets.W0) preactivations(nets.W0 + neuron * d, nets.b0[neuron], x, sign);
            for (int64_t v = 0; v < TILE; v++) z[v] = (nets.W0 ? sign[v] : z[v]) < 0 ? Vector{} : z[v];
            for (int64_t r = 0; r < k; r++) {
                const T out = nets.a[(e * k + r) * nets.m + neuron - e * nets.m];
                for (int64_t v = 0; v < TILE; v++) sum[r * TILE + v] += out * z[v];
            }
        }
        for (int64_t lane = 0; lane < count; lane++)
            for (int64_t r = 0; r < k; r++)
                nets.outputs[(e * nets.n + first + lane) * k + r] = sum[r * TILE + lane / LANES][lane % LANES];
    }

  private:
    struct Sum {
        Vector value;  // a vector type alone would lose its alignment as a template's argument
    };
    const Nets<T>& nets;
    const int64_t d, k;
    std::vector<Sum> sums;  // [k, TILE], where there is more than one output

    void preactivations(const T* weights, T bias, const Vector (*x)[TILE], Vector* z) const {
        for (int64_t v = 0; v < TILE; v++) z[v] = Vector{} + bias;
        for (int64_t i = 0; i < d; i++)
            for (int64_t v = 0; v < TILE; v++) z[v] += weights[i] * x[i][v];
    }
};

template <class T, int D, int K>
void outputs_of(const Nets<T>& nets, int64_t threads) {
    const int64_t samples = TILE * Tile<T, D, K>::LANES * TILES_A_TASK, parts = (nets.n + samples - 1) / samples;
    on_threads(nets.E * parts, threads, [&] {
        return [&nets, parts, samples, tile = Tile<T, D, K>(nets)](int64_t i) mutable {
            const int64_t first = i % parts * samples, last = std::min(first + samples, nets.n);
            for (int64_t at = first; at < last; at += samples / TILES_A_TASK) tile.outputs(i / parts, at);
        };
    });
}

template <class T>
void for_shape(const Nets<T>& nets, int64_t threads) {
    if (nets.k > 1) return outputs_of<T, 0, 0>(nets, threads);
    if (nets.d == 4) return outputs_of<T, 4, 1>(nets, threads);
    outputs_of<T, 0, 1>(nets, threads);
}

}  // namespace

#define TWO_LAYER_OUTPUT(NAME, T)                                                                                      \
    extern "C" void NAME(const T* W, const T* b, const T* a, const T* W0, const T* b0, const T* x, T* outputs,         \
                         int64_t E, int64_t n, int64_t d, int64_t m, int64_t k, int64_t threads) {                    \
        for_shape<T>({W, b, a, W0, b0, x, outputs, E, n, d, m, k}, threads);                                           \
    }

TWO_LAYER_OUTPUT(two_layer_output_float32, float)
TWO_LAYER_OUTPUT(two_layer_output_float64, double)
