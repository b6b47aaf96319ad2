// Threads of our own: torch's pool is not ours to use from here.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

// Calls task(i) once for every i < tasks; `make_task` is called once a thread, so that a task may own its buffers.
template <class MakeTask>
void on_threads(int64_t tasks, int64_t threads, MakeTask make_task) {
    std::atomic<int64_t> next{0};
    auto work = [&] {
        auto task = make_task();
        for (int64_t i; (i = next++) < tasks;) task(i);
    };
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads && i < tasks; i++) others.emplace_back(work);
    work();
    for (auto& each : others) each.join();
}

// Calls work(rank, wait) on each of `size` threads at once; wait() returns when all of them have called it.
template <class Work>
void as_team(int64_t size, Work work) {
    std::atomic<int64_t> arrived{0};
    auto wait = [&] {
        if (size == 1) return;
        // Every meeting adds `size` arrivals, so that the count alone tells the meetings apart.
        const int64_t last = (arrived.fetch_add(1) / size + 1) * size;
        for (int spins = 0; arrived.load(std::memory_order_acquire) < last;)
            if (++spins > 2000) std::this_thread::yield();
    };
    std::vector<std::thread> others;
    for (int64_t rank = 1; rank < size; rank++) others.emplace_back([&, rank] { work(rank, wait); });
    work(int64_t(0), wait);
    for (auto& each : others) each.join();
}
