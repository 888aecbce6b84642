// What the fault tests share: allocation functions that fail on demand, count what is alive, and can be forbidden
// altogether. For one file per program, since it replaces the global ones.
#pragma once

#include <unistd.h>

#include <atomic>  // for atomic
#include <cohort/cohort.hpp>
#include <cohort/detail/frame_memory.hpp>
#include <csignal>      // for signal
#include <cstddef>      // for size_t
#include <cstdio>       // for fprintf
#include <cstdlib>      // for malloc
#include <exception>    // for exception_ptr
#include <new>          // for bad_alloc
#include <type_traits>  // for is_same_v
#include <utility>      // for forward

#if __has_include(<execinfo.h>)
#include <execinfo.h>  // for backtrace
#endif

#include "support.hpp"

namespace test::fault {

// ---- The plan ------------------------------------------------------------------------------------------------------

/// Whose allocations fail: anybody's, or those of the threads of executors made from Stage::options().
enum class Whose { anybodys, workers };
/// The one of that number only, or it and all that come after it.
enum class Which { one, all_later };

struct Plan {
  Whose whose = Whose::anybodys;
  Which which = Which::one;
};
inline constexpr Plan plans[] = {{Whose::anybodys, Which::one},
                                 {Whose::workers, Which::one},
                                 {Whose::anybodys, Which::all_later},
                                 {Whose::workers, Which::all_later}};

inline Plan plan;
inline std::atomic<long> first_to_fail{0};
inline std::atomic<bool> armed{false};
inline std::atomic<long> seen{0};    // allocations since it was armed
inline std::atomic<long> failed{0};  // of these, how many failed
inline std::atomic<long> live{0};    // blocks that have not been given back

inline std::atomic<bool> denied_everywhere{false};
inline thread_local bool denied_here = false;
inline std::atomic<int> breaches{0};  // allocations that were forbidden

inline thread_local bool is_worker = false;

// What a watchdog says when it bites.
inline const char* scenario = "none";

inline void check_denied() noexcept {
  if (!denied_here && !denied_everywhere) return;
  if (++breaches != 1) return;
#if __has_include(<execinfo.h>)
  void* frames[32];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, 32), 2);
#endif
}

inline bool is_to_fail() noexcept {
  check_denied();
  if (!armed || (plan.whose == Whose::workers && !is_worker)) return false;
  const long number = seen++;
  if (plan.which == Which::one ? number != first_to_fail : number < first_to_fail) return false;
  ++failed;
  return true;
}

inline void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (is_to_fail()) return nullptr;
  if (size == 0) size = 1;
  void* const block = alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__
                          ? std::malloc(size)
                          : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (block != nullptr) ++live;
  return block;
}
inline void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* const block = allocate(size, alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
inline void give_back(void* block) noexcept {
  if (block == nullptr) return;
  --live;
  std::free(block);
}

/// While it lives, whoever allocates commits a breach: on this thread, or on any.
class DenyAllocation {
 public:
  enum class On { this_thread, all_threads };
  explicit DenyAllocation(On on = On::this_thread) : everywhere_(on == On::all_threads) {
    (everywhere_ ? denied_everywhere = true : denied_here = true);
  }
  DenyAllocation(const DenyAllocation&) = delete;
  DenyAllocation& operator=(const DenyAllocation&) = delete;
  ~DenyAllocation() { (everywhere_ ? denied_everywhere = false : denied_here = false); }

 private:
  bool everywhere_;
};

/// From now on, until it is disarmed, the allocation of that number fails, of those that come.
inline void arm(Whose whose, long number) {
  plan = {whose, Which::one};
  first_to_fail = number;
  seen = 0;
  failed = 0;
  armed = true;
}
inline void disarm() { armed = false; }

// ---- One run of a scenario -----------------------------------------------------------------------------------------

/// What a scenario says about itself. Nothing here allocates, so that it may be used while allocations fail.
class Stage {
 public:
  /// Options for executors whose threads are known as workers.
  static cohort::ExecutorOptions options(std::size_t workers = 2) {
    cohort::ExecutorOptions options;
    options.max_workers = workers;
    options.on_worker_start = [](std::size_t) { is_worker = true; };
    return options;
  }

  /// Does it while allocations fail as planned. It may throw bad_alloc, and nothing else.
  template <class Body>
  void fail_in(Body&& body) {
    seen = 0;
    armed = true;
    try {
      std::forward<Body>(body)();
    } catch (const std::bad_alloc&) {
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: left by an exception: %s\n", scenario, error.what());
      complain("an exception other than bad_alloc");
    } catch (...) {
      complain("an exception other than bad_alloc");
    }
    disarm();
  }

  void check(bool condition, const char* what) {
    if (!condition) complain(what);
  }

  /// Waits for a future: it has a value, or failed with bad_alloc, or with one of the exceptions `Allowed`.
  template <class... Allowed, class T>
  void settle(const cohort::AsyncFuture<T>& future) {
    future.wait();
    if (!future.done()) return complain("wait() returned and the future is not done");
    if (const std::exception_ptr error = future.exception()) expect<Allowed...>(error);
  }
  /// Does it, and takes bad_alloc and `Allowed` for granted.
  template <class... Allowed, class Action>
  void attempt(Action&& action) {
    try {
      static_cast<void>(std::forward<Action>(action)());
    } catch (...) {
      expect<Allowed...>(std::current_exception());
    }
  }
  template <class... Allowed>
  void expect(const std::exception_ptr& error) {
    if (is<std::bad_alloc>(error) || (is<Allowed>(error) || ...)) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& what) {
      std::fprintf(stderr, "%s: %s\n", scenario, what.what());
    } catch (...) {
    }
    complain("a future, or a call, failed with something else than bad_alloc");
  }

  [[nodiscard]] const char* complaint() const { return complaint_; }

  void complain(const char* what) {
    const char* none = nullptr;
    complaint_.compare_exchange_strong(none, what);
  }

 private:
  template <class Error>
  static bool is(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const Error&) {
      return true;
    } catch (...) {
      return false;
    }
  }

  std::atomic<const char*> complaint_{nullptr};
};

inline void say_where(const char* what) noexcept {
  disarm();
  std::fprintf(stderr, "%s in \"%s\", with allocation %ld to fail%s%s\n", what, scenario, first_to_fail.load(),
               plan.which == Which::one ? "" : " and all later ones",
               plan.whose == Whose::anybodys ? "" : ", of the workers");
#if __has_include(<execinfo.h>)
  void* frames[32];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, 32), 2);
#endif
}
/// After `seconds` without being told again it says where the program is stuck, and ends it.
inline void watch_for(unsigned seconds) {
  std::signal(SIGALRM, [](int) {
    say_where("stuck");
    std::abort();
  });
  std::set_terminate([] {
    say_where("terminated");
    std::abort();
  });
  ::alarm(seconds);
}

}  // namespace test::fault

// ---- The allocation functions ---------------------------------------------------------------------------------------

void* operator new(std::size_t size) { return test::fault::allocate_or_throw(size, 0); }
void* operator new[](std::size_t size) { return test::fault::allocate_or_throw(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return test::fault::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return test::fault::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return test::fault::allocate(size, 0); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return test::fault::allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return test::fault::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return test::fault::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { test::fault::give_back(block); }
void operator delete[](void* block) noexcept { test::fault::give_back(block); }
void operator delete(void* block, std::size_t) noexcept { test::fault::give_back(block); }
void operator delete[](void* block, std::size_t) noexcept { test::fault::give_back(block); }
void operator delete(void* block, std::align_val_t) noexcept { test::fault::give_back(block); }
void operator delete[](void* block, std::align_val_t) noexcept { test::fault::give_back(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { test::fault::give_back(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { test::fault::give_back(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { test::fault::give_back(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { test::fault::give_back(block); }
void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept { test::fault::give_back(block); }
void operator delete[](void* block, std::align_val_t, const std::nothrow_t&) noexcept { test::fault::give_back(block); }
