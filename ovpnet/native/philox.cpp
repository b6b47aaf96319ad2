// The words of ovpnet/problem/philox.py and the minibatches of ovpnet/training/schedule.py: the same numbers, many times faster.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "threads.h"

namespace {

constexpr int LANES = 16;
constexpr int64_t PIECE = 1 << 16;  // words that a thread makes at a time
constexpr uint32_t MINIBATCH = 6;  // ovpnet.problem.streams.Stream
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint64_t Products __attribute__((vector_size(8 * LANES)));

// Philox4x32-10 at the counters (position, block, stream), four words each: words [start, stop) of the block.
template <class Word>
void philox_words(uint64_t seed, uint32_t stream, uint32_t block, int64_t start, int64_t stop, Word* out) {
    for (int64_t first = start / 4; 4 * first < stop; first += LANES) {
        Words c[4];
        for (int lane = 0; lane < LANES; lane++) {
            c[0][lane] = uint32_t(first + lane);
            c[1][lane] = uint32_t(uint64_t(first + lane) >> 32);
            c[2][lane] = block;
            c[3][lane] = stream;
        }
        uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
        for (int round = 0; round < 10; round++) {
            Products p0 = __builtin_convertvector(c[0], Products) * 0xD2511F53u;
            Products p1 = __builtin_convertvector(c[2], Products) * 0xCD9E8D57u;
            c[0] = __builtin_convertvector(p1 >> 32, Words) ^ c[1] ^ k0;
            c[1] = __builtin_convertvector(p1, Words);
            c[2] = __builtin_convertvector(p0 >> 32, Words) ^ c[3] ^ k1;
            c[3] = __builtin_convertvector(p0, Words);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        uint32_t block_words[4 * LANES];
        for (int lane = 0; lane < LANES; lane++)
            for (int each = 0; each < 4; each++) block_words[4 * lane + each] = c[each][lane];
        int64_t from = std::max(start, 4 * first), to = std::min(stop, 4 * first + 4 * LANES);
        std::copy(block_words + (from - 4 * first), block_words + (to - 4 * first), out + (from - start));
    }
}

// A member's buffers.
struct Orders {
    std::vector<uint32_t> drawn, place;
    std::vector<uint64_t> sorted;

    // The samples 0..n-1 in the order of the epoch's words; of equal words the earlier sample comes first.
    void epoch(uint64_t seed, uint32_t number, int64_t n) {
        drawn.resize(n);
        sorted.resize(n);
        philox_words(seed, MINIBATCH, number, 0, n, drawn.data());
        // Buckets by the first bits hold about one sample each; what is left is nearly sorted.
        int bits = 1;
        while (bits < 16 && (int64_t(1) << bits) < n) bits++;
        int shift = 32 - bits;
        place.assign((size_t(1) << bits) + 1, 0);
        for (uint32_t word : drawn) place[(word >> shift) + 1]++;
        for (size_t bucket = 1; bucket < place.size(); bucket++) place[bucket] += place[bucket - 1];
        for (int64_t i = 0; i < n; i++) sorted[place[drawn[i] >> shift]++] = uint64_t(drawn[i]) << 32 | uint64_t(i);
        for (int64_t i = 1; i < n; i++) {
            uint64_t moved = sorted[i];
            int64_t to = i;
            for (; to > 0 && sorted[to - 1] > moved; to--) sorted[to] = sorted[to - 1];
            sorted[to] = moved;
        }
    }
};

}  // namespace

// Words out [rows, stop - start] of the rows' seeds and blocks.
extern "C" void words(int64_t rows, const int64_t* seeds, int64_t stream, const int64_t* blocks, int64_t start,
                      int64_t stop, int64_t* out, int64_t threads) {
    const int64_t length = stop - start, pieces = (length + PIECE - 1) / PIECE;
    on_threads(rows * pieces, threads, [=] {
        return [=](int64_t i) {
            const int64_t row = i / pieces, from = i % pieces * PIECE, to = std::min(length, from + PIECE);
            philox_words(seeds[row], uint32_t(stream), uint32_t(blocks[row]), start + from, start + to,
                         out + row * length + from);
        };
    });
}

// Indices out [members, last - first] of the samples that members take at the positions [first, last) of their streams:
// with replacement, or in shuffled epochs.
extern "C" void minibatches(int64_t members, const int64_t* seeds, const int64_t* samples, int64_t first, int64_t last,
                            int64_t shuffle, int64_t* out, int64_t threads) {
    on_threads(members, threads, [=] {
        return [=, orders = Orders()](int64_t e) mutable {
            int64_t n = samples[e], *taken = out + e * (last - first);
            if (shuffle) {
                for (int64_t number = first / n; number * n < last; number++) {
                    orders.epoch(seeds[e], uint32_t(number), n);
                    for (int64_t i = std::max(first, number * n); i < std::min(last, number * n + n); i++)
                        taken[i - first] = uint32_t(orders.sorted[i - number * n]);
                }
            } else {
                orders.drawn.resize(last - first);
                philox_words(seeds[e], MINIBATCH, 0, first, last, orders.drawn.data());
                for (int64_t i = 0; i < last - first; i++) taken[i] = uint64_t(orders.drawn[i]) * uint64_t(n) >> 32;
            }
        };
    });
}
