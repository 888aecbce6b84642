#include <cohort/thread_pool.hpp>

#include "catch.hpp"
#include "support.hpp"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cohort/cohort.hpp>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace cohort;
using namespace test;

namespace {

int answer() { return 42; }

std::string thread_name() {
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

/// What the whole process has computed so far.
std::chrono::microseconds cpu_time() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int nest(AsyncExecutor& executor, int depth) {
  if (depth == 0) return 0;
  return executor.submit(nest, std::ref(executor), depth - 1).get() + 1;
}

Task<int> nest_in_coroutines(AsyncExecutor& executor, int depth) {
  int below = -1;
  if (depth > 0) below = executor.submit(nest_in_coroutines, std::ref(executor), depth - 1).get();
  co_return below + 1;
}

int fibonacci(AsyncExecutor& executor, int n) {
  if (n < 2) return n;
  auto left = executor.submit(fibonacci, std::ref(executor), n - 1);
  const int right = fibonacci(executor, n - 2);
  return left.get() + right;
}

/// The memory that the process has mapped, in bytes.
rlim_t address_space() {
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

// ---- Workers -------------------------------------------------------------------------------------------------------

TEST_CASE("workers are named after their executor and numbered", "[pool]") {
  std::mutex mutex;
  std::map<std::thread::id, std::size_t> numbers;
  ExecutorOptions options;
  options.max_workers = 3;
  options.name = "crew";
  options.on_worker_start = [&](std::size_t number) {
    const std::lock_guard lock(mutex);
    numbers[this_thread_id()] = number;
  };
  AsyncExecutor executor(options);
  std::latch all(3);
  auto meet = [&] {
    all.arrive_and_wait();
    return std::pair(this_thread_id(), thread_name());
  };
  std::vector<AsyncFuture<std::pair<std::thread::id, std::string>>> futures;
  for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(meet));
  std::set<std::string> names;
  for (auto& future : futures) {
    const auto& [thread, name] = future.get();
    names.insert(name);
    REQUIRE(name == "crew-" + std::to_string(numbers.at(thread)));
  }
  REQUIRE(names == std::set<std::string>{"crew-0", "crew-1", "crew-2"});
}

TEST_CASE("workers are called cohort by default", "[pool]") {
  AsyncExecutor executor(1);
  REQUIRE(executor.submit(thread_name).get() == "cohort-0");
}

TEST_CASE("a worker's name that is too long for the system is cut", "[pool]") {
  AsyncExecutor executor(ExecutorOptions{.max_workers = 1, .name = "a name that is very long"});
  const std::string name = executor.submit(thread_name).get();
  REQUIRE(name.size() == 15);
  REQUIRE(name.substr(0, 12) == "a name that ");
}

TEST_CASE("an executor has the workers that it was asked for and they are threads", "[pool]") {
  const std::ptrdiff_t before = settled_thread_count();
  {
    AsyncExecutor executor(5);
    REQUIRE(thread_count() >= before + 5);
  }
  REQUIRE(eventually([&] { return thread_count() == before; }));
}

TEST_CASE("on_worker_start has run once on every worker when the constructor returns", "[pool]") {
  std::mutex mutex;
  std::multiset<std::size_t> numbers;
  std::set<std::thread::id> threads;
  ExecutorOptions options;
  options.max_workers = 4;
  options.on_worker_start = [&](std::size_t number) {
    std::this_thread::sleep_for(2ms);
    const std::lock_guard lock(mutex);
    numbers.insert(number);
    threads.insert(this_thread_id());
  };
  AsyncExecutor executor(options);
  {
    const std::lock_guard lock(mutex);
    REQUIRE(numbers == std::multiset<std::size_t>{0, 1, 2, 3});
    REQUIRE(threads.size() == 4);
    REQUIRE(threads.count(this_thread_id()) == 0);
  }
  const std::thread::id worker = executor.submit([] { return this_thread_id(); }).get();
  REQUIRE(threads.count(worker) == 1);
  executor.shutdown();
  REQUIRE(numbers.size() == 4);
}

TEST_CASE("an exception from on_worker_start leaves the constructor and nothing is left running", "[pool][R10]") {
  const std::ptrdiff_t before = settled_thread_count();
  std::atomic<std::size_t> calls = 0;
  ExecutorOptions options;
  options.max_workers = 4;
  SECTION("of the first worker") {
    options.on_worker_start = [&](std::size_t number) {
      ++calls;
      if (number == 0) throw std::runtime_error("first");
    };
    REQUIRE(thrown_by([&] { AsyncExecutor executor(options); }) == "runtime_error: first");
  }
  SECTION("of the last worker") {
    options.on_worker_start = [&](std::size_t number) {
      ++calls;
      if (number == 3) throw 42;
    };
    REQUIRE(thrown_by([&] { AsyncExecutor executor(options); }) == "int 42");
  }
  SECTION("of all workers") {
    options.on_worker_start = [&](std::size_t) {
      ++calls;
      throw std::runtime_error("each");
    };
    REQUIRE(thrown_by([&] { AsyncExecutor executor(options); }) == "runtime_error: each");
  }
  REQUIRE(calls >= 1);
  REQUIRE(calls <= 4);
  REQUIRE(eventually([&] { return thread_count() == before; }));
  AsyncExecutor executor(2);
  REQUIRE(executor.submit(answer).get() == 42);
}

TEST_CASE("a thread that cannot be started leaves the constructor and nothing is left running", "[pool][R10]") {
  static_cast<void>(thread_count());  // its first call may need a thread
  const auto try_it = [](std::size_t workers) {
    const std::ptrdiff_t before = settled_thread_count();
    try {
      AsyncExecutor executor(workers);
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::resource_unavailable_try_again) return 2;
      return eventually([&] { return thread_count() == before; }) ? 0 : 3;
    }
    return 1;
  };
  SECTION("not even one") {
    const int code = in_child([&] {
      // The limit does not bind root.
      if (geteuid() == 0 && setuid(65534) != 0) return 77;
      const rlimit limit{1, 1};
      if (setrlimit(RLIMIT_NPROC, &limit) != 0) return 77;
      return try_it(4);
    });
    if (code == 77) WARN("the number of threads cannot be limited here");
    REQUIRE((code == 0 || code == 77));
  }
  SECTION("not as many as asked for") {
    if (sanitized) return;  // a sanitizer takes all the address space there is
    const int code = in_child([&] {
      const rlim_t bytes = address_space() + (rlim_t{100} << 20U);
      const rlimit limit{bytes, bytes};
      if (setrlimit(RLIMIT_AS, &limit) != 0) return 77;
      const int outcome = try_it(1000);
      if (outcome != 0) return outcome;
      // There is room for one again, and it works.
      AsyncExecutor executor(1);
      return executor.submit(answer).get() == 42 ? 0 : 4;
    });
    REQUIRE((code == 0 || code == 77));
  }
}

TEST_CASE("there may be many more workers than processors", "[pool][scale]") {
  const std::size_t workers = sanitized ? 32 : 128;
  std::atomic<int> ran = 0;
  AsyncExecutor executor(workers);
  REQUIRE(executor.max_workers() == workers);
  std::latch all(static_cast<std::ptrdiff_t>(workers));
  for (std::size_t i = 0; i < workers; ++i) {
    (void)executor.submit([&] {
      all.arrive_and_wait();  // opens only when every worker has one
      ++ran;
    });
  }
  const int more = scaled(10'000);
  for (int i = 0; i < more; ++i) {
    (void)executor.submit([&] { ++ran; });
  }
  executor.shutdown();
  REQUIRE(ran == static_cast<int>(workers) + more);
}

// ---- Waking --------------------------------------------------------------------------------------------------------

TEST_CASE("an idle worker wakes for every submission", "[pool][wake][R2]") {
  AsyncExecutor executor(2);
  int sum = 0;
  const int rounds = scaled(20'000);
  for (int i = 0; i < rounds; ++i) sum += executor.submit([] { return 1; }).get();
  REQUIRE(sum == rounds);
}

TEST_CASE("as many workers wake as there is work for from outside", "[pool][wake][R2]") {
  AsyncExecutor executor(4);
  for (int round = 0; round < scaled(500); ++round) {
    std::latch all(4);  // one task each, or it never opens
    std::vector<AsyncFuture<void>> futures;
    for (int i = 0; i < 4; ++i) futures.push_back(executor.submit([&] { all.arrive_and_wait(); }));
    for (auto& future : futures) future.get();
    if (round % 50 == 0) std::this_thread::sleep_for(1ms);  // all asleep
  }
  SUCCEED();
}

TEST_CASE("as many workers wake as there is work for from a worker", "[pool][wake][R2]") {
  AsyncExecutor executor(4);
  for (int round = 0; round < scaled(500); ++round) {
    std::latch all(4);
    auto parent = [&] {
      std::vector<AsyncFuture<void>> futures;
      for (int i = 0; i < 3; ++i) futures.push_back(executor.submit([&] { all.arrive_and_wait(); }));
      all.arrive_and_wait();  // blocks: the others must take what this worker has queued
    };
    executor.submit(parent).get();
    executor.submit([] {}).get();
    // Futures of the three may be running still, with the latch in use.
    REQUIRE(eventually([&] { return executor.stats().running + executor.stats().pending == 0; }));
    if (round % 50 == 0) std::this_thread::sleep_for(1ms);
  }
}

TEST_CASE("as many workers wake as there are tasks that continue", "[pool][wake][R2]") {
  AsyncExecutor executor(4);
  for (int round = 0; round < scaled(500); ++round) {
    std::latch all(4);
    std::atomic<int> waiting = 0;
    AsyncPromise<void> promise;
    const auto future = promise.get_future();
    auto waiter = [&]() -> Task<> {
      ++waiting;
      co_await future;
      all.arrive_and_wait();
    };
    std::vector<AsyncFuture<void>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(waiter));
    REQUIRE(eventually([&] { return waiting == 3; }));
    futures.push_back(executor.submit([&] {
      promise.set_result();
      all.arrive_and_wait();  // blocks: the others must take those that go on
    }));
    for (auto& each : futures) each.get();
  }
}

TEST_CASE("work that is queued behind a blocked worker is done by the others", "[pool][wake][R2]") {
  AsyncExecutor executor(2);
  Occupy occupied(executor, 1);
  std::atomic<int> ran = 0;
  std::vector<AsyncFuture<void>> futures;
  for (int i = 0; i < scaled(5000); ++i) futures.push_back(executor.submit([&] { ++ran; }));
  for (auto& future : futures) future.get();
  REQUIRE(ran == scaled(5000));
}

// ---- Fairness ------------------------------------------------------------------------------------------------------

TEST_CASE("tasks that feed on themselves do not starve the outside nor the timers", "[pool][fairness][R2]") {
  std::atomic<bool> stop = false;
  AsyncExecutor executor(1);
  std::function<void()> resubmit = [&] {
    if (!stop) (void)executor.submit(std::ref(resubmit));
  };
  auto yielding = [&]() -> Task<> {
    while (!stop) co_await yield();
  };
  auto awaiting = [&]() -> Task<> {
    while (!stop) {
      const int value = co_await executor.submit(answer);
      static_cast<void>(value);
    }
  };
  SECTION("by submitting") { (void)executor.submit(std::ref(resubmit)); }
  SECTION("by yielding") { (void)executor.submit(yielding); }
  SECTION("by submitting and awaiting") { (void)executor.submit(awaiting); }
  std::string starved;
  for (int i = 0; i < 20 && starved.empty(); ++i) {
    if (thrown_by([&] { return executor.submit(answer).get(10s); }) != "none") starved = "outside";
  }
  auto sleeper = []() -> Task<> { co_await sleep_for(1ms); };
  if (starved.empty() && thrown_by([&] { executor.submit(sleeper).get(10s); }) != "none") starved = "timers";
  stop = true;
  executor.shutdown();
  REQUIRE(starved.empty());
}

TEST_CASE("tasks of which each makes the next run soon let in what else waits", "[pool][fairness][R2]") {
  // How many of them run between the moment when something else could and when that does.
  enum class Are { awaited_in_order, branches, a_chain };
  const Are they = GENERATE(Are::awaited_in_order, Are::branches, Are::a_chain);
  constexpr int count = 1000;
  AsyncExecutor executor(1);
  std::atomic<int> ran = 0;
  std::atomic<int> ran_until = -1;
  const auto note = [&] { ran_until = ran.load(); };
  constexpr int blocking = 40;
  std::atomic<bool> reached = false;
  Gate gate;
  Semaphore semaphore(0);
  AsyncPromise<> promise;
  AsyncFuture<void> other;
  std::function<void()> on_reached = [] {};
  SECTION("from outside") {
    on_reached = [&] { other = executor.submit(note); };
  }
  SECTION("because its time has come") {
    other = executor.submit([&]() -> Task<> {
      co_await sleep_for(300ms);
      note();
    });
    on_reached = [] { std::this_thread::sleep_for(500ms); };
  }
  SECTION("because it has what it awaited") {
    other = executor.submit([&]() -> Task<> {
      const Permit permit = co_await semaphore.acquire();
      note();
    });
  }
  SECTION("a thread that blocked") {
    other = executor.submit([&, future = promise.get_future()] {
      future.get();
      note();
    });
    on_reached = [&] {
      promise.set_result();
      std::this_thread::sleep_for(2s);  // until it wants its worker back
    };
  }
  const auto run = [&](int i) {
    if (i == blocking) {
      reached = true;
      gate.wait();
      semaphore.release();
    } else if (i > blocking) {
      std::this_thread::sleep_for(100us);
    }
    ++ran;
  };
  const auto in_order = [&]() -> Task<> {
    std::vector<AsyncFuture<void>> futures;
    for (int i = 0; i < count; ++i) futures.push_back(executor.submit(run, i));
    for (auto& future : futures) co_await std::move(future);
  };
  const auto branch = [&](int i) -> Task<> {
    run(i);
    co_return;
  };
  const auto all_branches = [&]() -> Task<> {
    std::vector<Task<>> branches;
    for (int i = 0; i < count; ++i) branches.push_back(branch(i));
    co_await when_all(std::move(branches));
  };
  const auto link = [&](AsyncFuture<void> before, int i) -> Task<> {
    co_await before;
    run(i);
  };
  AsyncFuture<void> last;
  if (they == Are::a_chain) {
    const AsyncPromise<> start;
    last = start.get_future();
    for (int i = 0; i < count; ++i) last = executor.submit(link, last, i);
    executor.submit([] {}).wait();  // all of them wait
    start.set_result();
  } else {
    last = they == Are::branches ? executor.submit(all_branches) : executor.submit(in_order);
  }
  REQUIRE(eventually([&] { return reached.load(); }));
  const int ran_before = ran;
  on_reached();
  gate.open();
  last.get();
  other.get();
  CHECK(ran_until - ran_before < 300);
}

TEST_CASE("a worker's older tasks get their turn among newer ones without end", "[pool][fairness][R2]") {
  AsyncExecutor executor(1);
  std::atomic<int> left = 100;
  std::function<void()> resubmit = [&] {
    if (left > 0) (void)executor.submit(std::ref(resubmit));
  };
  // Of all depths up to 12, again and again.
  struct Recursion {
    Task<> run(int depth) {
      if (depth == 0 || left <= 0) co_return;
      AsyncFuture<void> one = executor.submit(&Recursion::run, this, depth - 1);
      AsyncFuture<void> other = executor.submit(&Recursion::run, this, depth - 1);
      co_await one.result(1h);
      co_await other.result(1h);
    }
    Task<> run_all() {
      for (int depth = 0; left > 0; depth = (depth + 1) % 12) co_await run(depth);
    }
    AsyncExecutor& executor;
    std::atomic<int>& left;
  } recursion{executor, left};
  const bool recursive = GENERATE(false, true);
  executor
      .submit([&] {
        for (int i = left; i > 0; --i) (void)executor.submit([&] { --left; });
        if (recursive) {
          (void)executor.submit(&Recursion::run_all, &recursion);
        } else {
          (void)executor.submit(std::ref(resubmit));
        }
      })
      .get();
  const bool all = eventually([&] { return left == 0; });
  left = 0;
  executor.shutdown();
  REQUIRE(all);
}

TEST_CASE("a recursion has no more of its tasks alive for going on for long", "[pool][R8]") {
  struct Recursion {
    struct Alive {
      explicit Alive(Recursion& owner) : recursion(owner) {
        recursion.most = std::max(recursion.most, ++recursion.alive);
      }
      Alive(const Alive&) = delete;
      Alive& operator=(const Alive&) = delete;
      ~Alive() { --recursion.alive; }
      Recursion& recursion;
    };
    Task<int> fib(int n) {
      const Alive counted(*this);
      if (n < 2) co_return n;
      AsyncFuture<int> left = executor.submit(&Recursion::fib, this, n - 1);
      AsyncFuture<int> right = executor.submit(&Recursion::fib, this, n - 2);
      const int first = co_await left.result(1h);
      const int second = co_await right.result(1h);
      co_return first + second;
    }
    AsyncExecutor executor{1};
    int alive = 0;
    int most = 0;
  } recursion;
  const auto most_of = [&](int n) {
    recursion.most = 0;
    recursion.executor.submit(&Recursion::fib, &recursion, n).get();
    return recursion.most;
  };
  const int of_few = most_of(14);
  const int of_many = most_of(22);  // fifty times as many
  INFO(of_few << " and " << of_many);
  CHECK(of_many < 8 * of_few);
}

TEST_CASE("branches come next, however many tasks their worker has in its queue", "[pool][order]") {
  AsyncExecutor executor(1);
  // Also where they are exactly what the queue has no room for.
  for (int queued = 250; queued <= 260; ++queued) {
    std::atomic<int> ran = 0;
    const auto fork = [&]() -> Task<int> {
      std::vector<AsyncFuture<void>> others;
      for (int i = 0; i < queued; ++i) others.push_back(executor.submit([&] { ++ran; }));
      const auto branch = [&]() -> Task<int> { co_return ran.load(); };
      const auto [first, second, third] = co_await when_all(branch(), branch(), branch());
      const int before = first + second + third;
      for (auto& other : others) co_await std::move(other);
      co_return before;
    };
    REQUIRE(executor.submit(fork).get() == 0);
  }
}

TEST_CASE("what a task has waited for in place goes with its last handle", "[pool][R8]") {
  AsyncExecutor executor(1);
  std::atomic<int> alive = 0;
  const auto make = [&] { return Counted(alive); };
  const auto most_alive = [&](bool oldest_first) {
    int most = 0;
    for (int round = 0; round < 50; ++round) {
      std::vector<AsyncFuture<Counted>> futures;
      for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(make));
      if (!oldest_first) std::reverse(futures.begin(), futures.end());
      for (const auto& future : futures) future.wait();
      futures.clear();
      most = std::max(most, alive.load());
    }
    return most;
  };
  CHECK(executor.submit(most_alive, false).get() == 0);
  CHECK(executor.submit(most_alive, true).get() == 0);
}

TEST_CASE("what comes from outside while a task awaits what it submits soon runs, in order", "[pool][fairness][R2]") {
  // However many tasks lie in the worker's deque besides, which grows by powers of two.
  const int older = GENERATE(0, 1, 253, 254, 255, 256, 300);
  AsyncExecutor executor(1);
  std::atomic<int> ran = 0;
  std::atomic<bool> reached = false;
  std::vector<int> order;
  int first_after = -1;
  Gate gate;
  auto parent = executor.submit([&]() -> Task<> {
    std::vector<AsyncFuture<void>> others;
    for (int i = 0; i < older; ++i) others.push_back(executor.submit([] {}));
    for (int i = 0; i < 2000; ++i) {
      auto step = [&] {
        if (ran == 40) {
          reached = true;
          gate.wait();
        }
        ++ran;
      };
      co_await executor.submit(std::ref(step));
    }
  });
  REQUIRE(eventually([&] { return reached.load(); }));
  std::vector<AsyncFuture<void>> outside;
  for (int i = 0; i < 12; ++i) {
    outside.push_back(executor.submit([&, i] {
      if (order.empty()) first_after = ran - 40;
      order.push_back(i);
    }));
  }
  gate.open();
  parent.get();
  for (auto& each : outside) each.get();
  CHECK(order == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(first_after < 150);
}

// ---- Blocking on a worker ------------------------------------------------------------------------------------------

TEST_CASE("a thousand nested gets on a pool of one come to an end", "[pool][nested][R3]") {
  const int depth = sanitized ? 300 : 1000;
  AsyncExecutor executor(1);
  REQUIRE(executor.submit(nest, std::ref(executor), depth).get() == depth);
  REQUIRE(executor.submit(nest_in_coroutines, std::ref(executor), depth).get() == depth);
}

TEST_CASE("recursion that blocks in get comes to an end", "[pool][nested][R3]") {
  const std::size_t workers = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{4});
  AsyncExecutor executor(workers);
  const int n = sanitized ? 12 : 18;
  REQUIRE(executor.submit(fibonacci, std::ref(executor), n).get() == (sanitized ? 144 : 2584));
}

TEST_CASE("many tasks that block in get at once come to an end", "[pool][nested][R3]") {
  AsyncExecutor executor(2);
  auto leaf = []() -> Task<int> {
    co_await sleep_for(1ms);
    co_return 1;
  };
  auto outer = [&] { return executor.submit(leaf).get(); };
  std::vector<AsyncFuture<int>> futures;
  for (int i = 0; i < scaled(2000); ++i) futures.push_back(executor.submit(outer));
  int sum = 0;
  for (auto& future : futures) sum += future.get();
  REQUIRE(sum == scaled(2000));
}

TEST_CASE("get on a worker does its own children before what others queued", "[pool][nested][R3]") {
  // Or a task that waits for its child with a lock in hand could end up behind tasks that need the lock.
  AsyncExecutor executor(1);
  std::atomic<bool> queued = false;
  std::atomic<bool> child_ran = false;
  std::atomic<int> too_early = 0;
  auto parent = executor.submit([&] {
    while (!queued) std::this_thread::yield();
    auto child = [&] {
      child_ran = true;
      return 42;
    };
    return executor.submit(child).get();
  });
  std::vector<AsyncFuture<void>> others;
  for (int i = 0; i < 100; ++i) {
    others.push_back(executor.submit([&] {
      if (!child_ran) ++too_early;
    }));
  }
  queued = true;
  REQUIRE(parent.get() == 42);
  for (auto& other : others) other.get();
  REQUIRE(too_early == 0);
}

// ---- Rest ----------------------------------------------------------------------------------------------------------

TEST_CASE("an idle executor uses no processor time and shuts down at once", "[pool][idle][R15]") {
  std::atomic<int> sleeping = 0;
  auto executor = std::make_unique<AsyncExecutor>(16);
  for (int i = 0; i < 1000; ++i) executor->submit(answer).wait();
  std::vector<AsyncFuture<void>> sleepers;
  SECTION("with nothing to do") {}
  SECTION("with tasks that sleep for long") {
    for (int i = 0; i < 1000; ++i) {
      sleepers.push_back(executor->submit([&]() -> Task<> {
        ++sleeping;
        co_await sleep_for(1h);
      }));
    }
    REQUIRE(eventually([&] { return sleeping == 1000; }));
  }
  // Once it has settled, which may take its time on a busy machine.
  REQUIRE(eventually([] {
    const auto before = cpu_time();
    std::this_thread::sleep_for(500ms);
    return cpu_time() - before < 50ms;
  }));

  for (auto& sleeper : sleepers) REQUIRE(sleeper.cancel());
  const Stopwatch watch;
  executor.reset();
  REQUIRE(watch.elapsed() < 10s);
}

TEST_CASE("a worker that waits in get uses no processor time", "[pool][idle][R15]") {
  AsyncPromise<int> promise;
  AsyncExecutor executor(2);
  std::atomic<int> waiting = 0;
  const auto future = promise.get_future();
  auto body = [&] {
    ++waiting;
    return future.get();
  };
  auto first = executor.submit(body);
  auto second = executor.submit(body);
  REQUIRE(eventually([&] { return waiting == 2; }));
  const bool idle = eventually([] {
    const auto before = cpu_time();
    std::this_thread::sleep_for(300ms);
    return cpu_time() - before < 50ms;
  });
  promise.set_result(1);
  REQUIRE(first.get() + second.get() == 2);
  REQUIRE(idle);
}

TEST_CASE("executors can be made and destroyed in great number", "[pool][scale]") {
  std::atomic<int> ran = 0;
  const int rounds = scaled(500);
  for (int i = 0; i < rounds; ++i) {
    AsyncExecutor executor(2);
    if (i % 2 == 0) (void)executor.submit([&] { ++ran; });
  }
  REQUIRE(ran == rounds / 2);
}
