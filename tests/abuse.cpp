// What nobody should do, and somebody will: tens of millions of tasks, chains a million deep on a small stack, hundreds of
// workers, executors made and destroyed all the time, storms of signals, forks at the worst moment.
#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>   // for max
#include <atomic>      // for atomic
#include <cerrno>      // for errno
#include <chrono>      // for microseconds
#include <csignal>     // for sigaction
#include <cstddef>     // for size_t
#include <cstdint>     // for int64_t
#include <cstdlib>     // for atoi
#include <functional>  // for function
#include <memory>      // for unique_ptr
#include <mutex>       // for mutex
#include <optional>    // for optional
#include <string>      // for string
#include <thread>      // for jthread
#include <utility>     // for move
#include <vector>      // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

/// Runs `body` in a thread with a stack of a mebibyte, while new threads have no more than that either.
template <class Body>
void on_small_stack(Body body) {
  constexpr std::size_t size = std::size_t{1} << 20;
  pthread_attr_t before, small;
  ::pthread_getattr_default_np(&before);
  ::pthread_attr_init(&small);
  ::pthread_attr_setstacksize(&small, size);
  ::pthread_setattr_default_np(&small);
  pthread_t thread{};
  const int made = ::pthread_create(
      &thread, &small,
      [](void* argument) -> void* {
        (*static_cast<Body*>(argument))();
        return nullptr;
      },
      &body);
  if (made == 0) ::pthread_join(thread, nullptr);
  ::pthread_setattr_default_np(&before);
  ::pthread_attr_destroy(&small);
  ::pthread_attr_destroy(&before);
  REQUIRE(made == 0);
}

/// How deep the chains go here: a frame has a few hundred bytes, and more under sanitizers.
constexpr int depth = sanitized ? 200'000 : 1'000'000;

Task<int> descend(int levels) {
  if (levels == 0) co_return 0;
  const int below = co_await descend(levels - 1);
  co_return below + 1;
}
Task<int> descend_and_suspend(int levels, const AsyncFuture<void>& gate) {
  if (levels == 0) {
    co_await gate;
    co_return 0;
  }
  const int below = co_await descend_and_suspend(levels - 1, gate);
  co_return below + 1;
}
Task<int> own(Task<int> inner) {
  const int value = co_await std::move(inner);
  co_return value + 1;
}

}  // namespace

// ---- Number --------------------------------------------------------------------------------------------------------

TEST_CASE("ten million tasks need no more memory than a few", "[R1][R8]") {
  const int count = sanitized ? 200'000 : optimized ? 10'000'000 : 3'000'000;
  AsyncExecutor executor(2);
  auto through_map = [&](int elements) {
    std::int64_t sum = 0;
    for (const int value :
         executor.map(MapOptions{.buffer_size = 4096, .chunk_size = 256}, identity, Numbers(nullptr, elements)))
      sum += value;
    return sum;
  };
  auto dropped = [&](int tasks) {
    std::atomic<std::int64_t> sum{0};
    std::atomic<int> ran{0};
    for (int i = 0; i < tasks; ++i) {
      static_cast<void>(executor.submit([&, i] {
        sum += i;
        ++ran;
      }));
      while (i - ran > 2000) std::this_thread::yield();  // who submits is faster than who works
    }
    while (ran < tasks) std::this_thread::yield();
    return std::int64_t{sum};
  };
  auto awaited = [&](int tasks) {
    auto body = [&](int rounds) -> Task<std::int64_t> {
      std::int64_t sum = 0;
      for (int i = 0; i < rounds; ++i) {
        const int value = co_await executor.submit(immediately, i);
        sum += value;
      }
      co_return sum;
    };
    return executor.submit(body, tasks).get();
  };
  auto completed = [&](int tasks) {
    std::int64_t sum = 0;
    for (int begin = 0; begin < tasks; begin += 1000) {
      std::vector<AsyncFuture<int>> futures;
      for (int i = begin; i < begin + 1000; ++i) futures.push_back(executor.submit(identity, i));
      for (const AsyncFuture<int>& future : as_completed(std::move(futures))) sum += future.get();
    }
    return sum;
  };
  const auto sum_to = [](std::int64_t n) { return n * (n - 1) / 2; };
  static_cast<void>(through_map(20'000));  // what they need once
  static_cast<void>(dropped(20'000));
  static_cast<void>(awaited(2'000));
  static_cast<void>(completed(2'000));
  const Growth growth;
  const int most = count * 7 / 10;
  REQUIRE(through_map(most) == sum_to(most));
  REQUIRE(dropped(count / 10) == sum_to(count / 10));
  REQUIRE(awaited(count / 10) == sum_to(count / 10));
  REQUIRE(completed(count / 10) == sum_to(count / 10));
  INFO("grew by " << growth.now() << " KiB");
  REQUIRE(growth.now() < 16 * 1024);
  executor.shutdown();
  const ExecutorStats stats = executor.stats();
  REQUIRE(stats.succeeded == stats.submitted);
}

TEST_CASE("executors are made and destroyed a hundred thousand times", "[R5][R8]") {
  const int rounds = thread_sanitizer ? 1'000 : address_sanitizer ? 2'000 : optimized ? 100'000 : 30'000;
  const std::ptrdiff_t threads = settled_thread_count();
  std::atomic<int> ran{0};
  { const AsyncExecutor once(2); }
  const Growth growth;
  {
    // Several at a time: on a busy machine one would wait for its turn, and wait, and wait.
    constexpr int makers = 10;
    std::vector<std::jthread> made;
    for (int maker = 0; maker < makers; ++maker) {
      made.emplace_back([&] {
        for (int i = 0; i < rounds / makers; ++i) {
          AsyncExecutor executor(1 + static_cast<std::size_t>(i % 8 == 0));
          if (i % 2 == 0) static_cast<void>(executor.submit([&] { ++ran; }));
        }
      });
    }
  }
  REQUIRE(ran == rounds / 2);
  REQUIRE(eventually([&] { return thread_count() == threads; }));
  REQUIRE(growth.now() < 16 * 1024);
}

// ---- Depth ---------------------------------------------------------------------------------------------------------

TEST_CASE("a million awaits on top of each other fit a stack of a mebibyte", "[R12]") {
  int in_sync_wait = 0, on_worker = 0;
  on_small_stack([&] {
    in_sync_wait = sync_wait(descend(depth));
    AsyncExecutor executor(1);
    on_worker = executor.submit(descend, depth).get();
  });
  REQUIRE(in_sync_wait == depth);
  REQUIRE(on_worker == depth);
}

TEST_CASE("a chain of a million suspended tasks ends, is cancelled and is destroyed on a stack of a mebibyte",
          "[R12]") {
  int ended = 0;
  bool cancelled = false;
  on_small_stack([&] {
    AsyncExecutor executor(1);
    AsyncGate gate;
    AsyncFuture<int> future = executor.submit(descend_and_suspend, depth, gate.passed());
    while (!future.running()) std::this_thread::yield();
    gate.open();
    ended = future.get();

    AsyncGate never;
    future = executor.submit(descend_and_suspend, 2000, never.passed());  // an exception passes through each
    while (!future.running()) std::this_thread::yield();
    future.cancel();
    future.wait();
    cancelled = future.cancelled();

    Task<int> chain = immediately(0);
    for (int i = 0; i < depth; ++i) chain = own(std::move(chain));
    chain = immediately(0);  // destroys it
    for (int i = 0; i < depth; ++i) chain = own(std::move(chain));
    ended += sync_wait(std::move(chain));
    chain = immediately(0);
    for (int i = 0; i < depth; ++i) chain = own(std::move(chain));
    const Occupy occupied(executor);
    static_cast<void>(executor.submit(std::move(chain)).cancel());  // before it has started
  });
  REQUIRE(ended == 2 * depth);
  REQUIRE(cancelled);
}

TEST_CASE("a million callbacks, each of which keeps the next one's promise, fit a stack of a mebibyte", "[R12]") {
  const int links = scaled(1'000'000);
  int called = 0;
  on_small_stack([&] {
    std::vector<AsyncPromise<int>> promises(static_cast<std::size_t>(links));
    for (std::size_t i = 0; i + 1 < promises.size(); ++i) {
      promises[i].get_future().add_done_callback([&, i](const AsyncFuture<int>&) {
        ++called;
        promises[i + 1].set_result(0);
      });
    }
    promises.front().set_result(0);
  });
  REQUIRE(called == links - 1);
}

TEST_CASE("tasks that wait each for the one before, hundreds of thousands of them, fit a stack of a mebibyte",
          "[R12]") {
  const int links = sanitized ? 20'000 : 300'000;
  int last = 0;
  on_small_stack([&] {
    AsyncExecutor executor(1);
    AsyncPromise<int> first;
    AsyncFuture<int> future = first.get_future();
    auto link = [](AsyncFuture<int> before) -> Task<int> {
      const int value = co_await std::move(before);
      co_return value + 1;
    };
    for (int i = 0; i < links; ++i) future = executor.submit(link, std::move(future));
    first.set_result(0);
    last = future.get();
  });
  REQUIRE(last == links);
}

TEST_CASE("a thousand nested gets need no more than stacks of a mebibyte", "[R3][R12]") {
  const int levels = sanitized ? 200 : 1000;
  AsyncExecutor* executor_here = nullptr;
  const std::function<int(int)> nest = [&](int level) {
    return level == 0 ? 0 : executor_here->submit(nest, level - 1).get() + 1;
  };
  int result = 0;
  on_small_stack([&] {
    AsyncExecutor executor(1);
    executor_here = &executor;
    result = executor.submit(nest, sanitized ? 100 : levels).get();
  });
  REQUIRE(result == (sanitized ? 100 : levels));
}

// ---- Width ---------------------------------------------------------------------------------------------------------

TEST_CASE("two hundred and fifty-six workers, more than anybody has processors for, do what few do", "[R2][R15]") {
  const std::size_t workers = thread_sanitizer ? 64 : 256;
  AsyncExecutor executor(workers);
  // Everybody at once, and asleep again.
  for (int round = 0; round < scaled(20); ++round) {
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 1000; ++i) futures.push_back(executor.submit(identity, i));
    int sum = 0;
    for (const AsyncFuture<int>& future : futures) sum += future.get();
    REQUIRE(sum == 499'500);
  }
  // All of them blocked at one gate, so that none can be spared.
  { Occupy occupied(executor, workers); }
  // Fork and join.
  struct Fork {
    static Task<std::int64_t> run(int levels) {
      if (levels == 0) co_return 1;
      std::tuple<std::int64_t, std::int64_t> both = co_await when_all(run(levels - 1), run(levels - 1));
      co_return std::get<0>(both) + std::get<1>(both);
    }
  };
  const int levels = sanitized ? 10 : 15;
  REQUIRE(executor.submit(&Fork::run, levels).get() == std::int64_t{1} << levels);
}

TEST_CASE("tasks that hand a token to and fro always find the other awake", "[R2]") {
  const std::size_t workers = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{64});
  AsyncExecutor executor(workers);
  const int exchanges = scaled(20'000);
  std::vector<AsyncPromise<>> pings(static_cast<std::size_t>(exchanges)), pongs(static_cast<std::size_t>(exchanges));
  auto one = [&]() -> Task<> {
    for (std::size_t i = 0; i < pings.size(); ++i) {
      pings[i].set_result();
      co_await pongs[i].get_future();
    }
  };
  auto other = [&]() -> Task<> {
    for (std::size_t i = 0; i < pings.size(); ++i) {
      co_await pings[i].get_future();
      pongs[i].set_result();
    }
  };
  const AsyncFuture<void> first = executor.submit(one);
  const AsyncFuture<void> second = executor.submit(other);
  REQUIRE(first.wait_for(patience));
  REQUIRE(second.wait_for(patience));
}

TEST_CASE("sixty-four idle workers use no processor", "[R15]") {
  AsyncExecutor executor(64);
  for (int i = 0; i < 1000; ++i) static_cast<void>(executor.submit(identity, i));
  executor.submit(identity, 1).wait();
  REQUIRE(eventually([&] { return all_asleep(executor); }));
  std::this_thread::sleep_for(100ms);
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  std::this_thread::sleep_for(1s);
  ::getrusage(RUSAGE_SELF, &after);
  const auto microseconds = [](const timeval& time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
  const auto used = microseconds(after.ru_utime) + microseconds(after.ru_stime) - microseconds(before.ru_utime) -
                    microseconds(before.ru_stime);
  INFO("used " << used << " us");
  REQUIRE(used < (sanitized ? 200'000 : 20'000));
  REQUIRE(after.ru_nvcsw - before.ru_nvcsw < 200);
}

// ---- Blocking ------------------------------------------------------------------------------------------------------

TEST_CASE("a task that waits for its child with a lock in hand is not made to run who wants the lock", "[R3]") {
  const std::size_t workers = GENERATE(std::size_t{1}, std::size_t{2});
  for (int round = 0; round < scaled(50); ++round) {
    AsyncExecutor executor(workers);
    std::mutex mutex;
    std::atomic<int> inside{0};
    auto suspended_child = []() -> Task<int> {
      co_await sleep_for(100us);
      co_return 1;
    };
    auto locker = [&] {
      const std::lock_guard lock(mutex);
      ++inside;
    };
    std::atomic<int> lockers{0};
    auto parent = [&, round] {
      const std::lock_guard lock(mutex);
      // On the top of this worker's deque; but not so many that all workers wait for the lock while the child sleeps.
      const int count = round % 2 == 0 ? 5 : static_cast<int>(workers) - 1;
      for (int i = 0; i < count; ++i) static_cast<void>(executor.submit(locker));
      lockers += count;
      return round % 2 == 0 ? executor.submit(identity, 1).get() : executor.submit(suspended_child).get();
    };
    REQUIRE(executor.submit(parent).get(patience) == 1);
    executor.shutdown();
    REQUIRE(inside == lockers);
  }
}

TEST_CASE("tasks that get one after the other, what suspends nowhere, take no threads for it", "[R3]") {
  enum class Of { a_function, a_coroutine, branches };
  const Of of = GENERATE(Of::a_function, Of::a_coroutine, Of::branches);
  const int tasks = scaled(500), gets = 300;
  std::atomic<int> threads{0};
  ExecutorOptions options;
  options.max_workers = 1;
  options.on_worker_start = [&](std::size_t) { ++threads; };
  AsyncExecutor executor(std::move(options));

  const auto awaits_many = [&]() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < gets; ++i) {
      const int one = co_await executor.submit(identity, 1);
      sum += one;
    }
    co_return sum;
  };
  const auto branch = []() -> Task<int> { co_return 1; };
  const auto forks_many = [&]() -> Task<int> {
    std::vector<Task<int>> branches;
    for (int i = 0; i < gets; ++i) branches.push_back(branch());
    const std::vector<int> ones = co_await when_all(std::move(branches));
    co_return static_cast<int>(ones.size());
  };
  const auto task = [&] {
    if (of == Of::a_coroutine) return executor.submit(awaits_many).get();
    if (of == Of::branches) return executor.submit(forks_many).get();
    int sum = 0;
    for (int i = 0; i < gets; ++i) sum += executor.submit(identity, 1).get();
    return sum;
  };
  std::atomic<bool> all_there{false};
  executor.submit([&] { all_there.wait(false); });
  std::vector<AsyncFuture<int>> futures;
  for (int i = 0; i < tasks; ++i)
    futures.push_back(executor.submit(task));  // each waits for its turn behind the others
  all_there = true;
  all_there.notify_one();
  for (AsyncFuture<int>& future : futures) REQUIRE(future.get(patience) == gets);
  REQUIRE(threads == 1);
}

TEST_CASE("a task that gets one after the other with a lock in hand is not made to let in who wants the lock", "[R3]") {
  AsyncExecutor executor(1);
  std::mutex mutex;
  std::atomic<bool> all_there{false};
  auto holder = executor.submit([&] {
    all_there.wait(false);
    int sum = 0;
    for (int i = 0; i < 300; ++i) {
      const std::lock_guard lock(mutex);
      sum += executor.submit(identity, 1).get();
    }
    return sum;
  });
  auto other = executor.submit([&] { const std::lock_guard lock(mutex); });
  all_there = true;
  all_there.notify_one();
  REQUIRE(holder.get(patience) == 300);
  other.get(patience);
}

TEST_CASE("what a task gets in place, newest or not, goes with its handle", "[R8]") {
  std::atomic<int> alive{0};
  AsyncExecutor executor(1);
  const auto make = [&] { return Counted(alive); };
  auto gets_pairs = [&] {
    const AsyncFuture<int> older = executor.submit(identity, 1);  // below all that follow
    int most = 0;
    for (int i = 0; i < scaled(10'000); ++i) {
      const auto first = executor.submit(make), second = executor.submit(make), third = executor.submit(make);
      first.wait();
      second.wait();
      third.wait();
      most = std::max(most, alive.load());
    }
    return most * older.get();
  };
  REQUIRE(executor.submit(gets_pairs).get(patience) <= 5);
  executor.shutdown();
  REQUIRE(alive == 0);
}

TEST_CASE("a task that submits itself over and over does not keep the others waiting", "[R2]") {
  AsyncExecutor executor(1);
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> turns{0};
  std::function<void()> again = [&] {
    ++turns;
    if (!stop) static_cast<void>(executor.submit(std::ref(again)));
  };
  static_cast<void>(executor.submit(std::ref(again)));
  while (turns == 0) std::this_thread::yield();
  // How many turns another waits for its own: what a turn takes is the machine's affair.
  std::int64_t longest = 0;
  for (int i = 0; i < 50; ++i) {
    const AsyncFuture<std::int64_t> other = executor.submit([&] { return turns.load(); });
    const std::int64_t queued_at = turns;
    longest = std::max(longest, other.get() - queued_at);
  }
  stop = true;
  executor.shutdown();
  REQUIRE(longest < 1000);
  REQUIRE(turns > 50);
}

// ---- Handles -------------------------------------------------------------------------------------------------------

TEST_CASE("futures may be dropped anywhere: by other threads, in their own callbacks, after their executor", "[R8]") {
  Tracked::live = 0;
  const int count = scaled(5000);
  {
    std::vector<AsyncFuture<Tracked>> survivors;
    AsyncFuture<Tracked> unfinished;
    {
      AsyncExecutor executor(2);
      Stranger stranger;
      for (int i = 0; i < count; ++i) {
        auto body = [](int x) -> Task<Tracked> {
          if (x % 3 == 0) co_await cohort::yield();
          co_return Tracked(x);
        };
        AsyncFuture<Tracked> future = executor.submit(body, i);
        switch (i % 4) {
          case 0:  // on another thread
            stranger.post([kept = std::move(future)]() mutable { kept = {}; });
            break;
          case 1: {  // in its own callback, where it is the last
            auto last = std::make_shared<AsyncFuture<Tracked>>(std::move(future));
            last->add_done_callback([last](AsyncFuture<Tracked> same) {
              same = {};
              *last = {};
            });
            break;
          }
          case 2:  // after the executor
            survivors.push_back(std::move(future));
            break;
          default:  // by a task of another
            static_cast<void>(executor.submit([kept = std::move(future)] {}));
        }
      }
    }
    for (const AsyncFuture<Tracked>& future : survivors) REQUIRE(future.done());
    survivors.front().add_done_callback([&](AsyncFuture<Tracked>) { survivors.clear(); });
  }
  REQUIRE(Tracked::live == 0);
}

// ---- Signals -------------------------------------------------------------------------------------------------------

namespace {

std::atomic<std::int64_t> signals_handled{0};

/// Sends SIGUSR1 to every thread of the process, one after the other, as fast as it can.
class Storm {
 public:
  explicit Storm(int flags) {
    struct sigaction action {};
    action.sa_flags = flags;
    action.sa_handler = [](int) {
      const int kept = errno;
      ++signals_handled;
      // As if it had been preempted, just there.
      timespec nap{0, static_cast<long>(signals_handled % 8 == 0 ? 50'000 : 0)};
      ::nanosleep(&nap, nullptr);
      errno = kept;
    };
    ::sigaction(SIGUSR1, &action, nullptr);
    thread_ = std::jthread([this] { rage(); });
  }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  // The handler stays: the last signals may still be under way.
  ~Storm() {
    over_ = true;
    thread_.join();
  }

 private:
  void rage() {
    const auto self = static_cast<int>(::syscall(SYS_gettid));
    while (!over_) {
      DIR* const threads = ::opendir("/proc/self/task");
      while (const dirent* entry = ::readdir(threads)) {
        const int id = std::atoi(entry->d_name);
        if (id > 0 && id != self) ::syscall(SYS_tgkill, ::getpid(), id, SIGUSR1);
      }
      ::closedir(threads);
      std::this_thread::sleep_for(50us);
    }
  }

  std::atomic<bool> over_{false};
  std::jthread thread_;
};

}  // namespace

TEST_CASE("a storm of signals disturbs neither waiting nor timers nor programs", "[R2][R11]") {
  const int flags = GENERATE(0, SA_RESTART);
  const std::int64_t before = signals_handled;
  int early = 0, wrong = 0;
  {
    AsyncExecutor executor(2);
    const Storm storm(flags);
    const Stopwatch watch;
    while (watch.elapsed() < 700ms || signals_handled <= before + 100) {
      auto sleeper = [&]() -> Task<Clock::duration> {
        const Stopwatch slept;
        co_await sleep_for(2ms);
        co_return slept.elapsed();
      };
      std::vector<AsyncFuture<Clock::duration>> sleepers;
      for (int i = 0; i < 20; ++i) sleepers.push_back(executor.submit(sleeper));
      const Stopwatch waited;
      const AsyncPromise<int> never;
      if (never.get_future().wait_for(1ms)) ++wrong;
      if (waited.elapsed() < 1ms) ++early;
      for (const auto& each : sleepers)
        if (each.get() < 2ms) ++early;
      auto nested = [&] { return executor.submit(immediately, 1).get() + executor.submit(sleeper).get().count() * 0; };
      if (executor.submit(nested).get() != 1) ++wrong;
      AsyncExecutor brief(2);
      if (brief.submit(identity, 3).get() != 3) ++wrong;
    }
    ConcurrentExecutionBackend backend(executor);
    for (int i = 0; i < 5; ++i) {
      std::vector<TaskDescription> batch;
      batch.emplace_back("", ExecutableTask{.program = "cat", .standard_input = "input"});
      const TaskResult result = backend.submit_tasks(std::move(batch))[0].get();
      if (result.state != TaskState::done || result.standard_output != "input") ++wrong;
    }
  }
  REQUIRE(early == 0);
  REQUIRE(wrong == 0);
  REQUIRE(signals_handled > before + 100);
}

// ---- Processes -----------------------------------------------------------------------------------------------------

TEST_CASE("a process may be left in the middle of everything", "[R14]") {
  const auto load = [](AsyncExecutor& executor) {
    auto busy = [] { std::this_thread::sleep_for(100us); };
    auto waiting = [] { return sync_wait(immediately(1)); };
    auto sleeping = []() -> Task<> { co_await sleep_for(20ms); };
    for (int i = 0; i < 200; ++i) {
      static_cast<void>(executor.submit(busy));
      static_cast<void>(executor.submit(waiting));
      static_cast<void>(executor.submit(SubmitOptions{.timeout = 1h}, sleeping));
    }
  };
  SECTION("by exit in a task, with executors in static variables made in any order") {
    REQUIRE(in_child([&] {
              static AsyncExecutor first(2);
              static std::vector<int> later(1000, 1);
              static AsyncExecutor second(2);
              load(first);
              load(second);
              static_cast<void>(second.submit([] {
                static AsyncExecutor third(1);
                static_cast<void>(third.submit(identity, static_cast<int>(later.size())));
                std::exit(7);
              }));
              std::this_thread::sleep_for(20s);
              return 1;
            }) == 7);
  }
  SECTION("by quick_exit in a task") {
    REQUIRE(in_child([&] {
              static AsyncExecutor executor(2);
              load(executor);
              static_cast<void>(executor.submit([] { std::quick_exit(7); }));
              std::this_thread::sleep_for(20s);
              return 1;
            }) == 7);
  }
  SECTION("by exit in a callback") {
    REQUIRE(in_child([&] {
              static AsyncExecutor executor(2);
              load(executor);
              AsyncFuture<int> future = executor.submit(immediately, 1);
              future.add_done_callback([](const AsyncFuture<int>&) { std::exit(7); });
              std::this_thread::sleep_for(20s);
              return 1;
            }) == 7);
  }
  SECTION("by another program") {
    REQUIRE(in_child([&] {
              AsyncExecutor executor(2);
              load(executor);
              static_cast<void>(executor.submit([] { ::execl("/bin/sh", "sh", "-c", "exit 7", nullptr); }));
              std::this_thread::sleep_for(20s);
              return 1;
            }) == 7);
  }
}

TEST_CASE("a process may fork at any moment, and in the child executors are inert, and new ones work", "[R14]") {
  if (sanitized) {
    WARN("not with this sanitizer: its own memory may be locked in the child, or it allows no new threads there");
    return;
  }
  auto executor = std::make_unique<AsyncExecutor>(2);
  std::atomic<bool> stop{false};
  // What uses the memory of frames, and makes and destroys executors, all the time.
  auto busy = [&]() -> Task<> {
    while (!stop) {
      std::vector<Task<int>> tasks;
      for (int i = 0; i < 300; ++i) tasks.push_back(immediately(i));
      tasks.clear();
      AsyncFuture<int> future = executor->submit(identity, 1);
      const int value = co_await future;
      static_cast<void>(value);
    }
  };
  std::vector<AsyncFuture<void>> load;
  for (int i = 0; i < 2; ++i) load.push_back(executor->submit(busy));
  std::jthread churn([&] {
    while (!stop) {
      AsyncExecutor brief(1);
      std::vector<Task<int>> tasks;
      for (int i = 0; i < 300; ++i) tasks.push_back(immediately(i));
      brief.submit(identity, 1).wait();
    }
  });
  int wrong = 0;
  std::string codes;
  const Stopwatch watch;
  for (int round = 0; round < scaled(300) && watch.elapsed() < 20s && wrong == 0; ++round) {
    const int code = in_child([&] {
      ::alarm(10);
      if (thrown_by([&] { return executor->submit(identity, 1); }) != "shutdown") return 2;
      std::vector<Task<int>> tasks;
      for (int i = 0; i < 300; ++i) tasks.push_back(immediately(i));
      executor->shutdown();
      executor.reset();
      AsyncExecutor fresh(1);
      if (fresh.submit(identity, 5).get() != 5) return 3;
      return 0;
    });
    if (code != 0) {
      ++wrong;
      codes += std::to_string(code) + " ";
    }
  }
  stop = true;
  churn.join();
  for (const AsyncFuture<void>& each : load) each.wait();
  INFO(codes);
  REQUIRE(wrong == 0);
  REQUIRE(executor->submit(identity, 1).get() == 1);
}
