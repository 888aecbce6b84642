// What it costs to await a coroutine that returns at once, ten million times.

#include "contenders/cohort.hpp"
#include "suite/submit_and_collect.hpp"
#include "suite/suite.hpp"

#include <cstddef>  // for std::size_t

#if COHORT_BENCHMARK_ASIO
#include "contenders/asio.hpp"
#endif

namespace {

using contenders::Cohort;

cohort::Task<long> same(long value) { co_return value; }

cohort::Task<long> await_many(std::size_t count) {
  long sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const long value = co_await same(static_cast<long>(i));
    sum += value;
  }
  co_return sum;
}

#if COHORT_BENCHMARK_ASIO
contenders::asio::awaitable<long> asio_same(long value) { co_return value; }

contenders::asio::awaitable<long> asio_await_many(std::size_t count) {
  long sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const long value = co_await asio_same(static_cast<long>(i));
    sum += value;
  }
  co_return sum;
}
#endif

}  // namespace

void suite::add_cases() {
  const std::size_t count = scaled(10'000'000, 100);
  add_call<Cohort>("switch", 1, count, sum_below(count),
                   [=](Cohort& contender) { return contender.executor().submit(await_many, count).get(); });
#if COHORT_BENCHMARK_ASIO
  using contenders::Asio;
  add_call<Asio>("switch", 1, count, sum_below(count),
                 [=](Asio& contender) { return contender.run(asio_await_many(count)); });
#endif
}
