// Independent tasks on threads of our own: torch's pool is not ours to use from here.
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
