// Threads that cannot be made, descriptors that run out: the first that is asked for, then the second, and so on.
#include "adaptor_support.hpp"
#include "catch.hpp"
#include "fault_support.hpp"

#include "../src/process.hpp"

#include <cohort/cohort.hpp>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>    // for atomic
#include <cerrno>    // for EAGAIN
#include <cstdarg>   // for va_list
#include <cstddef>   // for size_t
#include <iterator>  // for distance
#include <memory>    // for unique_ptr
#include <optional>  // for optional
#include <string>    // for string
#include <thread>    // for jthread
#include <utility>   // for move
#include <vector>    // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

// ---- A pthread_create that fails -----------------------------------------------------------------------------------

namespace {

// Clang 14's thread sanitizer cannot bear that somebody else defines pthread_create.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COHORT_TEST_OWN_PTHREAD_CREATE 0
#endif
#endif
#ifndef COHORT_TEST_OWN_PTHREAD_CREATE
#define COHORT_TEST_OWN_PTHREAD_CREATE 1
#endif

constexpr int never = 1 << 30;
std::atomic<int> threads_left{never};  // how many can still be made
std::atomic<int> threads_refused{0};
std::atomic<bool> no_pidfd{false};  // there is no descriptor for a process to be had
std::atomic<bool> no_keys{false};   // no thread can be given a value that is destroyed with it
std::atomic<bool> no_values{false};
std::atomic<int> keys_refused{0};
std::atomic<int> values_refused{0};
std::atomic<int> fork_handlers_left{never};  // how many can still be registered
std::atomic<int> fork_handlers_refused{0};

/// From now on so many threads can be made, and no more; until its end.
class ThreadLimit {
 public:
  explicit ThreadLimit(int count) {
    threads_refused = 0;
    threads_left = count;
  }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;
  ~ThreadLimit() { threads_left = never; }
  [[nodiscard]] int refused() const { return threads_refused; }
};

}  // namespace

#if COHORT_TEST_OWN_PTHREAD_CREATE
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  if (--threads_left < 0) {
    ++threads_refused;
    return EAGAIN;
  }
  return real(thread, attributes, start, argument);
}
#endif

extern "C" int pthread_key_create(pthread_key_t* key, void (*destroy)(void*)) noexcept {
  using Create = int (*)(pthread_key_t*, void (*)(void*));
  static const auto real = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_key_create"));
  if (no_keys) {
    ++keys_refused;
    return EAGAIN;
  }
  return real(key, destroy);
}

extern "C" int pthread_setspecific(pthread_key_t key, const void* value) noexcept {
  using Set = int (*)(pthread_key_t, const void*);
  static const auto real = reinterpret_cast<Set>(::dlsym(RTLD_NEXT, "pthread_setspecific"));
  if (no_values) {
    ++values_refused;
    return ENOMEM;
  }
  return real(key, value);
}

// Not part of the shared C library, as the others are, but of each program: there is nobody to ask but whom it asks.
extern "C" int __register_atfork(void (*before)(), void (*in_parent)(), void (*in_child)(), void* whose) noexcept;
extern "C" int pthread_atfork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept {
  if (--fork_handlers_left < 0) {
    ++fork_handlers_refused;
    return ENOMEM;
  }
  return __register_atfork(before, in_parent, in_child, nullptr);
}

// The library asks for a pidfd in this way. Others use it, too: six arguments are as many as there can be, and reading
// those that were not given does no harm.
extern "C" __attribute__((no_sanitize_address)) long syscall(long number, ...) noexcept {
  using Call = long (*)(long, ...);
  static const auto real = reinterpret_cast<Call>(::dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_pidfd_open && no_pidfd) {
    errno = EMFILE;
    return -1;
  }
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

namespace {

bool can_refuse_threads() {
  if (COHORT_TEST_OWN_PTHREAD_CREATE != 0) return true;
  WARN("not with this sanitizer: it needs pthread_create for itself");
  return false;
}

int answer() { return 42; }
Task<int> later(int x) {
  co_await cohort::yield();
  co_return x;
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator numbers("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(numbers, std::filesystem::directory_iterator()));
}

bool has_children() {
  siginfo_t info;
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

}  // namespace

// ---- Threads -------------------------------------------------------------------------------------------------------

TEST_CASE("an executor whose threads cannot all be made is not made, and none is left", "[R10]") {
  if (!can_refuse_threads()) return;
  { const AsyncExecutor once(1); }  // what is made once and kept
  const std::ptrdiff_t before = settled_thread_count();
  for (int room = 0; room < 4; ++room) {
    std::atomic<int> started{0};
    ExecutorOptions options;
    options.max_workers = 4;
    options.on_worker_start = [&](std::size_t) { ++started; };
    std::string outcome(32, ' ');
    const long blocks = fault::live;
    {
      const ThreadLimit limit(room);
      outcome = thrown_by([&] { AsyncExecutor executor(options); });
    }
    const bool all_left = eventually([&] { return thread_count() == before; });
    const bool all_freed = eventually([&] { return fault::live == blocks; });
    REQUIRE(outcome == "system_error");
    REQUIRE(started <= room);
    REQUIRE(all_left);
    REQUIRE(all_freed);
  }
  AsyncExecutor executor(4);
  REQUIRE(executor.submit(answer).get() == 42);
}

namespace {

// A thousand tasks and a nested one; other threads give the frames back.
int work_for_many_threads() {
  std::vector<AsyncFuture<int>> futures;
  int sum = 0;
  {
    AsyncExecutor executor(2);
    for (int i = 0; i < 1000; ++i) futures.push_back(executor.submit(later, 1));
    for (const AsyncFuture<int>& future : futures) sum += future.get(patience);
    auto nested = [&executor] { return executor.submit(later, 1).get(); };
    sum += executor.submit(nested).get(patience);
  }
  std::jthread([frames = std::move(futures)]() mutable { frames.clear(); }).join();
  return sum;
}

}  // namespace

// Frames are kept by threads that are told of their end, to give them back. There is one key for that in a process: that
// there is none is only seen when nothing has asked for it before, as when ctest runs this test by itself.
TEST_CASE("a process that has no key left for thread-specific values works all the same", "[R9][R10]") {
  pthread_key_t somebody_elses{};
  REQUIRE(::pthread_key_create(&somebody_elses, nullptr) == 0);
  no_keys = true;
  const int sum = work_for_many_threads();
  no_keys = false;
  REQUIRE(sum == 1001);
  REQUIRE(detail::live_frames() == 0);
  REQUIRE(::pthread_getspecific(somebody_elses) == nullptr);
  ::pthread_key_delete(somebody_elses);
  if (keys_refused == 0) WARN("there was a key already: run this test by itself");
}

TEST_CASE("threads that have no memory for thread-specific values work all the same", "[R9][R10]") {
  no_values = true;
  const int sum = work_for_many_threads();
  no_values = false;
  REQUIRE(sum == 1001);
  REQUIRE(detail::live_frames() == 0);
  REQUIRE((values_refused != 0 || keys_refused != 0));
  // As soon as there is some, those that are there keep frames, and give them back at their end.
  REQUIRE(work_for_many_threads() == 1001);
  REQUIRE(detail::live_frames() == 0);
}

// They are registered once in a process: as above, a test for ctest.
TEST_CASE("where there is no memory to be told of forks the constructor says so, and the next one tries again",
          "[R9][R14]") {
  int failures = 0;
  for (int room = 0;; ++room) {
    fork_handlers_refused = 0;
    fork_handlers_left = room;
    const long blocks = fault::live;
    const std::string outcome = thrown_by([] { AsyncExecutor executor(2); });
    fork_handlers_left = never;
    if (fork_handlers_refused == 0) break;
    const bool all_freed = eventually([&] { return fault::live <= blocks + 1; });  // the list of executors stays
    ++failures;
    REQUIRE(outcome == "bad_alloc");
    REQUIRE(all_freed);
  }
  if (failures == 0) WARN("they were registered already: run this test by itself");
  REQUIRE(work_for_many_threads() == 1001);
  REQUIRE(detail::live_frames() == 0);
  AsyncExecutor executor(1);
  const int code = in_child([&] { return thrown_by([&] { return executor.submit(answer); }) == "shutdown" ? 0 : 1; });
  REQUIRE(code == 0);
}

TEST_CASE("where a blocked worker's place cannot be taken its tasks run all the same", "[R3][R10]") {
  if (!can_refuse_threads()) return;
  for (int room = 0; room < 5; ++room) {
    const std::size_t workers = room % 2 == 0 ? 1 : 2;
    AsyncExecutor executor(workers);
    const ThreadLimit limit(room);
    std::vector<AsyncFuture<int>> futures;
    std::vector<AsyncPromise<int>> promises(10);
    for (int i = 0; i < 10; ++i) {
      auto waiter = [future = promises[static_cast<std::size_t>(i)].get_future()] { return future.get(); };
      futures.push_back(executor.submit(waiter));
    }
    // Those who wait are there first; what they wait for is done behind them, by whoever can.
    for (int i = 9; i >= 0; --i) {
      auto setter = [&, i] { promises[static_cast<std::size_t>(i)].set_result(i); };
      static_cast<void>(executor.submit(setter));
    }
    int sum = 0;
    for (const AsyncFuture<int>& future : futures) sum += future.get(patience);
    REQUIRE(sum == 45);
    auto nested = [&] {
      auto inner = [&] { return executor.submit(later, 1).get() + executor.submit(later, 2).get(1h); };
      return executor.submit(inner).get();
    };
    REQUIRE(executor.submit(nested).get(patience) == 3);
    auto in_sync_wait = [] {
      auto body = []() -> Task<int> {
        co_await sleep_for(1ms);
        const int value = co_await later(4);
        co_return value;
      };
      return sync_wait(body());
    };
    REQUIRE(executor.submit(in_sync_wait).get(patience) == 4);
    executor.shutdown();
    if (room == 0) REQUIRE(limit.refused() > 0);
  }
}

TEST_CASE("a timeout works where there is no thread to watch the clock", "[R10][R11]") {
  if (!can_refuse_threads()) return;
  AsyncExecutor executor(1);
  const ThreadLimit limit(0);
  auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
  const AsyncFuture<void> late = executor.submit(SubmitOptions{.timeout = 5ms}, sleeper);
  REQUIRE(thrown_by([&] { late.get(patience); }) == "timeout");
  REQUIRE(limit.refused() > 0);
}

TEST_CASE("an executor that is shut down in a task of another does not need a thread", "[R3][R5][R10]") {
  if (!can_refuse_threads()) return;
  AsyncExecutor outer(1);
  AsyncExecutor inner(1);
  const ThreadLimit limit(0);
  AsyncPromise<int> promise;
  auto waiter = [&]() -> Task<int> {
    const int value = co_await promise.get_future();
    co_return value;
  };
  const AsyncFuture<int> waiting = inner.submit(waiter);
  // What the inner executor waits for is done by the outer one's only worker, which waits for the inner executor.
  auto closer = [&] { inner.shutdown(); };
  auto setter = [&] { promise.set_result(7); };
  const AsyncFuture<void> closing = outer.submit(closer);
  const AsyncFuture<void> setting = outer.submit(setter);
  const bool in_time = setting.wait_for(patience);
  if (!in_time) promise.set_result(8);
  closing.wait();
  REQUIRE(in_time);
  REQUIRE(waiting.get() == 7);
}

TEST_CASE("a thread that works while it waits gives its worker to one whose wait is over", "[R2][R10]") {
  if (!can_refuse_threads()) return;
  AsyncExecutor executor(1);
  const ThreadLimit limit(1);
  const AsyncPromise<int> promise;
  const AsyncFuture<int> set = promise.get_future();
  Gate begun;
  const AsyncFuture<int> first = executor.submit([&] {
    begun.open();
    return set.get();  // its worker goes to the last thread that there is,
  });
  begun.wait();
  const AsyncFuture<int> second = executor.submit([&] { return first.get(); });  // which has to go on while it waits
  REQUIRE(eventually([&] { return limit.refused() > 0; }));
  promise.set_result(7);
  REQUIRE(first.wait_for(patience));
  REQUIRE(second.get() == 7);
}

TEST_CASE("an executor may be shut down in a sync_wait by one of several that its tasks wait for", "[R3][R5]") {
  AsyncExecutor executor(1);
  AsyncPromise<int> promise;
  auto waiter = [&]() -> Task<int> {
    const int value = co_await promise.get_future();
    co_return value;
  };
  const AsyncFuture<int> waiting = executor.submit(waiter);
  auto closer = [&]() -> Task<> {
    executor.shutdown();
    co_return;
  };
  auto setter = [&]() -> Task<> {
    promise.set_result(7);
    co_return;
  };
  auto both = [&]() -> Task<> { co_await when_all(closer(), setter()); };
  const std::jthread late([&] {
    if (waiting.wait_for(patience)) return;
    promise.set_result(8);
  });
  sync_wait(both());
  REQUIRE(waiting.get() == 7);
}

TEST_CASE("where no thread can be made for programs these fail, and the next ones work", "[R10]") {
  if (!can_refuse_threads()) return;
  const bool without_pidfd = GENERATE(false, true);
  const std::ptrdiff_t threads = settled_thread_count();
  AsyncExecutor executor(1);
  for (int room = 0; room < 3; ++room) {
    ConcurrentExecutionBackend backend(executor);
    const std::size_t descriptors = open_descriptors();
    auto run_one = [&] {
      std::vector<TaskDescription> batch;
      batch.emplace_back("", ExecutableTask{.program = "exit 3", .shell = true});
      return backend.submit_tasks(std::move(batch))[0].get();
    };
    no_pidfd = without_pidfd;
    std::optional<ThreadLimit> limit(room);
    const TaskResult result = run_one();
    const int refused = limit->refused();
    limit.reset();
    no_pidfd = false;
    REQUIRE(result.state == TaskState::failed);
    REQUIRE(result.exit_code == (refused > 0 ? 127 : 3));
    REQUIRE((refused > 0) == (room < (without_pidfd ? 2 : 1)));
    if (refused > 0) REQUIRE(describe(result.exception) == "system_error");
    REQUIRE_FALSE(has_children());
    REQUIRE(run_one().exit_code == 3);
    if (room > 0) REQUIRE(open_descriptors() <= descriptors + 2);  // the monitor's own pipe
  }
  executor.shutdown();
  REQUIRE(eventually([&] { return thread_count() == threads; }));
}

// ---- Descriptors ---------------------------------------------------------------------------------------------------

TEST_CASE("a backend whose descriptors run out fails what it cannot start, and only that", "[R9]") {
  if (address_sanitizer) {
    WARN("not with this sanitizer: its checks of virtual calls need descriptors themselves");
    return;
  }
  AsyncExecutor executor(2);
  std::atomic<int> ended{0};
  int submitted = 0;
  {
    ConcurrentExecutionBackend backend(executor);
    backend.register_callback([&](const TaskResult&, TaskState state) {
      if (state != TaskState::running) ++ended;
    });
    auto batch = [&] {
      std::vector<TaskDescription> tasks;
      for (int i = 0; i < 3; ++i) {
        tasks.emplace_back("", ExecutableTask{.program = "cat", .standard_input = "input"});
        tasks.emplace_back("", FunctionTask(answer));
      }
      submitted += static_cast<int>(tasks.size());
      return backend.submit_tasks(std::move(tasks));
    };
    for (const auto& future : batch()) REQUIRE(future.get().state == TaskState::done);
    const std::size_t before = open_descriptors();
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const int lowest = ::dup(0);
    ::close(lowest);
    int failed = 0, done = 0;
    for (int room = 0; room < 30; room += 2) {
      const rlimit lowered{static_cast<rlim_t>(lowest + room), limit.rlim_max};
      ::setrlimit(RLIMIT_NOFILE, &lowered);
      std::vector<AsyncFuture<TaskResult>> futures = batch();
      for (const auto& future : futures) future.wait();
      ::setrlimit(RLIMIT_NOFILE, &limit);
      for (std::size_t i = 0; i < futures.size(); ++i) {
        const TaskResult& result = futures[i].get();
        if (i % 2 == 1) REQUIRE(result.state == TaskState::done);  // a function needs none
        ++(result.state == TaskState::done ? done : failed);
        if (result.state == TaskState::done && i % 2 == 0) REQUIRE(result.standard_output == "input");
      }
      REQUIRE(open_descriptors() == before);
      REQUIRE_FALSE(has_children());
    }
    REQUIRE(failed > 0);
    REQUIRE(done > 45);
    for (const auto& future : batch()) REQUIRE(future.get().state == TaskState::done);
  }
  REQUIRE(ended == submitted);
}

// ---- A program's start, without memory and without a pidfd ---------------------------------------------------------

namespace {

/// A process that a test waits for.
class Child : public detail::Process {
 public:
  Child() {
    ended = [](detail::Process& process) noexcept { static_cast<Child&>(process).over_.open(); };
  }
  void wait() { over_.wait(); }

 private:
  Gate over_;
};

}  // namespace

TEST_CASE("a start that fails for want of memory leaves nothing that a later one could find", "[R9]") {
  // A process that there was no memory to watch must be forgotten: the next may have its address, and a pidfd.
  ExecutableTask task{.program = "true"};
  // Of all allocations, those of the monitor's own thread come in between, anywhere: the start may miss its turn.
  const fault::Whose whose = GENERATE(fault::Whose::workers, fault::Whose::anybodys);
  fault::is_worker = true;
  int failures = 0;
  for (long first = 0;; ++first) {
    detail::ProcessMonitor monitor(1s);
    Child child;
    no_pidfd = true;
    fault::arm(whose, first);
    bool started = false;
    try {
      monitor.start(child, task);
      started = true;
    } catch (const std::bad_alloc&) {
      ++failures;
    }
    fault::disarm();
    no_pidfd = false;
    const bool any_failed = fault::failed != 0;
    if (started) {
      child.wait();
    } else {
      monitor.start(child, task);  // the same address, now with a pidfd
      child.wait();
    }
    REQUIRE(child.end.exit_code == 0);
    REQUIRE_FALSE(has_children());
    if (!any_failed) break;
  }
  fault::is_worker = false;
  REQUIRE(failures > (whose == fault::Whose::workers ? 5 : 0));
}
