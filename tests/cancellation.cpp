// get_stop_token, who inherits whose token, and where a task that is asked to stop does so.
#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>      // for atomic
#include <chrono>      // for milliseconds
#include <functional>  // for function
#include <memory>      // for unique_ptr
#include <optional>    // for optional
#include <stop_token>  // for stop_token, stop_source, stop_callback
#include <string>      // for string
#include <thread>      // for this_thread
#include <utility>     // for move
#include <vector>      // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

Task<std::stop_token> token_here() {
  co_await cohort::yield();
  std::stop_token token = co_await get_stop_token();
  co_return token;
}

Task<std::stop_token> token_below(int depth) {
  if (depth == 0) {
    std::stop_token token = co_await token_here();
    co_return token;
  }
  std::stop_token token = co_await token_below(depth - 1);
  co_return token;
}

Task<int> after_a_yield(int x) {
  co_await cohort::yield();
  co_return x;
}

/// Submits `body(reached)`, which awaits something that never comes after `reached = true`, cancels it there, and tells
/// how it ended: the body must have left by a CancelledError.
template <class Body>
std::string cancelled_while(AsyncExecutor& executor, Body body) {
  std::atomic<bool> reached{false};
  auto task = [&]() -> Task<> { co_await body(reached); };
  AsyncFuture<void> future = executor.submit(task);
  if (!eventually([&] { return reached.load(); })) return "never reached";
  std::this_thread::sleep_for(2ms);  // so that it most likely waits by now
  if (future.done()) return "did not wait: " + describe(future.exception());
  if (!future.cancel()) return "not cancelled";
  if (!future.wait_for(patience)) return "never ended";
  return future.cancelled() ? "cancelled" : "ended by " + describe(future.exception());
}

}  // namespace

TEST_CASE("a task's stop token tells when its future is cancelled") {
  AsyncExecutor executor(1);
  std::atomic<bool> started{false};
  std::atomic<bool> before{true};
  auto body = [&]() -> Task<bool> {
    std::stop_token token = co_await get_stop_token();
    before = token.stop_requested();
    started = token.stop_possible();
    while (!token.stop_requested()) co_await cohort::yield();
    co_return token.stop_requested();
  };
  AsyncFuture<bool> future = executor.submit(body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE_FALSE(before);
  REQUIRE(future.cancel());
  REQUIRE(future.get());  // it ended in its own way, which is what counts
  REQUIRE_FALSE(future.cancelled());
}

TEST_CASE("get_stop_token asked for after the stop gives a token that is stopped") {
  AsyncExecutor executor(1);
  AsyncGate gate;
  std::atomic<bool> started{false};
  Stranger stranger;
  auto body = [&]() -> Task<bool> {
    started = true;
    std::stop_token early = co_await get_stop_token();
    while (!early.stop_requested()) co_await cohort::yield();
    std::stop_token late = co_await get_stop_token();
    std::stop_token below = co_await token_below(3);
    co_return late.stop_requested() && below.stop_requested();
  };
  AsyncFuture<bool> future = executor.submit(body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  REQUIRE(future.get());
}

TEST_CASE("awaited child tasks inherit the token") {
  AsyncExecutor executor(2);
  auto body = [&]() -> Task<bool> {
    std::stop_token mine = co_await get_stop_token();
    std::stop_token again = co_await get_stop_token();
    std::stop_token child = co_await token_here();
    std::stop_token grandchild = co_await token_below(10);
    co_return mine.stop_possible() && mine == again&& mine == child&& mine == grandchild;
  };
  REQUIRE(run_on(executor, body));
}

TEST_CASE("a task keeps its token when it moves to another executor") {
  AsyncExecutor home(1);
  AsyncExecutor away(1);
  auto body = [&]() -> Task<bool> {
    std::stop_token mine = co_await get_stop_token();
    co_await away.schedule();
    std::stop_token there = co_await token_here();
    co_return mine == there;
  };
  REQUIRE(run_on(home, body));
  std::atomic<bool> reached{false};
  auto sleeper = [&]() -> Task<> {
    co_await away.schedule();
    reached = true;
    co_await sleep_for(1h);
  };
  AsyncFuture<void> future = home.submit(sleeper);
  REQUIRE(eventually([&] { return reached.load(); }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
}

TEST_CASE("a submitted task has a token of its own, not its submitter's") {
  AsyncExecutor executor(2);
  std::optional<AsyncFuture<std::stop_token>> inner;
  std::atomic<bool> submitted{false};
  AsyncGate gate;
  auto child = [&]() -> Task<std::stop_token> {
    std::stop_token token = co_await get_stop_token();
    co_await gate.passed();
    co_return token;
  };
  auto parent = [&]() -> Task<> {
    inner = executor.submit(child);
    submitted = true;
    co_await sleep_for(1h);
  };
  AsyncFuture<void> outer = executor.submit(parent);
  REQUIRE(eventually([&] { return submitted.load(); }));
  REQUIRE(outer.cancel());
  REQUIRE_THROWS_AS(outer.get(), CancelledError);
  REQUIRE_FALSE(inner->done());
  gate.open();
  const std::stop_token token = inner->get();
  REQUIRE_FALSE(token.stop_requested());
  REQUIRE_FALSE(inner->cancelled());
}

TEST_CASE("cancelling a task does not cancel the future it awaits") {
  AsyncExecutor executor(2);
  AsyncGate gate;
  auto slow = [&]() -> Task<int> {
    co_await gate.passed();
    co_return 9;
  };
  AsyncFuture<int> awaited = executor.submit(slow);
  REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
            reached = true;
            int value = co_await awaited;
            (void)value;
          }) == "cancelled");
  REQUIRE_FALSE(awaited.done());
  gate.open();
  REQUIRE(awaited.get() == 9);
}

TEST_CASE("everything that waits is a cancellation point") {
  AsyncExecutor executor(2);
  AsyncPromise<int> promise;
  const AsyncFuture<int> never = promise.get_future();
  const std::vector<AsyncFuture<int>> futures{never};
  SECTION("sleep_for") {
    REQUIRE(cancelled_while(executor, [](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              co_await sleep_for(1h);
            }) == "cancelled");
  }
  SECTION("sleep_until") {
    REQUIRE(cancelled_while(executor, [](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              co_await sleep_until(Clock::time_point::max());
            }) == "cancelled");
  }
  SECTION("a permit") {
    Semaphore semaphore(0);
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              auto permit = co_await semaphore.acquire();
            }) == "cancelled");
    semaphore.release();
    REQUIRE(semaphore.try_acquire());
  }
  SECTION("a promise's future") {
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              int value = co_await never;
              (void)value;
            }) == "cancelled");
  }
  SECTION("a future's result with a timeout") {
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              int value = co_await never.result(1h);
              (void)value;
            }) == "cancelled");
  }
  SECTION("a submitted task that is awaited on the spot") {
    AsyncGate gate;
    std::atomic<int> finished{0};
    auto child = [&]() -> Task<int> {
      co_await gate.passed();
      co_return ++finished;
    };
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              int value = co_await executor.submit(child);
              (void)value;
            }) == "cancelled");
    gate.open();
    executor.shutdown();
    REQUIRE(finished == 1);  // it was not the child that was cancelled
  }
  SECTION("a map's stream") {
    auto wait_for_it = [&](int) -> Task<int> {
      int value = co_await never;
      co_return value;
    };
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              ResultStream<int> stream = executor.map(wait_for_it, std::vector{1, 2});
              reached = true;
              std::optional<int> value = co_await stream.next();
              (void)value;
            }) == "cancelled");
    executor.shutdown();  // the elements may end only now, and what they wait for must be there until then
  }
  SECTION("collecting a map's stream") {
    auto wait_for_it = [&](int) -> Task<int> {
      int value = co_await never;
      co_return value;
    };
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              ResultStream<int> stream = executor.map(wait_for_it, std::vector{1, 2});
              reached = true;
              std::vector<int> values = co_await std::move(stream);
              (void)values;
            }) == "cancelled");
    executor.shutdown();  // returns: the elements were stopped too
  }
  SECTION("a completion stream") {
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              CompletionStream<int> stream = as_completed(futures, 1h);
              reached = true;
              std::optional<AsyncFuture<int>> future = co_await stream.next();
              (void)future;
            }) == "cancelled");
  }
  SECTION("wait") {
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              WaitResult<int> result = co_await cohort::wait(futures, WaitOptions{.timeout = 1h});
              (void)result;
            }) == "cancelled");
    REQUIRE_FALSE(never.done());
  }
  SECTION("a child task") {
    auto child = []() -> Task<> { co_await sleep_for(1h); };
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              co_await child();
            }) == "cancelled");
  }
  SECTION("when_all") {
    auto child = []() -> Task<> { co_await sleep_for(1h); };
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              co_await when_all(child(), child());
            }) == "cancelled");
  }
  SECTION("when_any") {
    auto child = []() -> Task<> { co_await sleep_for(1h); };
    REQUIRE(cancelled_while(executor, [&](std::atomic<bool>& reached) -> Task<> {
              reached = true;
              auto first = co_await when_any(child(), child());
              (void)first;
            }) == "cancelled");
  }
}

TEST_CASE("a cancellation point that is reached after the stop throws as well, each time") {
  AsyncExecutor executor(1);
  AsyncPromise<int> promise;
  const AsyncFuture<int> never = promise.get_future();
  const std::vector<AsyncFuture<int>> futures{never};
  Semaphore semaphore(0);
  std::atomic<bool> started{false};
  std::atomic<int> thrown{0};
  auto body = [&]() -> Task<> {
    started = true;
    std::stop_token token = co_await get_stop_token();
    while (!token.stop_requested()) co_await cohort::yield();
    for (int i = 0; i < 2; ++i) {
      try {
        co_await sleep_for(1h);
      } catch (const CancelledError&) {
        ++thrown;
      }
      try {
        auto permit = co_await semaphore.acquire();
      } catch (const CancelledError&) {
        ++thrown;
      }
      try {
        int value = co_await never;
        (void)value;
      } catch (const CancelledError&) {
        ++thrown;
      }
      try {
        WaitResult<int> result = co_await cohort::wait(futures, WaitOptions{});
        (void)result;
      } catch (const CancelledError&) {
        ++thrown;
      }
    }
    co_await sleep_for(1h);
  };
  AsyncFuture<void> future = executor.submit(body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
  REQUIRE(thrown == 8);
  semaphore.release();
  REQUIRE(semaphore.try_acquire());  // no waiter was left in the queue
}

TEST_CASE("CancelledError is thrown only where a task waits") {
  AsyncExecutor executor(1);
  std::atomic<bool> started{false};
  SECTION("a body that never waits ends with its value") {
    std::atomic<bool> release{false};
    auto body = [&]() -> Task<int> {
      started = true;
      while (!release) std::this_thread::sleep_for(100us);
      co_return 4;
    };
    AsyncFuture<int> future = executor.submit(body);
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE_FALSE(future.done());
    release = true;
    REQUIRE(future.get() == 4);
    REQUIRE_FALSE(future.cancelled());
  }
  SECTION("nor does awaiting a child throw that never waits") {
    auto child = [](int x) -> Task<int> { co_return x; };
    auto body = [&]() -> Task<int> {
      started = true;
      std::stop_token token = co_await get_stop_token();
      while (!token.stop_requested()) co_await cohort::yield();
      int sum = 0;
      for (int i = 0; i < 100; ++i) {
        int value = co_await child(i);
        sum += value;
      }
      co_return sum;
    };
    AsyncFuture<int> future = executor.submit(body);
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE(future.get() == 4950);
  }
  SECTION("nor a stranger's awaitable, which is resumed as usual") {
    Stranger stranger;
    std::atomic<bool> release{false};
    auto body = [&]() -> Task<int> {
      stranger.post([&] {
        while (!release) std::this_thread::sleep_for(100us);
      });
      started = true;
      std::thread::id id = co_await stranger.resume();
      co_return id != stranger.id() ? 6 : 7;  // its own executor's
    };
    AsyncFuture<int> future = executor.submit(body);
    REQUIRE(eventually([&] { return started.load(); }));
    REQUIRE(future.cancel());
    REQUIRE_FALSE(future.wait_for(5ms));
    release = true;
    REQUIRE(future.get() == 6);
  }
}

TEST_CASE("a task that catches CancelledError and returns keeps its value") {
  AsyncExecutor executor(1);
  std::atomic<bool> started{false};
  auto body = [&]() -> Task<std::string> {
    bool stopped = false;
    started = true;
    try {
      co_await sleep_for(1h);
    } catch (const CancelledError&) {
      stopped = true;
    }
    co_return stopped ? "cleaned up" : "slept";
  };
  AsyncFuture<std::string> future = executor.submit(body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  REQUIRE(future.get() == "cleaned up");
  REQUIRE_FALSE(future.cancelled());
}

TEST_CASE("cancellation unwinds a deep chain of tasks, innermost first") {
  AsyncExecutor executor(1);
  const int depth = 1000;
  std::vector<int> left;
  std::atomic<bool> reached{false};
  struct Leaving {
    Leaving(std::vector<int>* log, int level) : log_(log), level_(level) {}
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() { log_->push_back(level_); }
    std::vector<int>* log_;
    int level_;
  };
  std::function<Task<>(int)> descend = [&](int level) -> Task<> {
    const Leaving leaving(&left, level);
    if (level == depth) {
      reached = true;
      co_await sleep_for(1h);
    }
    co_await descend(level + 1);
  };
  auto body = [&]() -> Task<> { co_await descend(1); };
  AsyncFuture<void> future = executor.submit(body);
  REQUIRE(eventually([&] { return reached.load(); }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
  REQUIRE(left.size() == static_cast<std::size_t>(depth));
  bool inside_out = true;
  for (int i = 0; i < depth; ++i) inside_out = inside_out && left[static_cast<std::size_t>(i)] == depth - i;
  REQUIRE(inside_out);
}

TEST_CASE("a stop_callback on a task's token is called when the task is cancelled, and may use the library", "[R16]") {
  AsyncExecutor executor(2);
  std::atomic<bool> registered{false};
  std::atomic<int> calls{0};
  std::optional<AsyncFuture<int>> submitted;
  std::optional<AsyncFuture<void>> self;
  auto seven = [] { return 7; };
  auto body = [&]() -> Task<> {
    std::stop_token token = co_await get_stop_token();
    auto react = [&] {
      ++calls;
      submitted = executor.submit(seven);
      self->cancel();  // for the second time
      self->add_done_callback([&](const AsyncFuture<void>&) { ++calls; });
    };
    std::stop_callback callback(token, react);
    registered = true;
    co_await sleep_for(1h);
  };
  {
    Occupy occupied(executor, 2);
    self = executor.submit(body);
    occupied.release();
  }
  REQUIRE(eventually([&] { return registered.load(); }));
  REQUIRE(self->cancel());
  self->wait();
  REQUIRE(self->cancelled());
  REQUIRE(submitted->get() == 7);
  REQUIRE(eventually([&] { return calls == 2; }));
}

TEST_CASE("stop callbacks may come and go while a task is cancelled") {
  AsyncExecutor executor(2);
  for (int round = 0; round < scaled(200); ++round) {
    std::atomic<bool> started{false};
    std::atomic<int> called{0};
    auto body = [&]() -> Task<> {
      std::stop_token token = co_await get_stop_token();
      started = true;
      while (!token.stop_requested()) {
        auto count = [&] { ++called; };
        std::stop_callback one(token, count);
        std::stop_callback two(token, count);
      }
      co_await sleep_for(1h);
    };
    AsyncFuture<void> future = executor.submit(body);
    while (!started) std::this_thread::yield();
    REQUIRE(future.cancel());
    future.wait();
    REQUIRE(future.cancelled());
    REQUIRE(called <= 2);
  }
}

TEST_CASE("a plain function that takes a stop token sees the task's own") {
  AsyncExecutor executor(1);
  std::atomic<bool> started{false};
  auto body = [&](const std::stop_token& token) {
    started = true;
    while (!token.stop_requested()) std::this_thread::sleep_for(100us);
    throw CancelledError("stopped as asked");
  };
  AsyncFuture<void> future = executor.submit(body);
  REQUIRE(eventually([&] { return started.load(); }));
  REQUIRE(future.cancel());
  REQUIRE_THROWS_AS(future.get(), CancelledError);
  REQUIRE(future.cancelled());
}

TEST_CASE("what sync_wait runs has a token that nobody stops") {
  const std::stop_token token = sync_wait(token_below(2));
  REQUIRE_FALSE(token.stop_requested());
}

TEST_CASE("a token outlives its task and stays as it was") {
  AsyncExecutor executor(1);
  const std::stop_token finished = executor.submit(token_here).get();
  executor.shutdown();
  REQUIRE_FALSE(finished.stop_requested());
}

TEST_CASE("cancel_when ties a future to a stop token, until either is over") {
  AsyncExecutor executor(2);
  auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
  std::stop_source source;
  AsyncFuture<void> first = executor.submit(sleeper);
  AsyncFuture<void> second = executor.submit(sleeper);
  AsyncFuture<int> quick = executor.submit(after_a_yield, 3);
  first.cancel_when(source.get_token());
  second.cancel_when(source.get_token());
  quick.cancel_when(source.get_token());
  REQUIRE(quick.get() == 3);
  REQUIRE_FALSE(first.wait_for(5ms));
  source.request_stop();
  first.wait();
  second.wait();
  REQUIRE((first.cancelled() && second.cancelled() && !quick.cancelled()));
  AsyncFuture<void> late = executor.submit(sleeper);
  late.cancel_when(source.get_token());  // stopped already
  late.wait();
  REQUIRE(late.cancelled());
}

TEST_CASE("a task may tie its children to its own token") {
  AsyncExecutor executor(2);
  std::atomic<bool> reached{false};
  std::optional<AsyncFuture<void>> child;
  auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
  auto body = [&]() -> Task<> {
    std::stop_token token = co_await get_stop_token();
    child = executor.submit(sleeper);
    child->cancel_when(token);
    reached = true;
    co_await *child;
  };
  AsyncFuture<void> parent = executor.submit(body);
  REQUIRE(eventually([&] { return reached.load(); }));
  REQUIRE(parent.cancel());
  parent.wait();
  child->wait();
  REQUIRE(parent.cancelled());
  REQUIRE(child->cancelled());
}
