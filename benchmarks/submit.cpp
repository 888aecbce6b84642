// Trivial callables, a million of them: submitted by one and by two threads from outside (submit1, submit2), and by a
// task, all at once (nested) or one after the other (nested_seq). Every result is collected.

#include "contenders/contenders.hpp"
#include "suite/submit_and_collect.hpp"
#include "suite/suite.hpp"

#include <atomic>   // for std::atomic
#include <cstddef>  // for std::size_t
#include <future>   // for std::promise
#include <string>   // for std::string
#include <vector>   // for std::vector

namespace {

using contenders::Cohort;
using suite::Echo;

template <class Pool>
void add_submit(std::size_t producers, std::size_t workers, std::size_t count) {
  suite::add_case<Pool>("submit" + std::to_string(producers), workers, count,
                        [producers, count](benchmark::State& state, Pool& pool) {
                          const long expected = suite::sum_below(count);
                          long result = expected;
                          suite::Futures<Pool> futures = suite::room_for_futures<Pool>(producers, count);
                          for (auto _ : state) {
                            const long once = suite::submit_and_collect(pool, futures, count);
                            if (once != expected) result = once;
                          }
                          return std::pair(result, expected);
                        });
}

// A task submits them all, then awaits all.
cohort::Task<long> nested(cohort::AsyncExecutor* executor, std::size_t count) {
  std::vector<cohort::AsyncFuture<long>> futures;
  futures.reserve(count);
  for (std::size_t i = 0; i < count; ++i) futures.push_back(executor->submit(Echo{static_cast<long>(i)}));
  long sum = 0;
  for (cohort::AsyncFuture<long>& future : futures) {
    const long value = co_await std::move(future);
    sum += value;
  }
  co_return sum;
}

// The same, but awaits each before it submits the next.
cohort::Task<long> nested_in_sequence(cohort::AsyncExecutor* executor, std::size_t count) {
  long sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    cohort::AsyncFuture<long> future = executor->submit(Echo{static_cast<long>(i)});
    const long value = co_await std::move(future);
    sum += value;
  }
  co_return sum;
}

#if COHORT_BENCHMARK_TBB
// No futures here: each call writes its result where the group's owner finds it.
long tbb_nested(std::size_t count) {
  std::vector<long> results(count);
  tbb::task_group group;
  for (std::size_t i = 0; i < count; ++i)
    group.run([call = Echo{static_cast<long>(i)}, &result = results[i]] { result = call(); });
  group.wait();
  long sum = 0;
  for (const long result : results) sum += result;
  return sum;
}

long tbb_nested_in_sequence(std::size_t count) {
  tbb::task_group group;
  long sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    long result = 0;
    group.run([call = Echo{static_cast<long>(i)}, &result] { result = call(); });
    group.wait();
    sum += result;
  }
  return sum;
}

// A group, without futures, from outside: the caller takes part in the work while it waits.
class TbbGroup : public contenders::Tbb {
 public:
  static constexpr const char* name = "tbb_group";
  using Tbb::Tbb;
};
#endif

#if COHORT_BENCHMARK_ASIO || COHORT_BENCHMARK_PLAIN_POOL
// For pools whose workers must not block: the last call tells whoever waits outside.
template <class Post>
long post_and_count(std::size_t count, Post post) {
  std::vector<long> results(count);
  std::atomic<std::size_t> missing{count};
  std::promise<void> done;
  post([&] {
    for (std::size_t i = 0; i < count; ++i) {
      post([call = Echo{static_cast<long>(i)}, &result = results[i], &missing, &done] {
        result = call();
        if (missing.fetch_sub(1) == 1) done.set_value();
      });
    }
  });
  done.get_future().wait();
  long sum = 0;
  for (const long result : results) sum += result;
  return sum;
}
#endif

#if COHORT_BENCHMARK_ASIO
contenders::asio::awaitable<long> asio_echo(long value) { co_return value; }

contenders::asio::awaitable<long> asio_nested_in_sequence(contenders::asio::thread_pool* pool, std::size_t count) {
  long sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const long value = co_await contenders::asio::co_spawn(pool->get_executor(), asio_echo(static_cast<long>(i)),
                                                           contenders::asio::use_awaitable);
    sum += value;
  }
  co_return sum;
}
#endif

}  // namespace

void suite::add_cases() {
  const std::size_t million = scaled(1'000'000, 100);
  const long sum = sum_below(million);
  for (const std::size_t workers : {std::size_t{1}, std::size_t{2}}) {
    for (const std::size_t producers : {std::size_t{1}, std::size_t{2}}) {
      contenders::for_each_pool([=]<class Pool>() { add_submit<Pool>(producers, workers, million); });
      if (workers == 1) add_submit<contenders::StdAsync>(producers, workers, scaled(20'000, 100));
    }
#if COHORT_BENCHMARK_TBB
    add_call<TbbGroup>("submit1", workers, million, sum,
                       [=](TbbGroup& tbb) { return tbb.execute([=] { return tbb_nested(million); }); });
#endif

    add_call<Cohort>("nested", workers, million, sum, [=](Cohort& contender) {
      return contender.executor().submit(nested, &contender.executor(), million).get();
    });
    add_call<Cohort>("nested_seq", workers, million, sum, [=](Cohort& contender) {
      return contender.executor().submit(nested_in_sequence, &contender.executor(), million).get();
    });
#if COHORT_BENCHMARK_TBB
    using contenders::Tbb;
    add_call<Tbb>("nested", workers, million, sum,
                  [=](Tbb& tbb) { return tbb.execute([=] { return tbb_nested(million); }); });
    add_call<Tbb>("nested_seq", workers, million, sum,
                  [=](Tbb& tbb) { return tbb.execute([=] { return tbb_nested_in_sequence(million); }); });
#endif
#if COHORT_BENCHMARK_ASIO
    using contenders::Asio;
    add_call<Asio>("nested", workers, million, sum, [=](Asio& contender) {
      return post_and_count(million, [&](auto call) { contenders::asio::post(contender.pool(), std::move(call)); });
    });
    add_call<Asio>("nested_seq", workers, million, sum,
                   [=](Asio& contender) { return contender.run(asio_nested_in_sequence(&contender.pool(), million)); });
#endif
#if COHORT_BENCHMARK_PLAIN_POOL
    using contenders::PlainPool;
    add_call<PlainPool>("nested", workers, million, sum, [=](PlainPool& contender) {
      return post_and_count(million, [&](auto call) { contender.post(std::move(call)); });
    });
#endif
  }
}
