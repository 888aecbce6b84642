// Semaphore and its permits: counting, first come first served, cancellation, and that no permit is ever lost.
#include <cohort/semaphore.hpp>

#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>       // for atomic
#include <chrono>       // for milliseconds
#include <cstddef>      // for size_t
#include <deque>        // for deque
#include <optional>     // for optional
#include <stdexcept>    // for runtime_error
#include <thread>       // for jthread
#include <type_traits>  // for is_copy_constructible
#include <utility>      // for move
#include <vector>       // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

using Permit = std::decay_t<decltype(sync_wait(std::declval<Semaphore&>().acquire()))>;

/// Takes every permit that is there, and says how many.
int drain(Semaphore& semaphore) {
  int count = 0;
  while (semaphore.try_acquire()) ++count;
  return count;
}

/// Submits tasks that take a permit and note their number, the next one only when the one before is waiting.
class Queue {
 public:
  Queue(AsyncExecutor& executor, Semaphore& semaphore) : executor_(&executor), semaphore_(&semaphore) {}

  AsyncFuture<void> join(int number) {
    const int before = arrived_;
    auto body = [this, number]() -> Task<> {
      ++arrived_;
      auto permit = co_await semaphore_->acquire();
      order.add(number);
      co_await gate_.passed();  // keeps the permit until the test is over
    };
    AsyncFuture<void> future = executor_->submit(std::move(body));
    while (arrived_ == before) std::this_thread::yield();
    auto nothing = [] {};
    executor_->submit(nothing).wait();  // on a pool of one: the task above has suspended
    return future;
  }
  void let_go() { gate_.open(); }

  Log<int> order;

 private:
  AsyncExecutor* executor_;
  Semaphore* semaphore_;
  AsyncGate gate_;
  std::atomic<int> arrived_{0};
};

}  // namespace

TEST_CASE("a semaphore has as many permits as it was made with") {
  auto count = [](Semaphore& semaphore, int permits) {
    bool right = drain(semaphore) == permits && !semaphore.try_acquire();
    for (int i = 0; i < permits; ++i) semaphore.release();
    return right && drain(semaphore) == permits;
  };
  Semaphore none(0), one(1), five(5);
  REQUIRE(count(none, 0));
  REQUIRE(count(one, 1));
  REQUIRE(count(five, 5));
}

TEST_CASE("release adds a permit, whether one was taken or not") {
  Semaphore semaphore(1);
  semaphore.release();
  REQUIRE(drain(semaphore) == 2);
  Semaphore empty(0);
  REQUIRE_FALSE(empty.try_acquire());
  empty.release();
  REQUIRE(drain(empty) == 1);
}

TEST_CASE("a permit is released when it is destroyed, once, by whoever holds it last") {
  static_assert(!std::is_copy_constructible_v<Permit> && std::is_nothrow_move_constructible_v<Permit>);
  Semaphore semaphore(2);
  {
    Permit permit = sync_wait(semaphore.acquire());
    REQUIRE(drain(semaphore) == 1);
    semaphore.release();
  }
  REQUIRE(drain(semaphore) == 2);
  semaphore.release();
  semaphore.release();
  SECTION("moved") {
    std::optional<Permit> outer;
    {
      Permit inner = sync_wait(semaphore.acquire());
      outer.emplace(std::move(inner));
    }
    REQUIRE(drain(semaphore) == 1);
    outer.reset();
    REQUIRE(drain(semaphore) == 1);
  }
  SECTION("assigned over") {
    {
      Permit one = sync_wait(semaphore.acquire());
      Permit two = sync_wait(semaphore.acquire());
      REQUIRE_FALSE(semaphore.try_acquire());
      one = std::move(two);  // releases the first
      REQUIRE(drain(semaphore) == 1);
    }
    REQUIRE(drain(semaphore) == 1);
  }
  SECTION("by an exception") {
    auto fail = [&]() -> Task<> {
      auto permit = co_await semaphore.acquire();
      throw std::runtime_error("failed");
    };
    REQUIRE_THROWS_AS(sync_wait(fail()), std::runtime_error);
    REQUIRE(drain(semaphore) == 2);
  }
}

TEMPLATE_TEST_CASE("acquire waits for a permit without holding a worker", "", AsyncExecutor, ManualExecutor) {
  TestType executor(1);
  Semaphore semaphore(0);
  auto body = [&]() -> Task<int> {
    auto permit = co_await semaphore.acquire();
    co_return 3;
  };
  AsyncFuture<int> future = executor.submit(body);
  auto seven = [] { return 7; };
  REQUIRE(executor.submit(seven).get() == 7);
  REQUIRE_FALSE(future.wait_for(10ms));
  semaphore.release();
  REQUIRE(future.get() == 3);
  REQUIRE(drain(semaphore) == 1);
}

TEST_CASE("sync_wait can wait for a permit that another thread releases") {
  Semaphore semaphore(0);
  std::atomic<bool> released{false};
  std::jthread releaser([&] {
    std::this_thread::sleep_for(10ms);
    released = true;
    semaphore.release();
  });
  {
    Permit permit = sync_wait(semaphore.acquire());
    REQUIRE(released);
  }
  REQUIRE(drain(semaphore) == 1);
}

TEST_CASE("a task that gets its permit continues on its own executor") {
  AsyncExecutor executor(1);
  Semaphore semaphore(0);
  auto body = [&]() -> Task<bool> {
    const std::thread::id before = std::this_thread::get_id();
    auto permit = co_await semaphore.acquire();
    co_return std::this_thread::get_id() == before;
  };
  AsyncFuture<bool> future = executor.submit(body);
  std::this_thread::sleep_for(5ms);
  semaphore.release();
  REQUIRE(future.get());
}

TEST_CASE("permits go to those who wait in the order they came") {
  Semaphore semaphore(0);
  AsyncExecutor executor(1);
  Queue queue(executor, semaphore);
  std::vector<AsyncFuture<void>> waiters;
  for (int i = 0; i < 10; ++i) waiters.push_back(queue.join(i));
  REQUIRE(queue.order.size() == 0);
  for (std::size_t i = 0; i < 4; ++i) {
    semaphore.release();
    REQUIRE(eventually([&] { return queue.order.size() == i + 1; }));
  }
  for (int i = 0; i < 6; ++i) semaphore.release();
  REQUIRE(eventually([&] { return queue.order.size() == 10; }));
  REQUIRE(queue.order.entries() == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  queue.let_go();
  executor.shutdown();
  REQUIRE(drain(semaphore) == 10);
}

TEST_CASE("nobody overtakes those who wait, try_acquire least of all") {
  Semaphore semaphore(0);
  AsyncExecutor executor(1);
  Queue queue(executor, semaphore);
  AsyncFuture<void> waiter = queue.join(1);
  Occupy occupied(executor);  // the waiter cannot resume yet
  semaphore.release();
  REQUIRE_FALSE(semaphore.try_acquire());  // the permit is the waiter's already
  occupied.release();
  REQUIRE(eventually([&] { return queue.order.size() == 1; }));
  REQUIRE_FALSE(semaphore.try_acquire());
  queue.let_go();
  waiter.wait();
  REQUIRE(drain(semaphore) == 1);
}

TEST_CASE("a waiter that is cancelled leaves the queue, and the others keep their order") {
  Semaphore semaphore(0);
  AsyncExecutor executor(1);
  Queue queue(executor, semaphore);
  std::vector<AsyncFuture<void>> waiters;
  for (int i = 0; i < 6; ++i) waiters.push_back(queue.join(i));
  for (const std::size_t i : {std::size_t{0}, std::size_t{3}, std::size_t{5}}) {
    REQUIRE(waiters[i].cancel());
    REQUIRE_THROWS_AS(waiters[i].get(), CancelledError);
    REQUIRE(waiters[i].cancelled());
  }
  for (int i = 0; i < 3; ++i) semaphore.release();
  REQUIRE(eventually([&] { return queue.order.size() == 3; }));
  REQUIRE(queue.order.entries() == std::vector{1, 2, 4});
  REQUIRE_FALSE(semaphore.try_acquire());
  queue.let_go();
  executor.shutdown();
  REQUIRE(drain(semaphore) == 3);
}

TEST_CASE("a permit granted to a waiter that is cancelled is passed on") {
  constexpr std::size_t pairs = 64;
  AsyncExecutor executor(1);
  int lost = 0;
  int wrong = 0;
  for (int round = 0; round < scaled(300) && lost == 0; ++round) {
    std::deque<Semaphore> semaphores;
    std::vector<AsyncFuture<void>> first, second;
    std::atomic<int> got{0};
    auto body = [&](Semaphore* semaphore) -> Task<> {
      auto permit = co_await semaphore->acquire();
      ++got;
    };
    for (std::size_t i = 0; i < pairs; ++i) {
      semaphores.emplace_back(0);
      first.push_back(executor.submit(body, &semaphores.back()));
      second.push_back(executor.submit(body, &semaphores.back()));
    }
    Occupy occupied(executor);  // all of them wait now
    std::atomic<std::size_t> ready{0}, turn{0};
    std::jthread releaser([&] {
      for (std::size_t i = 0; i < pairs; ++i) {
        ready = i + 1;
        for (int spins = 0; turn <= i; ++spins)
          if (spins > 10'000) std::this_thread::yield();
        semaphores[i].release();
      }
    });
    for (std::size_t i = 0; i < pairs; ++i) {
      while (ready <= i) std::this_thread::yield();
      turn = i + 1;
      for (std::atomic<int> delay{round % 32}; delay > 0;) --delay;
      first[i].cancel();  // as the permit comes to it
    }
    releaser.join();
    occupied.release();
    int cancelled = 0;
    for (std::size_t i = 0; i < pairs; ++i) {
      first[i].wait();
      cancelled += first[i].cancelled();
      if (!second[i].wait_for(lost == 0 ? Duration(patience) : Duration(100ms))) {
        ++lost;
        semaphores[i].release();
        second[i].wait();
      }
      if (drain(semaphores[i]) != 1) ++wrong;
    }
    if (got + cancelled != 2 * static_cast<int>(pairs)) ++wrong;
  }
  REQUIRE(lost == 0);
  REQUIRE(wrong == 0);
}

TEMPLATE_TEST_CASE("no more hold a permit than there are, and none is lost", "", AsyncExecutor, ManualExecutor) {
  constexpr int permits = 3;
  Semaphore semaphore(permits);
  Peak crowd;
  {
    TestType executor(4);
    auto body = [&](int rounds) -> Task<> {
      for (int i = 0; i < rounds; ++i) {
        auto permit = co_await semaphore.acquire();
        crowd.enter();
        if (i % 3 != 0) co_await cohort::yield();
        crowd.leave();
      }
    };
    for (int i = 0; i < 16; ++i) (void)executor.submit(body, scaled(2000));
  }
  REQUIRE(crowd.highest() <= permits);
  REQUIRE(crowd.highest() >= 1);
  REQUIRE(drain(semaphore) == permits);
}

TEST_CASE("permits survive waiting that is cut short by timeouts, cancellation and try_acquire") {
  constexpr int permits = 2;
  Semaphore semaphore(permits);
  Peak crowd;
  std::atomic<int> served{0};
  {
    AsyncExecutor executor(3);
    auto use = [&]() -> Task<int> {
      auto permit = co_await semaphore.acquire();
      crowd.enter();
      co_await cohort::yield();
      crowd.leave();
      ++served;
      co_return 1;
    };
    auto limited = [&](int rounds) -> Task<> {
      for (int i = 0; i < rounds; ++i) {
        auto first = co_await when_any(use(), sleep_for(std::chrono::microseconds(i % 50)));
        (void)first;
      }
    };
    auto pick = [&](int rounds) -> Task<> {
      for (int i = 0; i < rounds; ++i) {
        if (semaphore.try_acquire()) {
          crowd.enter();
          co_await cohort::yield();
          crowd.leave();
          semaphore.release();
        }
        co_await cohort::yield();
      }
    };
    std::vector<AsyncFuture<void>> work;
    for (int i = 0; i < 6; ++i) work.push_back(executor.submit(limited, scaled(1000)));
    work.push_back(executor.submit(pick, scaled(3000)));
    for (int i = 0; i < scaled(1000); ++i) {
      AsyncFuture<int> victim = executor.submit(use);
      if (i % 4 != 0) std::this_thread::yield();
      victim.cancel();
    }
    for (const AsyncFuture<void>& future : work) REQUIRE_NOTHROW(future.get());
  }
  REQUIRE(served > 0);
  REQUIRE(crowd.highest() <= permits);
  REQUIRE(drain(semaphore) == permits);
}

TEST_CASE("many may wait for one permit, and each gets it") {
  Semaphore semaphore(0);
  AsyncExecutor executor(2);
  std::atomic<int> got{0};
  auto body = [&]() -> Task<> {
    auto permit = co_await semaphore.acquire();
    ++got;
  };
  const int count = scaled(50'000);
  for (int i = 0; i < count; ++i) (void)executor.submit(body);
  semaphore.release();
  REQUIRE(eventually([&] { return got == count; }));
  executor.shutdown();
  REQUIRE(drain(semaphore) == 1);
}
