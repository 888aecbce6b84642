// The round trip of one task from a thread that blocks for its result: back to back (pingpong), the same with the whole
// process on one processor (pingpong_pinned), and each after a millisecond in which nothing happened (cold_ping).
//
// Counted are the median and the 99th percentile; the time of an iteration says little.

#include "contenders/contenders.hpp"
#include "suite/submit_and_collect.hpp"
#include "suite/suite.hpp"

#include <chrono>    // for std::chrono::milliseconds
#include <cstddef>   // for std::size_t
#include <cstdint>   // for std::uint64_t
#include <optional>  // for std::optional
#include <string>    // for std::string
#include <thread>    // for std::this_thread::sleep_for
#include <utility>   // for std::move
#include <vector>    // for std::vector

namespace {

enum class Pinned : bool { no, yes };

template <class Pool>
void add_ping(const std::string& workload, std::size_t trips, Pinned pinned, std::chrono::milliseconds idle) {
  suite::add_case<Pool>(workload, 1, trips, [=](benchmark::State& state, Pool& pool) {
    long result = 0;
    long expected = 0;
    const auto trip = [&](long value) {
      result += pool.submit(suite::Echo{value}).get();
      expected += value;
    };
    for (long i = 0; i < 100; ++i) trip(i);  // now all threads are there, those to be pinned among them
    std::optional<suite::PinnedToOneCpu> pin;
    if (pinned == Pinned::yes) pin.emplace();
    std::vector<std::uint64_t> times;
    times.reserve(trips);
    for (auto _ : state) {
      times.clear();
      for (std::size_t i = 0; i < trips; ++i) {
        if (idle.count() > 0) std::this_thread::sleep_for(idle);
        const suite::Clock::time_point start = suite::Clock::now();
        trip(static_cast<long>(i));
        times.push_back(suite::nanoseconds(suite::Clock::now() - start));
      }
    }
    suite::count_percentiles(state, times);
    return std::pair(result, expected);
  });
}

template <class Pool>
void add_pings(std::size_t trips) {
  add_ping<Pool>("pingpong", trips, Pinned::no, {});
  add_ping<Pool>("pingpong_pinned", trips, Pinned::yes, {});
  add_ping<Pool>("cold_ping", suite::scaled(300, 10), Pinned::no, std::chrono::milliseconds(1));
}

}  // namespace

void suite::add_cases() {
  contenders::for_each_pool([]<class Pool>() { add_pings<Pool>(scaled(20'000, 100)); });
  add_pings<contenders::StdAsync>(scaled(5'000, 100));
}
