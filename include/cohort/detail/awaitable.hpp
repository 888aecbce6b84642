#pragma once

#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/thread_context.hpp>

#include <concepts>     // for std::convertible_to
#include <coroutine>    // for std::coroutine_handle
#include <type_traits>  // for std::remove_cvref_t
#include <utility>      // for std::forward

// Clang before 17 may keep locals of an inlined await_suspend in the coroutine frame, which by then may be another
// thread's: those that make the coroutine visible to others stay out of line.
#if defined(__clang__) && __clang_major__ < 17
#define COHORT_SUSPEND_OUT_OF_LINE [[gnu::noinline]]
#else
#define COHORT_SUSPEND_OUT_OF_LINE
#endif

namespace cohort::detail {

template <class A>
concept Awaiter = requires(A& awaiter) {
  awaiter.await_ready() ? 0 : 0;
  awaiter.await_resume();
};

template <class A>
concept HasMemberCoAwait = requires(A&& awaitable) {
  std::forward<A>(awaitable).operator co_await();
};

template <class A>
concept HasFreeCoAwait = requires(A&& awaitable) {
  operator co_await(std::forward<A>(awaitable));
};

template <class A>
concept Awaitable = HasMemberCoAwait<A> || HasFreeCoAwait<A> || Awaiter<std::remove_cvref_t<A>>;

template <class A>
[[nodiscard]] decltype(auto) get_awaiter(A&& awaitable) {
  if constexpr (HasMemberCoAwait<A>) {
    return std::forward<A>(awaitable).operator co_await();
  } else if constexpr (HasFreeCoAwait<A>) {
    return operator co_await(std::forward<A>(awaitable));
  } else {
    return std::forward<A>(awaitable);
  }
}

template <class A>
using AwaiterOf = decltype(get_awaiter(std::declval<A>()));

/// What `co_await` of an `A` yields.
template <class A>
using AwaitResult = decltype(std::declval<std::remove_reference_t<AwaiterOf<A>>&>().await_resume());

/// One of the library's own awaitables: it wants to know which task awaits it. `bind` returns the awaiter.
template <class A>
concept LibraryAwaitable = requires(A&& awaitable, StateBase* task) {
  std::forward<A>(awaitable).bind(task);
};

/// Stands between a task and a stranger's awaitable: whatever thread that resumes, the task continues on its own
/// executor.
///
/// What the stranger gets to resume is not the task but a relay, a small coroutine that hands the task to its
/// scheduler; or, outside any, makes itself the bottom of the task's stack: see resume_here().
class Relay {
 public:
  struct promise_type {
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
      free_frame(frame, FrameCache::class_of(size));
    }
    [[nodiscard]] Relay get_return_object() noexcept {
      return Relay(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    // It ends with the hand-over, and nobody else holds it then.
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept {}
  };

  /// The coroutine; whoever resumes it ends it.
  std::coroutine_handle<> handle;

  static Relay to(Scheduler* scheduler, Node* node) {
    if (scheduler != nullptr) {
      scheduler->schedule(*node);
    } else {
      node->run();
    }
    co_return;
  }

 private:
  explicit Relay(std::coroutine_handle<> made) noexcept : handle(made) {}
};

template <class A>
class [[nodiscard]] StrangersAwaiter {
 public:
  StrangersAwaiter(A&& awaitable, StateBase* task) : awaiter_(get_awaiter(std::forward<A>(awaitable))), task_(task) {}
  StrangersAwaiter(const StrangersAwaiter&) = delete;
  StrangersAwaiter& operator=(const StrangersAwaiter&) = delete;

  [[nodiscard]] bool await_ready() { return static_cast<bool>(awaiter_.await_ready()); }

  COHORT_SUSPEND_OUT_OF_LINE std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) {
    resumption_.prepare(handle, task_);
    const std::coroutine_handle<> relay = Relay::to(task_->scheduler, &resumption_).handle;
    // From here on this may be gone, unless the stranger says that it has not taken the relay.
    using Result = decltype(awaiter_.await_suspend(relay));
    try {
      if constexpr (std::is_void_v<Result>) {
        awaiter_.await_suspend(relay);
        return std::noop_coroutine();
      } else if constexpr (std::is_same_v<Result, bool>) {
        if (awaiter_.await_suspend(relay)) return std::noop_coroutine();
      } else {
        const std::coroutine_handle<> next = awaiter_.await_suspend(relay);
        if (next != relay) return next;
      }
    } catch (...) {
      relay.destroy();
      throw;
    }
    relay.destroy();
    return transfer(handle);
  }

  decltype(auto) await_resume() { return awaiter_.await_resume(); }

 private:
  AwaiterOf<A> awaiter_;
  StateBase* task_;
  Resumption resumption_;
};

}  // namespace cohort::detail
