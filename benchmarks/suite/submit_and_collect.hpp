// Threads from outside that submit trivial callables to a pool and collect every future.
#pragma once

#include <atomic>   // for std::atomic
#include <cstddef>  // for std::size_t
#include <thread>   // for std::thread
#include <utility>  // for std::declval, std::move
#include <vector>   // for std::vector

namespace suite {

/// What is submitted: the number that it was made with comes back.
struct Echo {
  long value;
  long operator()() const { return value; }
};

/// Room for the futures, made once so that it is not part of what is measured.
template <class Pool>
using Futures = std::vector<std::vector<decltype(std::declval<Pool&>().submit(Echo{}))>>;
template <class Pool>
[[nodiscard]] Futures<Pool> room_for_futures(std::size_t producers, std::size_t count) {
  Futures<Pool> futures(producers);
  for (auto& each : futures) each.reserve(count / producers + 1);
  return futures;
}

/// Submits the numbers below `count`, each producer a share, and adds up what comes back.
template <class Pool>
long submit_and_collect(Pool& pool, Futures<Pool>& futures, std::size_t count) {
  const std::size_t producers = futures.size();
  std::atomic<long> sum{0};
  const auto produce = [&](std::size_t producer) {
    auto& own = futures[producer];
    for (std::size_t i = producer; i < count; i += producers) own.push_back(pool.submit(Echo{static_cast<long>(i)}));
    long part = 0;
    for (auto& future : own) part += std::move(future).get();
    own.clear();
    sum += part;
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < producers; ++i) threads.emplace_back(produce, i);
  produce(0);
  for (std::thread& thread : threads) thread.join();
  return sum;
}

[[nodiscard]] inline long sum_below(std::size_t count) {
  const auto n = static_cast<long>(count);
  return n * (n - 1) / 2;
}

}  // namespace suite
