// Multiply-adds on data in registers, as many as the processor can do at once: the most that any float32 code reaches.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int BYTES = 64, SUMS = 16;
#elif defined(__AVX__)
constexpr int BYTES = 32, SUMS = 12;
#else
constexpr int BYTES = 16, SUMS = 12;
#endif
typedef float Vector __attribute__((vector_size(BYTES)));

// FLOP/s of all threads together.
extern "C" double peak(int64_t threads, int64_t rounds) {
    std::atomic<float> kept{0};
    auto work = [&] {
        Vector sums[SUMS], factor = Vector{} + 0.999f, added = Vector{} + 1e-3f;
        for (int s = 0; s < SUMS; s++) sums[s] = Vector{} + float(s);  // else one sum would stand for all
        for (int64_t i = 0; i < rounds; i++)
            for (int s = 0; s < SUMS; s++) sums[s] = sums[s] * factor + added;
        for (int s = 1; s < SUMS; s++) sums[0] += sums[s];
        kept = kept + sums[0][0];  // so that the loop is not left out
    };
    auto started = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; i++) others.emplace_back(work);
    work();
    for (auto& each : others) each.join();
    std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
    return 2.0 * threads * rounds * SUMS * (BYTES / sizeof(float)) / taken.count();
}
