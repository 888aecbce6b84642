// As many producers as workers, from one to 64, on what processors there are: the same work all along, so that its time
// tells what is lost when there are more threads than processors.

#include "contenders/contenders.hpp"
#include "suite/submit_and_collect.hpp"
#include "suite/suite.hpp"

#include <cstddef>  // for std::size_t
#include <utility>  // for std::pair

void suite::add_cases() {
  const std::size_t count = scaled(200'000, 1000);
  for (std::size_t threads = 1; threads <= 64; threads *= 2) {
    contenders::for_each_pool([=]<class Pool>() {
      add_case<Pool>("contended", threads, count, [=](benchmark::State& state, Pool& pool) {
        const long expected = sum_below(count);
        long result = expected;
        Futures<Pool> futures = room_for_futures<Pool>(threads, count);
        for (auto _ : state) {
          const long once = submit_and_collect(pool, futures, count);
          if (once != expected) result = once;
        }
        return std::pair(result, expected);
      });
    });
  }
}
