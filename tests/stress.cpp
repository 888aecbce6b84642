// Races, each a few thousand times with what must hold counted afterwards: exactly one terminal state per task, every
// callback once, nothing lost, nothing left.
#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>      // for atomic
#include <chrono>      // for microseconds
#include <cstdint>     // for uint64_t
#include <exception>   // for make_exception_ptr
#include <memory>      // for unique_ptr
#include <optional>    // for optional
#include <stdexcept>   // for runtime_error
#include <stop_token>  // for stop_source
#include <string>      // for string
#include <thread>      // for jthread
#include <utility>     // for move, forward
#include <vector>      // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

/// Threads that do something together, round after round: nobody begins a round before all have ended the last. They
/// spin, so that they set off as close together as can be.
class Team {
 public:
  explicit Team(int members) : members_(members) {}

  void meet() {
    const int round = round_;
    if (++arrived_ == members_) {
      arrived_ = 0;
      ++round_;
    } else {
      while (round_ == round) std::this_thread::yield();
    }
  }

  /// Called by each member in each round.
  template <class Action>
  void together(Action&& action) {
    meet();
    std::forward<Action>(action)();
    meet();
  }

 private:
  const int members_;
  std::atomic<int> arrived_{0};
  std::atomic<int> round_{0};
};

/// Wastes a little time, different from round to round, to shift threads against each other.
void dither(int amount) {
  std::atomic<int> sink{0};
  for (int i = 0; i < amount; ++i) sink.store(i, std::memory_order_relaxed);
}

/// How futures have ended.
struct Outcome {
  std::atomic<int> values{0};
  std::atomic<int> failures{0};
  std::atomic<int> cancellations{0};

  template <class T>
  void count(const AsyncFuture<T>& future) {
    if (!future.done()) return;
    if (future.cancelled())
      ++cancellations;
    else if (future.exception())
      ++failures;
    else
      ++values;
  }
  [[nodiscard]] int total() const { return values + failures + cancellations; }
};

Task<int> briefly(int x) {
  if (x % 3 == 0) co_await cohort::yield();
  if (x % 7 == 0) co_await sleep_for(std::chrono::microseconds(x % 40));
  if (x % 5 == 0) throw std::runtime_error("fifth");
  co_return x;
}

}  // namespace

TEST_CASE("completing and cancelling a task: exactly one wins, and cancel tells the truth", "[R1][R6]") {
  const int count = scaled(20'000);
  Outcome outcome;
  std::atomic<int> lies{0};
  std::atomic<int> bodies{0};
  std::uint64_t submitted = 0, succeeded = 0, failed = 0, cancelled = 0;
  {
    AsyncExecutor executor(2);
    for (int i = 0; i < count; ++i) {
      std::atomic<int> started{0};
      auto body = [&](int x) -> Task<int> {
        ++started;
        ++bodies;
        int value = co_await briefly(x);
        co_return value;
      };
      AsyncFuture<int> future = executor.submit(body, i);
      dither(i % 700);
      const bool asked = future.cancel();
      future.wait();
      const bool cancelled_now = future.cancelled();
      if (!asked && cancelled_now) ++lies;           // it said that it had come too late
      if (cancelled_now && future.cancel()) ++lies;  // done is done, for ever
      if (started > 1) ++lies;
      if (started == 0 && !cancelled_now) ++lies;
      outcome.count(future);
    }
    executor.shutdown();
    const auto stats = executor.stats();
    submitted = stats.submitted, succeeded = stats.succeeded, failed = stats.failed, cancelled = stats.cancelled;
    REQUIRE(stats.pending == 0);
    REQUIRE(stats.running == 0);
  }
  REQUIRE(lies == 0);
  REQUIRE(outcome.total() == count);
  REQUIRE(submitted == static_cast<std::uint64_t>(count));
  REQUIRE(succeeded == static_cast<std::uint64_t>(outcome.values));
  REQUIRE(failed == static_cast<std::uint64_t>(outcome.failures));
  REQUIRE(cancelled == static_cast<std::uint64_t>(outcome.cancellations));
}

TEST_CASE("two threads cancel one queued task: one of them did it, and its body never runs", "[R6]") {
  const int rounds = scaled(5000);
  AsyncExecutor executor(1);
  Team team(2);
  std::optional<AsyncFuture<void>> future;
  std::atomic<int> truths{0};
  std::atomic<int> ran{0};
  std::jthread other([&] {
    for (int i = 0; i < rounds; ++i) {
      team.together([&] {
        if (future->cancel()) ++truths;
      });
    }
  });
  auto body = [&] { ++ran; };
  int wrong = 0;
  Occupy occupied(executor);  // nothing starts: each cancellation is of a queued task
  for (int i = 0; i < rounds; ++i) {
    future = executor.submit(body);
    truths = 0;
    team.together([&] {
      if (future->cancel()) ++truths;
    });
    if (truths != 1 || !future->cancelled()) ++wrong;
  }
  other.join();
  occupied.release();
  executor.shutdown();
  REQUIRE(wrong == 0);
  REQUIRE(ran == 0);
}

TEST_CASE("setting a promise twice from two threads: one set counts, the other throws") {
  const int rounds = scaled(10'000);
  Team team(3);
  std::optional<AsyncPromise<int>> promise;
  std::optional<AsyncFuture<int>> future;
  std::atomic<int> refused{0};
  auto set = [&](int value) {
    try {
      if (value > 0)
        promise->set_result(value);
      else
        promise->set_exception(std::make_exception_ptr(std::runtime_error("set")));
    } catch (const InvalidStateError&) {
      ++refused;
    }
  };
  auto work = [&](int value) {
    for (int i = 0; i < rounds; ++i) {
      team.together([&] {
        dither(i % 50);
        set(value);
      });
    }
  };
  std::jthread one([&] { work(1); });
  std::jthread two([&] { work(-1); });
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    promise.emplace();
    future = promise->get_future();
    refused = 0;
    bool value = false;
    team.together([&] {
      try {
        value = future->get() == 1;
      } catch (const std::runtime_error&) {
      }
    });
    if (refused != 1 || !future->done() || value == static_cast<bool>(future->exception())) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a promise that is set while its future is cancelled, waited for and given callbacks has one outcome for all",
          "[R1]") {
  const int rounds = scaled(5000);
  Team team(4);
  std::optional<AsyncPromise<int>> promise;
  std::optional<AsyncFuture<int>> future;
  std::atomic<int> set{0}, cancelled{0}, called{0}, got{0};
  std::jthread setter([&] {
    for (int i = 0; i < rounds; ++i) {
      team.together([&] {
        dither(i % 90);
        try {
          promise->set_result(i);
          ++set;
        } catch (const InvalidStateError&) {
        }
        promise.reset();
      });
    }
  });
  std::jthread canceller([&] {
    for (int i = 0; i < rounds; ++i) {
      team.together([&] {
        dither(i % 70);
        if (AsyncFuture<int>(*future).cancel()) ++cancelled;
      });
    }
  });
  std::jthread caller([&] {
    for (int i = 0; i < rounds; ++i) {
      team.together([&] {
        dither(i % 80);
        for (int k = 0; k < 3; ++k) {
          future->add_done_callback([&](const AsyncFuture<int>& done) {
            if (done.done()) ++called;
          });
        }
      });
    }
  });
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    promise.emplace();
    future = promise->get_future();
    set = cancelled = called = got = 0;
    team.together([&] {
      try {
        if (future->get() == i) ++got;
      } catch (const CancelledError&) {
      }
    });
    // The callbacks of a future that was done in time may have run in another thread: all are through here.
    if (called != 3) ++wrong;
    if (got != (future->cancelled() ? 0 : 1)) ++wrong;
    if (future->cancelled() && cancelled != 1) ++wrong;  // to ask in vain is no mistake
    if (!future->cancelled() && set != 1) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("callbacks that are added while a task completes are each called once, in the order added on either thread") {
  const int rounds = scaled(3000);
  AsyncExecutor executor(2);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    Log<int> here;   // called at once, since the task was done already
    Log<int> there;  // called by the worker that completed it
    const std::thread::id caller = std::this_thread::get_id();
    auto body = [](int x) {
      dither(x);
      return x;
    };
    AsyncFuture<int> future = executor.submit(body, round % 300);
    for (int i = 0; i < 8; ++i) {
      future.add_done_callback(
          [&, i](const AsyncFuture<int>&) { (std::this_thread::get_id() == caller ? here : there).add(i); });
    }
    future.wait();
    if (!eventually([&] { return here.size() + there.size() >= 8; })) ++wrong;
    // Those that came in time are the first of the eight; those that came too late, the rest.
    std::vector<int> called = there.entries();
    for (const int i : here.entries()) called.push_back(i);
    if (called != std::vector{0, 1, 2, 3, 4, 5, 6, 7}) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("dropping the last handle while the task completes neither leaks nor loses the task", "[R8]") {
  Tracked::live = 0;
  std::atomic<int> ran{0};
  const int count = scaled(30'000);
  {
    AsyncExecutor executor(2);
    auto body = [&](int x) -> Task<Tracked> {
      if (x % 4 == 0) co_await cohort::yield();
      ++ran;
      co_return Tracked(x);
    };
    for (int i = 0; i < count; ++i) {
      std::optional<AsyncFuture<Tracked>> future = executor.submit(body, i);
      AsyncFuture<Tracked> copy = *future;
      dither(i % 200);
      if (i % 3 == 0) copy.add_done_callback([](const AsyncFuture<Tracked>&) {});
      future.reset();
    }
  }
  REQUIRE(ran == count);
  REQUIRE(Tracked::live == 0);
}

TEST_CASE("two threads drop the last two handles") {
  const int rounds = scaled(5000);
  Tracked::live = 0;
  {
    AsyncExecutor executor(2);
    Team team(2);
    std::optional<AsyncFuture<Tracked>> first;
    std::optional<AsyncFuture<Tracked>> second;
    std::jthread other([&] {
      for (int i = 0; i < rounds; ++i) {
        team.together([&] {
          dither(i % 60);
          second.reset();
        });
      }
    });
    auto body = [](int x) { return Tracked(x); };
    for (int i = 0; i < rounds; ++i) {
      first = executor.submit(body, i);
      second = first;
      if (i % 2 == 0) first->wait();
      team.together([&] {
        dither(i % 50);
        first.reset();
      });
    }
  }
  REQUIRE(Tracked::live == 0);
}

TEST_CASE("a result that is awaited with a timeout: value or TimeoutError, and the value later") {
  AsyncExecutor executor(3);
  std::atomic<int> values{0}, timeouts{0}, wrong{0};
  const int rounds = scaled(300);
  auto child = [](int x) -> Task<int> {
    co_await sleep_for(std::chrono::microseconds(x % 200));
    co_return x;
  };
  auto body = [&](int seed) -> Task<> {
    for (int i = 0; i < rounds; ++i) {
      AsyncFuture<int> future = executor.submit(child, seed + i);
      bool timed_out = false;
      try {
        int value = co_await future.result(std::chrono::microseconds((seed * 31 + i * 7) % 200));
        ++(value == seed + i ? values : wrong);
      } catch (const TimeoutError&) {
        timed_out = true;
        ++timeouts;
      }
      if (timed_out) {
        int value = co_await std::move(future);
        if (value != seed + i) ++wrong;
      }
    }
  };
  std::vector<AsyncFuture<void>> work;
  for (int i = 0; i < 8; ++i) work.push_back(executor.submit(body, i * 1000));
  for (const AsyncFuture<void>& future : work) REQUIRE_NOTHROW(future.get());
  REQUIRE(wrong == 0);
  REQUIRE(values + timeouts == 8 * rounds);
}

TEST_CASE("attempts that time out while they complete end in one way", "[R1]") {
  AsyncExecutor executor(2);
  Outcome outcome;
  std::vector<AsyncFuture<int>> futures;
  const int count = scaled(3000);
  auto body = [](int x) -> Task<int> {
    co_await sleep_for(std::chrono::microseconds(x % 300));
    co_return x;
  };
  for (int i = 0; i < count; ++i)
    futures.push_back(executor.submit(SubmitOptions{.timeout = std::chrono::microseconds(i * 7 % 300)}, body, i));
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    const AsyncFuture<int>& future = futures[static_cast<std::size_t>(i)];
    try {
      if (future.get() != i) ++wrong;
    } catch (const TimeoutError&) {
    }
    outcome.count(future);
  }
  REQUIRE(wrong == 0);
  REQUIRE(outcome.total() == count);
  REQUIRE(outcome.cancellations == 0);
}

TEST_CASE("submitting while the executor shuts down: accepted and ended, or refused", "[R4]") {
  for (int round = 0; round < scaled(200); ++round) {
    std::atomic<int> accepted{0}, refused{0}, ran{0};
    std::vector<std::vector<AsyncFuture<int>>> futures(3);
    AsyncExecutor executor(2);
    {
      auto body = [&](int x) {
        ++ran;
        return x;
      };
      Team start(4);
      std::vector<std::jthread> submitters;
      for (std::size_t t = 0; t < 3; ++t) {
        submitters.emplace_back([&, t] {
          start.meet();
          for (int i = 0; i < 200; ++i) {
            try {
              futures[t].push_back(executor.submit(body, i));
              ++accepted;
            } catch (const ExecutorShutdownError&) {
              ++refused;
            }
          }
        });
      }
      start.meet();
      dither(round * 10);
      executor.shutdown(ShutdownOptions{.wait = true, .cancel_futures = round % 2 == 1});
      submitters.clear();
    }
    REQUIRE(accepted + refused == 600);
    Outcome outcome;
    for (const auto& list : futures)
      for (const AsyncFuture<int>& future : list) outcome.count(future);
    REQUIRE(outcome.total() == accepted);
    REQUIRE(outcome.values == ran);
    if (round % 2 == 0) {
      REQUIRE(ran == accepted);
    }
    const auto stats = executor.stats();
    REQUIRE(stats.submitted == static_cast<std::uint64_t>(accepted));
    REQUIRE(stats.succeeded + stats.failed + stats.cancelled == stats.submitted);
  }
}

TEST_CASE("every thread that shuts an executor down waits for its end", "[R5]") {
  for (int round = 0; round < scaled(300); ++round) {
    AsyncExecutor executor(2);
    std::atomic<int> running{0};
    std::atomic<int> too_early{0};
    auto body = [&]() -> Task<> {
      ++running;
      co_await sleep_for(300us);
      --running;
    };
    for (int i = 0; i < 20; ++i) (void)executor.submit(body);
    std::vector<std::jthread> closers;
    for (int t = 0; t < 3; ++t) {
      closers.emplace_back([&, t] {
        dither(t * round);
        executor.shutdown();
        if (running != 0) ++too_early;
      });
    }
    closers.clear();
    REQUIRE(too_early == 0);
    REQUIRE(executor.stats().succeeded == 20);
  }
}

TEST_CASE("executors come and go with work still under way") {
  std::atomic<int> ran{0};
  const int rounds = scaled(500);
  auto leaf = [&]() -> Task<> {
    co_await cohort::yield();
    ++ran;
  };
  for (int round = 0; round < rounds; ++round) {
    AsyncExecutor executor(1 + static_cast<std::size_t>(round % 4));
    for (int i = 0; i < 10; ++i) (void)executor.submit(leaf);
  }
  REQUIRE(ran == 10 * rounds);
}

TEST_CASE("tasks that submit tasks while the executor shuts down are all ended", "[R4]") {
  for (int round = 0; round < scaled(200); ++round) {
    std::atomic<int> accepted{0}, ended{0};
    auto leaf = [&]() -> Task<> {
      co_await cohort::yield();
      ++ended;
    };
    auto spawner = [&](AsyncExecutor* executor) -> Task<> {
      for (int i = 0; i < 50; ++i) {
        try {
          (void)executor->submit(leaf);
          ++accepted;
        } catch (const ExecutorShutdownError&) {
        }
        if (i % 8 == 0) co_await cohort::yield();
      }
    };
    {
      AsyncExecutor executor(2);
      for (int i = 0; i < 4; ++i) (void)executor.submit(spawner, &executor);
      dither(round * 20);
      executor.shutdown(ShutdownOptions{.wait = round % 2 == 0});
    }
    REQUIRE(ended == accepted);
  }
}

TEST_CASE("streams that are destroyed while their elements complete leave nothing behind") {
  Tracked::live = 0;
  std::atomic<int> started{0}, ended{0};
  {
    AsyncExecutor executor(3);
    auto element = [&](int x) -> Task<Tracked> {
      ++started;
      struct End {
        explicit End(std::atomic<int>* counter) : counter_(counter) {}
        End(const End&) = delete;
        End& operator=(const End&) = delete;
        ~End() { ++*counter_; }
        std::atomic<int>* counter_;
      };
      const End end(&ended);
      if (x % 2 == 0) co_await cohort::yield();
      if (x % 3 == 0) co_await sleep_for(20us);
      if (x % 11 == 10) throw std::runtime_error("eleventh");
      co_return Tracked(x);
    };
    for (int round = 0; round < scaled(2000); ++round) {
      ResultStream<Tracked> stream = executor.map(
          MapOptions{.buffer_size = 6, .chunk_size = 1 + static_cast<std::size_t>(round % 3)}, element, Numbers());
      for (int i = 0; i < round % 9; ++i) (void)sync_wait(stream.next());
      dither(round % 500);
    }
  }
  REQUIRE(started == ended);
  REQUIRE(Tracked::live == 0);
}

TEST_CASE("completion streams and waits over the same futures, some abandoned, while they complete") {
  AsyncExecutor executor(3);
  int wrong = 0;
  for (int round = 0; round < scaled(500); ++round) {
    std::vector<AsyncPromise<int>> promises(12);
    std::vector<AsyncFuture<int>> futures;
    for (AsyncPromise<int>& promise : promises) futures.push_back(promise.get_future());
    std::atomic<int> seen{0};
    auto reader = [&]() -> Task<> {
      CompletionStream<int> stream = as_completed(futures);
      while (std::optional<AsyncFuture<int>> future = co_await stream.next()) seen += future->done();
    };
    auto waiter = [&]() -> Task<> {
      WaitResult<int> result = co_await cohort::wait(futures, WaitOptions{.return_when = WaitStrategy::all_completed});
      seen += static_cast<int>(result.done.size());
    };
    AsyncFuture<void> abandoned = executor.submit(waiter);
    AsyncFuture<void> reading = executor.submit(reader);
    AsyncFuture<void> waiting = executor.submit(waiter);
    {
      std::jthread one([&] {
        for (std::size_t i = 0; i < 6; ++i) promises[i].set_result(1);
      });
      std::jthread two([&] {
        for (std::size_t i = 6; i < 12; ++i) promises[i].set_result(2);
      });
      abandoned.cancel();
    }
    reading.wait();
    waiting.wait();
    abandoned.wait();
    if (seen != (abandoned.cancelled() ? 24 : 36)) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("when_any whose children end at the same time picks one of them, and waits for the rest") {
  AsyncExecutor executor(3);
  std::atomic<int> wrong{0};
  auto body = [&](int rounds, int seed) -> Task<> {
    for (int i = 0; i < rounds; ++i) {
      std::atomic<int> inside{0};
      auto child = [&](int number, int length) -> Task<int> {
        ++inside;
        try {
          co_await sleep_for(std::chrono::microseconds(length));
        } catch (const CancelledError&) {
          --inside;
          throw;
        }
        --inside;
        co_return number;
      };
      const int length = (seed + i) % 30;
      auto first = co_await when_any(child(0, length), child(1, length), child(2, length + i % 3));
      if (static_cast<int>(first.index) != first.value || inside != 0) ++wrong;
    }
  };
  std::vector<AsyncFuture<void>> work;
  for (int i = 0; i < 6; ++i) work.push_back(executor.submit(body, scaled(500), i * 5));
  for (const AsyncFuture<void>& future : work) REQUIRE_NOTHROW(future.get());
  REQUIRE(wrong == 0);
}

TEST_CASE("cancelling a task while its when_all children complete: all have ended when it has") {
  AsyncExecutor executor(3);
  int wrong = 0;
  for (int round = 0; round < scaled(2000); ++round) {
    std::atomic<int> inside{0};
    auto child = [&](int length) -> Task<> {
      ++inside;
      try {
        co_await sleep_for(std::chrono::microseconds(length));
      } catch (const CancelledError&) {
        --inside;
        throw;
      }
      --inside;
    };
    auto body = [&]() -> Task<> { co_await when_all(child(round % 50), child(round % 40), child(0)); };
    AsyncFuture<void> future = executor.submit(body);
    dither(round % 2000);
    future.cancel();
    future.wait();
    if (inside != 0) ++wrong;
    if (future.exception() && !future.cancelled()) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a foreign token that stops while futures tied to it complete and are dropped", "[R1]") {
  AsyncExecutor executor(2);
  int wrong = 0;
  for (int round = 0; round < scaled(2000); ++round) {
    std::stop_source source;
    auto body = [](int length) -> Task<int> {
      co_await sleep_for(std::chrono::microseconds(length));
      co_return length;
    };
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 4; ++i) {
      futures.push_back(executor.submit(body, (round + 10 * i) % 60));
      futures.back().cancel_when(source.get_token());
    }
    futures.pop_back();  // dropped, and still tied
    dither(round % 1500);
    source.request_stop();
    for (const AsyncFuture<int>& future : futures) {
      future.wait();
      if (future.exception() && !future.cancelled()) ++wrong;
    }
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a broken promise reaches those who wait for it") {
  const int rounds = scaled(3000);
  AsyncExecutor executor(2);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::optional<AsyncPromise<int>> promise(std::in_place);
    AsyncFuture<int> future = promise->get_future();
    AsyncFuture<std::string> awaiting = executor.submit(outcome<int>, future);
    dither(round % 300);
    promise.reset();
    if (thrown_by([&] { return future.get(); }) != "broken promise") ++wrong;
    if (awaiting.get() != "broken promise") ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("one handle that many threads and coroutines await gives everybody the same value") {
  const int rounds = scaled(500);
  AsyncExecutor executor(2);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    AsyncPromise<std::unique_ptr<int>> promise;
    const AsyncFuture<std::unique_ptr<int>> shared = promise.get_future();
    std::atomic<int> sum{0};
    auto reader = [&]() -> Task<> {
      const std::unique_ptr<int>& value = co_await shared;
      sum += *value;
    };
    std::vector<AsyncFuture<void>> readers;
    for (int i = 0; i < 6; ++i) readers.push_back(executor.submit(reader));
    {
      std::jthread blocking([&] { sum += *shared.get(); });
      std::jthread setting([&] { promise.set_result(std::make_unique<int>(7)); });
    }
    for (const AsyncFuture<void>& future : readers) future.wait();
    if (sum != 49) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a storm of everything at once ends with the books balanced", "[R1]") {
  std::uint64_t submitted = 0, ended = 0;
  Semaphore semaphore(2);
  {
    AsyncExecutor executor(3);
    std::atomic<int> seed{1};
    auto worker = [&](int rounds) -> Task<> {
      for (int i = 0; i < rounds; ++i) {
        const int pick = seed.fetch_add(7) % 8;
        try {
          if (pick == 0) {
            co_await cohort::yield();
          } else if (pick == 1) {
            co_await sleep_for(std::chrono::microseconds(pick * 10));
          } else if (pick == 2) {
            auto permit = co_await semaphore.acquire();
            co_await cohort::yield();
          } else if (pick == 3) {
            AsyncFuture<int> future = executor.submit(briefly, i);
            int value = co_await future.result(100us);
            (void)value;
          } else if (pick == 4) {
            AsyncFuture<int> future = executor.submit(briefly, i);
            future.cancel();
            int value = co_await std::move(future);
            (void)value;
          } else if (pick == 5) {
            std::vector<AsyncFuture<int>> futures;
            for (int k = 0; k < 4; ++k) futures.push_back(executor.submit(briefly, i + k));
            WaitResult<int> result = co_await executor.wait(
                futures, WaitOptions{.timeout = 50us, .return_when = WaitStrategy::first_completed});
            CompletionStream<int> stream = executor.as_completed(result.not_done);
            std::optional<AsyncFuture<int>> next = co_await stream.next();
            (void)next;
          } else if (pick == 6) {
            ResultStream<int> stream = executor.map(MapOptions{.buffer_size = 3}, briefly, Numbers());
            for (int k = 0; k < 4; ++k) {
              std::optional<int> value = co_await stream.next();
              (void)value;
            }
          } else {
            auto first = co_await when_any(briefly(i), sleep_for(20us));
            (void)first;
          }
        } catch (const std::runtime_error&) {  // a fifth of them fail, and some time out
        }
      }
    };
    std::vector<AsyncFuture<void>> workers;
    for (int i = 0; i < 12; ++i) workers.push_back(executor.submit(worker, scaled(400)));
    for (std::size_t i = 0; i < workers.size(); i += 3) workers[i].cancel();
    executor.shutdown();
    const auto stats = executor.stats();
    submitted = stats.submitted;
    ended = stats.succeeded + stats.failed + stats.cancelled;
    REQUIRE(stats.pending == 0);
    REQUIRE(stats.running == 0);
  }
  REQUIRE(submitted >= 12);
  REQUIRE(ended == submitted);
  REQUIRE(semaphore.try_acquire());
  REQUIRE(semaphore.try_acquire());
  REQUIRE_FALSE(semaphore.try_acquire());
}
