// Small things that several test files need: doors that block threads, threads that belong to no executor, meters.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>  // for all_of, count_if, min, max
#include <atomic>     // for atomic
#include <chrono>     // for steady_clock
#include <cohort/cohort.hpp>
#include <condition_variable>  // for condition_variable
#include <coroutine>           // for coroutine_handle
#include <cstddef>             // for size_t
#include <cstdint>             // for uintptr_t
#include <cstdio>              // for fflush
#include <deque>               // for deque
#include <exception>           // for exception_ptr
#include <filesystem>          // for directory_iterator
#include <fstream>             // for ifstream
#include <functional>          // for function
#include <future>              // for future_error
#include <iostream>            // for cout
#include <latch>               // for latch
#include <memory>              // for shared_ptr
#include <mutex>               // for mutex
#include <new>                 // for bad_alloc
#include <set>                 // for set
#include <sstream>             // for istringstream
#include <stdexcept>           // for invalid_argument
#include <string>              // for string
#include <system_error>        // for system_error
#include <thread>              // for jthread
#include <utility>             // for move
#include <vector>              // for vector

namespace test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// ---- How much to do ------------------------------------------------------------------------------------------------

#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
#else
inline constexpr bool thread_sanitizer = false;
#endif

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
#else
inline constexpr bool address_sanitizer = false;
#endif

inline constexpr bool sanitized = thread_sanitizer || address_sanitizer;

#if defined(__OPTIMIZE__)
inline constexpr bool optimized = true;
#else
inline constexpr bool optimized = false;
#endif

/// A number of repetitions, fewer where everything is slow.
constexpr int scaled(int n) { return sanitized ? std::max(1, n / 10) : n; }

/// As deep as a chain of tasks goes in the tests: a stack of 8 MiB would have no room for so many frames.
inline constexpr int deep = optimized && !sanitized ? 1'000'000 : 300'000;

/// More than a stack that does not grow ever needs, and far less than `deep` frames.
inline constexpr std::size_t flat_stack = 1 << 20;

/// Longer than anything takes that is not stuck.
inline constexpr auto patience = 30s;

/// Asks until the answer is yes, at most for as long as `patience`; gives the last answer.
template <class Question>
bool eventually(Question question) {
  const auto deadline = Clock::now() + patience;
  while (!question()) {
    if (Clock::now() > deadline) return question();
    std::this_thread::sleep_for(200us);
  }
  return true;
}

class Stopwatch {
 public:
  Clock::duration elapsed() const { return Clock::now() - start_; }

 private:
  Clock::time_point start_ = Clock::now();
};

/// Raised when a test takes too long: see main.cpp.
inline int watchdog_signal() { return SIGRTMIN; }

// ---- Threads -------------------------------------------------------------------------------------------------------

/// `std::this_thread::get_id()` for coroutines: glibc declares it constant, and Clang takes it at its word across a
/// `co_await` that moves the coroutine to another thread.
[[gnu::noinline]] inline std::thread::id this_thread_id() {
  asm volatile("");
  return std::this_thread::get_id();
}

/// A door that blocks threads until it is opened, and then stays open. Its end opens it and waits for those inside: they
/// may well be tasks of an executor that was made before it.
class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() {
    std::unique_lock lock(mutex_);
    open_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return inside_ == 0; });
  }

  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ++inside_;
    changed_.wait(lock, [this] { return open_; });
    if (--inside_ == 0) changed_.notify_all();
  }
  bool is_open() {
    const std::lock_guard lock(mutex_);
    return open_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int inside_ = 0;
};

/// Keeps workers of an executor busy, blocked, from its constructor's return until it is released or destroyed.
class Occupy {
 public:
  explicit Occupy(cohort::AsyncExecutor& executor, std::size_t workers = 1)
      : state_(std::make_shared<State>(static_cast<std::ptrdiff_t>(workers))) {
    for (std::size_t i = 0; i < workers; ++i) {
      futures_.push_back(executor.submit([state = state_] {
        state->started.count_down();
        state->gate.wait();
      }));
    }
    state_->started.wait();
  }
  Occupy(const Occupy&) = delete;
  Occupy& operator=(const Occupy&) = delete;
  ~Occupy() { release(); }

  void release() {
    state_->gate.open();
    for (auto& future : futures_) future.wait();
    futures_.clear();
  }

 private:
  struct State {
    explicit State(std::ptrdiff_t workers) : started(workers) {}
    std::latch started;
    Gate gate;
  };
  std::shared_ptr<State> state_;
  std::vector<cohort::AsyncFuture<void>> futures_;
};

/// Whether all workers of an executor sleep. When everything it was given has started, it all waits for something then,
/// and nothing moves any more by itself.
inline bool all_asleep(const cohort::AsyncExecutor& executor) {
  const std::vector<cohort::WorkerSnapshot> workers = executor.snapshot().workers;
  return std::all_of(workers.begin(), workers.end(), [](const cohort::WorkerSnapshot& worker) {
    return worker.activity == cohort::WorkerActivity::parked;
  });
}

/// Knows the threads of an executor that was made from its options.
class Crew {
 public:
  cohort::ExecutorOptions options(std::size_t workers) {
    cohort::ExecutorOptions options;
    options.max_workers = workers;
    options.on_worker_start = [this](std::size_t) {
      const std::lock_guard lock(mutex_);
      members_.insert(this_thread_id());
    };
    return options;
  }
  bool contains(std::thread::id thread) const {
    const std::lock_guard lock(mutex_);
    return members_.count(thread) != 0;
  }
  bool contains_this_thread() const { return contains(this_thread_id()); }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return members_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::set<std::thread::id> members_;
};

/// A thread that belongs to no executor and does what it is told, in order. It must outlive those who told it.
class Stranger {
 public:
  Stranger() : thread_([this] { work(); }) {}
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;
  ~Stranger() { post(nullptr); }

  void post(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.notify_one();
  }
  std::thread::id id() const { return thread_.get_id(); }

  /// An awaitable that knows nothing of cohort, and resumes the coroutine on this thread.
  class Resumption {
   public:
    explicit Resumption(Stranger& stranger) : stranger_(&stranger) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> coroutine) {
      stranger_->post([coroutine] { coroutine.resume(); });
    }
    std::thread::id await_resume() const noexcept { return this_thread_id(); }

   private:
    Stranger* stranger_;
  };
  Resumption resume() { return Resumption(*this); }

 private:
  void work() {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !jobs_.empty(); });
      std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      if (!job) return;
      job();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::jthread thread_;  // last: it uses what is above
};

/// Whether a thread, given as a folder of /proc, is over but for what the system has to do: who joins it does not wait for
/// that, and it is still listed for as long as it takes.
inline bool is_over(const std::filesystem::path& thread) {
  constexpr unsigned long exiting = 4;  // PF_EXITING
  std::ifstream file(thread / "stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line.substr(line.rfind(')') + 1));  // the name before that may be anything
  std::string skipped;
  for (int i = 0; i < 6; ++i) fields >> skipped;
  unsigned long flags = 0;
  return !(fields >> flags) || (flags & exiting) != 0;
}

/// How many threads the process has.
inline std::ptrdiff_t thread_count() {
  // The thread sanitizer adds one of its own when the first is made.
  if constexpr (thread_sanitizer) {
    [[maybe_unused]] static const bool made_one = (std::thread([] {}).join(), true);
  }
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return std::count_if(begin(threads), end(threads), [](const auto& each) { return !is_over(each.path()); });
}

/// The same, once those threads are gone that nobody joins.
inline std::ptrdiff_t settled_thread_count() {
  for (std::ptrdiff_t before = thread_count();;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const std::ptrdiff_t now = thread_count();
    if (now == before) return now;
    before = now;
  }
}

/// Runs `body` in a forked child, and gives what it returned: 124 if it threw, 128 and the number of a signal that
/// killed it, SIGALRM if it was still there after half a minute. Without threads in the parent the child may do
/// anything; with threads it must not make new ones, or the thread sanitizer objects.
template <class Body>
int in_child(Body body) {
  std::cout.flush();
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    int code = 124;
    try {
      code = body();
    } catch (...) {
    }
    ::_exit(code);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return 125;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// What goes on in all executors: for a test that hangs.
inline void print_executors() {
  for (const cohort::ExecutorSnapshot& snapshot : cohort::detail::snapshots_of_all()) std::cerr << snapshot;
  std::cerr << std::flush;
}

// ---- Coroutines that are no tasks -----------------------------------------------------------------------------------

/// A coroutine that knows nothing of cohort: runs at once, and nobody waits for it.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
};

// ---- Meters --------------------------------------------------------------------------------------------------------

/// Counts its instances: a copy is one more, and a moved-from one still counts until it is destroyed.
class Counted {
 public:
  explicit Counted(std::atomic<int>& alive) : alive_(&alive) { ++*alive_; }
  Counted(const Counted& other) : alive_(other.alive_) { ++*alive_; }
  Counted& operator=(const Counted& other) = default;
  ~Counted() { --*alive_; }

 private:
  std::atomic<int>* alive_;
};

/// Something to give away, as an argument or in a capture: when its last copy is destroyed, `action` is called.
template <class Action>
std::shared_ptr<void> when_destroyed(Action action) {
  return std::shared_ptr<void>(nullptr, [action](void*) { action(); });
}

/// How many are inside now, and how many ever were at once.
class Peak {
 public:
  void enter() {
    const int now = ++inside_;
    int seen = highest_;
    while (seen < now && !highest_.compare_exchange_weak(seen, now)) {
    }
  }
  void leave() { --inside_; }
  int inside() const { return inside_; }
  int highest() const { return highest_; }

 private:
  std::atomic<int> inside_ = 0;
  std::atomic<int> highest_ = 0;
};

/// How far one thread's stack reaches, over the places where it was looked at. For one thread at a time.
class StackMeter {
 public:
  [[gnu::noinline]] void look() {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    lowest_ = std::min(lowest_, here);
    highest_ = std::max(highest_, here);
  }
  std::size_t span() const { return highest_ < lowest_ ? 0 : highest_ - lowest_; }

 private:
  std::uintptr_t lowest_ = UINTPTR_MAX;
  std::uintptr_t highest_ = 0;
};

/// What happened, in order.
template <class T>
class Log {
 public:
  void add(T entry) {
    const std::lock_guard lock(mutex_);
    entries_.push_back(std::move(entry));
  }
  std::vector<T> entries() const {
    const std::lock_guard lock(mutex_);
    return entries_;
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<T> entries_;
};

// ---- Exceptions ----------------------------------------------------------------------------------------------------

/// Says which exception it is in a word or two: "cancelled", "timeout", "int 42", "runtime_error: what", "none".
inline std::string describe(const std::exception_ptr& exception) {
  if (!exception) return "none";
  try {
    std::rethrow_exception(exception);
  } catch (const cohort::CancelledError&) {
    return "cancelled";
  } catch (const cohort::TimeoutError&) {
    return "timeout";
  } catch (const cohort::ExecutorShutdownError&) {
    return "shutdown";
  } catch (const cohort::InvalidStateError&) {
    return "invalid state";
  } catch (const std::future_error& error) {
    if (error.code() == std::future_errc::no_state) return "no state";
    if (error.code() == std::future_errc::broken_promise) return "broken promise";
    return "future_error";
  } catch (const std::invalid_argument& error) {
    return std::string("invalid argument: ") + error.what();
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::resource_deadlock_would_occur) return "deadlock";
    return "system_error";
  } catch (const std::bad_alloc&) {
    return "bad_alloc";
  } catch (const std::runtime_error& error) {
    return std::string("runtime_error: ") + error.what();
  } catch (const std::exception& error) {
    return std::string("exception: ") + error.what();
  } catch (int number) {
    return "int " + std::to_string(number);
  } catch (...) {
    return "something else";
  }
}

/// The exception that leaves `action`, described as above.
template <class Action>
std::string thrown_by(Action&& action) {
  try {
    static_cast<void>(std::forward<Action>(action)());
    return "none";
  } catch (...) {
    return describe(std::current_exception());
  }
}

/// How a future ended, for a coroutine to find out: "none" when it has a value.
template <class T>
cohort::Task<std::string> outcome(cohort::AsyncFuture<T> future) {
  try {
    static_cast<void>(co_await future);
    co_return "none";
  } catch (...) {
    co_return describe(std::current_exception());
  }
}

}  // namespace test
