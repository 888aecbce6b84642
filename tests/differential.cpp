// Programs made from seeds, of operations whose outcomes do not depend on who is faster, run on the pool without threads,
// in order of arrival and in orders drawn from seeds, and on pools with threads. What they see must be the same: the
// values and exceptions, whether cancel() did it, the order of a stream whose tasks are let go one by one, what wait() finds
// done, how often attempts and callbacks ran, and what the executor has counted. What follows from the program alone is
// held against that, too: all pools have most of the library's code in common, and its bugs.
#include <cohort/cohort.hpp>

#include <atomic>      // for atomic
#include <chrono>      // for microseconds
#include <cstddef>     // for size_t
#include <cstdint>     // for uint64_t
#include <deque>       // for deque
#include <exception>   // for exception_ptr
#include <functional>  // for ref
#include <optional>    // for optional
#include <random>      // for mt19937_64
#include <string>      // for to_string
#include <tuple>       // for tuple
#include <utility>     // for move
#include <vector>      // for vector

#include "catch.hpp"
#include "support.hpp"

using namespace cohort;
using namespace std::chrono_literals;

namespace {

struct Failure {
  int number;
};

/// How a future ended, as a number.
int number_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Failure& failure) {
    return 100'000 + failure.number;
  } catch (const TimeoutError&) {
    return 200'000;
  } catch (const CancelledError&) {
    return 300'000;
  }
}

Task<int> ending(AsyncFuture<int> future) {
  std::exception_ptr error;
  try {
    const int value = co_await future;
    co_return value;
  } catch (...) {
    error = std::current_exception();
  }
  co_return number_of(error);
}

std::uint64_t ending_of(const AsyncFuture<int>& future) {
  try {
    return static_cast<std::uint64_t>(future.get());
  } catch (...) {
    return static_cast<std::uint64_t>(number_of(std::current_exception()));
  }
}

Task<int> pass_on(AsyncFuture<int> future) {
  const int value = co_await future;
  co_return value;
}

Task<int> sum_up(std::vector<AsyncFuture<int>> futures) {
  int sum = 0;
  for (const AsyncFuture<int>& future : futures) {
    const int value = co_await ending(future);
    sum = (sum * 31 + value) % 99'991;
  }
  co_return sum;
}

Task<int> both(AsyncFuture<int> first, AsyncFuture<int> second) {
  const std::tuple<int, int> ends = co_await when_all(ending(std::move(first)), pass_on(std::move(second)));
  co_return (std::get<0>(ends) * 31 + std::get<1>(ends)) % 99'991;
}

/// The first of two, of which the other never comes.
Task<int> either(AsyncFuture<int> never, AsyncFuture<int> future) {
  const WhenAnyResult<int> first = co_await when_any(pass_on(std::move(never)), ending(std::move(future)));
  co_return static_cast<int>(first.index) * 50'000 + first.value % 50'000;
}

Task<int> nap(int number) {
  for (int i = 0; i < number % 4; ++i) co_await cohort::yield();
  co_await sleep_for(std::chrono::microseconds(number % 200));
  co_return number;
}

Task<int> take_permit(Semaphore& semaphore, int& inside, int number) {
  const Permit permit = co_await semaphore.acquire();
  const bool alone = ++inside == 1;
  co_await cohort::yield();
  --inside;
  co_return alone ? number : 400'000;
}

/// Between what was seen and what it must be.
constexpr const char* wrong = ", which must be ";

template <class Pool>
class Program {
 public:
  Program(std::uint64_t seed, ExecutorOptions options) : random_(seed), executor_(std::move(options)) {}

  [[nodiscard]] BasicAsyncExecutor<Pool>& executor() { return executor_; }

  /// What it saw, step by step.
  std::vector<std::string> run() {
    const std::size_t steps = 10 + below(30);
    for (std::size_t i = 0; i < steps; ++i) step();
    finish();
    return std::move(seen_);
  }

 private:
  struct Entry {
    AsyncFuture<int> future;
    std::optional<std::size_t> gate;  // what has to be opened before it ends
    bool endless = false;             // only a cancellation ends it
    int attempts = 0;
    int callbacks = 0;
    std::atomic<int> callbacks_called{0};
  };

  // Nothing here is drawn from a standard distribution: those differ between libraries.
  std::size_t below(std::size_t bound) { return random_() % bound; }
  void see(const char* what, std::uint64_t value) { seen_.push_back(what + (' ' + std::to_string(value))); }
  void see(const char* what, std::uint64_t value, std::uint64_t certain) {
    see(what, value);
    if (value != certain) seen_.back() += wrong + std::to_string(certain);
  }
  void see_cancelled(const char* what, const AsyncFuture<int>& future) {
    see(what, future.cancel() ? 1 : 0, 1);
    ++cancelled_;
  }

  // One that was submitted before, and ends without anything more from us.
  const AsyncFuture<int>* any_that_ends() {
    for (std::size_t tries = 0; !entries_.empty() && tries < 10; ++tries) {
      const Entry& entry = entries_[below(entries_.size())];
      if (!entry.endless && !entry.gate.has_value()) return &entry.future;
    }
    return nullptr;
  }

  Entry& add() {
    entries_.emplace_back();
    return entries_.back();
  }

  void step() {
    const int number = static_cast<int>(entries_.size()) + 1;
    const AsyncFuture<int>* const earlier = any_that_ends();
    switch (below(18)) {
      case 0: {
        auto body = [number] { return number; };
        add().future = executor_.submit(body);
        break;
      }
      case 1: {
        auto body = [number]() -> int { throw Failure{number}; };
        add().future = executor_.submit(body);
        break;
      }
      case 2:
        add().future = executor_.submit(nap, number);
        break;
      case 3: {
        std::vector<AsyncFuture<int>> futures;
        for (std::size_t i = below(5); i-- != 0;) {
          if (const AsyncFuture<int>* each = any_that_ends()) futures.push_back(*each);
        }
        add().future = executor_.submit(sum_up, std::move(futures));
        break;
      }
      case 4:
        if (earlier != nullptr) {
          Entry& entry = add();
          entry.future = executor_.submit(both, *earlier, never_.get_future());
          entry.endless = true;
        }
        break;
      case 5:
        if (earlier != nullptr) add().future = executor_.submit(either, never_.get_future(), *earlier);
        break;
      case 6: {
        auto body = [this, number]() -> Task<int> {
          AsyncFuture<int> inner = executor_.submit(nap, number);
          const int value = co_await std::move(inner);
          co_return value;
        };
        add().future = executor_.submit(body);
        break;
      }
      case 7: {
        auto body = [this, number] {
          const AsyncFuture<int> slow = executor_.submit(nap, number);
          const AsyncFuture<int> quick = executor_.submit([number] { return number; });
          return slow.get() + quick.get();
        };
        add().future = executor_.submit(body);
        break;
      }
      case 8: {
        Entry& entry = add();
        const int failures = static_cast<int>(below(4));
        auto body = [&entry, failures, number] {
          if (++entry.attempts <= failures) throw Failure{number};
          return number;
        };
        entry.future = executor_.submit({.retries = 2, .retry_delay = 50us}, body);
        break;
      }
      case 9:
        add().future = executor_.submit({.timeout = 500us}, pass_on, never_.get_future());
        break;
      case 10: {
        Entry& entry = add();
        entry.future = executor_.submit(pass_on, never_.get_future());
        entry.endless = true;
        break;
      }
      case 11: {
        Entry& entry = add();
        entry.gate = gates_.size();
        gates_.emplace_back();
        entry.future = executor_.submit(pass_on, gates_.back().get_future());
        break;
      }
      case 12:
        add().future = executor_.submit(take_permit, std::ref(semaphore_), std::ref(inside_), number);
        break;
      case 13: {
        if (entries_.empty()) break;
        Entry& entry = entries_[below(entries_.size())];
        ++entry.callbacks;
        entry.future.add_done_callback(
            [&entry](const AsyncFuture<int>& done) { entry.callbacks_called += done.done() ? 1 : 1000; });
        break;
      }
      case 14:
        if (earlier != nullptr) see("waited", static_cast<std::uint64_t>(sync_wait(ending(*earlier))));
        break;
      case 15: {
        std::vector<int> elements(below(12));
        for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<int>(i) * number;
        for (const int value : executor_.map({.buffer_size = 3, .chunk_size = 1 + below(3)}, nap, elements))
          see("mapped", static_cast<std::uint64_t>(value));
        break;
      }
      case 16:
        cancel_one();
        break;
      default:
        open_some();
        break;
    }
  }

  // One that cannot have ended: so this is the call that does it.
  void cancel_one() {
    for (Entry& entry : entries_) {
      if (!entry.endless && !entry.gate.has_value()) continue;
      see_cancelled("cancelled", entry.future);
      see("as", ending_of(entry.future), 300'000);
      see("and again", entry.future.cancel() ? 1 : 0, 0);
      entry.endless = false;
      entry.gate.reset();
      return;
    }
  }

  // All that wait for something from us are let go one by one, and come in that order.
  void open_some() {
    std::vector<Entry*> gated;
    std::vector<AsyncFuture<int>> futures;
    for (Entry& entry : entries_) {
      if (!entry.gate.has_value()) continue;
      gated.push_back(&entry);
      futures.push_back(entry.future);
    }
    if (gated.empty()) return;
    for (std::size_t i = gated.size(); i-- > 1;) std::swap(gated[i], gated[below(i + 1)]);
    const auto open = [this](Entry& entry) {
      gates_[*entry.gate].set_result(static_cast<int>(*entry.gate));
      entry.gate.reset();
    };
    const auto wait_for_first = [&](std::optional<Duration> timeout) {
      return sync_wait(wait(futures, {.timeout = timeout, .return_when = WaitStrategy::first_completed}));
    };
    see("done before", wait_for_first(0s).done.size(), 0);
    auto stream = as_completed(futures);
    open(*gated.front());
    const WaitResult<int> first = wait_for_first({});
    see("done first", first.done.size(), 1);
    see("not done", first.not_done.size(), futures.size() - 1);
    see("is the first", first.done.size() == 1 && first.done[0] == gated.front()->future ? 1 : 0, 1);
    auto next = stream.begin();
    for (std::size_t i = 0;;) {
      see("in order", *next == gated[i]->future ? 1 : 0, 1);
      see("next", static_cast<std::uint64_t>((*next).get()));
      if (++i == gated.size()) break;
      open(*gated[i]);
      ++next;
    }
  }

  void finish() {
    for (Entry& entry : entries_) {
      if (entry.endless) see_cancelled("cancelled in the end", entry.future);
      if (entry.gate.has_value()) gates_[*entry.gate].set_result(5);
    }
    // Before the shutdown, which refuses what tasks submit themselves.
    for (const Entry& entry : entries_) see("ended as", ending_of(entry.future));
    executor_.shutdown();
    for (const Entry& entry : entries_) {
      see("attempts", static_cast<std::uint64_t>(entry.attempts));
      see("callbacks", entry.callbacks_called == entry.callbacks ? 1 : 0, 1);
    }
    const ExecutorStats stats = executor_.stats();
    see("submitted", stats.submitted, stats.succeeded + stats.failed + stats.cancelled);
    see("succeeded", stats.succeeded);
    see("failed", stats.failed);
    see("counted as cancelled", stats.cancelled, cancelled_);
    see("left", stats.pending + stats.running, 0);
  }

  std::mt19937_64 random_;
  std::vector<std::string> seen_;
  std::deque<Entry> entries_;
  std::deque<AsyncPromise<int>> gates_;
  AsyncPromise<int> never_;
  Semaphore semaphore_{1};
  int inside_ = 0;
  std::uint64_t cancelled_ = 0;  // by us
  BasicAsyncExecutor<Pool> executor_;
};

using Seen = std::vector<std::string>;

// The first that follows from the program, and was seen otherwise.
std::string first_wrong(const Seen& seen) {
  for (const std::string& each : seen) {
    if (each.find(wrong) != std::string::npos) return each;
  }
  return "";
}

Seen on_manual_pool(std::uint64_t program, std::optional<std::uint64_t> order) {
  Program<ManualPool> run(program, {});
  if (order.has_value()) run.executor().pool().seed(*order);
  return run.run();
}

Seen on_thread_pool(std::uint64_t program, ExecutorOptions options) {
  return Program<ThreadPool>(program, std::move(options)).run();
}

// Where the two differ first.
std::string difference(const Seen& expected, const Seen& seen) {
  std::size_t i = 0;
  while (i < expected.size() && i < seen.size() && expected[i] == seen[i]) ++i;
  const auto at = [i](const Seen& all) { return i < all.size() ? all[i] : "nothing"; };
  if (i == expected.size() && i == seen.size()) return "";
  return "at " + std::to_string(i) + ": expected " + at(expected) + ", saw " + at(seen);
}

}  // namespace

TEST_CASE("whatever its order, and on any pool, a program whose outcome is certain has that outcome", "[R1][R2][R6]") {
  const auto programs = static_cast<std::uint64_t>(test::scaled(400));
  for (std::uint64_t program = 1; program <= programs; ++program) {
    CAPTURE(program);
    const Seen expected = on_manual_pool(program, std::nullopt);
    REQUIRE(first_wrong(expected) == "");
    REQUIRE(difference(expected, on_manual_pool(program, program)) == "");
    REQUIRE(difference(expected, on_manual_pool(program, ~program)) == "");
    for (const std::size_t workers : {std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
      CAPTURE(workers);
      REQUIRE(difference(expected, on_thread_pool(program, {.max_workers = workers})) == "");
    }
    // With a limit, even one that is never reached, tasks are submitted, counted and ended in other ways.
    const ExecutorOptions limited{.max_workers = 2, .max_concurrent_tasks = 10'000, .trace_tasks = true};
    REQUIRE(difference(expected, on_thread_pool(program, limited)) == "");
  }
}
